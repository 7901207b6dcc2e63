//! The commits that wait, and which of them can be sent together.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::{CommitResult, answer};
use crate::dispatch::commit::{Commit, CommitObserver};
use crate::op::{Read, Write, WriteSet};
use crate::postgres::DbError;
use crate::schema::Table;
use crate::sql::idempotency::Entry;
use crate::telemetry::SpanRef;

/// The maximum number of documents in one statement, unless a single mutation has more.
const MAX_DOCUMENTS: usize = 256;

/// The waiting commits by their tables.
#[derive(Default)]
pub(in crate::dispatch) struct CommitQueues {
    /// Has an entry for tables while a task sends their commits. Never locked across an await.
    /// Bounded by the limit on concurrent calls.
    queues: Mutex<HashMap<TableSet, VecDeque<QueuedCommit>>>,
    next_id: AtomicU64,
}

/// The keys of the tables of a commit, sorted.
pub(super) type TableSet = Arc<[Arc<str>]>;

/// A document by the key of its table and its id.
pub(super) type Document = (Arc<str>, Uuid);

/// A commit that waits.
pub(super) struct QueuedCommit {
    pub id: u64,
    pub write_set: WriteSet,
    /// The tables of the write set, sorted by their keys.
    pub tables: Vec<Arc<Table>>,
    /// The function that commits.
    pub by: Arc<str>,
    /// The response to store, of a keyed call.
    pub response: Option<(Entry, String)>,
    pub observer: Option<Arc<dyn CommitObserver>>,
    /// The span of the call.
    pub span: SpanRef,
    pub deadline: Instant,
    pub answer: oneshot::Sender<CommitResult>,
}

/// The documents that a batch has changed, and their new version.
#[derive(Default)]
pub(super) struct Landed {
    pub version: String,
    pub documents: HashSet<Document>,
}

impl CommitQueues {
    /// How many commits wait in all queues.
    pub(in crate::dispatch) fn waiting(&self) -> usize {
        self.queues.lock().values().map(VecDeque::len).sum()
    }

    /// A number for a commit.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a commit. Returns whether its tables were idle.
    pub(super) fn push(&self, queue: &TableSet, queued: QueuedCommit) -> bool {
        let mut queues = self.queues.lock();
        if let Some(waiting) = queues.get_mut(queue) {
            waiting.push_back(queued);
            return false;
        }
        queues.insert(queue.clone(), VecDeque::from([queued]));
        true
    }

    /// Removes a commit from its queue; `false` if it has already been taken.
    pub(super) fn withdraw(&self, queue: &TableSet, id: u64) -> bool {
        let mut queues = self.queues.lock();
        let Some(waiting) = queues.get_mut(queue) else { return false };
        let index = waiting.iter().position(|queued| queued.id == id);
        index.and_then(|index| waiting.remove(index)).is_some()
    }

    /// The next batch: the first commit, and those that are independent of it and of each other.
    /// If no commit waits, the tables become idle.
    pub(super) fn next(&self, queue: &TableSet) -> Option<Vec<QueuedCommit>> {
        let mut queues = self.queues.lock();
        let waiting = queues.get_mut(queue)?;
        let Some(first) = waiting.pop_front() else {
            queues.remove(queue);
            return None;
        };
        let mut documents = Documents::default();
        documents.admit(&first.write_set);
        let mut batch = vec![first];
        let mut later = VecDeque::new();
        while documents.count < MAX_DOCUMENTS
            && let Some(queued) = waiting.pop_front()
        {
            // A batch has one version of a table, because new code may describe it differently.
            let same = queued.tables.iter().zip(&batch[0].tables).all(|(one, other)| Arc::ptr_eq(one, other));
            if same && documents.admit(&queued.write_set) {
                batch.push(queued);
            } else {
                later.push_back(queued);
            }
        }
        later.append(waiting);
        *waiting = later;
        Some(batch)
    }

    /// Answers the waiting commits which have read documents that were changed since.
    pub(super) fn reject_stale(&self, queue: &TableSet, landed: &Landed) {
        if landed.documents.is_empty() || landed.version.is_empty() {
            return;
        }
        let mut queues = self.queues.lock();
        let Some(waiting) = queues.get_mut(queue) else { return };
        for queued in std::mem::take(waiting) {
            if landed.outdates(&queued.write_set) {
                answer(queued.answer, Ok(Commit::Conflict(DbError::aborted())));
            } else {
                waiting.push_back(queued);
            }
        }
    }
}

/// The documents of a batch.
#[derive(Default)]
struct Documents {
    count: usize,
    read: HashSet<Document>,
    written: HashSet<Document>,
}

impl Documents {
    /// Adds those of a commit, if it is independent and not too large.
    fn admit(&mut self, write_set: &WriteSet) -> bool {
        let read = |(table, id, _): &Read| (table.key.clone(), *id);
        let written = |write: &Write| (write.table.key.clone(), write.id);
        let inserted = |(table, id, _): &(Arc<Table>, Uuid, Box<RawValue>)| (table.key.clone(), *id);
        let writes = || write_set.writes.iter().map(written).chain(write_set.inserts.iter().map(inserted));
        let is_first = self.count == 0;
        if !is_first && self.count + write_set.len() > MAX_DOCUMENTS
            || write_set.reads.iter().any(|one| self.written.contains(&read(one)))
            || writes().any(|document| self.written.contains(&document) || self.read.contains(&document))
        {
            return false;
        }
        self.count += write_set.len();
        self.read.extend(write_set.reads.iter().map(read));
        self.written.extend(writes());
        true
    }
}

