//! Statements about transactions that have ended.

use super::{Bind, Statement};

/// The cluster and its timeline, as one text.
pub(crate) fn timeline() -> Statement {
    Statement::fixed(
        "select (select system_identifier from pg_control_system())::text
  || ':' || left(pg_walfile_name(pg_current_wal_lsn()), 8)",
    )
}

/// `committed`, `aborted`, `in progress`, or `forgotten` if Postgres no longer has the status.
pub(crate) fn status(xid: &str) -> Statement {
    let mut sql = Statement::fixed("select coalesce(pg_xact_status(");
    sql.bind(Bind::Text(xid.to_owned())).push("::text::xid8), 'forgotten')");
    sql
}
