//! One live query, or one session's authentication: what it has read, where it stands, and
//! who is served by it.
//!
//! ```text
//!            a change hits it / its first member / someone needs a newer answer
//!   Idle ───────────────────────────────────────────────────────────▶ Queued
//!    ▲                                              │ begin: notes the place in
//!    │ finish: nothing it read                      ▼ the stream of changes
//!    │ changed meanwhile                          Running
//!    └──────────────────────────────────────────────┤
//!                  Queued ◀─────────────────────────┘ finish: something did
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::query_index::QueryKey;
use super::recent_commits::Place;
use super::session::Known;
use crate::change::{Change, ChangeSource};
use crate::db::ReadSet;
use crate::live::answer::Answer;
use crate::live::message::{ClientQueryId, SessionId};
use crate::live::share_key::Share;

/// What is run.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A function with its input.
    Query(QueryKey),
    /// The context of a session: who is it, and may they still ask?
    Auth(SessionId),
}

/// Where a query stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has an answer that nothing has changed since.
    Idle,
    /// It waits for its run.
    Queued,
    /// Its run began here.
    Running {
        /// Changes from this place on may be missing from what it reads.
        since: Place,
        /// What was committed by then is in what it reads.
        began: Instant,
        /// Which load of code it runs.
        generation: u64,
    },
}

/// One query of one session.
pub(super) type Member = (SessionId, ClientQueryId);

/// How many callers a query is parted from in a row, once it has been run.
const MOST_PARTED: u32 = 4;

/// A live query.
#[derive(Debug)]
pub(super) struct Query {
    pub what: What,
    pub phase: Phase,
    /// How many runs have begun.
    pub runs: u64,
    pub reads: ReadSet,
    /// Whether every change of what it has read is told by the feed; what is only
    /// asked again at intervals is not.
    pub is_told: bool,
    /// Who may be served by it. Before its first run this is a guess, which the
    /// run confirms or not.
    pub share: Share,
    /// Whether it still is one: no function has said yet what it looks at.
    pub guessed: bool,
    /// How long the last run took whose function was heard.
    pub took: Duration,
    /// How many callers were parted from it since one was.
    pub parted: u32,
    pub members: HashSet<Member>,
    /// The session whose caller its runs are made for.
    pub runner: Option<SessionId>,
    /// Callers in whose names nothing could be run, since something could.
    pub tried: Vec<Known>,
    pub answer: Option<Arc<Answer>>,
    /// When the run began that made or confirmed the answer.
    pub confirmed: Option<Instant>,
    /// Every change before this place is in the answer.
    pub covered: Place,
    /// The first change that concerns it and is not in the answer.
    pub pending: Option<Place>,
    /// What made it run last, where that is asked for.
    pub cause: Option<(Option<Change>, ChangeSource)>,
    /// When its answer grows old by itself.
    pub due: Option<Instant>,
    /// When its last member left.
    pub left: Option<Instant>,
}

impl Query {
    /// A query that waits for its first run.
    pub(super) fn new(what: What, share: Share, place: Place) -> Query {
        Query {
            what,
            phase: Phase::Queued,
            runs: 0,
            reads: ReadSet::default(),
            is_told: false,
            share,
            guessed: true,
            took: Duration::ZERO,
            parted: 0,
            members: HashSet::new(),
            runner: None,
            tried: Vec::new(),
            answer: None,
            confirmed: None,
            covered: 0,
            pending: Some(place),
            cause: None,
            due: None,
            left: None,
        }
    }

    /// Whether it goes on without members: it serves a session itself.
    pub(super) fn is_auth(&self) -> bool {
        matches!(self.what, What::Auth(_))
    }

    /// The key, unless it is an authentication.
    pub(super) fn query_key(&self) -> Option<&QueryKey> {
        match &self.what {
            What::Query(query_key) => Some(query_key),
            What::Auth(_) => None,
        }
    }

    /// Whether those it serves may be parted from its caller. While it is a guess who
    /// they are, from every caller; later only from a few, because what fails for many
    /// in a row fails because of the query.
    pub(super) fn may_part(&self) -> bool {
        !self.is_auth() && (self.guessed || (self.share != Share::Nobody && self.parted < MOST_PARTED))
    }

    /// The latest moment of which it is certain that the answer was true. `fed`:
    /// every change visible then has been told to all queries.
    pub(super) fn true_at(&self, fed: Option<Instant>) -> Option<Instant> {
        let confirmed = self.confirmed?;
        match self.phase {
            Phase::Idle if self.is_told => Some(fed.map_or(confirmed, |fed| fed.max(confirmed))),
            Phase::Idle | Phase::Queued | Phase::Running { .. } => Some(confirmed),
        }
    }

    /// Whether its answer is of a run that began no earlier than this.
    pub(super) fn is_made_since(&self, moment: Instant) -> bool {
        matches!(self.phase, Phase::Idle) && self.confirmed.is_some_and(|confirmed| confirmed >= moment)
    }

    /// The first change that others should wait for it to show: one that cannot be
    /// run for now shows none for who knows how long.
    pub(super) fn lacking(&self) -> Option<Place> {
        self.pending.filter(|_| self.answer.as_ref().is_none_or(|answer| !answer.is_passing()))
    }

    /// Whether others should wait for it to show a change from before this place.
    pub(super) fn lacks(&self, place: Place) -> bool {
        self.lacking().is_some_and(|pending| pending < place)
    }
}
