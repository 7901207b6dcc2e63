//! Finds hot keys: documents over which calls conflict again and again. Calls of a hot key
//! go through a [serial queue](super::strategy::serial_queue); other calls pay nothing.
//!
//! A key is a function and one of the documents that the call's input names, or the
//! function alone where none of these matters. A key becomes hot after several conflicts
//! within a second. It is no longer hot once no two of its calls have overlapped for two
//! seconds.

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
const CONFLICTS: u32 = 3;
const WINDOW: Duration = Duration::from_secs(1);
/// A key stays hot for this long after two of its calls have last overlapped.
const COOLING: Duration = Duration::from_secs(2);
/// Where more than this share of a function's calls are queued, all of them are: the few
/// others would only conflict with those in the queue.
const MOSTLY: f64 = 0.5;
/// How much one call counts in that share.
const ONE_CALL: f64 = 0.01;
/// How long a function that kept its queue waiting too often is not queued.
const SLOW: Duration = Duration::from_secs(10);
/// The most keys that are tracked.
const MAX_KEYS: usize = 10_000;

/// What calls conflict over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ContentionKey {
    pub function: Arc<str>,
    /// Table and id; none where it is the function itself.
    pub document: Option<(Arc<str>, Uuid)>,
}

impl ContentionKey {
    /// The name of the queue that calls of this key go through: one for each table.
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

/// How often a function kept its queue waiting lately.
#[derive(Debug)]
struct Strikes {
    count: u32,
    since: Instant,
    out_until: Option<Instant>,
}

/// The keys that are hot, or may become so.
#[derive(Default)]
pub(super) struct ContentionTracker {
    keys: Mutex<HashMap<ContentionKey, KeyContention>>,
    /// The share of hot calls by function, where there are any. Only looked at
    /// while a key is known.
    shares: Mutex<HashMap<Arc<str>, f64>>,
    slow: Mutex<HashMap<Arc<str>, Strikes>>,
    /// How many keys are known: while there are none, the maps are not locked.
    known: AtomicUsize,
}

impl ContentionTracker {
    /// The hot key of a call, if it has one; with `any`, a key with one conflict
    /// will do.
    pub(super) fn hot_key(&self, function: &Function, input: &str, any: bool) -> Option<ContentionKey> {
        if self.known.load(Ordering::Relaxed) == 0 || self.is_slow(&function.name) {
            return None;
        }
        let now = Instant::now();
        let name = function.name.clone();
        let mut keys = self.keys.lock();
        let documents = named(input).map(Some).chain([None]);
        let mut hot = None;
        for document in documents {
            let key = ContentionKey { function: name.clone(), document };
            let Some(contention) = keys.get(&key) else { continue };
            match contention.hot_until {
                Some(until) if until > now => {
                    hot = Some(key);
                    break;
                }
                None if any => hot = hot.or(Some(key)),
                None if now < contention.since + WINDOW => {}
                // It has cooled down.
                _ => {
                    keys.remove(&key);
                }
            }
        }
        self.known.store(keys.len(), Ordering::Relaxed);
        drop(keys);
        let share = self.share(&name, hot.is_some());
        hot.or_else(|| (share > MOSTLY).then(|| ContentionKey { function: name, document: named(input).next() }))
    }

    /// The share of hot calls, this one counted.
    fn share(&self, function: &Arc<str>, hot: bool) -> f64 {
        let mut shares = self.shares.lock();
        match shares.get_mut(function) {
            Some(share) => {
                *share += ONE_CALL * (f64::from(u8::from(hot)) - *share);
                *share
            }
            None if hot => *shares.entry(function.clone()).or_insert(ONE_CALL),
            None => 0.0,
        }
    }

