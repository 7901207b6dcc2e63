//! The results that calls are answered from: those of live queries, and those of calls, which
//! are kept like the result of a live query whose last subscriber has left.
//!
//! Invariants:
//! - A result is kept only if the feed reports every write to the tables that it was read from,
//!   and if its run has read neither a clock nor anything else that changes without a write.
//! - No gap: a run registers before its snapshot, and is compared with every change since
//!   ([`RecentCommits`](crate::invalidation::RecentCommits)) before its result is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Registry;
use super::query::{Phase, Query, RunTarget};
use super::query_index::QueryKey;
use crate::db::ReadSet;
use crate::dispatch::Seen;
use crate::invalidation::Sequence;
use crate::live::QueryId;
use crate::live::answer::Answer;
use crate::live::cause::CauseKind;
use crate::live::share_key::ShareKey;

/// How long ago the change log may have been read for answers from memory.
pub(crate) const MAX_FEED_AGE: Duration = Duration::from_secs(1);
/// The approximate memory of a kept result beside its text, in bytes.
const ENTRY_BYTES: usize = 1_500;
/// The approximate memory of one point or range of a read set, in bytes.
const READ_BYTES: usize = 300;
/// A result may take one part in so many of the memory for all.
const MAX_SHARE: usize = 8;

/// A call that may be answered from the result cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheRequest<'a> {
    /// The function and its input.
    pub query_key: &'a QueryKey,
    /// The caller's context.
    pub identity: &'a Seen,
    /// The moment until which the answer must be current.
    pub since: Instant,
}

/// The result of a cache lookup.
#[derive(Debug)]
pub(crate) enum CacheLookup {
    /// An answer that was current at this moment.
    Hit(Arc<Answer>, Instant),
    /// An answer without a known change, but the change log has not been read far
    /// enough to confirm it.
    Unconfirmed,
    /// No answer.
    Miss,
}

/// The run of a call whose result may be kept.
#[derive(Debug)]
pub(super) struct KeptRun {
    /// Changes from this number on may be missing from its snapshot.
    since: Sequence,
    /// Everything committed by then is in its snapshot.
    began: Instant,
    /// Which load of code it runs.
    generation: u64,
}

/// The result of such a run.
#[derive(Debug)]
pub(crate) struct KeptResult {
    /// The function and its input.
    pub query_key: QueryKey,
    /// The callers that may share it.
    pub share: ShareKey,
    /// What it was read from.
    pub reads: ReadSet,
    /// The result.
    pub answer: Arc<Answer>,
}

/// The size of the result cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheSize {
    /// How many results without subscribers are kept.
    pub results: usize,
    /// Their memory, in bytes.
    pub bytes: usize,
    /// How many were evicted because all were too large together.
    pub evicted: u64,
}

impl Registry {
    /// Looks for the answer to a call in the queries that its caller may share.
    pub(crate) fn lookup(&mut self, request: &CacheRequest<'_>, now: Instant) -> CacheLookup {
        let CacheRequest { query_key, identity, since } = *request;
        let Some(id) = self.query_index.find(query_key, identity) else { return CacheLookup::Miss };
        let may_answer =
            |query: &&Query| matches!(query.phase, Phase::Idle) && query.pure && query.reads.refresh.is_none();
        let Some(query) = self.queries.get(&id).map(Box::as_ref).filter(may_answer) else { return CacheLookup::Miss };
        let answer = query.answer.clone().filter(|answer| answer.data().is_some());
        let (Some(answer), Some(valid_at)) = (answer, query.valid_at(self.caught_up_at)) else {
            return CacheLookup::Miss;
        };
        if query.reads.is_empty() {
            // No change can concern it.
            self.retained.used(id);
            return CacheLookup::Hit(answer, since);
        }
        // If the log was not read recently, later changes may be missing.
        let is_fresh = self.caught_up_at.is_some_and(|at| now.saturating_duration_since(at) <= MAX_FEED_AGE);
        match is_fresh && valid_at >= since {
            true => {
                self.retained.used(id);
                CacheLookup::Hit(answer, valid_at)
            }
            false if query.is_tracked => CacheLookup::Unconfirmed,
            false => CacheLookup::Miss,
        }
    }

