//! Detects hot keys: documents over which calls conflict repeatedly. Calls of a hot key go
//! through a [serial queue](super::strategy::serial_queue); other calls are not affected.
//!
//! A key is a function and one of the document ids in the call's input, or the function
//! alone if the conflict was over none of these documents. A key becomes hot after several
//! conflicts within a second, and stops being hot once no two of its calls have overlapped
//! for two seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::program::Function;
use super::strategy::ReadWriteSet;
use crate::change::ChangeKind;

/// This many conflicts within this time make a key hot.
const HOT_AFTER: u32 = 3;
const WINDOW: Duration = Duration::from_secs(1);
/// A key stays hot for this long after the last overlap of two of its calls.
const HOT_TIME: Duration = Duration::from_secs(2);
/// If more than this share of a function's calls are queued, all of them are, because the
/// others would conflict with the queued ones.
const MAX_HOT_SHARE: f64 = 0.5;
/// The weight of one call in that share, an exponential moving average.
const CALL_WEIGHT: f64 = 0.01;
/// How long a function that was evicted too often for idling is not queued.
const SLOW_BAN: Duration = Duration::from_secs(10);
/// The maximum number of tracked keys.
const MAX_KEYS: usize = 10_000;

/// The subject of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ContentionKey {
    pub function: Arc<str>,
    /// Table and id; `None` if it is the function itself.
    pub document: Option<(Arc<str>, Uuid)>,
}

impl ContentionKey {
    /// The name of the queue of this key: one for each table, or the function.
    pub(super) fn queue(&self) -> Arc<str> {
        match &self.document {
            Some((table, _)) => table.clone(),
            None => self.function.clone(),
        }
    }
}

#[derive(Debug)]
struct KeyContention {
    conflicts: u32,
    since: Instant,
    hot_until: Option<Instant>,
}

/// How often a function was recently evicted from its queue for idling, and how often not.
#[derive(Debug)]
struct Turns {
    evicted: u32,
    finished: u32,
    since: Instant,
    banned_until: Option<Instant>,
}

/// The keys with recent conflicts.
#[derive(Default)]
pub(super) struct ContentionTracker {
    keys: Mutex<HashMap<ContentionKey, KeyContention>>,
    /// The share of hot calls by function, if it has any. Not read while no key is tracked.
    shares: Mutex<HashMap<Arc<str>, f64>>,
    /// The functions with recent evictions.
    slow: Mutex<HashMap<Arc<str>, Turns>>,
    /// The number of tracked keys. While it is 0, the maps are not locked.
    tracked: AtomicUsize,
}

impl ContentionTracker {
    /// The hot key of a call, if it has one. With `or_warm`, a key with a recent conflict
    /// suffices.
    pub(super) fn hot_key(&self, function: &Function, input: &str, or_warm: bool) -> Option<ContentionKey> {
        if self.tracked.load(Ordering::Relaxed) == 0 || self.is_slow(&function.name) {
            return None;
        }
        let now = Instant::now();
        let name = function.name.clone();
        let mut keys = self.keys.lock();
        let documents = document_ids(input).map(Some).chain([None]);
        let mut hot = None;
        for document in documents {
            let key = ContentionKey { function: name.clone(), document };
            let Some(contention) = keys.get(&key) else { continue };
            match contention.hot_until {
                Some(until) if until > now => {
                    hot = Some(key);
                    break;
                }
                None if or_warm => hot = hot.or(Some(key)),
                None if now < contention.since + WINDOW => {}
                // It is not hot any more, or its conflicts are old.
                _ => {
                    keys.remove(&key);
                }
            }
        }
        self.tracked.store(keys.len(), Ordering::Relaxed);
        drop(keys);
        let share = self.share(&name, hot.is_some());
        hot.or_else(|| {
            (share > MAX_HOT_SHARE).then(|| ContentionKey { function: name, document: document_ids(input).next() })
        })
    }

    /// Adds a call to the share of hot calls, and returns the share.
    fn share(&self, function: &Arc<str>, hot: bool) -> f64 {
        let mut shares = self.shares.lock();
        match shares.get_mut(function) {
            Some(share) => {
                *share += CALL_WEIGHT * (f64::from(u8::from(hot)) - *share);
                *share
            }
            None if hot => *shares.entry(function.clone()).or_insert(CALL_WEIGHT),
            None => 0.0,
        }
    }

