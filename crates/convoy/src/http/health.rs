//! `GET /api/health`, for what starts processes again, and `GET /api/ready`, for what
//! sends them requests.

use std::collections::BTreeMap;

use serde_json::json;

use super::respond::{HttpAnswer, failure, success};
use crate::Engine;
use crate::error::{Code, Failure};
use crate::health::Remedy;

/// 503 only for what a restart mends.
pub(super) fn health(engine: &Engine) -> HttpAnswer {
    let conditions = engine.health().conditions();
    let broken = conditions.into_iter().filter(|(_, condition)| condition.remedy == Remedy::Restart);
    answer("up", "this process has to be started again", broken.map(|(name, found)| (name, found.reason)).collect())
}

/// 503 for all that keeps requests from being answered, or answers from being current.
pub(super) async fn ready(engine: &Engine) -> HttpAnswer {
    answer("ready", "this process cannot serve requests at the moment", engine.unready().await)
}

/// `failing`: the checks that fail, by name, and why.
fn answer(status: &'static str, message: &str, failing: BTreeMap<String, String>) -> HttpAnswer {
    if failing.is_empty() {
        return success(json!({ "status": status }).to_string().into());
    }
    let reasons: Vec<String> = failing.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    let message = format!("{message}: {}", reasons.join("; "));
    failure(&Failure::new(Code::Unavailable, message).with_details(&json!({ "failing": failing })))
}
