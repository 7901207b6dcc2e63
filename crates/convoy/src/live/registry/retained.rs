//! Which results without subscribers are kept: for how long, and which of them are dropped
//! where all of them are too large together.
//!
//! The order of eviction is that of GreedyDual-Size: a result is worth the time of its run for
//! each byte, more than what was worth the least when something was last evicted. So results
//! that are cheap, large or not asked for go first.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::live::QueryId;

/// Which results without subscribers are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Retention {
    /// For how long.
    pub time: Duration,
    /// How large they may be together, in bytes.
    pub bytes: usize,
}

/// The worth of a result: nanoseconds of its run for each KiB, and the floor at its last use.
type Worth = u64;

/// The queries without subscribers whose results are kept.
#[derive(Debug, Default)]
pub(super) struct Retained {
    retention: Retention,
    entries: HashMap<QueryId, Entry>,
    /// The next to expire first.
    by_age: BTreeSet<(Instant, QueryId)>,
    by_worth: BTreeSet<(Worth, QueryId)>,
    bytes: usize,
    /// The worth of what was evicted last.
    floor: Worth,
    evicted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    since: Instant,
    bytes: usize,
    /// Its worth above the floor.
    cost: Worth,
    worth: Worth,
}

impl Retained {
    /// None yet.
    pub(super) fn new(retention: Retention) -> Retained {
        Retained { retention, ..Retained::default() }
    }

    /// The same without its contents.
    pub(super) fn emptied(&self) -> Retained {
        Retained { evicted: self.evicted, ..Retained::new(self.retention) }
    }

    /// Keeps a result from now on; `cost` is how long its run took.
    pub(super) fn insert(&mut self, id: QueryId, (bytes, cost): (usize, Duration), now: Instant) {
        self.remove(id);
        let nanoseconds = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        let cost = nanoseconds.saturating_mul(1024) / (bytes as u64).max(1);
        let worth = self.floor.saturating_add(cost);
        self.entries.insert(id, Entry { since: now, bytes, cost, worth });
        self.by_worth.insert((worth, id));
        self.by_age.insert((now, id));
        self.bytes += bytes;
    }

    /// No longer keeps a result.
    pub(super) fn remove(&mut self, id: QueryId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_worth.remove(&(entry.worth, id));
            self.by_age.remove(&(entry.since, id));
            self.bytes -= entry.bytes;
        }
    }

    /// Notes that a result was used.
    pub(super) fn used(&mut self, id: QueryId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let worth = self.floor.saturating_add(entry.cost);
        if worth != entry.worth {
            self.by_worth.remove(&(entry.worth, id));
            self.by_worth.insert((worth, id));
            entry.worth = worth;
        }
    }

    /// The next result to drop; `None` if all may stay.
    pub(super) fn excess(&mut self, now: Instant) -> Option<QueryId> {
        let oldest =
            self.by_age.first().filter(|(since, _)| now.saturating_duration_since(*since) >= self.retention.time);
        if let Some((_, id)) = oldest {
            return Some(*id);
        }
        let (worth, id) = self.by_worth.first().copied().filter(|_| self.bytes > self.retention.bytes)?;
        self.floor = worth;
        self.evicted += 1;
        Some(id)
    }

    /// The most memory that all may take, in bytes.
    pub(super) fn max_bytes(&self) -> usize {
        self.retention.bytes
    }

    /// The memory of all, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many were evicted because all were too large together.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn retained(bytes: usize) -> Retained {
        Retained::new(Retention { time: MS * 1_000, bytes })
    }

    fn drop_excess(retained: &mut Retained, now: Instant) -> Vec<QueryId> {
        let mut dropped = Vec::new();
        while let Some(id) = retained.excess(now) {
            retained.remove(id);
            dropped.push(id);
        }
        dropped
    }

    #[test]
    fn the_cheapest_for_its_size_is_evicted_first_and_one_in_use_outlives_it() {
        let (mut retained, now) = (retained(3_000), Instant::now());
        retained.insert(1, (1_000, MS), now);
        retained.insert(2, (1_000, MS * 50), now);
        retained.insert(3, (1_000, MS * 2), now);
        assert!(drop_excess(&mut retained, now).is_empty());
        retained.insert(4, (1_000, MS * 10), now);
        assert_eq!(drop_excess(&mut retained, now), [1]);
        // Its worth now counts from what was evicted last.
        retained.used(3);
        retained.insert(5, (1_000, MS * 2), now);
        retained.insert(6, (1_000, MS), now);
        assert_eq!(drop_excess(&mut retained, now), [6, 3]);
        assert_eq!((retained.len(), retained.bytes(), retained.evicted()), (3, 3_000, 3));
    }

    #[test]
    fn what_is_not_used_ages_however_dear_it_was() {
        let (mut retained, now) = (retained(2_000), Instant::now());
        retained.insert(0, (1_000, MS * 20), now);
        let evicted: Vec<QueryId> = (1..100)
            .flat_map(|id| {
                retained.insert(id, (1_000, MS), now);
                drop_excess(&mut retained, now)
            })
            .collect();
        assert!(evicted.contains(&0), "{evicted:?}");
    }

    #[test]
    fn a_result_expires_by_age_and_a_new_one_of_the_same_query_stays() {
        let (mut retained, now) = (retained(10_000), Instant::now());
        retained.insert(1, (10, MS), now);
        retained.insert(2, (10, MS), now);
        retained.insert(1, (10, MS), now + MS * 500);
        assert!(drop_excess(&mut retained, now + MS * 999).is_empty());
        assert_eq!(drop_excess(&mut retained, now + MS * 1_000), [2]);
        assert_eq!(drop_excess(&mut retained, now + MS * 1_500), [1]);
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_entries_and_never_stay_above_the_limit(
            steps in proptest::collection::vec((0..20u64, 1..2_000usize, 0..50u32, 0..3u8), 1..200),
        ) {
            let (mut retained, mut now) = (retained(5_000), Instant::now());
            for (id, bytes, ms, step) in steps {
                match step {
                    0 => retained.insert(id, (bytes, MS * ms), now),
                    1 => retained.remove(id),
                    _ => retained.used(id),
                }
                now += MS * ms;
                drop_excess(&mut retained, now);
                prop_assert_eq!(retained.bytes, retained.entries.values().map(|entry| entry.bytes).sum::<usize>());
                prop_assert_eq!(retained.by_worth.len(), retained.entries.len());
                prop_assert_eq!(retained.by_age.len(), retained.entries.len());
                prop_assert!(retained.bytes <= 5_000);
                prop_assert!(retained.entries.values().all(|entry| now - entry.since < MS * 1_000));
            }
        }
    }
}
