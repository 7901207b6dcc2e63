//! Statements of one kind: one operation on one table of a database. What they have in common
//! is made once, because a call runs several of them, and most spans are dropped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram};
use parking_lot::RwLock;

use super::metrics::Metrics;
use super::{Span, SpanKind, SpanRef};

/// Kinds that are kept; beyond, all are made again. A program that is reloaded may leave some. Below
/// the number of series that the SDK keeps of one metric (2,000).
const MAX_STATEMENT_KINDS: usize = 1_000;

/// Where statements run.
#[derive(Clone, Default)]
pub(crate) struct Database {
    /// Its name.
    pub namespace: Arc<str>,
    /// The host of its server, or the path of its socket.
    pub address: Arc<str>,
    /// The port; `None` with a socket.
    pub port: Option<u16>,
}

/// The kinds of the statements on a database. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct StatementKinds(Arc<Inner>);

#[derive(Default)]
struct Inner {
    database: Database,
    /// None if no exporter asks for metrics.
    durations: Option<Histogram<f64>>,
    kinds: RwLock<HashMap<Key, Arc<StatementKind>>>,
}

/// The operation, and the table if it is about one.
type Key = (&'static str, Option<Arc<str>>);

/// What all statements of one kind are recorded with.
pub(crate) struct StatementKind {
    operation: &'static str,
    table: Option<Arc<str>>,
    attributes: Arc<[KeyValue]>,
    durations: Option<Durations>,
}

struct Durations {
    all: Histogram<f64>,
    /// Those of statements without an error; bound once there is one, since a bound series is
    /// exported also if it is empty.
    succeeded: OnceLock<BoundHistogram<f64>>,
}

impl StatementKinds {
    /// The kinds of the statements on this database.
    pub(crate) fn new(metrics: &Metrics, database: Database) -> StatementKinds {
        StatementKinds(Arc::new(Inner { database, durations: metrics.statements(), kinds: RwLock::default() }))
    }

    /// Whether durations are recorded.
    pub(crate) fn are_measured(&self) -> bool {
        self.0.durations.is_some()
    }

    /// The kind of an operation (`SELECT`), on a table if it is about one.
    pub(crate) fn of(&self, operation: &'static str, table: Option<&Arc<str>>) -> Arc<StatementKind> {
        let key = (operation, table.cloned());
        if let Some(kind) = self.0.kinds.read().get(&key) {
            return kind.clone();
        }
        let kind = Arc::new(self.make(operation, table.cloned()));
        let mut kinds = self.0.kinds.write();
        if kinds.len() >= MAX_STATEMENT_KINDS {
            kinds.clear();
        }
        kinds.insert(key, kind.clone());
        kind
    }

    fn make(&self, operation: &'static str, table: Option<Arc<str>>) -> StatementKind {
        let Inner { database: Database { namespace, address, port }, durations, .. } = &*self.0;
        let mut attributes = vec![
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.namespace", namespace.clone()),
            KeyValue::new("server.address", address.clone()),
            KeyValue::new("db.operation.name", operation),
        ];
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
        attributes.extend(table.clone().map(|table| KeyValue::new("db.collection.name", table)));
        let durations = durations.clone().map(|all| Durations { all, succeeded: OnceLock::new() });
        StatementKind { operation, table, attributes: attributes.into(), durations }
    }
}

impl StatementKind {
    /// A span for a statement below `parent`. The text is not recorded: in `raw` it may hold values.
    pub(crate) fn span(&self, parent: &SpanRef) -> Span {
        let mut span = parent.child(SpanKind::Client, self.operation);
        if let Some(table) = &self.table {
            span.name(self.operation, table.clone());
        }
        span.share(&self.attributes);
        span
    }

    /// Records a statement that took this time; `error` is its SQLSTATE, or another kind.
    pub(crate) fn record(&self, error: Option<Cow<'static, str>>, time: Duration) {
        let Some(Durations { all, succeeded }) = &self.durations else { return };
        let Some(error) = error else {
            return succeeded.get_or_init(|| all.bind(&self.attributes)).record(time.as_secs_f64());
        };
        let code = sqlstate(&error).map(|code| KeyValue::new("db.response.status_code", code.to_owned()));
        let failed = code.into_iter().chain([KeyValue::new("error.type", error)]);
        let attributes: Vec<KeyValue> = self.attributes.iter().cloned().chain(failed).collect();
        all.record(time.as_secs_f64(), &attributes);
    }
}

/// The kind of a database error if it is a SQLSTATE, and not a name of Convoy's.
pub(crate) fn sqlstate(kind: &str) -> Option<&str> {
    let is_code = kind.len() == 5 && kind.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    is_code.then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_beyond_the_limit_are_made_again() {
        let kinds = StatementKinds::default();
        let table = |number: usize| Arc::from(format!("t{number}"));
        let first = kinds.of("SELECT", Some(&table(0)));
        (1..MAX_STATEMENT_KINDS).for_each(|number| drop(kinds.of("SELECT", Some(&table(number)))));
        assert!(Arc::ptr_eq(&first, &kinds.of("SELECT", Some(&table(0)))), "as many as the limit are kept");
        kinds.of("INSERT", Some(&table(0)));
        assert_eq!(kinds.0.kinds.read().len(), 1);
        let again = kinds.of("SELECT", Some(&table(0)));
        assert_eq!((again.operation, again.table.as_deref()), ("SELECT", Some("t0")));
        assert!(!Arc::ptr_eq(&first, &again));
    }
}
