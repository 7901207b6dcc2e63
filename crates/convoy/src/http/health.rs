//! The liveness probe `GET /api/health`, for process managers, and the readiness probe
//! `GET /api/ready`, for load balancers.

use std::collections::BTreeMap;

use serde_json::json;

use super::respond::{HttpAnswer, failure, success};
use crate::Engine;
use crate::error::{Code, Failure};
use crate::health::Remedy;

/// Returns 503 only for conditions that a restart resolves.
pub(super) fn health(engine: &Engine) -> HttpAnswer {
    let conditions = engine.health().conditions();
    let broken = conditions.into_iter().filter(|(_, condition)| condition.remedy == Remedy::Restart);
    answer("up", "This process has to be restarted", broken.map(|(name, found)| (name, found.reason)).collect())
}

/// Returns 503 while requests cannot be answered, or answers may be outdated.
pub(super) async fn ready(engine: &Engine) -> HttpAnswer {
    answer("ready", "This process cannot serve requests at the moment", engine.unready().await)
}

/// `failing`: the failing checks by name, with their reasons.
fn answer(status: &'static str, message: &str, failing: BTreeMap<String, String>) -> HttpAnswer {
    if failing.is_empty() {
        return success(json!({ "status": status }).to_string().into());
    }
    let reasons: Vec<String> = failing.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    let message = format!("{message}: {}.", reasons.join("; "));
    failure(&Failure::new(Code::Unavailable, message).with_details(&json!({ "failing": failing })))
}
