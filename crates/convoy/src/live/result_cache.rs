//! Calls of queries that some stream keeps current, answered from memory: no run,
//! no statement, and without a context no crossing into the host either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Live;
use super::registry::{Asked, Held as Lookup};
use crate::error::Failure;

/// How long to wait for the feed; a run does not take much longer.
const READING: Duration = Duration::from_millis(20);

/// An answer that was there already.
#[derive(Debug)]
pub(crate) struct Held {
    /// The result, JSON text.
    pub data: Bytes,
    /// The position of who has seen it.
    pub position: String,
}

impl Live {
    /// The answer to a call, if it is held here and is not older than what the
    /// caller has seen. Who does not say what they have seen is not answered so.
    ///
    /// Where there is a context it is made for every call, also for these.
    pub(crate) async fn held(
        &self,
        name: &str,
        input: &str,
        position: Option<&str>,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Option<Result<Held, Failure>> {
        let now = Instant::now();
        let since = self.clock.read(position?, now);
        let program = self.loaded().ok()?;
        // Whatever is wrong with the question, the call itself will say.
        let (_, query_key) = self.find(&program, name, input).ok()?;
        if !self.lock().holds(&query_key) {
            return None;
        }
        let identity = match program.has_context {
            true => match self.who(&program, caller()).await {
                Ok(known) => known.identity,
                Err(failure) => return Some(Err(failure)),
            },
            false => Arc::default(),
        };
        let asked = Asked { query_key: &query_key, identity: &identity, since };
        let mut found = self.lock().held(&asked, Instant::now());
        if matches!(found, Lookup::Unvouched) && self.is_fed_since(since).await {
            found = self.lock().held(&asked, Instant::now());
        }
        let Lookup::Yes(answer, true_at) = found else { return None };
        let data = answer.data()?.clone();
        Some(Ok(Held { data, position: self.clock.say(true_at.max(since)) }))
    }

    /// Has the feed read now, once for all who wait for it, which costs less than
    /// a run for each. `false`: it takes too long.
    async fn is_fed_since(&self, since: Instant) -> bool {
        let mut fed = self.registry.fed();
        self.read_now.notify_one();
        let reading = fed.wait_for(|fed| fed.is_some_and(|fed| fed >= since));
        tokio::time::timeout(READING, reading).await.is_ok_and(|read| read.is_ok())
    }
}
