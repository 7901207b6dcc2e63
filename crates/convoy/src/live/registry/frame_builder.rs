//! Assembles the frames that a session is sent.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Registry;
use super::session::{FRAME_DELAY, LiveSession, MAX_CONTROL_MESSAGES, NextFrame, Subscription};
use crate::failpoints::Failpoint;
use crate::live::message::{ClientQueryId, EndReason, SessionId, SessionMessage, retry_ms};
use crate::live::registry::query::Query;

impl Registry {
    /// Takes the next frame of a session. Answers to one commit are in one frame, unless
    /// the slowest query takes longer than [`FRAME_DELAY`].
    pub(crate) fn next_frame(&mut self, id: SessionId, now: Instant) -> NextFrame {
        let next_timer = self.apply_timers(id, now);
        let Some(session) = self.sessions.get_mut(&id) else {
            return NextFrame { ended: true, ..NextFrame::default() };
        };
        let mut frame = NextFrame {
            messages: std::mem::take(&mut session.control_messages),
            wake_at: next_timer,
            complete: false,
            ended: session.ended,
        };
        if !session.is_open() {
            return frame;
        }
        if let Some(until) = self.frame_delayed_until(id).filter(|until| now < *until) {
            frame.wake_at = Some(frame.wake_at.map_or(until, |at| at.min(until)));
            return frame;
        }
        let (withheld, until) = self.withheld_answers(id, now);
        if let Some(until) = until {
            frame.wake_at = Some(frame.wake_at.map_or(until, |at| at.min(until)));
        }
        self.append_answers(id, withheld, &mut frame.messages);
        frame.complete = self.sessions.get(&id).is_some_and(|session| !session.has_pending());
        frame
    }

    /// Until when a frame waits for queries that the same commit has changed.
    fn frame_delayed_until(&self, id: SessionId) -> Option<Instant> {
        let session = self.sessions.get(&id)?;
        let query_of =
            |subscription: &Subscription| -> Option<&Query> { self.queries.get(&subscription.query?).map(Box::as_ref) };
        let ready = session.dirty.iter().filter_map(|client_query| query_of(session.subscriptions.get(client_query)?));
        // The frame includes the changes before this number.
        let included = ready.map(|query| query.covered_until).max()?;
        let is_incomplete =
            session.subscriptions.values().filter_map(query_of).any(|query| query.awaits_change_before(included));
        if is_incomplete { session.dirty_since.map(|since| since + FRAME_DELAY) } else { None }
    }

    fn append_answers(&mut self, id: SessionId, withheld: BTreeSet<ClientQueryId>, messages: &mut Vec<SessionMessage>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.dirty_since = None;
        let mut sent = Vec::new();
        for client_query in std::mem::replace(&mut session.dirty, withheld) {
            if session.dirty.contains(&client_query) {
                continue;
            }
            let Some(subscription) = session.subscriptions.get_mut(&client_query) else { continue };
            let Some(answer) = subscription.query.and_then(|query| self.queries.get(&query)?.answer.clone()) else {
                continue;
            };
            // The result may have changed and changed back.
            if subscription.last_sent == Some(answer.hash()) {
                continue;
            }
            let client_hash = subscription.client_hash;
            let is_first = subscription.last_sent.is_none();
            subscription.last_sent = Some(answer.hash());
            if is_first && client_hash.is_some() && self.failpoints.has(Failpoint::TrustHashes) {
                subscription.client_hash = None;
                continue;
            }
            subscription.client_hash = answer.data().map(|_| answer.hash());
            messages.push(SessionMessage::Answer { id: client_query, answer, client_hash });
            if !session.pending_acks.is_empty() {
                sent.push(client_query);
            }
        }
        self.append_acks(id, &sent, messages);
    }

    /// Queues a message other than an answer.
    pub(crate) fn notify(&mut self, id: SessionId, message: SessionMessage) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.ended) else { return };
        session.control_messages.push(message);
        if session.control_messages.len() > MAX_CONTROL_MESSAGES {
            session.end(EndReason::Overloaded, retry_ms(&self.failpoints));
        }
        self.effects.wake.push(session.wake.clone());
    }
}

impl LiveSession {
    /// Queues the last message.
    pub(super) fn end(&mut self, reason: EndReason, retry_ms: u32) {
        self.control_messages.push(SessionMessage::End { reason, retry_ms });
        self.ended = true;
    }
}
