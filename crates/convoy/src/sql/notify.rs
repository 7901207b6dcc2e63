//! Statements of the notifications that nodes send each other.

use super::Statement;

/// The channel of all nodes over one database; Postgres keeps those of other
/// databases apart.
pub(crate) const CHANNEL: &str = "convoy";

/// Sends payloads. For the simple protocol, where it is one transaction. It makes
/// nobody wait for the disk: Postgres lets one transaction with a NOTIFY commit at
/// a time, and a notification lost in a crash is one the log makes good.
pub(crate) fn notify(payloads: &[String]) -> Statement {
    let mut sql = Statement::fixed("set local synchronous_commit = off");
    for payload in payloads {
        sql.push("; notify ").ident(CHANNEL).push(", ").literal(payload);
    }
    sql
}

/// How full the queue of notifications is, in per cent. To ask also makes Postgres
/// move the queue's end, which a listener that went away can leave behind.
pub(crate) fn queue_usage() -> Statement {
    Statement::fixed("select (pg_notification_queue_usage() * 100)::int8")
}
