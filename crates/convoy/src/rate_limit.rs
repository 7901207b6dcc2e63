//! Limits how often one caller may call a function, or all of them together: a token bucket for
//! each, of the process or of all processes.
//!
//! Only calls from outside are charged, once each: neither a run after a conflict, nor the
//! repetition of a live query, nor a call by another function takes a token.

mod buckets;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Code, Failure};
use crate::trusted_proxies::ClientNetwork;
use buckets::Buckets;

/// How many repeated attempts of one keyed call are free. A client sends a call again if it got
/// no response; each attempt may run the function, so their number is limited.
const FREE_REPEATS: u8 = 3;
/// How many calls are remembered for that.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not zero");

/// The name of the limit for all functions and routes together, which none of them can have.
pub(crate) const EVERY_FUNCTION: &str = "*";

/// The option `rateLimit` of a function or of an engine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Policy {
    /// Who has a bucket.
    pub per: Per,
    /// The tokens of a full bucket. Each call takes one.
    #[serde(deserialize_with = "tokens")]
    pub tokens: u32,
    /// The tokens that are added each second, until the bucket is full.
    #[serde(deserialize_with = "refill")]
    pub refill_per_second: f64,
    /// All processes share the buckets.
    #[serde(default)]
    pub shared: bool,
}

/// Who has a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Per {
    /// A user; callers who are not signed in count by address.
    Identity,
    /// A client address.
    Address,
}

/// The owner of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// A user, by the hash of what identifies it.
    User(u128),
    /// An IPv4 address.
    V4([u8; 4]),
    /// A network of IPv6 with a prefix of 64 bits, which is what one customer gets at least.
    V6([u8; 8]),
    /// The server that received the request does not tell the address.
    Unknown,
}

impl Caller {
    /// The owner of the bucket for a user, or else for an address.
    pub(crate) fn of(user: Option<&str>, address: Option<IpAddr>) -> Caller {
        match (user, address.map(ClientNetwork::from)) {
            (Some(user), _) => Caller::User(xxh3_128(user.as_bytes())),
            (None, Some(ClientNetwork::V4(address))) => Caller::V4(address),
            (None, Some(ClientNetwork::V6(prefix))) => Caller::V6(prefix),
            (None, None) => Caller::Unknown,
        }
    }
}

impl Policy {
    /// The time that refills one token; rounded up, so that there is never one too many.
    pub(crate) fn interval_nanos(&self) -> u64 {
        // Between 10,000 and 8.64e13, see `refill`.
        (1e9 / self.refill_per_second).ceil() as u64
    }
}

fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let tokens = u32::deserialize(deserializer)?;
    let is_valid = (1..=100_000).contains(&tokens);
    is_valid.then_some(tokens).ok_or_else(|| serde::de::Error::custom("rateLimit.tokens is from 1 to 100,000"))
}

fn refill<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let refill = f64::deserialize(deserializer)?;
    let is_valid = (1.0 / 86_401.0..=100_000.0).contains(&refill);
    let reason = "rateLimit.refillPerSecond is from 1/86,400 (one a day) to 100,000";
    is_valid.then_some(refill).ok_or_else(|| serde::de::Error::custom(reason))
}

/// A call that is repeated under its idempotency key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyedCall<'a> {
    /// The function.
    pub function: &'a str,
    /// The key.
    pub key: &'a str,
    /// The arguments, JSON text.
    pub input: &'a str,
}

/// The buckets of all functions of a process.
pub(crate) struct RateLimiter {
    started: Instant,
    functions: Mutex<HashMap<Arc<str>, FunctionBuckets>>,
    /// Keyed calls that have taken a token, and how many more attempts of each are free.
    charged: Mutex<LruCache<u128, u8>>,
}

struct FunctionBuckets {
    policy: Policy,
    buckets: Arc<Mutex<Buckets>>,
}

impl Default for RateLimiter {
    fn default() -> RateLimiter {
        RateLimiter {
            started: Instant::now(),
            functions: Mutex::default(),
            charged: Mutex::new(LruCache::new(MAX_REMEMBERED)),
        }
    }
}

