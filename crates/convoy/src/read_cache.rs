//! Reads kept in memory until one of their rows changes, whoever changes it: the sessions
//! and users that `createContext` looks up for every call.
//!
//! Invariants:
//! - An answer is kept only if the feed reports every write to the tables it was read from.
//! - No gap: a read registers before its statement is sent, and is compared with every
//!   change applied since ([`RecentCommits`]).
//! - Only calls of the loaded program use it: the read sets of one schema have no meaning
//!   in another.
//! - An answer is used only while the change log is being read: it is at most
//!   [`MAX_FEED_AGE`] older than the database. A commit of this process is applied before
//!   its caller is answered.
//!
//! An answer without a document is not kept, so invalid tokens do not fill the memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use crate::change::{ChangeSink, ChangeSource, Changes, CommitReader, TablesRead};
use crate::db::ReadSet;
use crate::feed::{FeedDemand, FeedUser};
use crate::invalidation::{ReadIndex, ReaderId, RecentCommits, Sequence};
use crate::schema::Schema;

/// How long ago the change log may have been read; otherwise the database is asked.
const MAX_FEED_AGE: Duration = Duration::from_millis(300);
/// How long an answer is kept without use.
const IDLE: Duration = Duration::from_secs(60);
/// How many answers are kept; beyond it, those used least recently are dropped.
const MAX_ENTRIES: usize = 50_000;
/// The largest answer that is kept, in bytes.
const MAX_ANSWER: usize = 16 << 10;

/// The reads kept in memory.
pub(crate) struct ReadCache {
    /// Never locked across an await.
    state: Mutex<State>,
    demand: Arc<FeedDemand>,
}

struct State {
    /// By the operation, as the host has sent it.
    entries: LruCache<Arc<str>, Entry>,
    keys: HashMap<ReaderId, Arc<str>>,
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

struct Entry {
    id: ReaderId,
    kept: Arc<Kept>,
    used_at: Instant,
}

/// A kept answer.
pub(crate) struct Kept {
    /// The answer to the operation, as JSON followed by a comma.
    pub answer: String,
    /// The rows it depends on.
    pub reads: ReadSet,
}

/// A read that a run depends on.
pub(crate) enum Used {
    /// Its answer is, or was, kept.
    Kept(ReaderId),
    /// Its answer could not be kept, so changes since are looked for.
    Unkept(Reading, ReadSet),
}

impl ReadCache {
    /// An empty cache.
    pub(crate) fn new(demand: Arc<FeedDemand>) -> ReadCache {
        let state = State {
            entries: LruCache::unbounded(),
            keys: HashMap::new(),
            index: ReadIndex::default(),
            recent: RecentCommits::default(),
            next_id: 0,
            caught_up_at: None,
            tracked_tables: HashSet::new(),
            used_at: None,
            schema: None,
        };
        ReadCache { state: Mutex::new(state), demand }
    }

    /// The kept answer to an operation of a program with this schema.
    pub(crate) fn get(&self, operation: &str, schema: &Arc<Schema>) -> Option<(Used, Arc<Kept>)> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.is_loaded(schema) {
            return None;
        }
        if state.used_at.replace(now).is_none() {
            self.demand.set(FeedUser::ReadCache, true);
        }
        state.caught_up_at.filter(|at| now.saturating_duration_since(*at) <= MAX_FEED_AGE)?;
        let entry = state.entries.get_mut(operation)?;
        entry.used_at = now;
        Some((Used::Kept(entry.id), entry.kept.clone()))
    }

    /// Begins to read what is not kept. Called before the statement is sent.
    pub(crate) fn begin(self: &Arc<Self>) -> Reading {
        let since = self.state.lock().recent.begin();
        Reading { cache: self.clone(), since }
    }

    /// Whether no change since concerns these reads, as far as changes are known.
    pub(crate) fn are_current(&self, used: &[Used]) -> bool {
        if used.is_empty() {
            return true;
        }
        let state = self.state.lock();
        used.iter().all(|used| match used {
            Used::Kept(id) => state.keys.contains_key(id),
            Used::Unkept(reading, reads) => state.recent.first_hit(reading.since, reads).is_none(),
        })
    }

