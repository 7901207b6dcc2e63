//! Reads kept in memory until any program changes one of their rows: the sessions and
//! users that `createContext` looks up for every call.
//!
//! Invariants:
//! - An answer is kept only if the feed reports every write to the tables it was read from,
//!   and for [`MAX_AGE`] at most: writes that bypass the triggers are found then.
//! - No gap: a read registers before its statement is sent, and is compared with every
//!   change applied since ([`RecentCommits`]).
//! - Only calls of the loaded program use it: the read sets of one schema have no meaning
//!   in another.
//! - An answer is used only while changes arrive: what is older than [`MAX_FEED_AGE`] has
//!   been applied, commits of this process included. Each of these is applied before its
//!   caller is answered.
//! - A mutation that has used it is compared with all changes until its function has ended
//!   ([`Used`]). That an answer was dropped or replaced is no change.
//!
//! An answer without a document is not kept, so invalid tokens do not fill the memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use crate::change::{ChangeSink, ChangeSource, Changes, Commit, CommitNumber, CommitReader, TablesRead};
use crate::db::ReadSet;
use crate::failpoints::{Failpoint, Failpoints};
use crate::feed::{FeedDemand, FeedUser};
use crate::invalidation::{ReadIndex, ReaderId, RecentCommits, Sequence};
use crate::schema::Schema;

/// How long ago all changes must have been applied; otherwise the database is asked.
const MAX_FEED_AGE: Duration = Duration::from_millis(300);
/// How long an answer is used. As often, the triggers are checked.
const MAX_AGE: Duration = Duration::from_secs(15);
/// How long the feed is needed after the last use.
const IDLE: Duration = Duration::from_secs(60);
/// The memory for answers, in bytes; beyond it, those used least recently are dropped.
const MAX_BYTES: usize = 64 << 20;
/// The approximate memory of an entry beside its texts, in bytes.
const ENTRY_BYTES: usize = 1 << 10;
/// The largest answer that is kept, in bytes.
const MAX_ANSWER: usize = 16 << 10;

/// The earliest commit of this process that was sent to Postgres and is not applied yet.
type OldestPending = Box<dyn Fn() -> Option<Instant> + Send + Sync>;

/// The reads kept in memory.
pub(crate) struct ReadCache {
    /// Never locked across an await.
    state: Mutex<State>,
    demand: Arc<FeedDemand>,
    oldest_pending: OldestPending,
    failpoints: Failpoints,
}

struct State {
    /// By the operation, as the host has sent it.
    entries: LruCache<Arc<str>, Entry>,
    bytes: usize,
    readers: HashMap<ReaderId, Reader>,
    /// The read sets of all readers.
    index: ReadIndex,
    recent: RecentCommits,
    next_id: ReaderId,
    /// Every change that was visible in the database at this moment has been applied.
    caught_up_at: Option<Instant>,
    tracked_tables: HashSet<Arc<str>>,
    /// When an answer was last asked for.
    used_at: Option<Instant>,
    /// The schema of the loaded program.
    schema: Option<Arc<Schema>>,
}

/// What a change concerns.
enum Reader {
    /// A kept answer, by its operation.
    Entry(Arc<str>),
    /// A mutation in progress, and whether a change has concerned it.
    Mutation { changed: bool },
}

struct Entry {
    id: ReaderId,
    kept: Arc<Kept>,
    /// The database was read no earlier than this.
    read_at: Instant,
}

/// A kept answer.
pub(crate) struct Kept {
    /// The answer to the operation, as JSON followed by a comma.
    pub answer: String,
    /// The rows it depends on.
    pub reads: Arc<ReadSet>,
}

impl ReadCache {
    /// An empty cache.
    pub(crate) fn new(demand: Arc<FeedDemand>, oldest_pending: OldestPending, failpoints: Failpoints) -> ReadCache {
        let state = State {
            entries: LruCache::unbounded(),
            bytes: 0,
            readers: HashMap::new(),
            index: ReadIndex::default(),
            recent: RecentCommits::default(),
            next_id: 0,
            caught_up_at: None,
            tracked_tables: HashSet::new(),
            used_at: None,
            schema: None,
        };
        ReadCache { state: Mutex::new(state), demand, oldest_pending, failpoints }
    }