impl Landed {
    /// Whether a commit has read an earlier version of one of the documents.
    fn outdates(&self, write_set: &WriteSet) -> bool {
        let is_old = |table: &Table, id: Uuid, version: &str| {
            version != self.version && self.documents.contains(&(table.key.clone(), id))
        };
        let reads = write_set.reads.iter();
        reads
            .filter_map(|(table, id, version)| Some((table, *id, version.as_ref()?)))
            .chain(write_set.writes.iter().map(|write| (&write.table, write.id, &write.version)))
            .any(|(table, id, version)| is_old(table, id, version))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::schema::Schema;

    fn table() -> Arc<Table> {
        let description = r#"{"tables":[{"name":"m","physicalName":"m","managed":true,"indexes":[]}]}"#;
        let schema = Schema::parse(serde_json::from_str(description).expect("a description")).expect("a schema");
        schema.table("m").expect("the table").clone()
    }

    fn read(table: &Arc<Table>, id: u128, version: Option<&str>) -> Read {
        (table.clone(), Uuid::from_u128(id), version.map(Arc::from))
    }

    fn write(table: &Arc<Table>, id: u128, version: &str) -> Write {
        let (table, id, version) = (table.clone(), Uuid::from_u128(id), version.into());
        Write { table, id, version, data: None, old_keys: "{}".into(), fields: None }
    }

    fn insert(table: &Arc<Table>, id: u128) -> (Arc<Table>, Uuid, Box<RawValue>) {
        (table.clone(), Uuid::from_u128(id), RawValue::from_string("{}".into()).expect("JSON"))
    }

    /// Whether one of two mutations has read or written what the other writes.
    fn depend(one: &WriteSet, other: &WriteSet) -> bool {
        let writes = |set: &WriteSet| -> HashSet<Uuid> {
            set.writes.iter().map(|write| write.id).chain(set.inserts.iter().map(|(_, id, _)| *id)).collect()
        };
        let reads = |set: &WriteSet| -> HashSet<Uuid> { set.reads.iter().map(|(_, id, _)| *id).collect() };
        let touches = |set: &WriteSet, by: &HashSet<Uuid>| !writes(set).is_disjoint(by) || !reads(set).is_disjoint(by);
        touches(one, &writes(other)) || touches(other, &writes(one))
    }

    #[test]
    fn a_batch_has_only_independent_commits_and_leaves_none_out() {
        let table = table();
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed);
            let sets: Vec<WriteSet> = (0..12)
                .map(|_| {
                    let mut set = WriteSet::default();
                    for _ in 0..random.random_range(1..4) {
                        let id = random.random_range(0..14);
                        match random.random_range(0..4) {
                            0 => set.reads.push(read(&table, id, Some("5"))),
                            1 => set.reads.push(read(&table, id, None)),
                            2 => set.writes.push(write(&table, id, "5")),
                            _ => set.inserts.push(insert(&table, id)),
                        }
                    }
                    set
                })
                .collect();
            let mut documents = Documents::default();
            let (batch, later): (Vec<&WriteSet>, Vec<&WriteSet>) = sets.iter().partition(|set| documents.admit(set));
            for (at, one) in batch.iter().enumerate() {
                assert!(batch[at + 1..].iter().all(|other| !depend(one, other)), "seed {seed}");
            }
            assert!(later.iter().all(|set| batch.iter().any(|one| depend(one, set))), "seed {seed}");
        }
    }

    #[test]
    fn a_batch_has_a_limited_number_of_documents_unless_it_is_one_commit() {
        let table = table();
        let inserts = |from: usize, count: usize| WriteSet {
            inserts: (from..from + count).map(|id| insert(&table, id as u128)).collect(),
            ..WriteSet::default()
        };
        let mut documents = Documents::default();
        assert!(documents.admit(&inserts(0, MAX_DOCUMENTS - 10)));
        assert!(!documents.admit(&inserts(1_000, 11)));
        assert!(documents.admit(&inserts(1_000, 10)));
        assert!(!documents.admit(&inserts(2_000, 1)));
        assert!(Documents::default().admit(&inserts(0, MAX_DOCUMENTS * 2)));
    }

    #[test]
    fn commits_that_have_read_an_older_version_are_stale() {
        let table = table();
        let document = |id| (table.key.clone(), Uuid::from_u128(id));
        let landed = Landed { version: "7".into(), documents: [document(1), document(2)].into() };
        let reads = |id, version| WriteSet { reads: vec![read(&table, id, version)], ..WriteSet::default() };
        let writes = |id, version| WriteSet { writes: vec![write(&table, id, version)], ..WriteSet::default() };
        assert!(landed.outdates(&reads(1, Some("6"))) && landed.outdates(&writes(2, "6")));
        assert!(!landed.outdates(&reads(1, Some("7"))) && !landed.outdates(&writes(2, "7")));
        assert!(!landed.outdates(&reads(3, Some("6"))) && !landed.outdates(&writes(3, "6")));
        // It was read after it had been deleted.
        assert!(!landed.outdates(&reads(1, None)));
        let inserts = WriteSet { inserts: vec![insert(&table, 1)], ..WriteSet::default() };
        assert!(!landed.outdates(&inserts));
    }
}
