//! The state of every live query, and what each event makes of it. Pure: the
//! caller runs what it is told to run.
//!
//! A query is in one of three phases:
//!
//! ```text
//!            change hits it / first subscriber
//!   Idle ───────────────────────────────────────▶ Queued
//!    ▲                                              │ begin: notes the place in
//!    │ finish: nothing it read                      ▼ the stream of changes
//!    │ changed meanwhile                          Running
//!    └──────────────────────────────────────────────┤
//!                  Queued ◀─────────────────────────┘ finish: something did
//! ```
//!
//! Invariant (no gap): `begin` comes before the run takes its snapshot, and
//! every change from then on is kept until `finish` has compared it with what
//! the run read. So a change is either in the snapshot or found here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::frame::Frame;
use super::invalidate::{QueryId, ReadIndex, touches};
use crate::change::{Changes, TablesRead};
use crate::db::ReadSet;

/// How many changes are kept for runs in flight. A run that outlives them counts
/// as hit.
const KEEP_CHANGES: usize = 20_000;

/// What a result is shared by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The function's name.
    pub function: Arc<str>,
    /// Its input in canonical JSON.
    pub input: Arc<str>,
    /// Set where the result may depend on who asks: then nobody shares it.
    pub private: Option<u64>,
}

/// How much there is to keep current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Live queries.
    pub queries: usize,
    /// Those of them that wait for a run or are in one.
    pub busy: usize,
    /// Subscribers of all of them.
    pub subscribers: usize,
}

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The function and its input.
    pub key: Key,
    /// Who asks, where that matters.
    pub caller: Option<Arc<str>>,
}

/// What happens after a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing; the result is current.
    Rest,
    /// Run again at once.
    Again,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Queued,
    Running { since: u64, generation: u64 },
}

#[derive(Debug)]
struct Query {
    ticket: Ticket,
    phase: Phase,
    /// How many runs have begun.
    runs: u64,
    subscribers: usize,
    reads: ReadSet,
    latest: watch::Sender<Option<Arc<Frame>>>,
}

/// All live queries of a process.
#[derive(Debug, Default)]
pub struct Registry {
    queries: HashMap<QueryId, Query>,
    by_key: HashMap<Key, QueryId>,
    index: ReadIndex,
    next_id: QueryId,
    subscribers: usize,
    /// Changes since the oldest run in flight began, with their places.
    recent: VecDeque<(u64, Changes)>,
    recent_rows: usize,
    /// The place of the next change.
    place: u64,
    /// Changes before this place are not in `recent` any more.
    kept_from: u64,
    /// Where the runs in flight began, and how many at each place.
    in_flight: BTreeMap<u64, usize>,
    /// Counts loads of new code.
    generation: u64,
}

impl Registry {
    /// Adds a subscriber. `true`: the query is new and must be run.
    pub fn subscribe(&mut self, ticket: Ticket) -> (QueryId, watch::Receiver<Option<Arc<Frame>>>, bool) {
        self.subscribers += 1;
        if let Some(id) = self.by_key.get(&ticket.key)
            && let Some(query) = self.queries.get_mut(id)
        {
            query.subscribers += 1;
            let mut receiver = query.latest.subscribe();
            if receiver.borrow().is_some() {
                // To this subscriber the answer already there is news.
                receiver.mark_changed();
            }
            return (*id, receiver, false);
        }
        let id = self.next_id;
        self.next_id += 1;
        let (latest, receiver) = watch::channel(None);
        self.by_key.insert(ticket.key.clone(), id);
        self.queries.insert(
            id,
            Query { ticket, phase: Phase::Queued, runs: 0, subscribers: 1, reads: ReadSet::default(), latest },
        );
        (id, receiver, true)
    }

    /// Takes a subscriber away; the last one takes the query with it.
    pub fn unsubscribe(&mut self, id: QueryId) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        self.subscribers -= 1;
        query.subscribers -= 1;
        if query.subscribers == 0 {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: QueryId) {
        if let Some(query) = self.queries.remove(&id) {
            self.by_key.remove(&query.ticket.key);
            self.index.remove(id, &query.reads);
            if let Phase::Running { since, .. } = query.phase {
                self.landed(since);
            }
        }
    }

    /// A queued query's run begins now. `None`: nobody watches it any more.
    pub fn begin(&mut self, id: QueryId) -> Option<Ticket> {
        let query = self.queries.get_mut(&id)?;
        query.phase = Phase::Running { since: self.place, generation: self.generation };
        query.runs += 1;
        *self.in_flight.entry(self.place).or_default() += 1;
        Some(query.ticket.clone())
    }

