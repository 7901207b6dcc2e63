//! The token buckets of one function, by caller. Pure: the caller passes the time.
//!
//! Invariant: no caller ever gets more than `tokens` and what was refilled since the first of
//! them, however many other callers there are. Memory is bounded: a caller whose bucket is full
//! again is forgotten, and callers beyond [`MAX_CALLERS`] share buckets, so that a client with
//! many addresses can neither fill the memory nor be forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::{Caller, Policy};

/// How many callers have a bucket of their own. An entry takes about 40 bytes.
pub(super) const MAX_CALLERS: usize = 50_000;
/// The buckets that callers beyond these share.
const SHARED_BUCKETS: usize = 1_024;
/// How often full buckets may be looked for while all places are taken, in nanoseconds.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

/// The buckets of one function.
///
/// A bucket is the time at which it will be full, in nanoseconds since the start of the process
/// (the generic cell rate algorithm): a token moves it by the time that refills one.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The time that refills one token.
    interval: u64,
    /// The time that refills an empty bucket.
    capacity: u64,
    /// Buckets that are not full, or were not when they were looked at.
    full_at: HashMap<Caller, u64>,
    /// Allocated when they are needed.
    shared: Vec<u64>,
    /// Unknown to clients, so that none can choose whose bucket it shares.
    hasher: RandomState,
    next_sweep: u64,
    max_callers: usize,
}

impl Buckets {
    pub(super) fn new(policy: &Policy) -> Buckets {
        Buckets::with_places(policy, MAX_CALLERS)
    }

    fn with_places(policy: &Policy, max_callers: usize) -> Buckets {
        let interval = policy.interval_nanos();
        Buckets {
            interval,
            capacity: interval.saturating_mul(u64::from(policy.tokens)),
            full_at: HashMap::new(),
            shared: Vec::new(),
            hasher: RandomState::new(),
            next_sweep: 0,
            max_callers,
        }
    }