    /// Drops all answers, also those being read, since a program with this schema was loaded.
    pub(crate) fn reloaded(&self, schema: Arc<Schema>) {
        let mut state = self.state.lock();
        state.recent.add(&Changes::Everything);
        state.clear();
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

    fn insert(&mut self, operation: &str, kept: Kept) -> ReaderId {
        let now = Instant::now();
        let (id, key): (ReaderId, Arc<str>) = (self.next_id, operation.into());
        self.next_id += 1;
        self.index.insert(id, &kept.reads);
        self.keys.insert(id, key.clone());
        let entry = Entry { id, kept: Arc::new(kept), used_at: now };
        if let Some((_, replaced)) = self.entries.push(key, entry) {
            self.forget(&replaced);
        }
        while self.entries.len() > MAX_ENTRIES {
            self.drop_oldest();
        }
        id
    }

    fn remove(&mut self, id: ReaderId) {
        let Some(key) = self.keys.get(&id).cloned() else { return };
        if let Some(entry) = self.entries.pop(&key) {
            self.forget(&entry);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, entry)) = self.entries.pop_lru() {
            self.forget(&entry);
        }
    }

    /// Removes what refers to an entry that is no longer in the map.
    fn forget(&mut self, entry: &Entry) {
        self.keys.remove(&entry.id);
        self.index.remove(entry.id, &entry.kept.reads);
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.keys.clear();
        self.index = ReadIndex::default();
    }

    fn drop_idle(&mut self, now: Instant) {
        let is_idle = |entry: &Entry| now.saturating_duration_since(entry.used_at) >= IDLE;
        while self.entries.peek_lru().is_some_and(|(_, entry)| is_idle(entry)) {
            self.drop_oldest();
        }
    }
}

/// A read in flight. Dropped, it ends without an answer.
pub(crate) struct Reading {
    cache: Arc<ReadCache>,
    since: Sequence,
}

impl Reading {
    /// Keeps the answer for programs with this schema, unless one of its rows has changed
    /// since, or it has no document.
    pub(crate) fn keep(self, operation: &str, schema: &Arc<Schema>, answer: &str, reads: ReadSet) -> Used {
        let mut state = self.cache.state.lock();
        let is_kept = state.is_loaded(schema)
            && is_document(answer)
            && answer.len() <= MAX_ANSWER
            && reads.refresh.is_none()
            && reads.is_within(&state.tracked_tables)
            && state.recent.first_hit(self.since, &reads).is_none();
        if is_kept {
            return Used::Kept(state.insert(operation, Kept { answer: answer.to_owned(), reads }));
        }
        drop(state);
        Used::Unkept(self, reads)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.cache.state.lock().recent.end(self.since);
    }
}

