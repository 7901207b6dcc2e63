//! One live session: its subscriptions, the answers to send, and its authentication.
//!
//! Answers to send are a set of queries, not a queue: a slow client skips to the newest
//! answer, and memory is bounded by the number of queries.
//!
//! ```text
//!            the context was made      the read set of the context has changed
//!   Unknown ─────────────────────▶ Open ◀──────────────────────────────▶ Checking
//!      │ refused                     │ refused, or expired                  │
//!      ▼                             ▼                                      │
//!   Refused                       Rejected ◀────────────────────────────────┘
//!                                    │ a new token: Checking
//!                                    ▼ none in time: the session ends
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::query_index::QueryKey;
use crate::dispatch::Seen;
use crate::error::Failure;
use crate::invalidation::Sequence;
use crate::live::QueryId;
use crate::live::answer::Hash;
use crate::live::message::{ClientQueryId, ReportedMutation, SessionId, SessionMessage};
use crate::trusted_proxies::ClientNetwork;

/// How long a frame waits for the slowest query that one commit has changed.
pub(super) const FRAME_DELAY: Duration = Duration::from_millis(50);
/// How long a client has to send a valid token after a rejection.
pub(super) const AUTH_GRACE: Duration = Duration::from_secs(30);
/// How many messages other than answers may be queued: a client that sends invalid
/// requests and does not read the errors is disconnected.
pub(super) const MAX_CONTROL_MESSAGES: usize = 1_024;

/// The wire format of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// Server-sent events of one query, with whole answers.
    Plain,
    /// Messages of the live protocol for any number of queries, with deltas to the results
    /// that the client has.
    Protocol,
}

/// The authentication of a session: the state of its context.
#[derive(Debug)]
pub(super) enum AuthState {
    /// The first context is being made; no answers are sent.
    Unknown,
    /// The first context was refused; the session never opens.
    Refused(Failure),
    /// The context is valid; answers are sent.
    Open,
    /// The context is being made again because what it depends on has changed; delivery
    /// pauses.
    Checking,
    /// Authentication was rejected at this instant; the grace period for a new token
    /// starts here.
    Rejected(Instant),
}

/// The context that `createContext` has made for a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionContext {
    /// All members, in comparable form.
    pub identity: Arc<Seen>,
    /// The caller's fingerprint: stays the same when other members change.
    pub fingerprint: Option<String>,
    /// The user that is signed in, for rate limits.
    pub user: Option<Arc<str>>,
    /// When it expires.
    pub expires_at: Option<Instant>,
}

impl SessionContext {
    /// Whether both belong to the same caller: by fingerprint, or by all members if these
    /// can be compared.
    pub(crate) fn is_same_caller(&self, other: &SessionContext) -> bool {
        let is_same_fingerprint = self.fingerprint.is_some() && self.fingerprint == other.fingerprint;
        is_same_fingerprint || (self.identity == other.identity && self.identity.values().all(Option::is_some))
    }
}

/// One subscription of a session.
#[derive(Debug)]
pub(super) struct Subscription {
    pub query_key: QueryKey,
    /// Whether results of the function may be shared at all.
    pub shareable: bool,
    /// The live query that serves it; none before the session is authenticated.
    pub query: Option<QueryId>,
    /// The hash of the result that the client has.
    pub client_hash: Option<Hash>,
    /// The hash of the answer that was sent last on this stream.
    pub last_sent: Option<Hash>,
    /// The client needs an answer that is at least as new as this moment.
    pub not_before: Option<Instant>,
}

/// A mutation to acknowledge once its changes have been sent.
#[derive(Debug)]
pub(super) struct PendingAck {
    pub mutation: ReportedMutation,
    /// Its changes are among those before this number.
    pub before: Sequence,
    /// Some of them come from the change log, which has to be read up to this moment.
    pub await_feed: Option<Instant>,
    /// When its commit was sent to Postgres: answers made later may have its changes.
    /// `None` for the replay of an earlier commit.
    pub sent_at: Option<Instant>,
}

