//! The changes of commits, and the traits of their receivers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::key::RowKeys;
use crate::telemetry::{RemoteSpan, Scope};

/// One changed row, or a whole table.
#[derive(Debug, Clone)]
pub struct Change {
    /// The name of the table in Postgres.
    pub table: Arc<str>,
    /// The kind of change.
    pub kind: ChangeKind,
}

/// A changed row, or a whole table.
#[derive(Debug, Clone)]
pub enum ChangeKind {
    /// One row, by its index values before and after.
    Row {
        /// The row's id.
        id: Uuid,
        /// Its index values before; none for an insert.
        old: Option<RowKeys>,
        /// Its index values after; none for a delete.
        new: Option<RowKeys>,
        /// The top-level fields that were set or removed, for developers; none if they are unknown.
        fields: Option<Arc<[String]>>,
    },
    /// Many rows at once, or a TRUNCATE.
    Whole,
}

/// A commit, as its readers receive it.
#[derive(Debug)]
pub(crate) struct Commit {
    /// Its changes.
    pub changes: Changes,
    /// Its writer.
    pub by: ChangeSource,
    /// When and in which trace.
    pub origin: CommitOrigin,
}

/// When a commit became known to this process, and the span of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitOrigin {
    /// When it became known.
    pub at: Instant,
    /// Its span, if this process has made it and traces it.
    pub span: Option<RemoteSpan>,
}

impl Commit {
    /// A commit that becomes known now, in the current scope of telemetry.
    pub(crate) fn new(changes: Changes, by: ChangeSource) -> Commit {
        let origin = CommitOrigin { at: Instant::now(), span: Scope::current().span.remote() };
        Commit { changes, by, origin }
    }

    /// The change at this position; `None` if any row may have changed.
    pub(crate) fn change(&self, at: usize) -> Option<&Change> {
        match &self.changes {
            Changes::Everything => None,
            Changes::Some(changes) => changes.get(at),
        }
    }
}

/// The changes of one or more commits.
#[derive(Debug, Clone)]
pub enum Changes {
    /// These changes.
    Some(Arc<[Change]>),
    /// Any row may have changed: the log was lost, or does not reach back far enough.
    Everything,
}

/// Commits of this process that are in doubt: their answer was lost, or a statement took
/// longer than the engine waited, so they may have happened or may yet happen.
///
/// Log rows of this process are not read back, because it publishes its own commits. While a
/// commit is in doubt, they are. A doubt is resolved when every transaction that could be the
/// one in doubt has ended: Postgres cancels a statement after its time limit, and transactions
/// begun before that have then left the snapshot. It lasts until the log has been read after
/// that point, however long that takes.
#[derive(Debug, Clone)]
pub(crate) struct InDoubtCommits {
    until: Arc<Mutex<Option<Instant>>>,
    /// The number of commits that were never published.
    lost: Arc<AtomicU64>,
    /// The longest time that a commit can take in Postgres, in milliseconds.
    longest_ms: Arc<AtomicU64>,
}

impl InDoubtCommits {
    /// Creates the state without a commit in doubt; `longest` is the time limit of statements in
    /// Postgres.
    pub(crate) fn new(longest: Duration) -> InDoubtCommits {
        let in_doubt = InDoubtCommits { until: Arc::default(), lost: Arc::default(), longest_ms: Arc::default() };
        in_doubt.may_take(longest);
        in_doubt
    }

    /// Records that from now on a commit may take this long, if that is longer than before.
    pub(crate) fn may_take(&self, longest: Duration) {
        self.longest_ms.fetch_max(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Records that a commit may or may not happen from now on.
    pub(crate) fn add(&self) {
        let longest = Duration::from_millis(self.longest_ms.load(Ordering::Relaxed));
        *self.until.lock() = Some(Instant::now() + longest + Duration::from_secs(1));
    }

    /// Records that a commit may have happened whose changes will never be published.
    pub(crate) fn add_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.add();
    }

    /// The number of such commits. Each time it grows, everything counts as changed.
    pub(crate) fn lost_count(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether a commit is in doubt, and no read of the log has covered it yet.
    pub(crate) fn any(&self) -> bool {
        self.until.lock().is_some()
    }

    /// Records a read of the log that began at `began`, with the rows of this process if a commit
    /// was in doubt then. A doubt is resolved by a read that began after its end.
    pub(crate) fn resolve_before(&self, began: Instant) {
        let mut until = self.until.lock();
        if until.is_some_and(|until| until <= began) {
            *until = None;
        }
    }
}

/// The writer of a change, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeSource {
    /// A function of this process.
    Function(Arc<str>),
    /// Another writer: another process, `psql`, a trigger.
    Outside,
    /// No known writer: an untracked table counts as changed at intervals.
    Poll,
    /// No known writer: changes may have been missed, or a commit is in doubt.
    Resync,
}

impl ChangeSource {
    /// The source of a commit of several functions.
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

/// The number of a commit among those that this process has received.
pub(crate) type CommitNumber = u64;

/// Receives commits. Called after the commit, without locks held; must not block.
pub trait CommitReader: Send + Sync + 'static {
    /// Called when a commit of this process or another writer has become visible. Returns its
    /// number, if this reader numbers commits.
    fn committed(&self, changes: Changes, by: &ChangeSource) -> Option<CommitNumber>;
}

/// Receives commits, and how far the change log was read.
pub trait ChangeSink: CommitReader {
    /// Called when every change of tracked tables that was visible at `at` has been delivered,
    /// except commits of this process that have not ended. `lost_commits`: how many of those had
    /// been dropped before their end; later ones are delivered after the next read.
    fn caught_up(&self, at: Instant, lost_commits: u64);

    /// Sets the tracked tables, by their names in Postgres: those whose writes are all delivered.
    fn set_tracked_tables(&self, tables: HashSet<Arc<str>>);

    /// The tables that live queries have read, and whether some may have read others.
    fn tables_read(&self) -> TablesRead;
}

/// Several receivers, each of which gets everything, in this order.
pub(crate) struct ChangeSinks(pub Vec<Arc<dyn ChangeSink>>);

impl CommitReader for ChangeSinks {
    fn committed(&self, changes: Changes, by: &ChangeSource) -> Option<CommitNumber> {
        self.0.iter().fold(None, |number, sink| sink.committed(changes.clone(), by).or(number))
    }
}

impl ChangeSink for ChangeSinks {
    fn caught_up(&self, at: Instant, lost_commits: u64) {
        self.0.iter().for_each(|sink| sink.caught_up(at, lost_commits));
    }

    fn set_tracked_tables(&self, tables: HashSet<Arc<str>>) {
        self.0.iter().for_each(|sink| sink.set_tracked_tables(tables.clone()));
    }

    fn tables_read(&self) -> TablesRead {
        self.0.iter().map(|sink| sink.tables_read()).fold(TablesRead::default(), |mut all, read| {
            all.names.extend(read.names);
            all.everything |= read.everything;
            all
        })
    }
}

/// The tables that live queries have read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablesRead {
    /// Their names in Postgres.
    pub names: HashSet<Arc<str>>,
    /// Whether some queries may have read any table.
    pub everything: bool,
}