impl RateLimiter {
    /// Charges one call to a bucket of this process. `keyed`: attempts of it with the same key and
    /// arguments are the same call.
    pub(crate) fn charge(
        &self,
        (function, policy): (&Arc<str>, &Policy),
        caller: &Caller,
        keyed: Option<KeyedCall<'_>>,
        now: Instant,
    ) -> Result<(), Failure> {
        let attempt = Attempt::of(function, caller, keyed);
        if self.is_free_repeat(attempt) {
            return Ok(());
        }
        let now = u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX);
        let buckets = self.buckets(function, policy);
        let taken = buckets.lock().take(caller, now);
        taken.map_err(|wait| limited(function, Duration::from_nanos(wait)))?;
        self.charged(attempt);
        Ok(())
    }

    /// Whether this is another attempt of a call that has taken its token, and is free.
    pub(crate) fn is_free_repeat(&self, Attempt(attempt): Attempt) -> bool {
        let Some(attempt) = attempt else { return false };
        let mut charged = self.charged.lock();
        let Some(left) = charged.get_mut(&attempt).filter(|left| **left > 0) else { return false };
        *left -= 1;
        true
    }

    /// Remembers that this attempt has taken a token.
    pub(crate) fn charged(&self, Attempt(attempt): Attempt) {
        if let Some(attempt) = attempt {
            self.charged.lock().put(attempt, FREE_REPEATS);
        }
    }

    /// Forgets the buckets of functions that the loaded code does not have.
    pub(crate) fn retain(&self, has_function: impl Fn(&str) -> bool) {
        self.functions.lock().retain(|name, _| &**name == EVERY_FUNCTION || has_function(name));
    }

    /// The buckets of a function; new ones if its policy has changed.
    fn buckets(&self, function: &Arc<str>, policy: &Policy) -> Arc<Mutex<Buckets>> {
        let mut functions = self.functions.lock();
        if let Some(found) = functions.get(function).filter(|found| found.policy == *policy) {
            return found.buckets.clone();
        }
        let buckets = Arc::new(Mutex::new(Buckets::new(policy)));
        let entry = FunctionBuckets { policy: policy.clone(), buckets: buckets.clone() };
        functions.insert(function.clone(), entry);
        buckets
    }
}

/// One attempt of a call; `None` without a key. Other arguments under a key are another call: else
/// a client could try out passwords under one key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt(Option<u128>);

impl Attempt {
    /// An attempt of this caller.
    pub(crate) fn of(limit: &str, caller: &Caller, keyed: Option<KeyedCall<'_>>) -> Attempt {
        Attempt(keyed.map(|KeyedCall { function, key, input }| {
            xxh3_128(format!("{limit}\n{function}\n{caller:?}\n{key}\n{input}").as_bytes())
        }))
    }
}