    /// A run has ended with `frame`, having read `reads`. The frame is shown
    /// unless it equals the last one, also when the query must run again: under
    /// constant writes a screen keeps moving.
    pub fn finish(&mut self, id: QueryId, reads: ReadSet, frame: Frame) -> Next {
        // A query that went meanwhile was taken out of `in_flight` as it went.
        let Some(query) = self.queries.get_mut(&id) else { return Next::Rest };
        let Phase::Running { since, generation } = query.phase else { return Next::Rest };
        let stale = generation != self.generation
            || since < self.kept_from
            || self.recent.iter().filter(|(place, _)| *place >= since).any(|(_, changes)| match changes {
                Changes::Everything => true,
                Changes::Some(changes) => changes.iter().any(|change| touches(&reads, change)),
            });
        if generation == self.generation {
            self.index.remove(id, &query.reads);
            self.index.insert(id, &reads);
            query.reads = reads;
        }
        query.latest.send_if_modified(|latest| {
            let moved = latest.as_ref().is_none_or(|latest| latest.hash() != frame.hash());
            if moved {
                *latest = Some(Arc::new(frame));
            }
            moved
        });
        query.phase = if stale { Phase::Queued } else { Phase::Idle };
        self.landed(since);
        if stale { Next::Again } else { Next::Rest }
    }

    /// How many runs of a query have begun; none of one that is gone.
    pub fn runs(&self, id: QueryId) -> Option<u64> {
        self.queries.get(&id).map(|query| query.runs)
    }

    /// Queues a query that rests. `false`: it is gone, or someone else runs it.
    pub fn requeue(&mut self, id: QueryId) -> bool {
        match self.queries.get_mut(&id) {
            Some(query) if matches!(query.phase, Phase::Idle) => {
                query.phase = Phase::Queued;
                true
            }
            _ => false,
        }
    }

    /// The queries to run because of these changes. Those already waiting to run
    /// will see them; those running are compared with them when they finish.
    pub fn changed(&mut self, changes: &Changes) -> Vec<QueryId> {
        let place = self.place;
        self.place += 1;
        if !self.in_flight.is_empty() {
            self.recent_rows += weight(changes);
            self.recent.push_back((place, changes.clone()));
            while self.recent_rows > KEEP_CHANGES
                && let Some((place, changes)) = self.recent.pop_front()
            {
                self.recent_rows -= weight(&changes);
                self.kept_from = place + 1;
            }
        }
        let hits = match changes {
            Changes::Everything => self.queries.keys().copied().collect(),
            Changes::Some(changes) => {
                let mut hits = HashSet::new();
                for change in changes.iter() {
                    self.index.hits(change, &mut hits);
                }
                hits
            }
        };
        self.queue(hits)
    }

    /// New code was loaded: every result may be another, and what was read under
    /// the old schema says nothing.
    pub fn reloaded(&mut self) -> Vec<QueryId> {
        self.generation += 1;
        self.index = ReadIndex::default();
        for query in self.queries.values_mut() {
            query.reads = ReadSet::default();
        }
        let all = self.queries.keys().copied().collect();
        self.queue(all)
    }

    /// Ends every subscription: its stream closes, and its client comes again.
    pub fn clear(&mut self) {
        let all: Vec<QueryId> = self.queries.keys().copied().collect();
        for id in all {
            if let Some(query) = self.queries.get(&id) {
                self.subscribers -= query.subscribers;
            }
            self.remove(id);
        }
    }

    /// How much there is to keep current.
    pub fn counts(&self) -> Counts {
        let busy = self.queries.values().filter(|query| !matches!(query.phase, Phase::Idle)).count();
        Counts { queries: self.queries.len(), busy, subscribers: self.subscribers }
    }

    /// The tables that have been read.
    pub fn tables_read(&self) -> TablesRead {
        self.index.tables_read()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// How many subscribers they have together.
    pub fn subscribers(&self) -> usize {
        self.subscribers
    }

    fn queue(&mut self, hits: HashSet<QueryId>) -> Vec<QueryId> {
        let mut start = Vec::with_capacity(hits.len());
        for id in hits {
            if let Some(query) = self.queries.get_mut(&id)
                && matches!(query.phase, Phase::Idle)
            {
                query.phase = Phase::Queued;
                start.push(id);
            }
        }
        start
    }

    /// A run that began at `since` is over; changes only it waited for go.
    fn landed(&mut self, since: u64) {
        if let Some(count) = self.in_flight.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&since);
            }
        }
        let oldest = self.in_flight.keys().next().copied().unwrap_or(self.place);
        while self.recent.front().is_some_and(|(place, _)| *place < oldest) {
            if let Some((_, changes)) = self.recent.pop_front() {
                self.recent_rows -= weight(&changes);
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

#[cfg(test)]
mod tests;
