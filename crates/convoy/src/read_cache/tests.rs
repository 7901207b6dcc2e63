use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::change::{Change, ChangeKind};

fn cache() -> Arc<ReadCache> {
    cache_with(|| None)
}

fn cache_with(oldest_pending: impl Fn() -> Option<Instant> + Send + Sync + 'static) -> Arc<ReadCache> {
    let cache = ReadCache::new(Arc::default(), Box::new(oldest_pending), Failpoints::default());
    cache.set_tracked_tables(["t".into()].into());
    cache.caught_up(Instant::now(), 0);
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

fn keep(cache: &ReadCache, reading: &Reading, id: u8, answer: &str, reads: ReadSet) {
    reading.keep(&key(id), &loaded(cache), answer, &Arc::new(reads));
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
    let kind = ChangeKind::Row { id: Uuid::from_u128(id.into()), old: None, new: None, fields: None };
    Changes::Some([Change { table: "t".into(), kind }].into())
}

/// Reads a document as a mutation does, which follows its changes.
fn read(cache: &Arc<ReadCache>, id: u8, version: u32) -> Used {
    let reading = cache.begin();
    keep(cache, &reading, id, &document(version), reads("t", id));
    reading.follow(&loaded(cache), Arc::new(reads("t", id)))
}

fn answer(cache: &ReadCache, id: u8) -> Option<String> {
    Some(cache.get(&key(id), &loaded(cache))?.answer.clone())
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
        keep(&cache, &cache.begin(), 1, text, reads("t", 1));
    }
    keep(&cache, &cache.begin(), 1, &format!(r#"{{"ok":"{}"}},"#, "x".repeat(MAX_ANSWER)), reads("t", 1));
    keep(&cache, &cache.begin(), 1, &document(1), reads("untracked", 1));
    keep(&cache, &cache.begin(), 1, &document(1), ReadSet { everything: true, ..ReadSet::default() });
    assert_eq!(cache.len(), 0);
    read(&cache, 1, 1);
    cache.set_tracked_tables(HashSet::new());
    assert_eq!(cache.len(), 0);
}

#[test]
fn an_answer_of_the_limit_is_kept_and_one_byte_more_is_not() {
    for (size, kept) in [(MAX_ANSWER, 1), (MAX_ANSWER + 1, 0)] {
        let cache = cache();
        let text = format!(r#"{{"ok":{{"x":"{}"}}}},"#, "x".repeat(size - r#"{"ok":{"x":""}},"#.len()));
        keep(&cache, &cache.begin(), 1, &text, reads("t", 1));
        assert_eq!(cache.len(), kept, "{size}");
    }
}

#[test]
fn a_program_that_was_replaced_neither_keeps_nor_uses_answers() {
    let cache = cache();
    let old = loaded(&cache);
    read(&cache, 1, 1);
    let reading = cache.begin();
    cache.reloaded(schema());
    assert_eq!(cache.len(), 0);
    reading.keep(&key(1), &old, &document(1), &Arc::new(reads("t", 1)));
    cache.begin().keep(&key(1), &old, &document(1), &Arc::new(reads("t", 1)));
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
    cache.caught_up(Instant::now(), 0);
    assert_eq!(answer(&cache, 1), Some(document(1)));
}

#[test]
fn no_answer_is_used_while_a_commit_of_this_process_is_not_applied() {
    let sent: Arc<Mutex<Option<Instant>>> = Arc::default();
    let oldest = sent.clone();
    let cache = cache_with(move || *oldest.lock());
    read(&cache, 1, 1);
    let long_ago = Instant::now().checked_sub(MAX_FEED_AGE * 2).expect("a moment");
    (*sent.lock(), cache.state.lock().caught_up_at) = (Some(long_ago), None);
    cache.caught_up(Instant::now(), 0);
    assert_eq!(answer(&cache, 1), None);
    *sent.lock() = None;
    cache.caught_up(Instant::now(), 0);
    assert_eq!(answer(&cache, 1), Some(document(1)));
}

#[test]
fn an_answer_ends_after_a_time_also_without_a_change() {
    let cache = cache();
    read(&cache, 1, 1);
    let long_ago = Instant::now().checked_sub(MAX_AGE).expect("a moment");
    for (_, entry) in cache.state.lock().entries.iter_mut() {
        entry.read_at = long_ago;
    }
    assert_eq!(answer(&cache, 1), None);
    read(&cache, 1, 2);
    assert_eq!((answer(&cache, 1), cache.len()), (Some(document(2)), 1));
    cache.caught_up(Instant::now() + MAX_AGE, 0);
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_mutation_is_stopped_by_changes_only() {
    let cache = cache();
    let first = read(&cache, 1, 1);
    // Another mutation reads the same again, and the answer is dropped.
    let second = read(&cache, 1, 1);
    cache.set_tracked_tables(HashSet::new());
    assert_eq!(cache.len(), 0);
    let used = [first, second];
    assert!(cache.are_current(&used));
    cache.committed(change(2), &ChangeSource::Outside);
    assert!(cache.are_current(&used));
    cache.committed(change(1), &ChangeSource::Outside);
    assert!(!cache.are_current(&used) && !cache.are_current(&used[1..]));
    let later = read(&cache, 1, 2);
    assert!(cache.are_current(&[later]));
    drop(used);
    assert!(cache.state.lock().readers.is_empty());
    assert!(cache.tables_read().names.is_empty());
}

#[test]
fn a_change_between_a_read_and_its_end_stops_the_mutation() {
    let cache = cache();
    let reading = cache.begin();
    cache.committed(change(1), &ChangeSource::Outside);
    keep(&cache, &reading, 1, &document(1), reads("t", 1));
    let used = [reading.follow(&loaded(&cache), Arc::new(reads("t", 1)))];
    assert!(!cache.are_current(&used));
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_load_stops_the_mutations_in_progress() {
    let cache = cache();
    let used = [read(&cache, 1, 1)];
    cache.reloaded(schema());
    assert!(!cache.are_current(&used));
    drop(used);
    assert!(cache.state.lock().readers.is_empty());
}

#[test]
fn a_mutation_of_a_replaced_program_ends() {
    let cache = cache();
    let old = loaded(&cache);
    cache.reloaded(schema());
    let used = [cache.begin().follow(&old, Arc::new(reads("t", 1)))];
    cache.committed(change(1), &ChangeSource::Outside);
    assert!(cache.are_current(&used));
    drop(used);
    assert!(cache.state.lock().readers.is_empty());
}

#[test]
fn the_feed_is_needed_while_the_cache_is_in_use() {
    let cache = cache();
    let needed = cache.demand.subscribe();
    assert!(!*needed.borrow());
    answer(&cache, 1);
    assert!(*needed.borrow());
    cache.caught_up(Instant::now() + IDLE / 2, 0);
    assert!(*needed.borrow());
    cache.caught_up(Instant::now() + IDLE * 2, 0);
    assert!(!*needed.borrow());
}

#[test]
fn answers_used_least_recently_are_dropped_when_the_memory_is_full() {
    let cache = cache();
    let mut state = cache.state.lock();
    let text = "x".repeat(MAX_ANSWER);
    let fitting = MAX_BYTES / (MAX_ANSWER + ENTRY_BYTES + 5);
    for n in 0..fitting + 10 {
        let kept = Kept { answer: text.clone(), reads: Arc::new(reads("t", (n % 200) as u8)) };
        state.insert(&format!("{n:05}"), Arc::new(kept), Instant::now());
    }
    assert_eq!((state.entries.len(), state.readers.len()), (fitting, fitting));
    assert!(!state.entries.contains("00009") && state.entries.contains("00010"));
    state.clear();
    assert_eq!((state.bytes, state.readers.len()), (0, 0));
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
                Step::Apply => unknown.drain(..).for_each(|id| {
                    cache.committed(change(id), &ChangeSource::Outside);
                }),
                Step::Begin(id) => in_flight.push((id, cache.begin(), None)),
                Step::Look => {
                    if let Some((id, _, seen)) = in_flight.iter_mut().find(|(.., seen)| seen.is_none()) {
                        *seen = Some(versions[usize::from(*id)]);
                    }
                }
                Step::Finish => {
                    if let Some(at) = in_flight.iter().position(|(.., seen)| seen.is_some()) {
                        let (id, reading, seen) = in_flight.remove(at);
                        keep(&cache, &reading, id, &document(seen.unwrap_or_default()), reads("t", id));
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