    /// Records a conflict of a call over the documents that it has read or written.
    pub(super) fn record_conflict(&self, function: &Function, input: &str, read_write_set: &ReadWriteSet) {
        let now = Instant::now();
        let name = function.name.clone();
        let mut documents: Vec<Option<(Arc<str>, Uuid)>> = document_ids(input)
            .filter(|(_, id)| {
                let written = |change: &crate::change::Change| match &change.kind {
                    ChangeKind::Row { id: written, .. } => written == id,
                    ChangeKind::Whole => true,
                };
                read_write_set.reads.points.iter().any(|(_, read)| read == id)
                    || read_write_set.written.iter().any(written)
            })
            .map(Some)
            .collect();
        if documents.is_empty() {
            documents.push(None);
        }
        let mut keys = self.keys.lock();
        if keys.len() >= MAX_KEYS {
            keys.retain(|_, contention| contention.hot_until.is_some_and(|until| until > now));
        }
        for document in documents {
            let contention = keys.entry(ContentionKey { function: name.clone(), document }).or_insert(KeyContention {
                conflicts: 0,
                since: now,
                hot_until: None,
            });
            if contention.hot_until.is_none() && now > contention.since + WINDOW {
                (contention.conflicts, contention.since) = (0, now);
            }
            contention.conflicts += 1;
            if contention.conflicts >= HOT_AFTER {
                contention.hot_until = Some(now + HOT_TIME);
            }
        }
        self.tracked.store(keys.len(), Ordering::Relaxed);
    }

    /// Records that two calls of a key are in its queue at once.
    pub(super) fn record_overlap(&self, key: &ContentionKey) {
        if let Some(contention) = self.keys.lock().get_mut(key) {
            contention.hot_until = Some(Instant::now() + HOT_TIME);
        }
    }

    /// Records that a function was evicted from its queue for idling. It is banned if that
    /// ends most of its turns. On a machine with too much to do any function is evicted
    /// sometimes, and without a queue its calls would fail with conflicts.
    pub(super) fn record_evicted(&self, function: &str) {
        let now = Instant::now();
        let mut slow = self.slow.lock();
        let first = Turns { evicted: 0, finished: 0, since: now, banned_until: None };
        let turns = slow.entry(function.into()).or_insert(first);
        if now > turns.since + WINDOW {
            (turns.evicted, turns.finished, turns.since) = (0, 0, now);
        }
        turns.evicted += 1;
        if turns.evicted >= HOT_AFTER && turns.evicted > turns.finished {
            turns.banned_until = Some(now + SLOW_BAN);
        }
    }

    /// Records that a function has ended in its queue.
    pub(super) fn record_finished(&self, function: &str) {
        if let Some(turns) = self.slow.lock().get_mut(function) {
            turns.finished = turns.finished.saturating_add(1);
        }
    }

    fn is_slow(&self, function: &str) -> bool {
        let mut slow = self.slow.lock();
        let Some(until) = slow.get(function).and_then(|turns| turns.banned_until) else { return false };
        let still = until > Instant::now();
        if !still {
            slow.remove(function);
        }
        still
    }
}

