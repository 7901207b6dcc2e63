//! Assembles the frames that a session is sent.

use std::time::Instant;

use super::Registry;
use super::session::{FRAME_DELAY, LiveSession, MAX_CONTROL_MESSAGES, NextFrame, PendingAck, Subscription};
use crate::live::message::{EndReason, SessionId, SessionMessage, retry_ms};
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
            ended: session.ended,
        };
        if !session.is_open() {
            return frame;
        }
        if let Some(until) = self.frame_delayed_until(id).filter(|until| now < *until) {
            frame.wake_at = Some(frame.wake_at.map_or(until, |at| at.min(until)));
            return frame;
        }
        self.append_answers(id, &mut frame.messages);
        frame
    }

    /// Until when a frame waits for queries that the same commit has changed.
    fn frame_delayed_until(&self, id: SessionId) -> Option<Instant> {
        let session = self.sessions.get(&id)?;
        let query_of = |subscription: &Subscription| -> Option<&Query> { self.queries.get(&subscription.query?) };
        let ready = session.dirty.iter().filter_map(|client_query| query_of(session.subscriptions.get(client_query)?));
        // The frame includes the changes before this number.
        let included = ready.map(|query| query.covered_until).max()?;
        let is_incomplete =
            session.subscriptions.values().filter_map(query_of).any(|query| query.awaits_change_before(included));
        if is_incomplete { session.dirty_since.map(|since| since + FRAME_DELAY) } else { None }
    }

    fn append_answers(&mut self, id: SessionId, messages: &mut Vec<SessionMessage>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.dirty_since = None;
        for client_query in std::mem::take(&mut session.dirty) {
            let Some(subscription) = session.subscriptions.get_mut(&client_query) else { continue };
            let Some(answer) = subscription.query.and_then(|query| self.queries.get(&query)?.answer.clone()) else {
                continue;
            };
            // The result may have changed and changed back.
            if subscription.last_sent == Some(answer.hash()) {
                continue;
            }
            let client_hash = subscription.client_hash;
            subscription.last_sent = Some(answer.hash());
            subscription.client_hash = answer.data().map(|_| answer.hash());
            messages.push(SessionMessage::Answer { id: client_query, answer, client_hash });
        }
        if session.pending_acks.is_empty() {
            return;
        }
        // This frame has all answers there are. A subscription that waits for a newer
        // answer may lack the changes of these mutations.
        if session.subscriptions.values().any(|subscription| subscription.not_before.is_some()) {
            return;
        }
        let queries = session.subscriptions.values().filter_map(|subscription| subscription.query);
        let awaited =
            queries.chain(session.auth_query).filter_map(|query| self.queries.get(&query)?.awaited_change()).min();
        session.pending_acks.retain(|ack| {
            let PendingAck { key, before, await_feed } = ack;
            let waits = await_feed.is_some() || awaited.is_some_and(|missing| missing < *before);
            if !waits {
                messages.push(SessionMessage::Settled { key: key.clone() });
            }
            waits
        });
    }

    /// Acknowledges a committed mutation of this session once every change until now has
    /// been sent. `await_feed`: some of its changes come from the change log, which has to
    /// be read up to this moment first.
    pub(crate) fn ack_when_visible(&mut self, id: SessionId, key: String, await_feed: Option<Instant>) {
        let before = self.recent_commits.next();
        if let Some(session) = self.sessions.get_mut(&id) {
            session.add_ack(PendingAck { key, before, await_feed });
            if await_feed.is_some() {
                self.awaiting_feed.insert(id);
            }
            self.effects.wake.push(session.wake.clone());
        }
    }

    /// Queues a message other than an answer.
    pub(crate) fn notify(&mut self, id: SessionId, message: SessionMessage) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.ended) else { return };
        session.control_messages.push(message);
        if session.control_messages.len() >= MAX_CONTROL_MESSAGES {
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