/// A live session.
#[derive(Debug)]
pub(super) struct LiveSession {
    pub format: StreamFormat,
    /// The caller, as JSON for the host; absent if the program has no context.
    pub caller: Option<Arc<str>>,
    /// The client, if its streams are counted.
    pub counted: Option<ClientNetwork>,
    pub auth: AuthState,
    /// The query that runs `createContext`.
    pub auth_query: Option<QueryId>,
    pub context: SessionContext,
    /// Incremented with each change of the context: results for an older version are
    /// discarded.
    pub identity_version: u64,
    /// When its context is made again even if its read set has not changed.
    pub refresh_at: Option<Instant>,
    pub subscriptions: HashMap<ClientQueryId, Subscription>,
    /// Subscriptions with an answer to send.
    pub dirty: BTreeSet<ClientQueryId>,
    pub dirty_since: Option<Instant>,
    /// Messages other than answers; these are sent first.
    pub control_messages: Vec<SessionMessage>,
    /// Mutations whose commit has been sent to Postgres and that have not ended, by
    /// idempotency key: when it was sent. Bounded by the limit on concurrent calls.
    pub committing: HashMap<String, Instant>,
    /// Mutations to acknowledge.
    pub pending_acks: Vec<PendingAck>,
    /// Since when answers are withheld.
    pub withheld_since: Option<Instant>,
    /// The session has ended; only `control_messages` are still sent.
    pub ended: bool,
    pub wake: Arc<Notify>,
}

/// The next frame of a session.
#[derive(Debug, Default)]
pub(crate) struct NextFrame {
    /// The messages, in order.
    pub messages: Vec<SessionMessage>,
    /// When to call `next_frame` again without a wake-up.
    pub wake_at: Option<Instant>,
    /// Nothing else is to be sent before `wake_at` or the next wake-up.
    pub complete: bool,
    /// These are the last messages.
    pub ended: bool,
}

impl LiveSession {
    /// A session that is not authenticated.
    pub(super) fn new(format: StreamFormat, caller: Option<Arc<str>>, wake: Arc<Notify>) -> LiveSession {
        LiveSession {
            format,
            caller,
            counted: None,
            auth: AuthState::Unknown,
            auth_query: None,
            context: SessionContext::default(),
            identity_version: 0,
            refresh_at: None,
            subscriptions: HashMap::new(),
            dirty: BTreeSet::new(),
            dirty_since: None,
            control_messages: Vec::new(),
            committing: HashMap::new(),
            pending_acks: Vec::new(),
            withheld_since: None,
            ended: false,
            wake,
        }
    }

    /// Whether answers may be sent.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.auth, AuthState::Open) && !self.ended
    }

    /// Whether the caller has been identified; it may have been rejected since.
    pub(super) fn is_identified(&self) -> bool {
        !matches!(self.auth, AuthState::Unknown | AuthState::Refused(_))
    }

    /// Marks a subscription as having an answer to send. `false`: it was sent already.
    pub(super) fn mark_dirty(&mut self, id: ClientQueryId, hash: Hash, now: Instant) -> bool {
        let Some(subscription) = self.subscriptions.get(&id) else { return false };
        if subscription.last_sent == Some(hash) {
            return false;
        }
        // Answers that are withheld have no delay of their own.
        if self.dirty.is_empty() || self.dirty_since.is_none() {
            self.dirty_since = Some(now);
        }
        self.dirty.insert(id);
        true
    }

    /// Whether the end of a run, even without a new answer, may complete a frame.
    pub(super) fn has_pending(&self) -> bool {
        !self.dirty.is_empty() || !self.pending_acks.is_empty()
    }

    /// Rejects the authentication; no answers are sent until a new token is accepted.
    pub(super) fn reject(&mut self, failure: Failure, now: Instant) {
        if matches!(self.auth, AuthState::Rejected(_)) {
            return;
        }
        self.auth = AuthState::Rejected(now);
        self.control_messages.push(SessionMessage::Rejected(failure));
    }
}

/// The handle of a session for its stream.
#[derive(Debug, Clone)]
pub(crate) struct SessionHandle {
    /// Its id.
    pub id: SessionId,
    /// Notified when there may be a frame to send.
    pub wake: Arc<Notify>,
}