/// The document ids in an input, `"table:uuid"`, with the table's name in code.
pub(super) fn document_ids(input: &str) -> impl Iterator<Item = (Arc<str>, Uuid)> {
    input.split('"').filter_map(|text| {
        let (table, id) = text.rsplit_once(':')?;
        Some((Arc::from(table), crate::id::parse(id)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::ReadSet;
    use crate::dispatch::program::tests::function;

    fn read_write_set(id: Uuid) -> ReadWriteSet {
        let mut reads = ReadSet::default();
        reads.points.insert(("accounts".into(), id));
        ReadWriteSet { reads, ..ReadWriteSet::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_becomes_hot_after_conflicts_and_cools_down_without_overlaps() {
        let (tracker, transfer) = (ContentionTracker::default(), function("bank.transfer"));
        let (hot, cold) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let input = |id: Uuid| format!(r#"{{"from":"accounts:{id}","amount":5}}"#);
        for _ in 0..HOT_AFTER {
            assert_eq!(tracker.hot_key(&transfer, &input(hot), false), None);
            tracker.record_conflict(&transfer, &input(hot), &read_write_set(hot));
        }
        // A call with several conflicts is queued before its key is hot.
        tracker.record_conflict(&transfer, &input(cold), &read_write_set(cold));
        assert_eq!(tracker.hot_key(&transfer, &input(cold), false), None);
        assert!(tracker.hot_key(&transfer, &input(cold), true).is_some());
        let key = tracker.hot_key(&transfer, &input(hot), false).expect("it is hot");
        assert_eq!(key.document, Some(("accounts".into(), hot)));
        assert_eq!(tracker.hot_key(&transfer, &input(cold), false), None);
        assert_eq!(tracker.hot_key(&function("bank.audit"), &input(hot), false), None);
        tokio::time::advance(HOT_TIME / 2).await;
        tracker.record_overlap(&key);
        tokio::time::advance(HOT_TIME - Duration::from_millis(1)).await;
        assert!(tracker.hot_key(&transfer, &input(hot), false).is_some());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(tracker.hot_key(&transfer, &input(hot), false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_of_a_function_are_hot_when_most_are() {
        let (tracker, transfer) = (ContentionTracker::default(), function("bank.transfer"));
        let (hot, cold) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let input = |id: Uuid| format!(r#"{{"from":"accounts:{id}"}}"#);
        for _ in 0..HOT_AFTER {
            tracker.record_conflict(&transfer, &input(hot), &read_write_set(hot));
        }
        assert_eq!(tracker.hot_key(&transfer, &input(cold), false), None);
        for _ in 0..100 {
            assert!(tracker.hot_key(&transfer, &input(hot), false).is_some());
        }
        assert!(tracker.hot_key(&transfer, &input(cold), false).is_some());
        for _ in 0..100 {
            tracker.hot_key(&transfer, &input(cold), false);
        }
        assert_eq!(tracker.hot_key(&transfer, &input(cold), false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn conflicts_far_apart_make_no_key_hot() {
        let (tracker, transfer, id) = (ContentionTracker::default(), function("bank.transfer"), Uuid::from_u128(1));
        let input = format!(r#"{{"from":"accounts:{id}"}}"#);
        for _ in 0..HOT_AFTER * 3 {
            tracker.record_conflict(&transfer, &input, &read_write_set(id));
            tokio::time::advance(WINDOW).await;
        }
        assert_eq!(tracker.hot_key(&transfer, &input, false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_documents_the_function_is_the_key_and_a_slow_function_is_not_queued() {
        let (tracker, tick) = (ContentionTracker::default(), function("counter.tick"));
        for _ in 0..HOT_AFTER {
            tracker.record_conflict(&tick, "{}", &ReadWriteSet::default());
        }
        assert_eq!(tracker.hot_key(&tick, "{}", false).map(|key| key.document), Some(None));
        for _ in 0..HOT_AFTER {
            assert!(tracker.hot_key(&tick, "{}", false).is_some());
            tracker.record_evicted("counter.tick");
        }
        assert_eq!(tracker.hot_key(&tick, "{}", false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_whose_turns_mostly_finish_stays_in_its_queue() {
        let (tracker, tick) = (ContentionTracker::default(), function("counter.tick"));
        for _ in 0..HOT_AFTER {
            tracker.record_conflict(&tick, "{}", &ReadWriteSet::default());
        }
        tracker.record_evicted("counter.tick");
        for _ in 0..100 {
            tracker.record_finished("counter.tick");
            tracker.record_finished("counter.tick");
            tracker.record_evicted("counter.tick");
            assert!(tracker.hot_key(&tick, "{}", false).is_some());
        }
        // Earlier turns do not count for ever.
        tokio::time::advance(WINDOW + Duration::from_millis(1)).await;
        for _ in 0..HOT_AFTER {
            assert!(tracker.hot_key(&tick, "{}", false).is_some());
            tracker.record_evicted("counter.tick");
        }
        assert_eq!(tracker.hot_key(&tick, "{}", false), None);
    }
}