/// Whether an answer has a document: it is neither an error nor empty.
fn is_document(answer: &str) -> bool {
    answer.starts_with(r#"{"ok":"#) && !answer.starts_with(r#"{"ok":null"#) && !answer.starts_with(r#"{"ok":[]"#)
}

impl CommitReader for ReadCache {
    fn committed(&self, changes: Changes, _by: &ChangeSource) {
        let mut state = self.state.lock();
        state.recent.add(&changes);
        match &changes {
            Changes::Everything => state.clear(),
            Changes::Some(changes) => {
                let mut hits = HashSet::new();
                changes.iter().for_each(|change| state.index.hits(change, &mut hits));
                hits.into_iter().for_each(|id| state.remove(id));
            }
        }
    }
}

impl ChangeSink for ReadCache {
    fn caught_up(&self, at: Instant) {
        let mut state = self.state.lock();
        state.caught_up_at = state.caught_up_at.max(Some(at));
        state.drop_idle(at);
        if state.entries.is_empty()
            && state.used_at.take_if(|used_at| at.saturating_duration_since(*used_at) >= IDLE).is_some()
        {
            self.demand.set(FeedUser::ReadCache, false);
        }
    }

    fn set_tracked_tables(&self, tables: HashSet<Arc<str>>) {
        let mut state = self.state.lock();
        let lost: Vec<ReaderId> = state
            .entries
            .iter()
            .filter(|(_, entry)| !entry.kept.reads.is_within(&tables))
            .map(|(_, entry)| entry.id)
            .collect();
        lost.into_iter().for_each(|id| state.remove(id));
        state.tracked_tables = tables;
    }

    fn tables_read(&self) -> TablesRead {
        self.state.lock().index.tables_read()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::change::{Change, ChangeKind};

    fn cache() -> Arc<ReadCache> {
        let cache = ReadCache::new(Arc::default());
        cache.set_tracked_tables(["t".into()].into());
        cache.caught_up(Instant::now());
        cache.reloaded(schema());
        Arc::new(cache)
    }

    fn schema() -> Arc<Schema> {
        let description = serde_json::from_str(r#"{"tables":[]}"#).expect("a description");
        Arc::new(Schema::parse(description).expect("a schema"))
    }

    fn loaded(cache: &ReadCache) -> Arc<Schema> {
        cache.state.lock().schema.clone().expect("a schema")
    }

    fn keep(cache: &ReadCache, reading: Reading, id: u8, answer: &str, reads: ReadSet) -> Used {
        reading.keep(&key(id), &loaded(cache), answer, reads)
    }

    fn key(id: u8) -> String {
        format!("get {id}")
    }

    fn reads(table: &str, id: u8) -> ReadSet {
        let mut reads = ReadSet::default();
        reads.points.insert((table.into(), Uuid::from_u128(id.into())));
        reads
    }

    fn document(version: u32) -> String {
        format!(r#"{{"ok":{{"version":{version}}}}},"#)
    }

    fn change(id: u8) -> Changes {
        let kind = ChangeKind::Row { id: Uuid::from_u128(id.into()), old: None, new: None };
        Changes::Some([Change { table: "t".into(), kind }].into())
    }

    fn read(cache: &Arc<ReadCache>, id: u8, version: u32) -> Used {
        keep(cache, cache.begin(), id, &document(version), reads("t", id))
    }

    fn answer(cache: &ReadCache, id: u8) -> Option<String> {
        Some(cache.get(&key(id), &loaded(cache))?.1.answer.clone())
    }

    #[test]
    fn an_answer_is_kept_until_its_row_changes() {
        let cache = cache();
        let used = [read(&cache, 1, 1), read(&cache, 2, 1)];
        cache.committed(change(3), &ChangeSource::Outside);
        assert_eq!((answer(&cache, 1), answer(&cache, 2)), (Some(document(1)), Some(document(1))));
        assert!(cache.are_current(&used));
        cache.committed(change(1), &ChangeSource::Outside);
        assert_eq!((answer(&cache, 1), answer(&cache, 2)), (None, Some(document(1))));
        assert!(!cache.are_current(&used) && cache.are_current(&used[1..]));
        cache.committed(Changes::Everything, &ChangeSource::Resync);
        assert_eq!((answer(&cache, 2), cache.len()), (None, 0));
    }

    #[test]
    fn only_documents_of_tracked_tables_are_kept() {
        let cache = cache();
        for text in [r#"{"ok":null},"#, r#"{"ok":[]},"#, r#"{"error":{"code":"NOT_FOUND"}},"#] {
            keep(&cache, cache.begin(), 1, text, reads("t", 1));
        }
        keep(&cache, cache.begin(), 1, &format!(r#"{{"ok":"{}"}},"#, "x".repeat(MAX_ANSWER)), reads("t", 1));
        keep(&cache, cache.begin(), 1, &document(1), reads("untracked", 1));
        keep(&cache, cache.begin(), 1, &document(1), ReadSet { everything: true, ..ReadSet::default() });
        assert_eq!(cache.len(), 0);
        read(&cache, 1, 1);
        cache.set_tracked_tables(HashSet::new());
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_program_that_was_replaced_neither_keeps_nor_uses_answers() {
        let cache = cache();
        let old = loaded(&cache);
        read(&cache, 1, 1);
        let reading = cache.begin();
        cache.reloaded(schema());
        assert_eq!(cache.len(), 0);
        reading.keep(&key(1), &old, &document(1), reads("t", 1));
        cache.begin().keep(&key(1), &old, &document(1), reads("t", 1));
        assert_eq!(cache.len(), 0);
        // A read that began before the load is of the old code, also if its schema is equal.
        read(&cache, 1, 2);
        assert!(cache.get(&key(1), &old).is_none());
        assert_eq!(answer(&cache, 1), Some(document(2)));
    }

    #[test]
    fn no_answer_is_used_while_the_change_log_is_not_read() {
        let cache = cache();
        read(&cache, 1, 1);
        let long_ago = Instant::now().checked_sub(MAX_FEED_AGE * 2).expect("a moment");
        cache.state.lock().caught_up_at = Some(long_ago);
        assert_eq!(answer(&cache, 1), None);
        cache.caught_up(Instant::now());
        assert_eq!(answer(&cache, 1), Some(document(1)));
    }

    #[test]
    fn the_feed_is_needed_while_the_cache_is_in_use() {
        let cache = cache();
        let needed = cache.demand.subscribe();
        assert!(!*needed.borrow());
        read(&cache, 1, 1);
        answer(&cache, 1);
        assert!(*needed.borrow());
        cache.caught_up(Instant::now() + IDLE / 2);
        assert_eq!((*needed.borrow(), cache.len()), (true, 1));
        cache.caught_up(Instant::now() + IDLE * 2);
        assert_eq!((*needed.borrow(), cache.len()), (false, 0));
    }

    #[test]
    fn answers_used_least_recently_are_dropped() {
        let cache = cache();
        let mut state = cache.state.lock();
        for n in 0..=MAX_ENTRIES {
            let kept = Kept { answer: String::new(), reads: reads("t", (n % 200) as u8) };
            state.insert(&n.to_string(), kept);
        }
        assert_eq!((state.entries.len(), state.keys.len()), (MAX_ENTRIES, MAX_ENTRIES));
        assert!(!state.entries.contains("0") && state.entries.contains("1"));
    }

    /// A step of one of several readers and a writer.
    #[derive(Debug, Clone)]
    enum Step {
        Write(u8),
        /// The commit becomes known.
        Apply,
        /// A reader registers, and reads at the next `Finish`.
        Begin(u8),
        /// Takes a value from the database for the oldest reader.
        Look,
        Finish,
        Get(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let id = 0u8..2;
        let step = prop_oneof![
            id.clone().prop_map(Step::Write),
            Just(Step::Apply),
            id.clone().prop_map(Step::Begin),
            Just(Step::Look),
            Just(Step::Finish),
            id.prop_map(Step::Get),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Whatever the order of commits, their arrival, and reads in flight: once every commit
        /// is known, what is kept is what the database has.
        #[test]
        fn what_is_kept_is_current_up_to_the_commits_not_known_yet(steps in steps()) {
            let cache = cache();
            let mut versions = [0u32; 2];
            let mut unknown: Vec<u8> = Vec::new();
            let mut in_flight: Vec<(u8, Reading, Option<u32>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Write(id) => {
                        versions[usize::from(id)] += 1;
                        unknown.push(id);
                    }
                    Step::Apply => unknown.drain(..).for_each(|id| cache.committed(change(id), &ChangeSource::Outside)),
                    Step::Begin(id) => in_flight.push((id, cache.begin(), None)),
                    Step::Look => {
                        if let Some((id, _, seen)) = in_flight.iter_mut().find(|(.., seen)| seen.is_none()) {
                            *seen = Some(versions[usize::from(*id)]);
                        }
                    }
                    Step::Finish => {
                        if let Some(at) = in_flight.iter().position(|(.., seen)| seen.is_some()) {
                            let (id, reading, seen) = in_flight.remove(at);
                            keep(&cache, reading, id, &document(seen.unwrap_or_default()), reads("t", id));
                        }
                    }
                    Step::Get(id) => {
                        if let Some(found) = answer(&cache, id)
                            && !unknown.contains(&id)
                        {
                            prop_assert_eq!(found, document(versions[usize::from(id)]));
                        }
                    }
                }
            }
        }
    }
}
