//! What a commit did, as the live side needs to know it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
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

/// Commits of ours whose outcome is not known, and may yet happen: an answer was
/// lost, or a statement outlived our patience.
///
/// Our own rows of the change log are not read back, because we tell of our
/// commits ourselves; while there is a doubt, they are. A doubt is over when every
/// transaction that could be the doubtful one is: Postgres cancels the statement
/// after its time limit, and what began before that has then left the snapshot. It
/// stays open until the log was read after that, however long that takes.
#[derive(Debug, Clone)]
pub(crate) struct InDoubtCommits {
    until: Arc<Mutex<Option<Instant>>>,
    /// How often a commit went untold.
    lost: Arc<AtomicU64>,
    /// The longest a statement of ours can run in Postgres.
    longest: Duration,
}

impl InDoubtCommits {
    /// No commit is in doubt yet; `longest` is the statements' time limit in Postgres.
    pub(crate) fn new(longest: Duration) -> InDoubtCommits {
        InDoubtCommits { until: Arc::default(), lost: Arc::default(), longest }
    }

    /// A commit may or may not happen from now on.
    pub(crate) fn add(&self) {
        *self.until.lock() = Some(Instant::now() + self.longest + Duration::from_secs(1));
    }

    /// Something of ours was perhaps committed, and it will never be said what.
    pub(crate) fn add_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.add();
    }

    /// How often that has happened: each time everything counts as changed.
    pub(crate) fn lost_count(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether there is a commit that may have happened, or may yet, and that no
    /// reading of the log has looked for since.
    pub(crate) fn any(&self) -> bool {
        self.until.lock().is_some()
    }

    /// The log has been read, our own rows included where there was a doubt when
    /// that began. A doubt ends with a reading that began after it was over.
    pub(crate) fn resolve_before(&self, began: Instant) {
        let mut until = self.until.lock();
        if until.is_some_and(|until| until <= began) {
            *until = None;
        }
    }
}

/// Who has made a change, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeSource {
    /// A function of this process.
    Function(Arc<str>),
    /// Someone else: another process, `psql`, a trigger.
    Outside,
    /// No writer: the log was lost, or an untracked table is due for a check.
    Resync,
}

impl ChangeSource {
    /// What several functions did in one commit.
    pub fn functions<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> ChangeSource {
        let mut distinct: Vec<&Arc<str>> = Vec::new();
        for name in names {
            if !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        match distinct.as_slice() {
            [one] => ChangeSource::Function((*one).clone()),
            several => {
                ChangeSource::Function(several.iter().map(|name| &***name).collect::<Vec<_>>().join(", ").into())
            }
        }
    }
}

/// What reads commits. Called after the commit, never under a lock, and must not block.
pub trait CommitReader: Send + Sync + 'static {
    /// A commit, ours or anyone's, has become visible.
    fn committed(&self, changes: Changes, by: &ChangeSource);
}

/// What is kept current: it reads commits, and how far the log of the database was read.
pub trait ChangeSink: CommitReader {
    /// Whatever was visible in the database at this moment has been told, of tables
    /// that are watched.
    fn caught_up(&self, at: Instant);

    /// The tables, by their names in Postgres, of which every write is told.
    fn set_tracked_tables(&self, tables: HashSet<Arc<str>>);

    /// The tables that live queries have read, by their names in Postgres; and
    /// whether some have read tables that are not known.
    fn tables_read(&self) -> TablesRead;
}

/// What live queries have read, table by table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablesRead {
    /// The tables' names in Postgres.
    pub names: HashSet<Arc<str>>,
    /// Some queries may have read any table.
    pub everything: bool,
}
