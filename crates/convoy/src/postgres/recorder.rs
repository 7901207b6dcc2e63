//! Records the statements of a session.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::DbError;
use crate::telemetry::{ErrorKind, Scope, StatementKinds, sqlstate};

/// Records statements; by default it records none. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Recorder(StatementKinds);

impl Recorder {
    /// Records statements of these kinds.
    pub(super) fn new(kinds: StatementKinds) -> Recorder {
        Recorder(kinds)
    }

    /// Runs a statement to its end, and records it. One that is cancelled has no duration.
    pub(super) async fn record<T, E: Into<DbError>>(
        &self,
        operation: &'static str,
        table: Option<&Arc<str>>,
        running: impl Future<Output = Result<T, E>>,
    ) -> Result<T, DbError> {
        let parent = Scope::current().span;
        if !parent.is_some() && !self.0.are_measured() {
            return running.await.map_err(Into::into);
        }
        let kind = self.0.of(operation, table);
        let mut span = kind.span(&parent);
        let began = Instant::now();
        let result = running.await.map_err(Into::into);
        let error = result.as_ref().err().map(DbError::kind);
        if let Some(error) = &error {
            if let Some(code) = sqlstate(error) {
                span.set("db.response.status_code", code.to_owned());
            }
            span.fail(error.clone());
        }
        kind.record(error, began.elapsed());
        result
    }
}

impl ErrorKind for DbError {
    fn kind(&self) -> Cow<'static, str> {
        DbError::kind(self)
    }
}
