//! The result cache: calls of a query that a live query keeps current are answered
//! from memory, without a run or a statement, and without a context without
//! JavaScript.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Live;
use super::answer::{Answer, hash_to_hex};
use super::registry::{CacheLookup, CacheRequest};
use crate::error::Failure;

/// How long to wait for a read of the change log; a run does not take much longer.
const FEED_READ_TIMEOUT: Duration = Duration::from_millis(20);

/// A result from the cache.
#[derive(Debug)]
pub(crate) struct CachedResult {
    /// The result, JSON text.
    pub data: Bytes,
    /// The consistency token of a client that has seen it.
    pub position: String,
    /// Its hash, as clients name it.
    pub hash: String,
}

impl CachedResult {
    /// The result of an answer; `None` if it is a failure.
    pub(super) fn of(answer: &Answer, position: String) -> Option<CachedResult> {
        Some(CachedResult { data: answer.data()?.clone(), position, hash: hash_to_hex(answer.hash()) })
    }
}

impl Live {
    /// The cached result of a call, if it is not older than what the caller has seen.
    /// Calls without a consistency token are not answered from the cache.
    ///
    /// If the program has a context, it is made for these calls too.
    pub(crate) async fn cached(
        &self,
        name: &str,
        input: &str,
        position: Option<&str>,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Option<Result<CachedResult, Failure>> {
        let now = Instant::now();
        let since = self.clock.decode(position?, now);
        let program = self.loaded().ok()?;
        // An invalid call fails when it is made.
        let (_, query_key) = self.resolve(&program, name, input).ok()?;
        if !self.lock().has_shared(&query_key) {
            return None;
        }
        let identity = match program.has_context {
            true => match self.make_context(&program, caller()).await {
                Ok(context) => context.identity,
                Err(failure) => return Some(Err(failure)),
            },
            false => Arc::default(),
        };
        let request = CacheRequest { query_key: &query_key, identity: &identity, since };
        let mut found = self.lock().lookup(&request, Instant::now());
        if matches!(found, CacheLookup::Unconfirmed) && self.read_feed_until(since).await {
            found = self.lock().lookup(&request, Instant::now());
        }
        let CacheLookup::Hit(answer, valid_at) = found else { return None };
        CachedResult::of(&answer, self.clock.encode(valid_at.max(since))).map(Ok)
    }

    /// Requests a read of the change log now, and waits until it has reached `since`. One
    /// read serves all waiting calls, which costs less than a run for each. `false` on
    /// timeout.
    async fn read_feed_until(&self, since: Instant) -> bool {
        let mut caught_up_at = self.registry.caught_up_at();
        self.read_now.notify_one();
        let reading = caught_up_at.wait_for(|reached| reached.is_some_and(|reached| reached >= since));
        tokio::time::timeout(FEED_READ_TIMEOUT, reading).await.is_ok_and(|read| read.is_ok())
    }
}
