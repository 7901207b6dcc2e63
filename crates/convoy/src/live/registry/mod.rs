//! The state of all live queries and of their sessions, and its changes by events.
//! Pure, except that it wakes sessions: the caller passes the time and runs the
//! queries that an event queues.
//!
//! Invariants:
//! - No gap: see [`RecentCommits`].
//! - A session receives answers only while it is authenticated, and only of queries
//!   whose [`ShareKey`] admits its context.
//! - A session's answers never go backwards: the answers of a query are in order, and
//!   a subscription that needs an answer from after a moment receives no earlier one.

mod changes;
mod describe;
mod frame_builder;
mod kept_results;
mod own_mutations;
mod query;
mod query_index;
mod restart;
mod retained;
mod run_counts;
mod session;
mod session_auth;
mod subscriptions;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(super) use describe::Now;
pub(crate) use describe::{FunctionInfo, QueryInfo};
pub(crate) use kept_results::{CacheLookup, CacheRequest, CacheSize, KeptResult, MAX_FEED_AGE};
pub(super) use query::RunTarget;
pub(super) use query_index::QueryKey;
pub(crate) use retained::Retention;
pub(crate) use session::{SessionContext, SessionHandle, StreamFormat};
pub(super) use session_auth::{Admission, NewSession};
pub(super) use subscriptions::{ResolvedRequest, SubscribeRequest};

use super::QueryId;
use super::answer::Answer;
use super::cause::{CauseKind, PendingCause, RunCause, RunRecord};
use super::message::SessionId;
use super::share_key::ShareKey;
use crate::change::TablesRead;
use crate::db::ReadSet;
use crate::failpoints::{Failpoint, Failpoints};
use crate::invalidation::{ReadIndex, RecentCommits};
use crate::trusted_proxies::ClientNetwork;
use kept_results::KeptRun;
use query::{Phase, Query};
use query_index::QueryIndex;
use retained::Retained;
use run_counts::FunctionRuns;
use session::LiveSession;

/// All live queries and sessions of a process.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Boxed like the sessions, so that the free places of the map are small.
    queries: HashMap<QueryId, Box<Query>>,
    query_index: QueryIndex,
    sessions: HashMap<SessionId, Box<LiveSession>>,
    read_index: ReadIndex,
    recent_commits: RecentCommits,
    next_id: QueryId,
    /// Counts loads of new code.
    generation: u64,
    /// The number of sessions of each client, where clients are counted.
    by_client: HashMap<ClientNetwork, usize>,
    /// The subscriptions of all sessions.
    subscription_count: usize,
    /// Queries without subscribers whose results are kept.
    retained: Retained,
    /// The runs of calls whose results may be kept.
    kept_runs: HashMap<QueryId, KeptRun>,
    /// Of [`Failpoint::DropResultsLate`].
    dropped_late: Vec<QueryId>,
    /// When answers expire.
    due: BTreeSet<(Instant, QueryId)>,
    /// Every change that was visible in the database at this moment has been applied.
    caught_up_at: Option<Instant>,
    /// The tables for which that holds.
    tracked_tables: HashSet<Arc<str>>,
    /// Sessions with acknowledgements that wait for a read of the change log.
    awaiting_feed: HashSet<SessionId>,
    /// The runs of each function since the code was loaded.
    function_runs: HashMap<Arc<str>, FunctionRuns>,
    /// The same of `createContext`.
    context_runs: FunctionRuns,
    failpoints: Failpoints,
    effects: Effects,
    /// Set while an event is applied; still set afterwards if it panicked.
    poisoned: bool,
}

/// The work that follows from an event.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Queries to run.
    pub run: Vec<QueryId>,
    /// Sessions to wake.
    pub wake: Vec<Arc<Notify>>,
}

