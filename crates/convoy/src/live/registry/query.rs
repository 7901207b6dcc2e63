//! One live query, or one session's authentication: its read set, its phase and its
//! subscribers.
//!
//! ```text
//!       a change concerns it / first subscriber / a newer answer is needed
//!   Idle ───────────────────────────────────────────────────────────▶ Queued
//!    ▲                                              │ begin: records the sequence
//!    │ finish: its read set                         ▼ number of the next change
//!    │ did not change                             Running
//!    └──────────────────────────────────────────────┤
//!                  Queued ◀─────────────────────────┘ finish: its read set changed
//! ```

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::query_index::QueryKey;
use super::run_counts::{MAX_HISTORY, RunCounts};
use super::session::SessionContext;
use crate::db::ReadSet;
use crate::invalidation::Sequence;
use crate::live::answer::Answer;
use crate::live::cause::{CauseKind, PendingCause, RunCause, RunRecord};
use crate::live::message::{ClientQueryId, SessionId};
use crate::live::share_key::ShareKey;

/// The function that a query runs.
#[derive(Debug, Clone)]
pub(crate) enum RunTarget {
    /// A function with its input.
    Query(QueryKey),
    /// `createContext` for a session: authenticates its caller.
    Auth(SessionId),
}

/// The phase of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has an answer, and no change concerns it since.
    Idle,
    /// It waits to be run.
    Queued,
    /// It is running.
    Running {
        /// Changes from this number on may be missing from its snapshot.
        since: Sequence,
        /// Everything committed by then is in its snapshot.
        began: Instant,
        /// Which load of code it runs.
        generation: u64,
    },
}

/// One subscription of one session.
pub(super) type Subscriber = (SessionId, ClientQueryId);

/// How many callers in a row a query is isolated from, once it has been run.
const MAX_ISOLATIONS: u32 = 4;

/// A live query.
#[derive(Debug)]
pub(super) struct Query {
    pub target: RunTarget,
    pub phase: Phase,
    /// How many runs have begun.
    pub runs: u64,
    pub reads: ReadSet,
    /// Whether the feed reports every change of its read set; not if it has read an
    /// untracked table.
    pub is_tracked: bool,
    /// The callers that it may serve. Before its first run this is the probable key,
    /// which the run confirms or replaces.
    pub share: ShareKey,
    /// Whether the key is only probable: no run has reported the fields it read.
    pub provisional: bool,
    /// How long the last run took of which the host reported.
    pub last_duration: Duration,
    /// How many callers in a row it was isolated from.
    pub isolations: u32,
    pub subscribers: HashSet<Subscriber>,
    /// The session for whose caller it runs.
    pub runner: Option<SessionId>,
    /// The callers for whom runs failed transiently since the last success.
    pub tried: Vec<SessionContext>,
    pub answer: Option<Arc<Answer>>,
    /// When the run ended that changed the answer.
    pub answered_at: Option<Instant>,
    /// When the run began that computed or confirmed the answer.
    pub confirmed_at: Option<Instant>,
    /// Every change before this number is in the answer.
    pub covered_until: Sequence,
    /// The first change that concerns it and is not in the answer.
    pub first_missing: Option<Sequence>,
    /// Why the next run is made.
    pub pending_cause: Option<PendingCause>,
    /// How many more commits concern it since.
    pub further_commits: u32,
    /// Why the run in flight was made, and how many more commits it includes.
    pub cause: (Arc<RunCause>, u32),
    /// The last runs, the newest last.
    pub history: VecDeque<Arc<RunRecord>>,
    /// All its runs.
    pub counts: RunCounts,
    /// When its answer expires.
    pub due: Option<Instant>,
    /// Whether its answer depends only on its input, its context and what it has read.
    pub pure: bool,
}

