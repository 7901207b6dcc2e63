//! The locks that serial lanes of several nodes take turns by.

use super::Statement;

/// How many locks there are; lanes share them.
pub(crate) const LOCKS: u32 = 4;

/// Waits until no other transaction holds this lane's lock. A table's lock, since
/// LOCK TABLE alone comes before a transaction's snapshot.
pub(crate) fn lock(lane: u32) -> Statement {
    let mut sql = Statement::fixed("lock table _convoy.lane_");
    sql.number(u64::from(lane % LOCKS)).push(" in exclusive mode");
    sql
}
