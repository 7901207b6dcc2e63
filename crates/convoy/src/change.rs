//! What a commit did, as the live side needs to know it.

use std::sync::Arc;

use uuid::Uuid;

use crate::key::RowKeys;

/// One changed row, or a whole table.
#[derive(Debug, Clone)]
pub struct Change {
    /// The table's name in Postgres.
    pub table: Arc<str>,
    /// What changed in it.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Debug, Clone)]
pub enum ChangeKind {
    /// One row: where it lay before, and where it lies now.
    Row {
        /// The row's id.
        id: Uuid,
        /// Its index values before; none for an insert.
        old: Option<RowKeys>,
        /// Its index values after; none for a delete.
        new: Option<RowKeys>,
    },
    /// Too many rows to name, or a TRUNCATE.
    Whole,
}

/// What arrives from the feed.
#[derive(Debug, Clone)]
pub enum Changes {
    /// These changes, all of one or more whole commits.
    Some(Arc<[Change]>),
    /// The log was lost or does not reach back far enough: anything may have
    /// changed.
    Everything,
}

/// Who is told about commits. Called after the commit, never under a lock, and
/// must not block.
pub trait ChangeSink: Send + Sync + 'static {
    /// A commit, ours or anyone's, has become visible.
    fn committed(&self, changes: Changes);
}