/// The failure of a call for which there is no token for this long.
pub(crate) fn limited(function: &str, wait: Duration) -> Failure {
    // Rounded up, because there is none before.
    let ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let of = if function == EVERY_FUNCTION { String::new() } else { format!(" of `{function}`") };
    let message = format!("Too many calls{of}; try again in {} s.", ms.div_ceil(1_000));
    Failure::new(Code::RateLimited, message).with_details(&serde_json::json!({ "retryAfterMs": ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(tokens: u32) -> Policy {
        let json = serde_json::json!({ "per": "address", "tokens": tokens, "refillPerSecond": 0.5 });
        serde_json::from_value(json).expect("a policy")
    }

    fn at(address: &str) -> Caller {
        Caller::of(None, Some(address.parse().expect("an address")))
    }

    #[test]
    fn addresses_count_by_ipv4_address_and_by_ipv6_network() {
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(Caller::of(Some("a"), Some([192, 0, 2, 1].into())), at("192.0.2.1"));
        assert_eq!(Caller::of(Some("a"), Some([192, 0, 2, 1].into())), Caller::of(Some("a"), None));
    }

    #[test]
    fn a_refused_call_is_told_when_there_is_a_token() {
        let (limiter, name, policy) = (RateLimiter::default(), Arc::from("notes.add"), policy(2));
        let now = limiter.started;
        let charge = |at: Instant, caller: &str| limiter.charge((&name, &policy), &self::at(caller), None, at);
        assert!(charge(now, "192.0.2.1").is_ok() && charge(now, "192.0.2.1").is_ok());
        let refused = charge(now, "192.0.2.1").expect_err("no token is left");
        assert_eq!(refused.code, Code::RateLimited);
        assert_eq!(refused.message, "Too many calls of `notes.add`; try again in 2 s.");
        assert_eq!(refused.details.expect("details").get(), r#"{"retryAfterMs":2000}"#);
        assert!(charge(now, "192.0.2.2").is_ok());
        assert!(charge(now + Duration::from_millis(1_999), "192.0.2.1").is_err());
        assert!(charge(now + Duration::from_millis(2_000), "192.0.2.1").is_ok());
    }

    #[test]
    fn repeated_attempts_of_a_charged_call_are_free_for_a_limited_number() {
        let (limiter, name, policy) = (RateLimiter::default(), Arc::from("notes.add"), policy(1));
        let now = limiter.started;
        let charge = |key, input| {
            limiter
                .charge((&name, &policy), &at("192.0.2.1"), Some(KeyedCall { function: &name, key, input }), now)
                .is_ok()
        };
        assert!(charge("k1", "{}"));
        for _ in 0..FREE_REPEATS {
            assert!(charge("k1", "{}"));
        }
        assert!(!charge("k1", "{}"), "no key buys any number of runs");
        assert!(!charge("k2", "{}") && !charge("k2", "{}"), "a refused call is not remembered");
    }

    #[test]
    fn the_last_charged_calls_are_remembered() {
        let (limiter, name, policy) = (RateLimiter::default(), Arc::from("notes.add"), policy(100_000));
        let attempt = |key: &str| {
            let keyed = KeyedCall { function: &name, key, input: "{}" };
            Attempt::of(&name, &at("192.0.2.1"), Some(keyed))
        };
        let charge = |key: usize| {
            let key = key.to_string();
            let keyed = Some(KeyedCall { function: &name, key: &key, input: "{}" });
            limiter.charge((&name, &policy), &at("192.0.2.1"), keyed, limiter.started).expect("a token is left");
        };
        (0..MAX_REMEMBERED.get()).for_each(charge);
        assert!(limiter.is_free_repeat(attempt("1")), "as many as the limit are remembered");
        // The first was charged least recently.
        charge(MAX_REMEMBERED.get());
        assert!(!limiter.is_free_repeat(attempt("0")) && limiter.is_free_repeat(attempt("2")));
    }

    #[test]
    fn other_arguments_under_a_key_are_another_call() {
        let (limiter, name, policy) = (RateLimiter::default(), Arc::from("session.signIn"), policy(1));
        let charge = |input| {
            let keyed = Some(KeyedCall { function: &name, key: "k", input });
            limiter.charge((&name, &policy), &at("192.0.2.1"), keyed, limiter.started).is_ok()
        };
        assert!(charge(r#"{"password":"a"}"#) && !charge(r#"{"password":"b"}"#));
    }

    #[test]
    fn buckets_outlive_a_reload_of_the_code_unless_the_policy_changes() {
        let (limiter, name) = (RateLimiter::default(), Arc::from("notes.add"));
        let charge = |tokens| limiter.charge((&name, &policy(tokens)), &at("192.0.2.1"), None, limiter.started).is_ok();
        assert!(charge(1) && !charge(1));
        limiter.retain(|name| name == "notes.add");
        assert!(!charge(1));
        assert!(charge(2));
        limiter.retain(|_| false);
        assert!(charge(1));
    }

    #[test]
    fn policies_beyond_the_limits_are_refused_by_name() {
        for (wrong, name) in [
            (r#"{"per":"address","tokens":0,"refillPerSecond":1}"#, "tokens"),
            (r#"{"per":"address","tokens":100001,"refillPerSecond":1}"#, "tokens"),
            (r#"{"per":"address","tokens":1,"refillPerSecond":0}"#, "refillPerSecond"),
            (r#"{"per":"address","tokens":1,"refillPerSecond":100001}"#, "refillPerSecond"),
            (r#"{"per":"country","tokens":1,"refillPerSecond":1}"#, "country"),
        ] {
            let refused = serde_json::from_str::<Policy>(wrong).expect_err("refused").to_string();
            assert!(refused.contains(name), "{refused}");
        }
    }
}
