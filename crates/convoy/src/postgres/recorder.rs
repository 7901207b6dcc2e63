//! Records the statements of a session.

use std::sync::Arc;
use std::time::Instant;

use super::DbError;
use crate::telemetry::{Metrics, Statement};

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

    /// Runs a statement to its end, and records it. One that is cancelled is not recorded.
    pub(super) async fn record<T, E: Into<DbError>>(
        &self,
        operation: &'static str,
        table: Option<&Arc<str>>,
        running: impl Future<Output = Result<T, E>>,
    ) -> Result<T, DbError> {
        if !self.metrics.is_on() {
            return running.await.map_err(Into::into);
        }
        let began = Instant::now();
        let result = running.await.map_err(Into::into);
        let error = result.as_ref().err().map(DbError::kind);
        let statement = Statement { namespace: &self.namespace, operation, table, error };
        self.metrics.statement(statement, began.elapsed());
        result
    }
}
