//! Recovery after an event that panicked while it changed the registry.

use std::collections::HashMap;

use super::{Effects, Registry};
use crate::failpoints::Failpoint;
use crate::live::message::{EndReason, retry_ms};

impl Registry {
    /// Applies an event. A panic leaves `poisoned` set.
    pub(crate) fn apply<T>(&mut self, event: impl FnOnce(&mut Registry) -> T) -> T {
        self.poisoned = true;
        let result = event(self);
        self.poisoned = false;
        result
    }

    /// Whether the last event panicked.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned && !self.failpoints.has(Failpoint::Unsupervised)
    }

    /// Resets the registry: its contents may be inconsistent, so every session ends and
    /// its client reconnects. Runs in flight find that their queries no longer exist.
    pub(crate) fn restart(&mut self) {
        let mut sessions = std::mem::take(&mut self.sessions);
        let mut by_client = HashMap::new();
        for session in sessions.values_mut() {
            if !session.ended {
                session.end(EndReason::Reload, retry_ms(&self.failpoints));
            }
            session.subscriptions.clear();
            session.dirty.clear();
            session.pending_acks.clear();
            session.auth_query = None;
            if let Some(client) = session.counted {
                *by_client.entry(client).or_default() += 1;
            }
        }
        let wake = sessions.values().map(|session| session.wake.clone()).collect();
        *self = Registry {
            sessions,
            by_client,
            // Ids are never reused: runs in flight still refer to the old ones.
            next_id: self.next_id,
            generation: self.generation + 1,
            retained: self.retained.emptied(),
            tracked_tables: std::mem::take(&mut self.tracked_tables),
            function_runs: std::mem::take(&mut self.function_runs),
            recent_commits: self.recent_commits.restarted(),
            failpoints: self.failpoints.clone(),
            effects: Effects { wake, ..Effects::default() },
            ..Registry::default()
        };
    }
}
