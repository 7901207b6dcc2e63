//! The mutations of a session's own client: which results have their changes.
//!
//! A client may display the expected effect of a mutation before the server has answered.
//! It has to stop at the first result that has the changes, and not earlier. So the frame
//! with the first result that may have them says so:
//!
//! ```text
//!        committing                ended: the changes are in      every query was run again
//!            │                     the log of recent commits                 │
//!  ──────────┼────────────────────────────────┼──────────────────────────────┼────────▶
//!   answers  │   withheld: it is unknown whether they have     │ `included` │ `settled`
//!   have not │   the changes; until their query is run again   │ or `settled`
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Registry;
use super::query::Query;
use super::session::{LiveSession, PendingAck};
use crate::failpoints::Failpoint;
use crate::live::message::{ClientQueryId, EndReason, ReportedMutation, SessionId, SessionMessage, retry_ms};

/// How many acknowledgements of mutations a session may have pending. Beyond that it ends:
/// a client would wait in vain for those that are dropped.
const MAX_PENDING_ACKS: usize = 1_024;

/// How long answers are withheld: a commit or a query that takes longer must not stop the
/// screen of the client.
pub(super) const MAX_WITHHELD: Duration = Duration::from_secs(1);

impl Registry {
    /// Whether mutations of this session can be acknowledged.
    pub(crate) fn acknowledges(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| !session.ended)
    }

    /// The commit of a mutation is sent to Postgres.
    pub(crate) fn committing(&mut self, id: SessionId, key: &str, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.committing.insert(key.to_owned(), now);
        }
    }

    /// A mutation has no changes that its session waits for: its commit was rolled back, or
    /// its end is unknown.
    pub(crate) fn not_committed(&mut self, id: SessionId, key: &str) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.committing.remove(key).is_some()
        {
            self.effects.wake.push(session.wake.clone());
        }
    }

    /// Acknowledges a committed mutation of this session once every change until now has
    /// been sent. `await_feed`: some of its changes come from the change log, which has to
    /// be read up to this moment first.
    pub(crate) fn ack_when_visible(&mut self, id: SessionId, mutation: ReportedMutation, await_feed: Option<Instant>) {
        let before = self.recent_commits.next();
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.ended) else { return };
        let sent_at = session.committing.remove(&mutation.key);
        session.pending_acks.push(PendingAck { mutation, before, await_feed, sent_at });
        if session.pending_acks.len() > MAX_PENDING_ACKS {
            session.end(EndReason::Overloaded, retry_ms(&self.failpoints));
        } else if await_feed.is_some() {
            self.awaiting_feed.insert(id);
        }
        self.effects.wake.push(session.wake.clone());
    }

    /// The answers to send later, because they may have changes of a mutation that the
    /// client is not told of yet, and when to stop waiting.
    pub(super) fn withheld_answers(
        &mut self,
        id: SessionId,
        now: Instant,
    ) -> (BTreeSet<ClientQueryId>, Option<Instant>) {
        let none = (BTreeSet::new(), None);
        let Some(session) = self.sessions.get_mut(&id) else { return none };
        let is_reporting = !(session.committing.is_empty() && session.pending_acks.is_empty());
        if !is_reporting || self.failpoints.has(Failpoint::NoWithholding) {
            session.withheld_since = None;
            return none;
        }
        let is_ambiguous = |client_query: &&ClientQueryId| {
            let subscription = session.subscriptions.get(client_query);
            let query = subscription.and_then(|subscription| self.queries.get(&subscription.query?));
            query.is_some_and(|query| may_have_unreported_changes(session, query))
        };
        let ambiguous: BTreeSet<ClientQueryId> = session.dirty.iter().filter(is_ambiguous).copied().collect();
        if ambiguous.is_empty() {
            session.withheld_since = None;
            return none;
        }
        let until = *session.withheld_since.get_or_insert(now) + MAX_WITHHELD;
        if now >= until {
            session.withheld_since = None;
            return none;
        }
        (ambiguous, Some(until))
    }

    /// Reports the mutations whose changes have been sent. `sent`: the queries with an answer
    /// in this frame.
    pub(super) fn append_acks(&mut self, id: SessionId, sent: &[ClientQueryId], messages: &mut Vec<SessionMessage>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.pending_acks.is_empty() {
            return;
        }
        // Without a withheld answer, this frame has all answers there are. A subscription
        // that waits for a newer answer may lack the changes of these mutations.
        let complete = session.dirty.is_empty()
            && session.subscriptions.values().all(|subscription| subscription.not_before.is_none());
        let queries = session.subscriptions.values().filter_map(|subscription| subscription.query);
        let awaited =
            queries.chain(session.auth_query).filter_map(|query| self.queries.get(&query)?.awaited_change()).min();
        let (settled, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut session.pending_acks).into_iter().partition(|ack| {
                complete && ack.await_feed.is_none() && awaited.is_none_or(|missing| missing >= ack.before)
            });
        for ack in &waiting {
            let has_changes = |client_query: &&ClientQueryId| {
                let subscription = session.subscriptions.get(client_query);
                let query = subscription.and_then(|subscription| self.queries.get(&subscription.query?));
                query.is_some_and(|query| has_changes_of(ack, query))
            };
            let ids: Vec<ClientQueryId> = sent.iter().filter(has_changes).copied().collect();
            if !ids.is_empty() {
                messages.push(SessionMessage::Included { mutation: ack.mutation.clone(), ids });
            }
        }
        messages.extend(settled.into_iter().map(|ack| SessionMessage::Settled { mutation: ack.mutation }));
        session.pending_acks = waiting;
    }
}

/// Whether the answer may have changes of a mutation of the session, while it is unknown
/// whether it has all of them.
fn may_have_unreported_changes(session: &LiveSession, query: &Query) -> bool {
    let made_after = |sent_at: Instant| query.answered_at.is_some_and(|answered_at| answered_at >= sent_at);
    session.committing.values().any(|sent_at| made_after(*sent_at))
        || session.pending_acks.iter().any(|ack| ack.sent_at.is_some_and(made_after) && !has_changes_of(ack, query))
}

/// Whether the answer has all changes of a committed mutation that concern the query.
fn has_changes_of(ack: &PendingAck, query: &Query) -> bool {
    ack.await_feed.is_none() && !query.awaits_change_before(ack.before)
}
