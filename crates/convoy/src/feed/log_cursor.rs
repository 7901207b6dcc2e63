//! Positions in the change log.

use std::collections::HashSet;

use uuid::Uuid;

use crate::change::{ChangeSink, ChangeSource, Changes};
use crate::postgres::{DbError, Row};

/// A `pg_snapshot`: which transactions a read saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Every transaction below had ended.
    pub xmin: u64,
    /// No transaction from here on had begun.
    pub xmax: u64,
    /// Transactions in between that were still running.
    pub xip: Vec<u64>,
}

impl Snapshot {
    /// Parses Postgres' text form: `xmin:xmax:xip,xip`.
    pub(super) fn parse(text: &str) -> Option<Snapshot> {
        let mut parts = text.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let xip = parts.next()?;
        let xip =
            if xip.is_empty() { Vec::new() } else { xip.split(',').map(str::parse).collect::<Result<_, _>>().ok()? };
        Some(Snapshot { xmin, xmax, xip })
    }
}

/// A snapshot, and the log it was taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The epoch of the log; `None` after a crash emptied it.
    pub epoch: Option<Uuid>,
    /// Rows of transactions below this may have been trimmed.
    pub trimmed_below: u64,
}

impl Position {
    /// Decodes the first three columns of a read.
    pub(super) fn from_row(row: &Row) -> Result<Position, DbError> {
        let text = row.text(0)?;
        let snapshot = Snapshot::parse(text).ok_or_else(|| DbError::Row(format!("`{text}` is no snapshot")))?;
        let trimmed_below = row.text_or_null(2)?.map_or(Ok(0), str::parse);
        let trimmed_below = trimmed_below.map_err(|_| DbError::Row("trimmed_below is no transaction id".into()))?;
        Ok(Position { snapshot, epoch: row.uuid_or_null(1)?, trimmed_below })
    }

    /// Whether rows may be missing between this position and the next.
    pub(super) fn has_gap(&self, next: &Position) -> bool {
        next.epoch.is_none() || next.epoch != self.epoch || self.snapshot.xmin < next.trimmed_below
    }
}

/// How far the log has been read, and the state that the next read needs.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// All changes visible in its snapshot have been published.
    pub position: Position,
    /// Rows of this process are read too until all transactions below this have ended: the
    /// `xmax` of the last read during which a commit was in doubt.
    pub own_rows_below: u64,
    /// Transactions prepared before the log was lost, or before this process started: their
    /// rows may be missing from it.
    pub prepared: HashSet<String>,
    /// The count of lost commits ([`InDoubtCommits::lost_count`]) that this read has covered.
    ///
    /// [`InDoubtCommits::lost_count`]: crate::change::InDoubtCommits::lost_count
    pub lost_commits: u64,
    /// Whether the last read found the same position as the read before: no transaction that may
    /// have written had ended.
    pub is_idle: bool,
}

/// The result of one read. Only [`LogRead::publish`] gives the next cursor.
#[must_use]
pub(super) struct LogRead {
    changes: Changes,
    next: Cursor,
}

impl LogRead {
    /// The changes before `next`.
    pub(super) fn new(changes: Changes, next: Cursor) -> LogRead {
        LogRead { changes, next }
    }

    /// Nothing was committed since `cursor`.
    pub(super) fn nothing(cursor: &Cursor) -> LogRead {
        LogRead { changes: Changes::Some([].into()), next: cursor.clone() }
    }

    /// Any change may lie before `next`.
    pub(super) fn everything(next: Cursor) -> LogRead {
        LogRead { changes: Changes::Everything, next }
    }

    /// Whether there is any change.
    pub(super) fn has_changes(&self) -> bool {
        match &self.changes {
            Changes::Everything => true,
            Changes::Some(changes) => !changes.is_empty(),
        }
    }

    /// Sends the changes to `sink` and returns the next cursor.
    pub(super) fn publish(self, sink: &dyn ChangeSink) -> Cursor {
        let by = match &self.changes {
            Changes::Everything => ChangeSource::Resync,
            Changes::Some(_) => ChangeSource::Outside,
        };
        if self.has_changes() {
            sink.committed(self.changes, &by);
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_postgres_prints() {
        let snapshot = Snapshot::parse("10:20:10,14,15").expect("a snapshot");
        assert_eq!(snapshot, Snapshot { xmin: 10, xmax: 20, xip: vec![10, 14, 15] });
        assert_eq!(Snapshot::parse("7:7:").map(|s| s.xip.len()), Some(0));
        assert_eq!(Snapshot::parse("7"), None);
        assert_eq!(Snapshot::parse("7:8:x"), None);
    }

    #[test]
    fn a_crash_a_new_log_or_trimming_past_us_means_rows_may_be_missing() {
        let at = |epoch: Option<u128>, trimmed_below| Position {
            snapshot: Snapshot { xmin: 100, xmax: 110, xip: vec![100] },
            epoch: epoch.map(Uuid::from_u128),
            trimmed_below,
        };
        let here = at(Some(1), 0);
        assert!(!here.has_gap(&at(Some(1), 100)));
        assert!(here.has_gap(&at(Some(1), 101)));
        assert!(here.has_gap(&at(None, 0)));
        assert!(here.has_gap(&at(Some(2), 0)));
    }
}
