//! Statements of the change feed: reading the log by snapshot, and trimming it.

use uuid::Uuid;

use super::{Bind, Statement};

/// The most log rows of one read; if there are more, everything counts as changed.
pub(crate) const MAX_ROWS: i64 = 10_000;

/// The current snapshot and the epoch of the log, without rows: `snapshot, epoch,
/// trimmed_below`.
pub(crate) fn position() -> Statement {
    Statement::fixed(
        "select pg_current_snapshot()::text, e.id, e.trimmed_below::text
from (values (1)) as one
left join _convoy.epoch as e on true",
    )
}

/// The rows of other processes that the snapshot `(xmax, xip)` did not see, together with
/// the next snapshot. Returns at least one row, with null columns if there were no changes:
/// `snapshot, epoch, trimmed_below, tab, id, old_at, old_keys, new_at, new_keys`.
///
/// Two index scans: one for transactions begun since the snapshot, one for those that were
/// running then. A scan from `xmin` would return the same rows again as long as one old
/// transaction is running.
pub(crate) fn read(xmax: u64, xip: &[u64], node: Uuid) -> Statement {
    let mut sql = Statement::new();
    let columns = "select tab, id, old_at, old_keys, new_at, new_keys
    from _convoy.changes
    where ";
    sql.push(
        "select
  pg_current_snapshot()::text, e.id, e.trimmed_below::text,
  c.tab, c.id, c.old_at, c.old_keys, c.new_at, c.new_keys
from (values (1)) as one
left join _convoy.epoch as e on true
left join (
  (
    ",
    );
    sql.push(columns)
        .push("xid >= ")
        .bind(Bind::Text(xmax.to_string()))
        .push("::text::xid8 and node is distinct from ");
    sql.bind(Bind::Uuid(node)).push("\n    limit ").number(MAX_ROWS as u64 + 1).push("\n  )\n  union all\n  (\n    ");
    sql.push(columns).push("xid = any(").bind(Bind::Texts(xip.iter().map(u64::to_string).collect()));
    sql.push("::text[]::xid8[]) and node is distinct from ").bind(Bind::Uuid(node));
    sql.push("\n    limit ").number(MAX_ROWS as u64 + 1).push("\n  )\n) as c on true");
    sql
}

/// The ids of the prepared transactions of this database.
pub(crate) fn prepared() -> Statement {
    Statement::fixed("select transaction::text from pg_prepared_xacts where database = current_database()")
}

/// Creates the epoch row again after a crash emptied the unlogged tables.
pub(crate) fn renew_epoch() -> Statement {
    Statement::fixed("insert into _convoy.epoch default values on conflict do nothing")
}

/// Deletes old log rows, and records how far in the same transaction.
pub(crate) fn trim(below: u64) -> Statement {
    let mut sql = Statement::new();
    sql.push("with trimmed as (\n  delete from _convoy.changes where xid < ").bind(Bind::Text(below.to_string()));
    sql.push("::text::xid8\n)\nupdate _convoy.epoch set trimmed_below = greatest(trimmed_below, ");
    sql.bind(Bind::Text(below.to_string())).push("::text::xid8)");
    sql
}
