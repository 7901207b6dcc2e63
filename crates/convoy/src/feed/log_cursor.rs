//! Where a reader of the change log stands.

use std::collections::HashSet;

use uuid::Uuid;

use crate::change::{ChangeSink, ChangeSource, Changes};
use crate::postgres::{DbError, Row};

/// A `pg_snapshot`: which transactions a reading saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Every transaction below was over.
    pub xmin: u64,
    /// None from here on had begun.
    pub xmax: u64,
    /// Those between that were still running.
    pub xip: Vec<u64>,
}

impl Snapshot {
    /// Parses Postgres' spelling: `xmin:xmax:xip,xip`.
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

/// The last snapshot, and which log it was taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The log's identity; none after a crash emptied it.
    pub epoch: Option<Uuid>,
    /// Rows of transactions below this may be gone from the log.
    pub trimmed_below: u64,
}

impl Position {
    /// From the first three columns of a reading.
    pub(super) fn of(row: &Row) -> Result<Position, DbError> {
        let text = row.text(0)?;
        let snapshot = Snapshot::parse(text).ok_or_else(|| DbError::Row(format!("`{text}` is no snapshot")))?;
        let trimmed_below = row.text_or_null(2)?.map_or(Ok(0), str::parse);
        let trimmed_below = trimmed_below.map_err(|_| DbError::Row("trimmed_below is no transaction id".into()))?;
        Ok(Position { snapshot, epoch: row.uuid_or_null(1)?, trimmed_below })
    }

    /// Whether rows may be missing between this position and the next.
    pub(super) fn lost(&self, next: &Position) -> bool {
        next.epoch.is_none() || next.epoch != self.epoch || self.snapshot.xmin < next.trimmed_below
    }
}

/// How far the log has been read, and what is to be remembered from there on.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// Everything this has seen was told.
    pub position: Position,
    /// Our own rows are read too until this transaction and all before it are
    /// over: the newest when the last doubt was still open.
    pub own_rows_below: u64,
    /// Transactions prepared before the log was lost, or before we came: what they
    /// wrote may not be in it.
    pub prepared: HashSet<String>,
    /// So often a commit of ours went untold before this.
    pub untold: u64,
}

/// What one reading has found. The cursor behind it is had by telling, and in no
/// other way.
#[must_use]
pub(super) struct Reading {
    changes: Changes,
    next: Cursor,
}

impl Reading {
    /// These changes lie before `next`.
    pub(super) fn new(changes: Changes, next: Cursor) -> Reading {
        Reading { changes, next }
    }

    /// It is not known what lies before `next`.
    pub(super) fn of_everything(next: Cursor) -> Reading {
        Reading { changes: Changes::Everything, next }
    }

    /// Tells of the changes; gives the cursor to go on from.
    pub(super) fn tell(self, sink: &dyn ChangeSink) -> Cursor {
        match &self.changes {
            Changes::Everything => sink.committed(self.changes, &ChangeSource::Resync),
            Changes::Some(changes) if changes.is_empty() => {}
            Changes::Some(_) => sink.committed(self.changes, &ChangeSource::Outside),
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
        assert!(!here.lost(&at(Some(1), 100)));
        assert!(here.lost(&at(Some(1), 101)));
        assert!(here.lost(&at(None, 0)));
        assert!(here.lost(&at(Some(2), 0)));
    }
}
