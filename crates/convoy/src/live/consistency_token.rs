//! Consistency tokens: a moment of this process; everything the client was sent had
//! been read by then.
//!
//! A result from memory may be sent to a client only if it is as of that moment or
//! later. Commits of this process are applied before they are answered, so tokens
//! matter for the commits of others: a client may have seen a commit that the feed
//! has not read yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::failpoints::{Failpoint, Failpoints};

/// Encodes and decodes tokens, and detects those of other processes.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    node: Arc<str>,
    start: Instant,
    failpoints: Failpoints,
}

impl Clock {
    /// The clock of a node.
    pub(super) fn new(node: Uuid, failpoints: Failpoints) -> Clock {
        // The random part of a version 7 id.
        let node = format!("{:016x}", node.as_u128() as u64).into();
        Clock { node, start: Instant::now(), failpoints }
    }

    /// The token of a client that has seen everything until `at`. Tokens of one process
    /// compare as text like their moments.
    pub(super) fn encode(&self, at: Instant) -> String {
        // To the nanosecond: rounded up, a client would seem to have seen more.
        let nanos = at.saturating_duration_since(self.start).as_nanos() as u64;
        format!("{}.{nanos:016x}", self.node)
    }

    /// Whether a token is of this process.
    pub(super) fn is_own(&self, position: &str) -> bool {
        position.strip_prefix(&*self.node).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The moment that a client's token stands for. A token of another process or an
    /// invalid one means now: everything committed by now must be in the answer.
    pub(super) fn decode(&self, position: &str, now: Instant) -> Instant {
        if self.failpoints.has(Failpoint::IgnorePosition) {
            return self.start;
        }
        let own = position.strip_prefix(&*self.node).and_then(|rest| rest.strip_prefix('.'));
        let nanos = own.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let at = nanos.and_then(|nanos| self.start.checked_add(Duration::from_nanos(nanos)));
        // A client has seen nothing later than now.
        at.map_or(now, |at| at.min(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_token_decodes_to_its_moment_and_any_other_to_now() {
        let clock = Clock::new(Uuid::from_u128(7), Failpoints::default());
        let (early, now) = (clock.start + Duration::from_micros(1_500), clock.start + Duration::from_secs(9));
        let token = clock.encode(early);
        assert!(token < clock.encode(now) && token.len() == clock.encode(now).len());
        assert_eq!(clock.decode(&token, now), early);
        let foreign = Clock::new(Uuid::from_u128(8), Failpoints::default()).encode(early);
        assert!(clock.is_own(&token) && !clock.is_own(&foreign) && !clock.is_own(""));
        for other in [foreign.as_str(), "", "x", "0000000000000007.", "0000000000000007.zz"] {
            assert_eq!(clock.decode(other, now), now, "{other}");
        }
        assert_eq!(clock.decode("0000000000000007.ffffffffffffffff", now), now);
    }
}
