//! The changes that runs in flight are to be compared with when they end.
//!
//! Invariant (no gap): a run's place is noted before it takes its snapshot, and
//! every change from then on is kept until the run has ended and been compared.
//! So a change is either in the snapshot or found here.

use std::collections::{BTreeMap, VecDeque};

use crate::change::Changes;
use crate::db::ReadSet;
use crate::live::invalidate::touches;

/// How many changes are kept. A run that outlives them counts as hit.
const KEEP: usize = 20_000;

/// A place in the stream of changes.
pub(super) type Place = u64;

/// The stream of changes, as far as runs in flight need it.
#[derive(Debug, Default)]
pub(super) struct History {
    recent: VecDeque<(Place, Changes)>,
    rows: usize,
    /// The place of the next change.
    next: Place,
    /// Changes before this place are not in `recent` any more.
    kept_from: Place,
    /// Where the runs in flight began, and how many at each place.
    in_flight: BTreeMap<Place, usize>,
}

impl History {
    /// The place of the next change.
    pub(super) fn next(&self) -> Place {
        self.next
    }

    /// A run begins; changes from the place given back on are kept for it.
    pub(super) fn begin(&mut self) -> Place {
        *self.in_flight.entry(self.next).or_default() += 1;
        self.next
    }

    /// Adds what has changed, and gives its place.
    pub(super) fn add(&mut self, changes: &Changes) -> Place {
        let place = self.next;
        self.next += 1;
        if self.in_flight.is_empty() {
            return place;
        }
        self.rows += weight(changes);
        self.recent.push_back((place, changes.clone()));
        while self.rows > KEEP
            && let Some((place, changes)) = self.recent.pop_front()
        {
            self.rows -= weight(&changes);
            self.kept_from = place + 1;
        }
        place
    }

    /// The first change since a run began that could have changed what it read.
    pub(super) fn first_hit(&self, since: Place, reads: &ReadSet) -> Option<Place> {
        if since < self.kept_from {
            return Some(since);
        }
        let from = self.recent.partition_point(|(place, _)| *place < since);
        let hit = self.recent.range(from..).find(|(_, changes)| match changes {
            Changes::Everything => true,
            Changes::Some(changes) => changes.iter().any(|change| touches(reads, change)),
        });
        hit.map(|(place, _)| *place)
    }

    /// A run that began at `since` is over; what only it waited for goes.
    pub(super) fn end(&mut self, since: Place) {
        if let Some(count) = self.in_flight.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&since);
            }
        }
        let oldest = self.in_flight.keys().next().copied().unwrap_or(self.next);
        while self.recent.front().is_some_and(|(place, _)| *place < oldest) {
            if let Some((_, changes)) = self.recent.pop_front() {
                self.rows -= weight(&changes);
            }
        }
    }
}

fn weight(changes: &Changes) -> usize {
    match changes {
        Changes::Everything => 1,
        Changes::Some(changes) => changes.len(),
    }
}