/// A run that has begun: its target and its caller.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    /// The function to run.
    pub target: RunTarget,
    /// The caller, as JSON for the host; absent without a context.
    pub caller: Option<Arc<str>>,
    /// The session of that caller, and the version of its identity.
    runner: Option<(SessionId, u64)>,
    /// The previous answer, if a subscriber can receive a delta.
    pub before: Option<Arc<Answer>>,
    /// How many subscribers the query has.
    pub subscribers: usize,
    /// The number of the run among those of its query.
    pub run: u64,
    /// Why it is made.
    pub cause: Arc<RunCause>,
    /// Whether other callers may move to a query of their own if the run takes long.
    pub can_isolate: bool,
    /// How long the previous run took.
    pub last_duration: Duration,
}

/// The result of a run.
#[derive(Debug)]
pub(super) struct CompletedRun {
    /// Its read set.
    pub reads: ReadSet,
    /// Its answer.
    pub answer: Arc<Answer>,
    /// The share key of the answer; `None` if the host did not report, so that the answer
    /// does not depend on the function.
    pub share: Option<ShareKey>,
    /// Whether its caller may be the cause of its failure.
    pub suspect: bool,
    /// Whether it depends only on its input, its context and what it has read.
    pub pure: bool,
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct EndedRun {
    /// The step after it.
    pub next: NextStep,
    /// Its cause, and whether its answer was equal; `None` if the query was removed meanwhile.
    pub record: Option<Arc<RunRecord>>,
}

impl EndedRun {
    /// The end of a run whose query was removed.
    fn removed() -> EndedRun {
        EndedRun { next: NextStep::Idle, record: None }
    }
}

/// The step after a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// None; the result is current.
    Idle,
    /// Run again.
    RunAgain,
}

/// The number of queries and sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Live queries with subscribers.
    pub queries: usize,
    /// Queries that wait for a run or are in one.
    pub busy: usize,
    /// Sessions.
    pub sessions: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
}

impl Registry {
    /// An empty registry.
    pub(super) fn new(retention: Retention, failpoints: Failpoints) -> Registry {
        Registry { retained: Retained::new(retention), failpoints, ..Registry::default() }
    }

    /// Takes the work that follows from the events since the last call.
    pub(super) fn effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// The caller for whom a query will probably run: its fingerprint, or the session's id
    /// if it has none. `None` for an authentication, whose caller is not known yet.
    pub(super) fn likely_caller(&self, id: QueryId) -> Option<Arc<str>> {
        let query = self.queries.get(&id).filter(|query| !query.is_auth())?;
        let runner = query.runner.or_else(|| query.subscribers.iter().next().map(|(session, _)| *session))?;
        let fingerprint = self.sessions.get(&runner)?.context.fingerprint.as_deref();
        Some(fingerprint.map_or_else(|| runner.to_string().into(), Arc::from))
    }

    /// Begins the run of a queued query. `None`: the run is no longer needed.
    pub(super) fn begin(&mut self, id: QueryId, now: Instant) -> Option<Ticket> {
        let query = self.queries.get_mut(&id)?;
        if !matches!(query.phase, Phase::Queued) {
            return None;
        }
        let runner = match query.target {
            RunTarget::Auth(session) => Some(session),
            RunTarget::Query(_) => {
                let current =
                    query.runner.filter(|runner| query.subscribers.iter().any(|(session, _)| session == runner));
                current.or_else(|| query.subscribers.iter().next().map(|(session, _)| *session))
            }
        };
        let Some(session) = runner.and_then(|runner| self.sessions.get(&runner)) else {
            self.remove_query(id);
            return None;
        };
        query.runner = runner;
        query.phase = Phase::Running { since: self.recent_commits.begin(), began: now, generation: self.generation };
        query.runs += 1;
        query.take_cause();
        if let Some(due) = query.due.take() {
            self.due.remove(&(due, id));
        }
        let takes_deltas = |(session, _): &query::Subscriber| {
            self.sessions.get(session).is_some_and(|session| session.format == StreamFormat::Protocol)
        };
        Some(Ticket {
            target: query.target.clone(),
            caller: session.caller.clone(),
            runner: runner.map(|runner| (runner, session.identity_version)),
            before: query.answer.clone().filter(|_| query.subscribers.iter().any(takes_deltas)),
            subscribers: query.subscribers.len(),
            run: query.runs,
            cause: query.cause.0.clone(),
            can_isolate: query.can_isolate(),
            last_duration: query.last_duration,
        })
    }

