//! One stream to a client: what it watches, what it has not been sent yet, and
//! whether it may be sent anything.
//!
//! What is not sent yet is a set of queries, not a queue of answers: whoever reads
//! slowly skips to the newest, and memory is bounded by the number of queries.
//!
//! ```text
//!            its context was made          something the context read has changed
//!   Unknown ─────────────────────▶ Open ◀───────────────────────────────▶ Checking
//!      │ refused                    │ refused, or expired                     │
//!      ▼                            ▼                                         │
//!   Refused                       Rejected ◀────────────────────────────────────┘
//!                                   │ a new token: Checking again
//!                                   ▼ none in time: the end
//! ```

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::query_index::QueryKey;
use super::recent_commits::Place;
use crate::dispatch::Seen;
use crate::error::Failure;
use crate::live::answer::Hash;
use crate::live::invalidate::QueryId;
use crate::live::message::{ClientQueryId, Message, SessionId};

/// How long a frame waits for the slowest of what one commit has changed.
pub(super) const GATHER: Duration = Duration::from_millis(50);
/// How long a client has to bring a token that holds.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// How many mutations of a session may wait for their word. Of more, the oldest
/// are not told; their clients do not wait for ever.
pub(super) const MOST_SETTLING: usize = 1_024;

/// How much may wait to be said beside answers: a client that asks for nonsense and
/// does not read what it is told of that is sent away.
pub(super) const MOST_NOTICES: usize = 1_024;

/// How a session is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One query, whole answers.
    Plain,
    /// Any number of queries; what a client holds is known, so it can be told the
    /// difference.
    Protocol,
}

/// The authentication of a session: the state of its context.
#[derive(Debug)]
pub(super) enum AuthState {
    /// The first context is being made; nothing is sent.
    Unknown,
    /// The first context was refused; the session never opens.
    Refused(Failure),
    /// The context holds; everything is sent.
    Open,
    /// The context is being made again because what it depends on has changed; delivery
    /// pauses.
    Checking,
    /// Authentication was rejected at this instant; the grace period for a new token
    /// starts here.
    Rejected(Instant),
}

/// What a context says of its caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// All of it, as it can be compared.
    pub identity: Arc<Seen>,
    /// Who it is, whatever else has changed about them.
    pub fingerprint: Option<String>,
    /// When it ceases to hold.
    pub expires: Option<Instant>,
}

impl Known {
    /// Whether this is the same caller as far as anyone can tell: by who they are,
    /// or by all that can be said of them.
    pub(crate) fn is_like(&self, other: &Known) -> bool {
        let is_same_person = self.fingerprint.is_some() && self.fingerprint == other.fingerprint;
        is_same_person || (self.identity == other.identity && self.identity.values().all(Option::is_some))
    }
}

/// One query of a session.
#[derive(Debug)]
pub(super) struct Sub {
    pub query_key: QueryKey,
    /// Whether its function's results may be shared at all.
    pub shareable: bool,
    /// What serves it; nothing before the session is authenticated.
    pub query: Option<QueryId>,
    /// The result the client holds.
    pub held: Option<Hash>,
    /// The answer it was told last on this stream.
    pub told: Option<Hash>,
    /// Only an answer from after this moment will do.
    pub after: Option<Instant>,
}

/// A mutation whose effects are to be waited for.
#[derive(Debug)]
pub(super) struct Settling {
    pub key: String,
    /// They are among the changes before this place.
    pub before: Place,
    /// Some are not told yet: the feed has to read up to here first.
    pub unread: Option<Instant>,
}

/// A stream to a client.
#[derive(Debug)]
pub(super) struct Session {
    pub style: Style,
    /// Who asks, as text for the host; where the program wants to know.
    pub caller: Option<Arc<str>>,
    /// The client's address, where streams are counted by it.
    pub address: Option<IpAddr>,
    pub auth: AuthState,
    pub gate_query: Option<QueryId>,
    pub known: Known,
    /// Counts changes of who this is: a run made for an earlier one is not theirs.
    pub epoch: u64,
    /// When its context is to be made again, whatever happens.
    pub recheck: Option<Instant>,
    pub subs: HashMap<ClientQueryId, Sub>,
    /// Queries with an answer it was not sent.
    pub dirty: BTreeSet<ClientQueryId>,
    pub dirty_since: Option<Instant>,
    /// What else is to be said, first.
    pub notices: Vec<Message>,
    /// Mutations of its own that it waits for the effects of: all changes before
    /// the place.
    pub settling: Vec<Settling>,
    /// Nothing more will be said after the notices.
    pub over: bool,
    pub wake: Arc<Notify>,
}

/// What a session is to be sent now.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// In order, as one frame.
    pub messages: Vec<Message>,
    /// When to call `take` again without a wake-up.
    pub wake_at: Option<Instant>,
    /// These are the last.
    pub over: bool,
}

impl Session {
    /// Nothing is known of it yet.
    pub(super) fn new(style: Style, caller: Option<Arc<str>>, wake: Arc<Notify>) -> Session {
        Session {
            style,
            caller,
            address: None,
            auth: AuthState::Unknown,
            gate_query: None,
            known: Known::default(),
            epoch: 0,
            recheck: None,
            subs: HashMap::new(),
            dirty: BTreeSet::new(),
            dirty_since: None,
            notices: Vec::new(),
            settling: Vec::new(),
            over: false,
            wake,
        }
    }

    /// Whether answers may be sent.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.auth, AuthState::Open) && !self.over
    }

    /// Whether it is known who asks; not whether they still may.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.auth, AuthState::Unknown | AuthState::Refused(_))
    }

    /// Notes that a query has an answer to send. `false`: it was told this one.
    pub(super) fn has_news(&mut self, id: ClientQueryId, hash: Hash, now: Instant) -> bool {
        let Some(sub) = self.subs.get(&id) else { return false };
        if sub.told == Some(hash) {
            return false;
        }
        if self.dirty.is_empty() {
            self.dirty_since = Some(now);
        }
        self.dirty.insert(id);
        true
    }

    /// Whether the end of a run, even of one with nothing new, may be what it waits for.
    pub(super) fn waits(&self) -> bool {
        !self.dirty.is_empty() || !self.settling.is_empty()
    }

    /// Who asks may not any more; nothing is sent until they may.
    pub(super) fn bar(&mut self, failure: Failure, now: Instant) {
        if matches!(self.auth, AuthState::Rejected(_)) {
            return;
        }
        self.auth = AuthState::Rejected(now);
        self.notices.push(Message::Rejected(failure));
    }

    /// Adds a mutation whose effects are to be waited for.
    pub(super) fn settle(&mut self, settling: Settling) {
        if self.settling.len() >= MOST_SETTLING {
            self.settling.remove(0);
        }
        self.settling.push(settling);
    }
}

/// A session as its stream knows it.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// Its name.
    pub id: SessionId,
    /// Called when there may be something to send.
    pub wake: Arc<Notify>,
}