    /// The kept answer to an operation of a program with this schema.
    pub(crate) fn get(&self, operation: &str, schema: &Arc<Schema>) -> Option<Arc<Kept>> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.is_loaded(schema) {
            return None;
        }
        if state.used_at.replace(now).is_none() {
            self.demand.set(FeedUser::ReadCache, true);
        }
        state.caught_up_at.filter(|at| now.saturating_duration_since(*at) <= MAX_FEED_AGE)?;
        let entry = state.entries.get(operation)?;
        let is_young = now.saturating_duration_since(entry.read_at) < MAX_AGE;
        is_young.then(|| entry.kept.clone())
    }

    /// Begins to read what is not kept, or what a mutation depends on. Called before the
    /// statement is sent.
    pub(crate) fn begin(self: &Arc<Self>) -> Reading {
        let since = self.state.lock().recent.begin();
        Reading { cache: self.clone(), since, began: Instant::now() }
    }

    /// Whether no change concerns these reads, as far as changes are known.
    pub(crate) fn are_current(&self, used: &[Used]) -> bool {
        if used.is_empty() {
            return true;
        }
        let state = self.state.lock();
        used.iter().all(|used| matches!(state.readers.get(&used.id), Some(Reader::Mutation { changed: false })))
    }

    /// Drops all answers, also those being read, since a program with this schema was loaded.
    pub(crate) fn reloaded(&self, schema: Arc<Schema>) {
        let mut state = self.state.lock();
        let commit = Commit::new(Changes::Everything, ChangeSource::Resync);
        state.recent.add(&Arc::new(commit));
        state.clear();
        // The read sets of mutations in progress are of the schema before.
        state.index = ReadIndex::default();
        state.schema = Some(schema);
    }

    /// The number of kept answers.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().entries.len()
    }
}

impl State {
    fn is_loaded(&self, schema: &Arc<Schema>) -> bool {
        self.schema.as_ref().is_some_and(|loaded| Arc::ptr_eq(loaded, schema))
    }

    fn add_reader(&mut self, reader: Reader, reads: &ReadSet) -> ReaderId {
        let id = self.next_id;
        self.next_id += 1;
        self.index.insert(id, reads);
        self.readers.insert(id, reader);
        id
    }

    fn insert(&mut self, operation: &str, kept: Arc<Kept>, read_at: Instant) {
        let key: Arc<str> = operation.into();
        if let Some(replaced) = self.entries.pop(&key) {
            self.forget(&key, &replaced);
        }
        let id = self.add_reader(Reader::Entry(key.clone()), &kept.reads);
        self.bytes += size_of(&key, &kept);
        self.entries.put(key, Entry { id, kept, read_at });
        while self.bytes > MAX_BYTES && !self.entries.is_empty() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((key, entry)) = self.entries.pop_lru() {
            self.forget(&key, &entry);
        }
    }

    /// Applies a change to a reader.
    fn hit(&mut self, id: ReaderId) {
        match self.readers.get_mut(&id) {
            Some(Reader::Mutation { changed }) => *changed = true,
            Some(Reader::Entry(key)) => {
                let key = key.clone();
                self.drop_entry(&key);
            }
            None => {}
        }
    }

    fn drop_entry(&mut self, key: &Arc<str>) {
        if let Some(entry) = self.entries.pop(key) {
            self.forget(key, &entry);
        }
    }

    /// Removes what refers to an entry that is no longer in the map.
    fn forget(&mut self, key: &str, entry: &Entry) {
        self.bytes -= size_of(key, &entry.kept);
        self.readers.remove(&entry.id);
        self.index.remove(entry.id, &entry.kept.reads);
    }

    /// Drops all answers; every mutation in progress counts as changed.
    fn clear(&mut self) {
        while !self.entries.is_empty() {
            self.drop_oldest();
        }
        for reader in self.readers.values_mut() {
            if let Reader::Mutation { changed } = reader {
                *changed = true;
            }
        }
    }
}

fn size_of(key: &str, kept: &Kept) -> usize {
    key.len() + kept.answer.len() + ENTRY_BYTES
}

/// A read in flight. Dropped, it ends without an answer.
pub(crate) struct Reading {
    cache: Arc<ReadCache>,
    since: Sequence,
    began: Instant,
}

