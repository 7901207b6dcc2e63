//! What becomes of the state when an event has panicked half-way through it.

use std::collections::HashMap;

use super::{Effects, Registry};
use crate::live::message::{EndReason, retry_ms};
use crate::mistakes::Mistake;

impl Registry {
    /// Lets an event happen. One that panics leaves its mark.
    pub fn event<T>(&mut self, event: impl FnOnce(&mut Registry) -> T) -> T {
        self.half_changed = true;
        let result = event(self);
        self.half_changed = false;
        result
    }

    /// Whether the last event panicked half-way.
    pub fn is_half_changed(&self) -> bool {
        self.half_changed && !self.mistakes.has(Mistake::Unsupervised)
    }

    /// Begins anew: nothing that is held can be relied on, so every session ends, and
    /// its client comes back with what it holds. Runs in flight find their queries
    /// gone.
    pub fn restart(&mut self) {
        let mut sessions = std::mem::take(&mut self.sessions);
        let mut by_address = HashMap::new();
        for session in sessions.values_mut() {
            if !session.over {
                session.end(EndReason::Reload, retry_ms(&self.mistakes));
            }
            session.subs.clear();
            session.dirty.clear();
            session.settling.clear();
            session.gate_query = None;
            if let Some(address) = session.address {
                *by_address.entry(address).or_default() += 1;
            }
        }
        let wake = sessions.values().map(|session| session.wake.clone()).collect();
        *self = Registry {
            sessions,
            by_address,
            // What is still under way must not be taken for something new.
            next_id: self.next_id,
            generation: self.generation + 1,
            linger: self.linger,
            watched: std::mem::take(&mut self.watched),
            explains: self.explains,
            mistakes: self.mistakes.clone(),
            effects: Effects { wake, ..Effects::default() },
            ..Registry::default()
        };
    }
}
