//! The health conditions of a process, set and cleared by name.
//!
//! Two probes read them. *Health* fails on conditions that only a restart resolves.
//! *Readiness* fails on every condition that keeps the process from serving requests:
//! on the former, and on those that a restart does not resolve, such as an unreachable
//! database.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::events::{Event, EventKind, Events};

/// The remedy for a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The process must be restarted.
    Restart,
    /// The condition ends by itself, or its cause is outside of this process.
    Wait,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its remedy.
    pub remedy: Remedy,
    /// The reason, as a sentence.
    pub reason: String,
}

/// The conditions of one engine. Cheap to clone; clones share their state.
#[derive(Clone, Default)]
pub struct Health {
    conditions: Arc<Mutex<BTreeMap<String, Condition>>>,
    events: Events,
}

impl Health {
    /// Sets the condition with this name, or replaces it.
    pub fn set(&self, name: &str, remedy: Remedy, reason: impl Into<String>) {
        let condition = Condition { remedy, reason: reason.into() };
        let is_first = {
            let mut conditions = self.conditions.lock();
            let was_empty = conditions.is_empty();
            conditions.insert(name.to_owned(), condition);
            was_empty
        };
        if is_first {
            self.events.emit(|| Event::now(EventKind::HealthChanged).with_code("UNHEALTHY"));
        }
    }

    /// Clears the condition with this name, if it is set.
    pub fn clear(&self, name: &str) {
        let was_last = {
            let mut conditions = self.conditions.lock();
            conditions.remove(name).is_some() && conditions.is_empty()
        };
        if was_last {
            self.events.emit(|| Event::now(EventKind::HealthChanged).with_code("HEALTHY"));
        }
    }

    /// The events of the engine.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// All conditions by name.
    pub fn conditions(&self) -> BTreeMap<String, Condition> {
        self.conditions.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_lasts_until_it_is_cleared_and_has_the_last_reason() {
        let health = Health::default();
        let elsewhere = health.clone();
        elsewhere.set("feed", Remedy::Wait, "away");
        elsewhere.set("feed", Remedy::Restart, "gone");
        let found = health.conditions();
        assert_eq!(found["feed"], Condition { remedy: Remedy::Restart, reason: "gone".into() });
        elsewhere.clear("feed");
        elsewhere.clear("feed");
        assert!(health.conditions().is_empty());
    }
}