    /// Whether there is a shared query of this key.
    pub(crate) fn has_shared(&self, query_key: &QueryKey) -> bool {
        self.query_index.has(query_key)
    }

    /// The share key that the result of a call will probably have.
    pub(crate) fn expected_share(&self, query_key: &QueryKey, identity: &Seen) -> ShareKey {
        ShareKey::expected(identity, self.query_index.keys(query_key))
    }

    /// Registers the run of a call whose result may be kept. Called before its snapshot.
    pub(crate) fn begin_kept(&mut self, now: Instant) -> QueryId {
        let run = KeptRun { since: self.recent_commits.begin(), began: now, generation: self.generation };
        let id = self.next_id;
        self.next_id += 1;
        self.kept_runs.insert(id, run);
        id
    }

    /// Ends such a run, and keeps its result if there is one that no change concerns since.
    /// `false`: results with such reads are not kept.
    pub(crate) fn end_kept(&mut self, id: QueryId, result: Option<KeptResult>, now: Instant) -> bool {
        // It is gone if the registry was reset.
        let Some(run) = self.kept_runs.remove(&id) else { return true };
        let is_hit = |result: &KeptResult| self.recent_commits.first_hit(run.since, &result.reads).is_some();
        let is_current = run.generation == self.generation && !result.as_ref().is_some_and(is_hit);
        self.recent_commits.end(run.since);
        let Some(KeptResult { query_key, share, reads, answer }) = result else { return true };
        if share == ShareKey::Private
            || reads.refresh.is_some()
            || !reads.is_within(&self.tracked_tables)
            || answer.data().is_none_or(|data| data.len() > self.retained.max_bytes() / MAX_SHARE)
        {
            return false;
        }
        // Another query of the same key is newer, or will be.
        if !is_current || self.query_index.insert(&query_key, &share, id).is_some() {
            return true;
        }
        self.read_index.insert(id, &reads);
        let query = Query {
            phase: Phase::Idle,
            runs: 1,
            reads,
            is_tracked: true,
            provisional: false,
            last_duration: now.saturating_duration_since(run.began),
            answer: Some(answer),
            answered_at: Some(now),
            confirmed_at: Some(run.began),
            covered_until: run.since,
            first_missing: None,
            pending_cause: None,
            ..Query::new(RunTarget::Query(query_key), share, run.since, CauseKind::Unknown)
        };
        self.queries.insert(id, Box::new(query));
        self.retain(id, now);
        true
    }

    /// Keeps the result of a query without subscribers.
    pub(super) fn retain(&mut self, id: QueryId, now: Instant) {
        let Some(query) = self.queries.get(&id) else { return };
        if let (Some(query_key), Some(answer)) = (query.query_key(), &query.answer) {
            let bytes = memory_of(query_key, &query.reads, answer);
            self.retained.insert(id, (bytes, query.last_duration), now);
        }
        self.remove_excess(now);
    }

    /// Drops the results that are kept for too long, or that are too large together.
    pub(super) fn remove_excess(&mut self, now: Instant) {
        while let Some(id) = self.retained.excess(now) {
            self.remove_query(id);
        }
    }

    /// The size of the result cache.
    pub(crate) fn cache_size(&self) -> CacheSize {
        let retained = &self.retained;
        CacheSize { results: retained.len(), bytes: retained.bytes(), evicted: retained.evicted() }
    }
}

/// The approximate memory of a kept result, in bytes.
fn memory_of(query_key: &QueryKey, reads: &ReadSet, answer: &Answer) -> usize {
    let input = query_key.input.len();
    let others = reads.points.len() + reads.tables.len();
    // A range has the values of its scan, which may be those of the input.
    let reads = others * READ_BYTES + reads.ranges.len() * (READ_BYTES + input);
    ENTRY_BYTES + input + answer.data().map_or(0, |data| data.len()) + reads
}
