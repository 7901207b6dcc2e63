//! Charges calls to the buckets of rate limits, of which all processes share some in Postgres.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::{Dispatcher, Function, Program};
use crate::error::Failure;
use crate::postgres::{DbError, Postgres, Row};
use crate::rate_limit::{Attempt, Caller, KeyedCall, Policy, limited};
use crate::sql::{self, Statement};

/// How many refused callers are remembered, so that their further calls need no statement.
const MAX_REFUSED: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");

/// How often a call tries again to take a token while others take theirs.
const MAX_TURNS: u32 = 1_000;

/// The callers that have no token, as far as this process knows.
pub(super) struct SharedBuckets {
    /// By bucket, when there is a token again at the earliest: others can only delay it.
    refused: Mutex<LruCache<Uuid, Instant>>,
}

impl Default for SharedBuckets {
    fn default() -> SharedBuckets {
        SharedBuckets { refused: Mutex::new(LruCache::new(MAX_REFUSED)) }
    }
}

impl SharedBuckets {
    /// Takes a token; if there is none, the inner error is the time until there is one.
    pub(super) async fn take(
        &self,
        postgres: &Postgres,
        (function, policy): (&Arc<str>, &Policy),
        caller: &Caller,
    ) -> Result<Result<(), Duration>, DbError> {
        let bucket = bucket_of(function, policy, caller);
        if let Some(wait) = self.wait(bucket, Instant::now()) {
            return Ok(Err(wait));
        }
        // Rounded up as well: Postgres counts microseconds.
        let interval = Duration::from_micros(policy.interval_nanos().div_ceil(1_000));
        let statement = sql::rate_limits::take(bucket, interval, interval.saturating_mul(policy.tokens));
        let rows = take_in_turn(postgres, &statement).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no answer about a rate limit".into()))?;
        if row.bool(0)? {
            return Ok(Ok(()));
        }
        let wait = Duration::from_millis(u64::try_from(row.int8(1)?).unwrap_or_default().max(1));
        self.refused.lock().put(bucket, Instant::now() + wait);
        Ok(Err(wait))
    }

    /// The time until there is a token; `None` if there may be one now.
    fn wait(&self, bucket: Uuid, now: Instant) -> Option<Duration> {
        let mut refused = self.refused.lock();
        let wait = refused.get(&bucket)?.checked_duration_since(now).filter(|wait| !wait.is_zero());
        if wait.is_none() {
            refused.pop(&bucket);
        }
        wait
    }
}

impl Dispatcher {
    /// The limits that a call of this function is charged to: that of all functions, and its own.
    pub(crate) fn rate_limits_of<'a>(
        &'a self,
        function: &'a Function,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Policy)> + Clone {
        let of_all = self.inner.rate_limit.as_ref().map(|(name, policy)| (name, policy));
        of_all.into_iter().chain(function.rate_limit.as_ref().map(|policy| (&function.name, policy)))
    }

    /// Whether calls of a program may be charged.
    pub(crate) fn has_rate_limits(&self, program: &Program) -> bool {
        program.has_rate_limits || self.inner.rate_limit.is_some()
    }

    /// Charges one call of a function with a rate limit. `keyed`: attempts of it with the same key
    /// and arguments are the same call.
    pub(crate) async fn charge(
        &self,
        limit: (&Arc<str>, &Policy),
        caller: &Caller,
        keyed: Option<KeyedCall<'_>>,
    ) -> Result<(), Failure> {
        let (limiter, (function, policy)) = (self.rate_limiter(), limit);
        if !policy.shared {
            return limiter.charge(limit, caller, keyed, Instant::now());
        }
        let attempt = Attempt::of(function, caller, keyed);
        if limiter.is_free_repeat(attempt) {
            return Ok(());
        }
        let taken = self.inner.shared_buckets.take(&self.inner.postgres, limit, caller).await;
        let taken = taken.map_err(|error| {
            if error.object_missing() {
                self.inner.check_schema.notify_one();
            }
            error.to_failure(function)
        })?;
        taken.map_err(|wait| limited(function, wait))?;
        limiter.charged(attempt);
        Ok(())
    }
}

/// Writers' sessions are SERIALIZABLE, so of two takers at once one is refused by Postgres, and
/// takes its turn again: the other has taken a token, or there is none.
async fn take_in_turn(postgres: &Postgres, statement: &Statement) -> Result<Vec<Row>, DbError> {
    let mut turns = 0;
    loop {
        match postgres.write(statement).await {
            Err(DbError::Retry(_)) if turns < MAX_TURNS => turns += 1,
            result => return result,
        }
    }
}

/// The key of a bucket: of a function, a caller and the policy, since another policy begins
/// with full buckets.
fn bucket_of(function: &str, policy: &Policy, caller: &Caller) -> Uuid {
    Uuid::from_u128(xxh3_128(format!("{function}\n{policy:?}\n{caller:?}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_until_there_may_be_a_token() {
        let (buckets, now) = (SharedBuckets::default(), Instant::now());
        let bucket = Uuid::from_u128(7);
        assert_eq!(buckets.wait(bucket, now), None);
        buckets.refused.lock().put(bucket, now + Duration::from_secs(2));
        assert_eq!(buckets.wait(bucket, now + Duration::from_millis(500)), Some(Duration::from_millis(1_500)));
        assert_eq!(buckets.wait(bucket, now + Duration::from_secs(2)), None);
        assert!(buckets.refused.lock().is_empty());
    }

    #[test]
    fn functions_callers_and_policies_have_buckets_of_their_own() {
        let policy = |tokens: u32| -> Policy {
            let json = serde_json::json!({ "per": "address", "tokens": tokens, "refillPerSecond": 1, "shared": true });
            serde_json::from_value(json).expect("a policy")
        };
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| Caller::of(None, Some(ip.parse().expect("an address"))));
        let bucket = bucket_of("a", &policy(1), &one);
        assert_eq!(bucket, bucket_of("a", &policy(1), &one));
        for different in
            [bucket_of("b", &policy(1), &one), bucket_of("a", &policy(2), &one), bucket_of("a", &policy(1), &other)]
        {
            assert_ne!(bucket, different);
        }
    }
}
