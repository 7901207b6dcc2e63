//! The recent changes that a run in flight is compared with when it ends.
//!
//! Invariant (no gap): a run's sequence number is recorded before it takes its
//! snapshot, and every change from then on is kept until the run has ended and has
//! been compared. So a change is either in the snapshot or found here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::read_index::touches;
use crate::change::{Change, Changes, Commit};
use crate::db::ReadSet;

/// How many changes are kept. A run that outlives them counts as changed.
const MAX_ROWS: usize = 20_000;

/// A position in the stream of changes.
pub(crate) type Sequence = u64;

/// The stream of changes, as far as runs in flight need it.
#[derive(Debug, Default)]
pub(crate) struct RecentCommits {
    recent: VecDeque<(Sequence, Arc<Commit>)>,
    rows: usize,
    /// The sequence number of the next change.
    next: Sequence,
    /// Changes before this one are no longer in `recent`.
    kept_from: Sequence,
    /// The sequence numbers at which the runs in flight began, with their counts.
    in_flight: BTreeMap<Sequence, usize>,
}

/// A change that a run in flight has missed.
#[derive(Debug)]
pub(crate) struct Missed {
    /// Its sequence number.
    pub sequence: Sequence,
    /// The commit; `None` if it is no longer kept.
    pub commit: Option<Arc<Commit>>,
    /// The position of the change in its commit.
    change: usize,
}

impl Missed {
    /// The change; `None` if any row may have changed.
    pub(crate) fn change(&self) -> Option<&Change> {
        self.commit.as_ref()?.change(self.change)
    }
}

impl RecentCommits {
    /// An empty stream that goes on with the numbers of this one, which name commits in traces.
    pub(crate) fn restarted(&self) -> RecentCommits {
        RecentCommits { next: self.next, kept_from: self.next, ..RecentCommits::default() }
    }

    /// The sequence number of the next change.
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    /// Registers a run that begins now; changes from the returned number on are kept for it.
    pub(crate) fn begin(&mut self) -> Sequence {
        *self.in_flight.entry(self.next).or_default() += 1;
        self.next
    }

    /// Adds a commit and returns its sequence number.
    pub(crate) fn add(&mut self, commit: &Arc<Commit>) -> Sequence {
        let sequence = self.next;
        self.next += 1;
        if self.in_flight.is_empty() {
            return sequence;
        }
        self.rows += weight(commit);
        self.recent.push_back((sequence, commit.clone()));
        while self.rows > MAX_ROWS
            && let Some((sequence, commit)) = self.recent.pop_front()
        {
            self.rows -= weight(&commit);
            self.kept_from = sequence + 1;
        }
        sequence
    }

    /// The first change since a run began that could have changed the rows that it has read.
    pub(crate) fn first_hit(&self, since: Sequence, reads: &ReadSet) -> Option<Missed> {
        if since < self.kept_from {
            return Some(Missed { sequence: since, commit: None, change: 0 });
        }
        let from = self.recent.partition_point(|(sequence, _)| *sequence < since);
        self.recent.range(from..).find_map(|(sequence, commit)| {
            let change = match &commit.changes {
                Changes::Everything => Some(0),
                Changes::Some(changes) => changes.iter().position(|change| touches(reads, change)),
            };
            change.map(|change| Missed { sequence: *sequence, commit: Some(commit.clone()), change })
        })
    }

    /// Ends a run that began at `since`, and drops changes that no other run needs.
    pub(crate) fn end(&mut self, since: Sequence) {
        if let Some(count) = self.in_flight.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&since);
            }
        }
        let oldest = self.in_flight.keys().next().copied().unwrap_or(self.next);
        while self.recent.front().is_some_and(|(sequence, _)| *sequence < oldest) {
            if let Some((_, commit)) = self.recent.pop_front() {
                self.rows -= weight(&commit);
            }
        }
    }
}

fn weight(commit: &Commit) -> usize {
    match &commit.changes {
        Changes::Everything => 1,
        Changes::Some(changes) => changes.len(),
    }
}
