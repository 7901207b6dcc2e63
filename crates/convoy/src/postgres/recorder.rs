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
    database: Database,
}

/// Where statements run.
#[derive(Clone, Default)]
pub(crate) struct Database {
    /// The name of the database.
    pub namespace: Arc<str>,
    /// The host of its server, or the path of its socket.
    pub address: Arc<str>,
    /// The port; `None` with a socket.
    pub port: Option<u16>,
}

impl Recorder {
    /// Records the statements on this database.
    pub(super) fn new(metrics: Metrics, database: Database) -> Recorder {
        Recorder { metrics, database }
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
            let Database { namespace, address, port } = &self.database;
            let statement = Statement { namespace, address, port: *port, operation, table, error };
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
        let Database { namespace, address, port } = &self.database;
        span.set("db.namespace", namespace.clone());
        span.set("db.operation.name", operation);
        span.set("server.address", address.clone());
        port.iter().for_each(|port| span.set("server.port", i64::from(*port)));
        span
    }
}

impl ErrorKind for DbError {
    fn kind(&self) -> Cow<'static, str> {
        DbError::kind(self)
    }
}
