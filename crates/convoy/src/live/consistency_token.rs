//! How far a client has seen: a moment of this process, after which nothing it
//! was shown had been read.
//!
//! A result kept in memory may be given to a client only if it is as of that
//! moment or later. Our own commits are applied before they are answered, so it
//! is others' that this is about: what a client has seen may include a commit the
//! feed has not told of yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Tells positions of this process from others'.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    node: Arc<str>,
    start: Instant,
}

impl Clock {
    /// The clock of a node.
    pub(super) fn new(node: Uuid) -> Clock {
        // The random end of a version 7 id.
        Clock { node: format!("{:016x}", node.as_u128() as u64).into(), start: Instant::now() }
    }

    /// The position of who has seen things until `at`, as clients carry it. Of one
    /// process, a later one is a greater text.
    pub(super) fn say(&self, at: Instant) -> String {
        // To the nanosecond, or who says one back would have seen a little more.
        let nanos = at.saturating_duration_since(self.start).as_nanos() as u64;
        format!("{}.{nanos:016x}", self.node)
    }

    /// The moment a client's position means here. Another process' position, and
    /// what is none, mean now: everything committed by now must be in the answer.
    pub(super) fn read(&self, position: &str, now: Instant) -> Instant {
        let own = position.strip_prefix(&*self.node).and_then(|rest| rest.strip_prefix('.'));
        let nanos = own.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let at = nanos.and_then(|nanos| self.start.checked_add(Duration::from_nanos(nanos)));
        // Nothing later than now was ever shown.
        at.map_or(now, |at| at.min(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_means_its_moment_and_any_other_means_now() {
        let clock = Clock::new(Uuid::from_u128(7));
        let (early, now) = (clock.start + Duration::from_micros(1_500), clock.start + Duration::from_secs(9));
        let said = clock.say(early);
        assert!(said < clock.say(now) && said.len() == clock.say(now).len());
        assert_eq!(clock.read(&said, now), early);
        let foreign = Clock::new(Uuid::from_u128(8)).say(early);
        for other in [foreign.as_str(), "", "x", "0000000000000007.", "0000000000000007.zz"] {
            assert_eq!(clock.read(other, now), now, "{other}");
        }
        assert_eq!(clock.read("0000000000000007.ffffffffffffffff", now), now);
    }
}