    /// A call met a conflict with another transaction over something it has read or written.
    pub(super) fn record_conflict(&self, function: &Function, input: &str, touched: &ReadWriteSet) {
        let now = Instant::now();
        let name = function.name.clone();
        let mut documents: Vec<Option<(Arc<str>, Uuid)>> = named(input)
            .filter(|(_, id)| {
                let written = |change: &crate::change::Change| match &change.kind {
                    ChangeKind::Row { id: written, .. } => written == id,
                    ChangeKind::Whole => true,
                };
                touched.reads.points.iter().any(|(_, read)| read == id) || touched.written.iter().any(written)
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
            if contention.conflicts >= CONFLICTS {
                contention.hot_until = Some(now + COOLING);
            }
        }
        self.known.store(keys.len(), Ordering::Relaxed);
    }

    /// Two calls of a key are in its queue at once.
    pub(super) fn record_overlap(&self, key: &ContentionKey) {
        if let Some(contention) = self.keys.lock().get_mut(key) {
            contention.hot_until = Some(Instant::now() + COOLING);
        }
    }

    /// A function kept its queue waiting. Once may be an accident.
    pub(super) fn record_slow(&self, function: &str) {
        let now = Instant::now();
        let mut slow = self.slow.lock();
        let strikes = slow.entry(function.into()).or_insert(Strikes { count: 0, since: now, out_until: None });
        if now > strikes.since + WINDOW {
            (strikes.count, strikes.since) = (0, now);
        }
        strikes.count += 1;
        if strikes.count >= CONFLICTS {
            strikes.out_until = Some(now + SLOW);
        }
    }

    fn is_slow(&self, function: &str) -> bool {
        let mut slow = self.slow.lock();
        let Some(until) = slow.get(function).and_then(|strikes| strikes.out_until) else { return false };
        let still = until > Instant::now();
        if !still {
            slow.remove(function);
        }
        still
    }
}

/// The ids in an input, `"table:uuid"`, by their table's name in code.
fn named(input: &str) -> impl Iterator<Item = (Arc<str>, Uuid)> {
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
    async fn a_document_becomes_hot_by_losses_and_cools_down_alone() {
        let (tracker, transfer) = (ContentionTracker::default(), function("bank.transfer"));
        let (hot, cold) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let input = |id: Uuid| format!(r#"{{"from":"accounts:{id}","amount":5}}"#);
        for _ in 0..CONFLICTS {
            assert_eq!(tracker.hot_key(&transfer, &input(hot), false), None);
            tracker.record_conflict(&transfer, &input(hot), &read_write_set(hot));
        }
        // A call with several conflicts need not wait that long.
        tracker.record_conflict(&transfer, &input(cold), &read_write_set(cold));
        assert_eq!(tracker.hot_key(&transfer, &input(cold), false), None);
        assert!(tracker.hot_key(&transfer, &input(cold), true).is_some());
        let key = tracker.hot_key(&transfer, &input(hot), false).expect("it is hot");
        assert_eq!(key.document, Some(("accounts".into(), hot)));
        assert_eq!(tracker.hot_key(&transfer, &input(cold), false), None);
        assert_eq!(tracker.hot_key(&function("bank.audit"), &input(hot), false), None);
        tokio::time::advance(COOLING / 2).await;
        tracker.record_overlap(&key);
        tokio::time::advance(COOLING - Duration::from_millis(1)).await;
        assert!(tracker.hot_key(&transfer, &input(hot), false).is_some());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(tracker.hot_key(&transfer, &input(hot), false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_most_calls_are_hot_the_others_come_along() {
        let (tracker, transfer) = (ContentionTracker::default(), function("bank.transfer"));
        let (hot, cold) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let input = |id: Uuid| format!(r#"{{"from":"accounts:{id}"}}"#);
        for _ in 0..CONFLICTS {
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
    async fn losses_far_apart_heat_nothing() {
        let (tracker, transfer, id) = (ContentionTracker::default(), function("bank.transfer"), Uuid::from_u128(1));
        let input = format!(r#"{{"from":"accounts:{id}"}}"#);
        for _ in 0..CONFLICTS * 3 {
            tracker.record_conflict(&transfer, &input, &read_write_set(id));
            tokio::time::advance(WINDOW).await;
        }
        assert_eq!(tracker.hot_key(&transfer, &input, false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_documents_the_function_itself_is_hot_and_a_slow_one_stays_outside() {
        let (tracker, tick) = (ContentionTracker::default(), function("counter.tick"));
        for _ in 0..CONFLICTS {
            tracker.record_conflict(&tick, "{}", &ReadWriteSet::default());
        }
        assert_eq!(tracker.hot_key(&tick, "{}", false).map(|key| key.document), Some(None));
        for _ in 0..CONFLICTS {
            assert!(tracker.hot_key(&tick, "{}", false).is_some());
            tracker.record_slow("counter.tick");
        }
        assert_eq!(tracker.hot_key(&tick, "{}", false), None);
    }
}
