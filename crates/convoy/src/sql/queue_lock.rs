//! The locks by which serial queues of several processes exclude each other.

use super::Statement;

/// The number of locks, which the queues share.
pub(crate) const LOCKS: u32 = 4;

/// Takes the lock of a queue. It is a table lock, because LOCK TABLE is the only lock that is
/// taken before the snapshot of the transaction.
pub(crate) fn lock(queue: u32) -> Statement {
    let mut sql = Statement::fixed("lock table _convoy.lane_");
    sql.number(u64::from(queue % LOCKS)).push(" in exclusive mode");
    sql
}
