//! Records the statements of a session.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::DbError;
use crate::telemetry::{ErrorKind, Metrics, Scope, Span, SpanKind, Statement, sqlstate};

/// Records statements; by default it records none. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    metrics: Metrics,
    /// The name of the database.
    namespace: Arc<str>,
}

impl Recorder {
    /// Records the statements on this database.
    pub(super) fn new(metrics: Metrics, namespace: &str) -> Recorder {
        Recorder { metrics, namespace: namespace.into() }
    }

    /// Runs a statement to its end, and records it. One that is cancelled has no duration.
    pub(super) async fn record<T, E: Into<DbError>>(
        &self,
        operation: &'static str,
        table: Option<&Arc<str>>,
        running: impl Future<Output = Result<T, E>>,
    ) -> Result<T, DbError> {
        let mut span = self.span(operation, table);
        let began = self.metrics.is_on().then(Instant::now);
        let result = running.await.map_err(Into::into);
        let error = result.as_ref().err().map(DbError::kind);
        if let Some(error) = &error {
            if let Some(code) = sqlstate(error) {
                span.set("db.response.status_code", code.to_owned());
            }
            span.fail(error.clone());
        }
        if let Some(began) = began {
            let statement = Statement { namespace: &self.namespace, operation, table, error };
            self.metrics.statement(statement, began.elapsed());
        }
        result
    }

    /// The text is not recorded: in `raw` it may hold values.
    fn span(&self, operation: &'static str, table: Option<&Arc<str>>) -> Span {
        let parent = Scope::current().span;
        if !parent.is_some() {
            return Span::default();
        }
        let mut span = parent.child(SpanKind::Client, operation);
        if let Some(table) = table {
            span.name(operation, table.clone());
            span.set("db.collection.name", table.clone());
        }
        span.set("db.system.name", "postgresql");
        span.set("db.namespace", self.namespace.clone());
        span.set("db.operation.name", operation);
        span
    }
}

impl ErrorKind for DbError {
    fn kind(&self) -> Cow<'static, str> {
        DbError::kind(self)
    }
}
