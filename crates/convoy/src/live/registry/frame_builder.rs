//! What a session is sent, and when.

use std::time::Instant;

use super::Registry;
use super::session::{GATHER, MOST_NOTICES, Session, Settling, Sub, Taken};
use crate::live::message::{EndReason, Message, SessionId, retry_ms};
use crate::live::registry::query::Query;

impl Registry {
    /// Takes what a session is to be sent now, as one frame. What one commit has
    /// changed goes together, unless the slowest of it takes too long.
    pub(crate) fn take(&mut self, id: SessionId, now: Instant) -> Taken {
        let next = self.tick(id, now);
        let Some(session) = self.sessions.get_mut(&id) else { return Taken { over: true, ..Taken::default() } };
        let mut taken = Taken { messages: std::mem::take(&mut session.notices), wake_at: next, over: session.over };
        if !session.is_open() {
            return taken;
        }
        if let Some(until) = self.gathers_until(id).filter(|until| now < *until) {
            taken.wake_at = Some(taken.wake_at.map_or(until, |at| at.min(until)));
            return taken;
        }
        self.drain(id, &mut taken.messages);
        taken
    }

    /// Until when to wait for more of what one commit has changed.
    fn gathers_until(&self, id: SessionId) -> Option<Instant> {
        let session = self.sessions.get(&id)?;
        let query_of = |sub: &Sub| -> Option<&Query> { self.queries.get(&sub.query?) };
        let ready = session.dirty.iter().filter_map(|member| query_of(session.subs.get(member)?));
        // What is sent shows the changes before this place.
        let shown = ready.map(|query| query.covered).max()?;
        let slow = session.subs.values().filter_map(query_of).any(|query| query.lacks(shown));
        if slow { session.dirty_since.map(|since| since + GATHER) } else { None }
    }

    fn drain(&mut self, id: SessionId, messages: &mut Vec<Message>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.dirty_since = None;
        for member in std::mem::take(&mut session.dirty) {
            let Some(sub) = session.subs.get_mut(&member) else { continue };
            let Some(answer) = sub.query.and_then(|query| self.queries.get(&query)?.answer.clone()) else { continue };
            // It may have changed and changed back.
            if sub.told == Some(answer.hash()) {
                continue;
            }
            let held = sub.held;
            sub.told = Some(answer.hash());
            sub.held = answer.data().map(|_| answer.hash());
            messages.push(Message::Answer { id: member, answer, held });
        }
        if session.settling.is_empty() {
            return;
        }
        // Everything that is answered has been sent with this. What waits for an
        // answer lacks what changed before, or was not sent the one there is.
        if session.subs.values().any(|sub| sub.after.is_some()) {
            return;
        }
        let watched = session.subs.values().filter_map(|sub| sub.query);
        let lacking = watched.chain(session.gate_query).filter_map(|query| self.queries.get(&query)?.lacking()).min();
        session.settling.retain(|settling| {
            let Settling { key, before, unread } = settling;
            let waits = unread.is_some() || lacking.is_some_and(|pending| pending < *before);
            if !waits {
                messages.push(Message::Settled { key: key.clone() });
            }
            waits
        });
    }

    /// A mutation of this session has committed; it hears when everything that was
    /// changed by now has been sent; where some of that is `unread`, what the feed
    /// has told of by the time it has read up to there.
    pub(crate) fn settle(&mut self, id: SessionId, key: String, unread: Option<Instant>) {
        let before = self.history.next();
        if let Some(session) = self.sessions.get_mut(&id) {
            session.settle(Settling { key, before, unread });
            if unread.is_some() {
                self.unread.insert(id);
            }
            self.effects.wake.push(session.wake.clone());
        }
    }

    /// Says something to a session beside its queries' answers.
    pub(crate) fn notify(&mut self, id: SessionId, message: Message) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.over) else { return };
        session.notices.push(message);
        if session.notices.len() >= MOST_NOTICES {
            session.end(EndReason::Overloaded, retry_ms(&self.failpoints));
        }
        self.effects.wake.push(session.wake.clone());
    }
}

impl Session {
    /// Nothing follows.
    pub(super) fn end(&mut self, reason: EndReason, retry_ms: u32) {
        self.notices.push(Message::End { reason, retry_ms });
        self.over = true;
    }
}
