//! The statements by which processes notify each other.

use super::Statement;

/// The notification channel. Postgres separates the channels of databases.
pub(crate) const CHANNEL: &str = "convoy";

/// Sends payloads. Uses the simple protocol, in which it is one transaction. It does not wait
/// for the disk, because Postgres commits only one transaction with a NOTIFY at a time; the
/// log makes up for a notification lost in a crash.
pub(crate) fn notify(payloads: &[String]) -> Statement {
    let mut sql = Statement::fixed("set local synchronous_commit = off");
    for payload in payloads {
        sql.push("; notify ").ident(CHANNEL).push(", ").literal(payload);
    }
    sql
}

/// The usage of the notification queue, in per cent. Reading it also makes Postgres advance
/// the tail of the queue, which a listener that disconnected can leave behind.
pub(crate) fn queue_usage() -> Statement {
    Statement::fixed("select (pg_notification_queue_usage() * 100)::int8")
}
