//! The state of all live queries and of the sessions they serve, and what each
//! event makes of it. Pure but for the waking of sessions: the caller says what
//! time it is, and runs what it is told to run.
//!
//! Invariants:
//! - No gap: see [`history`].
//! - A session is sent answers only while it is authenticated, and only of queries
//!   whose [`Share`] admits what its context says.
//! - A session's answers never go backwards: a query's answers follow one another,
//!   and who needs an answer from after a moment is given no earlier one.

mod changes;
mod describe;
mod frame_builder;
mod query;
mod query_index;
mod recent_commits;
mod restart;
mod session;
mod session_auth;
mod subscriptions;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(crate) use describe::Described;
pub(super) use query::What;
pub(super) use query_index::QueryKey;
pub(crate) use session::{Known, Opened, Style};
pub(super) use session_auth::{Admission, Opening};
pub(super) use subscriptions::{Wanted, Watch};

use super::answer::Answer;
use super::invalidate::{QueryId, ReadIndex};
use super::message::SessionId;
use super::share_key::Share;
use crate::change::TablesRead;
use crate::db::ReadSet;
use crate::dispatch::Seen;
use crate::failpoints::{Failpoint, Failpoints};
use query::{Phase, Query};
use query_index::Variants;
use recent_commits::History;
use session::Session;

/// How many results without subscribers are retained, for clients that return.
const MOST_LINGERING: usize = 10_000;

/// How old the feed's last word may be for answers from memory.
const FRESH: Duration = Duration::from_secs(1);

/// All live queries and sessions of a process.
#[derive(Debug, Default)]
pub(super) struct Registry {
    queries: HashMap<QueryId, Query>,
    variants: Variants,
    sessions: HashMap<SessionId, Session>,
    index: ReadIndex,
    history: History,
    next_id: QueryId,
    /// Counts loads of new code.
    generation: u64,
    /// How many sessions have which address, of those that are counted so.
    by_address: HashMap<IpAddr, usize>,
    /// Queries of all sessions.
    watching: usize,
    /// How long results without subscribers are retained.
    linger: Duration,
    /// Queries without members, the first that will be forgotten in front.
    lingering: VecDeque<(Instant, QueryId)>,
    /// When answers grow old.
    due: BTreeSet<(Instant, QueryId)>,
    /// What was visible in the database then has been told.
    fed: Option<Instant>,
    /// The tables for which that holds.
    watched: HashSet<Arc<str>>,
    /// Sessions with mutations that the feed has to read the effects of.
    unread: HashSet<SessionId>,
    /// Whether causes are kept, for people to look at.
    explains: bool,
    failpoints: Failpoints,
    effects: Effects,
    /// Set while an event is applied; still set afterwards if it panicked.
    half_changed: bool,
}

/// What is to be done because of an event.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Queries to run.
    pub run: Vec<QueryId>,
    /// Sessions to wake.
    pub wake: Vec<Arc<Notify>>,
}

/// What a run needs to know.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    /// What is run.
    pub what: What,
    /// Who asks, where that matters.
    pub caller: Option<Arc<str>>,
    /// Whose caller that is, and which of those they have been.
    runner: Option<(SessionId, u64)>,
    /// The answer so far, where someone may be told the difference to it.
    pub before: Option<Arc<Answer>>,
    /// How many sessions are served.
    pub members: usize,
    /// Which run of its query it is.
    pub run: u64,
    /// Whether those served may be parted from this caller, where the run takes long.
    pub may_part: bool,
    /// How long a run of it has taken before.
    pub took: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it has read.
    pub reads: ReadSet,
    /// What it gave.
    pub answer: Arc<Answer>,
    /// Who may share that; nothing where the function was not heard, and the
    /// answer says nothing but that.
    pub share: Option<Share>,
    /// Whether it may have failed because of its caller.
    pub suspect: bool,
}

/// What happens after a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing; the result is current.
    Rest,
    /// Run again.
    Again,
}

/// A question whose answer may be held already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The question.
    pub query_key: &'a QueryKey,
    /// Who asks.
    pub identity: &'a Seen,
    /// Until when they have seen things.
    pub since: Instant,
}

/// Whether an answer is held.
#[derive(Debug)]
pub(super) enum Held {
    /// It is, and was true at this moment.
    Yes(Arc<Answer>, Instant),
    /// There is one that nothing is known to have changed, but not for certain
    /// late enough: the feed has to read first.
    Unvouched,
    /// No.
    No,
}

/// How much there is to keep current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Live queries that someone watches.
    pub queries: usize,
    /// Queries that wait for a run or are in one.
    pub busy: usize,
    /// Sessions.
    pub sessions: usize,
    /// Queries of all sessions together.
    pub watching: usize,
}

impl Registry {
    /// An empty one, which retains results without subscribers for so long;
    /// `explains`: causes are kept.
    pub(super) fn new(linger: Duration, explains: bool, failpoints: Failpoints) -> Registry {
        Registry { linger, explains, failpoints, ..Registry::default() }
    }

