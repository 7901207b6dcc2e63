//! Readiness probe: whether an engine can serve requests at the moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::dispatch::FunctionHost;
use crate::health::Health;
use crate::postgres::Postgres;

/// Time limit of each check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a result is reused.
const CACHE_TIME: Duration = Duration::from_millis(100);

/// The last result, with its time.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, BTreeMap<String, String>)>>);

impl Readiness {
    /// The failing checks, by name, each with its reason. Concurrent requests share one
    /// probe.
    pub(super) async fn unready(
        &self,
        postgres: &Postgres,
        health: &Health,
        host: Option<&dyn FunctionHost>,
    ) -> BTreeMap<String, String> {
        let mut last = self.0.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < CACHE_TIME
        {
            return found.clone();
        }
        let (database, functions) = tokio::join!(database(postgres), functions(host));
        let conditions = health.conditions().into_iter().map(|(name, condition)| (name, condition.reason));
        let mut found: BTreeMap<String, String> = conditions.collect();
        found.extend(database.err().map(|reason| ("database".to_owned(), reason.to_owned())));
        found.extend(functions.err().map(|reason| ("functions".to_owned(), reason.to_owned())));
        *last = Some((Instant::now(), found.clone()));
        found
    }
}

async fn database(postgres: &Postgres) -> Result<(), &'static str> {
    postgres.ping(CHECK_TIMEOUT).await.map_err(|error| {
        tracing::debug!(cause = %error.cause(), "the database did not answer the readiness check");
        "it does not answer"
    })
}

async fn functions(host: Option<&dyn FunctionHost>) -> Result<(), &'static str> {
    let host = host.ok_or("none are loaded")?;
    let (answered, ping) = tokio::sync::oneshot::channel();
    host.ping(answered);
    match tokio::time::timeout(CHECK_TIMEOUT, ping).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_gone)) => Err("the worker that runs them has exited"),
        Err(_elapsed) => Err("JavaScript does not answer"),
    }
}