impl Reading {
    /// Keeps the answer for programs with this schema, unless one of its rows has changed
    /// since, or it has no document.
    pub(crate) fn keep(&self, operation: &str, schema: &Arc<Schema>, answer: &str, reads: &Arc<ReadSet>) {
        let mut state = self.cache.state.lock();
        let is_kept = state.is_loaded(schema)
            && is_document(answer)
            && answer.len() <= MAX_ANSWER
            && reads.refresh.is_none()
            && reads.is_within(&state.tracked_tables)
            && state.recent.first_hit(self.since, reads).is_none();
        if is_kept {
            let kept = Arc::new(Kept { answer: answer.to_owned(), reads: reads.clone() });
            state.insert(operation, kept, self.began);
        }
    }

    /// Follows the changes of these rows for a mutation with this schema, from the moment at
    /// which the read began. For a program that was replaced, changes are not known.
    pub(crate) fn follow(&self, schema: &Arc<Schema>, reads: Arc<ReadSet>) -> Used {
        let mut state = self.cache.state.lock();
        let id = match state.is_loaded(schema) {
            true => {
                let changed = state.recent.first_hit(self.since, &reads).is_some();
                state.add_reader(Reader::Mutation { changed }, &reads)
            }
            false => state.add_reader(Reader::Mutation { changed: false }, &ReadSet::default()),
        };
        drop(state);
        Used { cache: self.cache.clone(), id, schema: schema.clone(), reads }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.cache.state.lock().recent.end(self.since);
    }
}

/// A read that a mutation depends on. Dropped, it is no longer followed.
pub(crate) struct Used {
    cache: Arc<ReadCache>,
    id: ReaderId,
    schema: Arc<Schema>,
    reads: Arc<ReadSet>,
}

impl Drop for Used {
    fn drop(&mut self) {
        let mut state = self.cache.state.lock();
        state.readers.remove(&self.id);
        // The index has the read sets of the loaded schema only.
        if state.is_loaded(&self.schema) {
            state.index.remove(self.id, &self.reads);
        }
    }
}

/// Whether an answer has a document: it is neither an error nor empty.
fn is_document(answer: &str) -> bool {
    answer.starts_with(r#"{"ok":"#) && !answer.starts_with(r#"{"ok":null"#) && !answer.starts_with(r#"{"ok":[]"#)
}

impl CommitReader for ReadCache {
    fn committed(&self, changes: Changes, by: &ChangeSource) -> Option<CommitNumber> {
        if self.failpoints.has(Failpoint::StaleCachedReads) {
            return None;
        }
        let mut state = self.state.lock();
        state.recent.add(&Arc::new(Commit::new(changes.clone(), by.clone())));
        match &changes {
            Changes::Everything => state.clear(),
            Changes::Some(changes) => {
                let mut hits = HashSet::new();
                changes.iter().for_each(|change| state.index.hits(change, &mut hits));
                hits.into_iter().for_each(|id| state.hit(id));
            }
        }
        // It numbers them for itself only.
        None
    }
}

impl ChangeSink for ReadCache {
    fn caught_up(&self, at: Instant, _lost_commits: u64) {
        // A commit of this process may be visible in Postgres before it is applied here.
        let at = (self.oldest_pending)().map_or(at, |oldest| oldest.min(at));
        let mut state = self.state.lock();
        state.caught_up_at = state.caught_up_at.max(Some(at));
        let is_old = |entry: &Entry| at.saturating_duration_since(entry.read_at) >= MAX_AGE;
        while state.entries.peek_lru().is_some_and(|(_, entry)| is_old(entry)) {
            state.drop_oldest();
        }
        if state.used_at.take_if(|used_at| at.saturating_duration_since(*used_at) >= IDLE).is_some() {
            self.demand.set(FeedUser::ReadCache, false);
        }
    }

    fn set_tracked_tables(&self, tables: HashSet<Arc<str>>) {
        let mut state = self.state.lock();
        let is_lost = |entry: &Entry| !entry.kept.reads.is_within(&tables);
        let lost: Vec<Arc<str>> =
            state.entries.iter().filter(|(_, entry)| is_lost(entry)).map(|(key, _)| key.clone()).collect();
        lost.iter().for_each(|key| state.drop_entry(key));
        state.tracked_tables = tables;
    }

    fn tables_read(&self) -> TablesRead {
        self.state.lock().index.tables_read()
    }
}

#[cfg(test)]
mod tests;