    /// What is to be done because of what has happened since this was last asked.
    pub(super) fn effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// In whose name a query will probably be run: a person where that is known, or a
    /// session. Absent for an authentication, which finds out who asks.
    pub(super) fn caller_of(&self, id: QueryId) -> Option<Arc<str>> {
        let query = self.queries.get(&id).filter(|query| !query.is_auth())?;
        let runner = query.runner.or_else(|| query.members.iter().next().map(|(session, _)| *session))?;
        let fingerprint = self.sessions.get(&runner)?.known.fingerprint.as_deref();
        Some(fingerprint.map_or_else(|| runner.to_string().into(), Arc::from))
    }

    /// A queued query's run begins now. `None`: it is not needed any more.
    pub(super) fn begin(&mut self, id: QueryId, now: Instant) -> Option<Ticket> {
        let query = self.queries.get_mut(&id)?;
        if !matches!(query.phase, Phase::Queued) {
            return None;
        }
        let runner = match query.what {
            What::Auth(session) => Some(session),
            What::Query(_) => {
                let stays = query.runner.filter(|runner| query.members.iter().any(|(member, _)| member == runner));
                stays.or_else(|| query.members.iter().next().map(|(session, _)| *session))
            }
        };
        let Some(session) = runner.and_then(|runner| self.sessions.get(&runner)) else {
            self.forget(id);
            return None;
        };
        query.runner = runner;
        query.phase = Phase::Running { since: self.history.begin(), began: now, generation: self.generation };
        query.runs += 1;
        if let Some(due) = query.due.take() {
            self.due.remove(&(due, id));
        }
        let may_differ = |(session, _): &query::Member| {
            self.sessions.get(session).is_some_and(|session| session.style == Style::Protocol)
        };
        Some(Ticket {
            what: query.what.clone(),
            caller: session.caller.clone(),
            runner: runner.map(|runner| (runner, session.epoch)),
            before: query.answer.clone().filter(|_| query.members.iter().any(may_differ)),
            members: query.members.len(),
            run: query.runs,
            may_part: query.may_part(),
            took: query.took,
        })
    }

    /// A run has ended. Its answer is shown unless it equals the last one, also
    /// when the query must run again: under constant writes a screen keeps moving.
    pub(super) fn finish(&mut self, id: QueryId, ticket: &Ticket, ended: Ended, now: Instant) -> Next {
        let Ended { reads, answer, share, suspect } = ended;
        let passing = answer.is_passing();
        let Some(began) = self.conclude(id, reads, passing) else { return Next::Rest };
        let Some(query) = self.queries.get_mut(&id) else { return Next::Rest };
        if query.answer.as_ref().is_none_or(|known| known.hash() != answer.hash()) {
            query.answer = Some(answer);
        }
        let guessed = query.guessed;
        if let Some(share) = share {
            (query.guessed, query.parted) = (false, 0);
            query.took = now.saturating_duration_since(began);
            let by_first = query.runs > 1 && self.failpoints.has(Failpoint::ShareByFirstRun);
            if !by_first && (guessed || share != query.share) {
                self.reshare(id, share, ticket.runner, now);
            }
        }
        if suspect {
            self.part(id, now);
        }
        match passing {
            true => self.change_runner(id),
            false => self.forgive(id),
        }
        let served = self.deliver(id, began, now);
        let Some(query) = self.queries.get_mut(&id) else { return Next::Rest };
        if !served && matches!(query.phase, Phase::Idle) {
            query.phase = Phase::Queued;
        }
        if matches!(query.phase, Phase::Queued) { Next::Again } else { Next::Rest }
    }

    /// Notes what a run has read and which changes it has missed. Gives when it
    /// began; nothing where the query went meanwhile.
    fn conclude(&mut self, id: QueryId, reads: ReadSet, passing: bool) -> Option<Instant> {
        let query = self.queries.get_mut(&id)?;
        let Phase::Running { since, began, generation } = query.phase else { return None };
        let missed = match generation == self.generation {
            true if self.failpoints.has(Failpoint::RegisterAfterRun) => None,
            true => self.history.first_hit(since, &reads),
            false => Some(since),
        };
        // What could not be run has read little or nothing, and says nothing of what
        // it depends on.
        if generation == self.generation && !passing {
            self.index.remove(id, &query.reads);
            self.index.insert(id, &reads);
            query.is_told = reads_only(&reads, &self.watched);
            query.reads = reads;
        }
        self.history.end(since);
        query.covered = since;
        query.confirmed = Some(began);
        // What makes it fail is no change, so nothing would tell that it is over.
        query.pending = missed.or(passing.then_some(since));
        query.phase = if missed.is_some() { Phase::Queued } else { Phase::Idle };
        Some(began)
    }