    /// Ends a run. Its answer is sent unless it equals the last one, also when the query
    /// must run again, so that clients receive updates under constant writes.
    pub(super) fn finish(&mut self, id: QueryId, ticket: &Ticket, completed: CompletedRun, now: Instant) -> EndedRun {
        let CompletedRun { reads, answer, share, suspect, pure } = completed;
        let transient = answer.is_transient();
        let Some(began) = self.end_run(id, reads, transient) else { return EndedRun::removed() };
        let Some(query) = self.queries.get_mut(&id) else { return EndedRun::removed() };
        let equal = query.answer.as_ref().map(|previous| previous.hash() == answer.hash());
        query.pure = pure;
        if equal != Some(true) {
            query.answer = Some(answer);
            query.answered_at = Some(now);
        }
        let record = query.record_run(began, equal, now);
        if let RunTarget::Query(query_key) = &ticket.target {
            self.function_runs.entry(query_key.function.clone()).or_default().add(&record);
        }
        let provisional = query.provisional;
        if let Some(share) = share {
            (query.provisional, query.isolations) = (false, 0);
            query.last_duration = now.saturating_duration_since(began);
            let by_first = query.runs > 1 && self.failpoints.has(Failpoint::ShareByFirstRun);
            if !by_first && (provisional || share != query.share) {
                self.update_share(id, share, ticket.runner, now);
            }
        }
        if suspect {
            self.isolate_runner(id, now);
        }
        match transient {
            true => self.rotate_runner(id),
            false => self.clear_tried(id),
        }
        let all_served = self.deliver(id, began, now);
        let record = Some(record);
        let Some(query) = self.queries.get_mut(&id) else { return EndedRun { next: NextStep::Idle, record } };
        if !all_served && matches!(query.phase, Phase::Idle) {
            query.phase = Phase::Queued;
            query.runs_because(CauseKind::Subscribed);
        }
        let next = if matches!(query.phase, Phase::Queued) { NextStep::RunAgain } else { NextStep::Idle };
        EndedRun { next, record }
    }

    /// Records the read set of a run and the changes it missed. Returns when it began;
    /// `None` if the query was removed meanwhile.
    fn end_run(&mut self, id: QueryId, reads: ReadSet, transient: bool) -> Option<Instant> {
        let query = self.queries.get_mut(&id)?;
        let Phase::Running { since, began, generation } = query.phase else { return None };
        let is_current = generation == self.generation;
        let missed = match is_current {
            true if self.failpoints.has(Failpoint::RegisterAfterRun) => None,
            true => self.recent_commits.first_hit(since, &reads),
            false => None,
        };
        query.pending_cause = match (&missed, is_current, generation) {
            (Some(missed), ..) => Some(PendingCause::Known(RunCause::of_missed(missed, &reads))),
            (None, true, _) => None,
            (None, false, u64::MAX) => Some(CauseKind::Context.into()),
            (None, false, _) => Some(CauseKind::Reload.into()),
        };
        let missed = missed.map(|missed| missed.sequence).or((!is_current).then_some(since));
        // The read set of a transient failure is incomplete, so the old one stays.
        if is_current && !transient {
            self.read_index.remove(id, &query.reads);
            self.read_index.insert(id, &reads);
            query.is_tracked = reads.is_within(&self.tracked_tables);
            query.reads = reads;
        }
        self.recent_commits.end(since);
        query.covered_until = since;
        query.confirmed_at = Some(began);
        // No change announces the end of a transient failure, so the answer stays outdated.
        query.first_missing = missed.or(transient.then_some(since));
        query.phase = if missed.is_some() { Phase::Queued } else { Phase::Idle };
        Some(began)
    }

