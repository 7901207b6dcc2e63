//! What is wrong with a process at the moment: conditions, set and cleared by name.
//!
//! Two questions are asked of it. *Health*: is there anything that only a restart
//! mends? *Readiness*: is there any reason not to send requests here now? A
//! condition of the first kind is one of the second too, and not the other way
//! round: a restart does not bring a database back.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// What a condition calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The process must be started again.
    Restart,
    /// It passes by itself, or by what is done elsewhere.
    Wait,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it calls for.
    pub remedy: Remedy,
    /// What happened, for people.
    pub reason: String,
}

/// The conditions of one engine. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Condition>>>);

impl Health {
    /// Sets the condition of this name, in place of one that is set.
    pub fn set(&self, name: &str, remedy: Remedy, reason: impl Into<String>) {
        self.0.lock().insert(name.to_owned(), Condition { remedy, reason: reason.into() });
    }

    /// Clears the condition of this name, if it is set.
    pub fn clear(&self, name: &str) {
        self.0.lock().remove(name);
    }

    /// All that is set, by name.
    pub fn conditions(&self) -> BTreeMap<String, Condition> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_lasts_until_it_is_cleared_and_the_last_reason_counts() {
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