    /// The task that ran a query panicked: its run does not count, and the query is
    /// queued again.
    pub(super) fn interrupted(&mut self, id: QueryId) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        match query.phase {
            Phase::Idle => {
                // Its answer may not have been delivered.
                query.pending.get_or_insert(query.covered);
            }
            Phase::Queued => {}
            Phase::Running { since, .. } => {
                query.pending.get_or_insert(since);
                self.history.end(since);
            }
        }
        query.phase = Phase::Queued;
    }

    /// How many runs of a query have begun; none of one that is gone.
    pub(super) fn runs(&self, id: QueryId) -> Option<u64> {
        self.queries.get(&id).map(|query| query.runs)
    }

    /// A query's answer, and someone else who is served by it than the one its run
    /// was made for.
    pub(super) fn another_caller(&self, id: QueryId, ticket: &Ticket) -> Option<(Arc<Answer>, Arc<str>)> {
        let query = self.queries.get(&id)?;
        let callers = query.members.iter().filter_map(|(session, _)| self.sessions.get(session)?.caller.as_ref());
        let other = callers.filter(|caller| Some(*caller) != ticket.caller.as_ref()).min()?;
        Some((query.answer.clone()?, other.clone()))
    }

    /// Whether nothing has touched a query since so many runs of it had begun.
    pub(super) fn rests_since(&self, id: QueryId, runs: u64) -> bool {
        self.queries.get(&id).is_some_and(|query| query.runs == runs && matches!(query.phase, Phase::Idle))
    }

    /// Queues a query that rests since this run, whose answer will not do any more.
    /// `false`: it is gone, or something else has made it run since.
    pub(super) fn requeue(&mut self, id: QueryId, run: u64) -> bool {
        let resting = |query: &&mut Query| query.runs == run && matches!(query.phase, Phase::Idle);
        let Some(query) = self.queries.get_mut(&id).filter(resting) else { return false };
        if query.members.is_empty() && !query.is_auth() {
            // A returning client must not get that result.
            self.forget(id);
            return false;
        }
        query.phase = Phase::Queued;
        true
    }

    /// The answer to a question, if it is held here for a caller like this one.
    pub(super) fn held(&self, ask: &Asked<'_>, now: Instant) -> Held {
        let Asked { query_key, identity, since } = *ask;
        let found = self.variants.find(query_key, identity).and_then(|id| self.queries.get(&id));
        let Some(query) = found.filter(|query| matches!(query.phase, Phase::Idle)) else { return Held::No };
        let answer = query.answer.clone().filter(|answer| answer.data().is_some());
        let (Some(answer), Some(true_at)) = (answer, query.true_at(self.fed)) else { return Held::No };
        // A feed that has fallen silent vouches for nothing.
        let is_fresh = self.fed.is_some_and(|fed| now.saturating_duration_since(fed) <= FRESH);
        match is_fresh && true_at >= since {
            true => Held::Yes(answer, true_at),
            false if query.is_told => Held::Unvouched,
            false => Held::No,
        }
    }

    /// Whether anyone may be answered to this from here at all.
    pub(super) fn holds(&self, query_key: &QueryKey) -> bool {
        self.variants.has(query_key)
    }

    /// The tables that have been read.
    pub(super) fn tables_read(&self) -> TablesRead {
        self.index.tables_read()
    }

    /// How much there is to keep current.
    pub(super) fn counts(&self) -> Counts {
        let busy = self.queries.values().filter(|query| !matches!(query.phase, Phase::Idle)).count();
        let queries = self.queries.values().filter(|query| !query.members.is_empty()).count();
        Counts { queries, busy, sessions: self.sessions.len(), watching: self.watching }
    }

    /// How many sessions are open.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many sessions an address has.
    pub(super) fn sessions_of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).copied().unwrap_or_default()
    }

    /// Whether nothing is to be kept current.
    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Takes a query away.
    fn forget(&mut self, id: QueryId) {
        let Some(query) = self.queries.remove(&id) else { return };
        self.index.remove(id, &query.reads);
        if let Some(due) = query.due {
            self.due.remove(&(due, id));
        }
        if let Some(query_key) = query.query_key() {
            self.variants.unlist(query_key, &query.share, id);
        }
        if let Phase::Running { since, .. } = query.phase {
            self.history.end(since);
        }
    }

    fn add(&mut self, query: Query) -> QueryId {
        let id = self.next_id;
        self.next_id += 1;
        self.queries.insert(id, query);
        self.effects.run.push(id);
        id
    }
}

/// Whether all that was read is in these tables.
fn reads_only(reads: &ReadSet, tables: &HashSet<Arc<str>>) -> bool {
    !reads.everything
        && reads.tables.iter().all(|table| tables.contains(table))
        && reads.points.iter().all(|(table, _)| tables.contains(table))
        && reads.ranges.iter().all(|range| tables.contains(&range.table.key))
}

#[cfg(all(test, feature = "failpoints"))]
mod interleavings;
#[cfg(test)]
mod tests;