impl Query {
    /// A query that waits for its first run.
    pub(super) fn new(target: RunTarget, share: ShareKey, sequence: Sequence, cause: CauseKind) -> Query {
        Query {
            target,
            phase: Phase::Queued,
            runs: 0,
            reads: ReadSet::default(),
            is_tracked: false,
            share,
            provisional: true,
            last_duration: Duration::ZERO,
            isolations: 0,
            subscribers: HashSet::new(),
            runner: None,
            tried: Vec::new(),
            answer: None,
            answered_at: None,
            confirmed_at: None,
            covered_until: 0,
            first_missing: Some(sequence),
            pending_cause: Some(cause.into()),
            further_commits: 0,
            cause: (Arc::new(RunCause::Event(CauseKind::Unknown)), 0),
            history: VecDeque::new(),
            counts: RunCounts::default(),
            due: None,
            pure: true,
        }
    }

    /// Notes why its next run is made; of several causes, the first counts.
    pub(super) fn runs_because(&mut self, cause: impl Into<PendingCause>) {
        let cause = cause.into();
        match &self.pending_cause {
            None => self.pending_cause = Some(cause),
            Some(_) => self.further_commits += u32::from(matches!(cause, PendingCause::Commit(..))),
        }
    }

    /// Takes the cause of the run that begins now.
    pub(super) fn take_cause(&mut self) {
        let unknown = || PendingCause::from(CauseKind::Unknown);
        let cause = self.pending_cause.take().unwrap_or_else(unknown).resolve(&self.reads);
        self.cause = (Arc::new(cause), std::mem::take(&mut self.further_commits));
    }

    /// Remembers the run in flight, which ends now. `equal`: whether its answer equals the
    /// previous one.
    pub(super) fn record_run(&mut self, began: Instant, equal: Option<bool>, now: Instant) -> Arc<RunRecord> {
        let (cause, further) = self.cause.clone();
        let took = now.saturating_duration_since(began);
        let record = Arc::new(RunRecord { run: self.runs, cause, further, began, took, equal });
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(record.clone());
        self.counts.add(&record);
        record
    }

    /// Whether it is more than the kept result of a call.
    pub(super) fn has_been_live(&self) -> bool {
        !self.subscribers.is_empty() || !self.history.is_empty() || !matches!(self.phase, Phase::Idle)
    }

    /// Whether it is the authentication of a session, which has no subscribers.
    pub(super) fn is_auth(&self) -> bool {
        matches!(self.target, RunTarget::Auth(_))
    }

    /// The key, unless it is an authentication.
    pub(super) fn query_key(&self) -> Option<&QueryKey> {
        match &self.target {
            RunTarget::Query(query_key) => Some(query_key),
            RunTarget::Auth(_) => None,
        }
    }

    /// Whether its caller may be isolated from the other subscribers: any caller while
    /// the share key is provisional; later only a few in a row, because failures for many
    /// callers are caused by the query.
    pub(super) fn can_isolate(&self) -> bool {
        !self.is_auth() && (self.provisional || (self.share != ShareKey::Private && self.isolations < MAX_ISOLATIONS))
    }

    /// The latest moment at which the answer is known to have been current.
    /// `caught_up_at`: every change visible then has been applied.
    pub(super) fn valid_at(&self, caught_up_at: Option<Instant>) -> Option<Instant> {
        let confirmed_at = self.confirmed_at?;
        match self.phase {
            Phase::Idle if self.is_tracked => {
                Some(caught_up_at.map_or(confirmed_at, |caught_up_at| caught_up_at.max(confirmed_at)))
            }
            Phase::Idle | Phase::Queued | Phase::Running { .. } => Some(confirmed_at),
        }
    }

    /// Whether its answer is from a run that began no earlier than this.
    pub(super) fn is_made_since(&self, moment: Instant) -> bool {
        matches!(self.phase, Phase::Idle) && self.confirmed_at.is_some_and(|confirmed_at| confirmed_at >= moment)
    }

    /// The first change that its answer lacks and that frames wait for. None after a
    /// transient failure, which may last for any time.
    pub(super) fn awaited_change(&self) -> Option<Sequence> {
        self.first_missing.filter(|_| self.answer.as_ref().is_none_or(|answer| !answer.is_transient()))
    }

    /// Whether frames wait for it to include a change before this number.
    pub(super) fn awaits_change_before(&self, sequence: Sequence) -> bool {
        self.awaited_change().is_some_and(|missing| missing < sequence)
    }
}