    /// Takes a token of this caller. If there is none, nothing changes, and the error is the
    /// time until there is one, in nanoseconds.
    pub(super) fn take(&mut self, caller: &Caller, now: u64) -> Result<(), u64> {
        let (interval, capacity) = (self.interval, self.capacity);
        let full_at = self.bucket(caller, now);
        let after = (*full_at).max(now).saturating_add(interval);
        match (after - now).checked_sub(capacity) {
            None | Some(0) => {
                *full_at = after;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    fn bucket(&mut self, caller: &Caller, now: u64) -> &mut u64 {
        let is_new = !self.full_at.contains_key(caller);
        if is_new && self.full_at.len() >= self.max_callers && now >= self.next_sweep {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.full_at.shrink_to(self.full_at.len() * 2);
            self.next_sweep = now.saturating_add(SWEEP_INTERVAL);
        }
        let has_place = !is_new || self.full_at.len() < self.max_callers;
        if !has_place {
            self.shared.resize(SHARED_BUCKETS, 0);
        }
        let shared = match self.shared.len() {
            0 => None,
            buckets => self.shared.get_mut(self.hasher.hash_one(caller) as usize % buckets),
        };
        match shared {
            Some(shared) if !has_place => shared,
            // It may have taken tokens of the bucket that it shared.
            shared => self.full_at.entry(caller.clone()).or_insert(shared.map_or(0, |shared| *shared)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Per;
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn policy(tokens: u32, refill_per_second: f64) -> Policy {
        Policy { per: Per::Address, tokens, refill_per_second, shared: false }
    }

    fn user(number: u32) -> Caller {
        Caller::User(u128::from(number))
    }

    #[test]
    fn a_full_bucket_has_its_tokens_and_no_more_and_refills_one_by_one() {
        let mut buckets = Buckets::new(&policy(3, 2.0));
        for _ in 0..3 {
            assert_eq!(buckets.take(&user(1), 5 * SECOND), Ok(()));
        }
        assert_eq!(buckets.take(&user(1), 5 * SECOND), Err(SECOND / 2));
        assert_eq!(buckets.take(&user(2), 5 * SECOND), Ok(()), "each caller has a bucket of its own");
        assert_eq!(buckets.take(&user(1), 5 * SECOND + SECOND / 2 - 1), Err(1));
        assert_eq!(buckets.take(&user(1), 5 * SECOND + SECOND / 2), Ok(()));
        assert_eq!(buckets.take(&user(1), 5 * SECOND + SECOND / 2), Err(SECOND / 2));
        for _ in 0..3 {
            assert_eq!(buckets.take(&user(1), 60 * SECOND), Ok(()), "it never holds more than it began with");
        }
        assert_eq!(buckets.take(&user(1), 60 * SECOND), Err(SECOND / 2));
    }

    #[test]
    fn full_buckets_are_forgotten_and_callers_beyond_the_places_share() {
        let mut buckets = Buckets::with_places(&policy(1, 1.0), 2);
        for number in 0..2 {
            assert_eq!(buckets.take(&user(number), 0), Ok(()));
        }
        let granted = (2..100_000).filter(|number| buckets.take(&user(*number), 0).is_ok()).count();
        assert!(granted <= SHARED_BUCKETS && buckets.full_at.len() == 2, "{granted} of 99998 callers were served");
        for number in 0..2 {
            assert!(buckets.take(&user(number), 0).is_err(), "many callers make none forgotten");
        }
        assert_eq!(buckets.take(&user(7), 2 * SECOND), Ok(()));
        assert_eq!(buckets.full_at.len(), 1, "its place was that of a full bucket");
    }

    #[test]
    fn a_caller_that_gets_a_bucket_of_its_own_has_the_tokens_that_it_left() {
        let mut buckets = Buckets::with_places(&policy(1, 0.25), 1);
        assert_eq!(buckets.take(&user(1), 0), Ok(()));
        assert_eq!(buckets.take(&user(2), SECOND), Ok(()), "it shares a bucket, which is full in four seconds");
        assert_eq!(buckets.take(&user(2), 4 * SECOND), Err(SECOND), "the place of the first is free");
        assert_eq!((buckets.full_at.len(), buckets.full_at.get(&user(2))), (1, Some(&(5 * SECOND))));
    }

    #[test]
    fn the_largest_and_the_slowest_policies_do_not_overflow() {
        for policy in [policy(100_000, 1.0 / 86_400.0), policy(100_000, 100_000.0)] {
            let mut buckets = Buckets::new(&policy);
            let now = u64::MAX / 4;
            for _ in 0..policy.tokens {
                assert_eq!(buckets.take(&user(1), now), Ok(()));
            }
            assert!(buckets.take(&user(1), now).is_err());
        }
    }

    proptest! {
        /// Against a model that counts tokens: exact for each caller with a place of its own, and
        /// never more for any caller.
        #[test]
        fn nobody_gets_more_than_the_tokens_and_what_was_refilled(
            tokens in 1u32..6,
            per_second in 1u32..5,
            places in 1usize..5,
            calls in proptest::collection::vec((0u32..6, 0u64..700_000_000), 1..200),
        ) {
            let policy = policy(tokens, f64::from(per_second));
            let interval = policy.interval_nanos();
            let mut buckets = Buckets::with_places(&policy, places);
            // By caller: nanoseconds of refill in the bucket, and when it was looked at.
            let mut model: HashMap<u32, (u64, u64)> = HashMap::new();
            let mut now = 0;
            for (number, passed) in calls {
                now += passed;
                let full = interval * u64::from(tokens);
                let (held, at) = model.get(&number).copied().unwrap_or((full, now));
                let held = (held + (now - at)).min(full);
                let has_place = buckets.full_at.contains_key(&user(number)) || buckets.full_at.len() < places;
                let granted = buckets.take(&user(number), now);
                prop_assert!(granted.is_err() || held >= interval, "more than the model allows");
                if has_place && !model.is_empty() && buckets.shared.is_empty() {
                    prop_assert_eq!(granted.is_ok(), held >= interval);
                    if let Err(wait) = granted {
                        prop_assert_eq!(wait, interval - held);
                    }
                }
                model.insert(number, (if granted.is_ok() { held - interval } else { held }, now));
            }
        }
    }
}
