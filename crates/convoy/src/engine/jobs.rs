//! What an engine does at intervals: it checks the function host, and removes what has expired.

use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Program;
use crate::health::{Health, Remedy};
use crate::postgres::Postgres;
use crate::sql;
use crate::telemetry::Tracer;

/// How often expired answers of keyed mutations are removed.
const TRIM_INTERVAL: Duration = Duration::from_secs(600);
/// How often the function host is checked.
const HOST_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The health condition that is set while functions cannot run.
const FUNCTIONS: &str = "functions";
/// How long the host may be unresponsive before the condition is set.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(1);

/// Sets a health condition while the function host is unresponsive; after `limit` only a
/// restart resolves it.
pub(super) async fn check_host(
    program: &ArcSwapOption<Program>,
    health: &Health,
    limit: Duration,
    stop: &CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HOST_CHECK_INTERVAL) => {}
        }
        let unresponsive = program.load_full().and_then(|program| program.host.unresponsive());
        let lasting = unresponsive.map(|unresponsive| (unresponsive.since.elapsed(), unresponsive.why));
        match lasting.filter(|(lasts, _)| *lasts >= limit.min(UNRESPONSIVE_AFTER)) {
            Some((lasts, why)) if lasts >= limit => health.set(FUNCTIONS, Remedy::Restart, why),
            Some((_, why)) => health.set(FUNCTIONS, Remedy::Wait, why),
            None => health.clear(FUNCTIONS),
        }
    }
}

/// Removes what has expired, at intervals.
pub(super) async fn trim_at_intervals((postgres, tracer): (&Postgres, &Tracer), stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TRIM_INTERVAL) => {}
        }
        trim_expired((postgres, tracer), stop).await;
    }
}

/// Removes the stored responses of keyed mutations after their retention, and the buckets of
/// rate limits that are full.
pub(super) async fn trim_expired((postgres, tracer): (&Postgres, &Tracer), stop: &CancellationToken) {
    let jobs = [("job responses.trim", sql::idempotency::trim()), ("job rate_limits.trim", sql::rate_limits::trim())];
    for (job, statement) in jobs {
        // In batches, until none are left.
        while !stop.is_cancelled() {
            match tracer.job(job, postgres.write(&statement)).await {
                Ok(rows) if rows.is_empty() => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(cause = %error, "{job} failed; it is repeated later");
                    break;
                }
            }
        }
    }
}