    /// Queues a query again whose task panicked; the interrupted run does not count.
    pub(super) fn interrupted(&mut self, id: QueryId) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        match query.phase {
            Phase::Idle => {
                // Its answer may not have been delivered.
                query.first_missing.get_or_insert(query.covered_until);
            }
            Phase::Queued => {}
            Phase::Running { since, .. } => {
                query.first_missing.get_or_insert(since);
                self.recent_commits.end(since);
            }
        }
        query.phase = Phase::Queued;
        query.runs_because(CauseKind::Recovery);
    }

    /// How many runs of a query have begun; `None` if it was removed.
    pub(super) fn runs(&self, id: QueryId) -> Option<u64> {
        self.queries.get(&id).map(|query| query.runs)
    }

    /// A query's answer, and the caller of another subscriber than the one its run was
    /// made for.
    pub(super) fn another_caller(&self, id: QueryId, ticket: &Ticket) -> Option<(Arc<Answer>, Arc<str>)> {
        let query = self.queries.get(&id)?;
        let callers = query.subscribers.iter().filter_map(|(session, _)| self.sessions.get(session)?.caller.as_ref());
        let other = callers.filter(|caller| Some(*caller) != ticket.caller.as_ref()).min()?;
        Some((query.answer.clone()?, other.clone()))
    }

    /// Whether a query has been idle since its run of this number.
    pub(super) fn is_idle_since(&self, id: QueryId, runs: u64) -> bool {
        self.queries.get(&id).is_some_and(|query| query.runs == runs && matches!(query.phase, Phase::Idle))
    }

    /// Queues a query that has been idle since this run and whose answer is outdated, which no
    /// change announces. `false`: it was removed, or it has run since.
    pub(super) fn requeue(&mut self, id: QueryId, run: u64, cause: CauseKind) -> bool {
        let is_idle = |query: &&mut Box<Query>| query.runs == run && matches!(query.phase, Phase::Idle);
        let Some(query) = self.queries.get_mut(&id).filter(is_idle) else { return false };
        if query.subscribers.is_empty() && !query.is_auth() {
            // A returning client must not get that result.
            self.remove_query(id);
            return false;
        }
        query.phase = Phase::Queued;
        query.runs_because(cause);
        true
    }

    /// The tables in the read sets of all queries.
    pub(super) fn tables_read(&self) -> TablesRead {
        self.read_index.tables_read()
    }

    /// Counts queries and sessions.
    pub(super) fn counts(&self) -> Counts {
        let busy = self.queries.values().filter(|query| !matches!(query.phase, Phase::Idle)).count();
        let queries = self.queries.values().filter(|query| !query.subscribers.is_empty()).count();
        Counts { queries, busy, sessions: self.sessions.len(), subscriptions: self.subscription_count }
    }

    /// How many sessions are open.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many sessions a client has.
    pub(super) fn sessions_of(&self, client: ClientNetwork) -> usize {
        self.by_client.get(&client).copied().unwrap_or_default()
    }

    /// Whether there are no queries.
    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Removes a query.
    fn remove_query(&mut self, id: QueryId) {
        self.retained.remove(id);
        let Some(query) = self.queries.remove(&id) else { return };
        self.read_index.remove(id, &query.reads);
        if let Some(due) = query.due {
            self.due.remove(&(due, id));
        }
        if let Some(query_key) = query.query_key() {
            self.query_index.remove(query_key, &query.share, id);
        }
        if let Phase::Running { since, .. } = query.phase {
            self.recent_commits.end(since);
        }
    }

    fn add(&mut self, query: Query) -> QueryId {
        let id = self.next_id;
        self.next_id += 1;
        self.queries.insert(id, Box::new(query));
        self.effects.run.push(id);
        id
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod interleavings;
#[cfg(test)]
mod tests;
