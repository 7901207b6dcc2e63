//! The configuration of an engine: the database, the options and the limits.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::failpoints::Failpoints;
use crate::http::SecurityHeaders;
use crate::origin::Origin;
use crate::telemetry::TelemetryOptions;
use crate::trusted_proxies::TrustedProxies;

/// Options of one engine. All but `database_url` have defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// A `postgres://` URL. `sslmode`, `sslrootcert` and a `host=/socket/dir`
    /// parameter are honoured.
    pub database_url: String,
    /// Whether to create the database of the URL if it does not exist.
    #[serde(default)]
    pub create_database: bool,
    /// The treatment of objects that the schema needs and the database lacks.
    #[serde(default)]
    pub schema_policy: SchemaPolicy,
    /// Connections for queries, and as many again for mutations.
    #[serde(default = "default_pool_size", deserialize_with = "at_least_one")]
    pub pool_size: usize,
    /// Development: clients receive the causes of errors, and `Host` is checked.
    #[serde(default)]
    pub dev: bool,
    /// The proxies whose `X-Forwarded-For` tells the address of the client, and whose
    /// `X-Forwarded-Host` the host that it requested.
    #[serde(default)]
    pub trust_proxy: TrustedProxies,
    /// Cross-origin requests to allow.
    #[serde(default)]
    pub cors: Cors,
    /// The headers by which browsers protect answers.
    #[serde(default)]
    pub security_headers: SecurityHeaders,
    /// A folder of static files, which listeners of the engine serve beside the base path.
    #[serde(default, rename = "static")]
    pub static_files: Option<PathBuf>,
    /// Whether to serve the OpenAPI document, and options of it for the host.
    #[serde(default)]
    pub openapi: Option<OpenApiOptions>,
    /// The prefix of all paths.
    #[serde(default = "default_base_path", deserialize_with = "with_leading_slash")]
    pub base_path: String,
    /// Published limits.
    #[serde(default, deserialize_with = "limits")]
    pub limits: Limits,
    /// What is recorded, and where it goes.
    #[serde(default)]
    pub telemetry: TelemetryOptions,
    /// Active failpoints; none outside of tests.
    #[cfg_attr(feature = "failpoints", serde(default))]
    #[cfg_attr(not(feature = "failpoints"), serde(skip))]
    pub failpoints: Failpoints,
}

/// Options of the OpenAPI document, which only the host knows.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct OpenApiOptions(pub serde_json::Value);

/// The treatment of objects that the schema needs and the database lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaPolicy {
    /// Creates it: the `_convoy` schema always, tables if the program says so.
    #[default]
    Create,
    /// Changes nothing, and fails.
    Require,
    /// Changes nothing, fails without `_convoy`, and lists what the program needs beside it.
    Inspect,
}

/// Which pages of other origins may call this server and read the answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Cors {
    /// The allowed origins, matched exactly.
    pub origins: Vec<Origin>,
    /// Whether their requests may carry cookies.
    pub credentials: bool,
}

/// The published limits; exceeding one has a named error.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body (`PAYLOAD_TOO_LARGE`).
    pub body_bytes: usize,
    /// Bytes of a function's result (`PAYLOAD_TOO_LARGE`).
    pub result_bytes: usize,
    /// Milliseconds a query may take (`TIMEOUT`).
    pub query_ms: u64,
    /// Milliseconds a mutation may take, retries included (`TIMEOUT`).
    pub mutation_ms: u64,
    /// Milliseconds an action may take (`TIMEOUT`).
    pub action_ms: u64,
    /// How often a mutation is retried after a serialization failure (`CONFLICT`).
    pub retries: u32,
    /// Milliseconds a worker may be unresponsive after a call on it timed out, before it
    /// is replaced.
    pub worker_unresponsive_ms: u64,
    /// Calls that may wait for the host at once (`UNAVAILABLE`).
    pub max_pending_calls: usize,
    /// HTTP routes that may run at once (`UNAVAILABLE`).
    pub routes: usize,
    /// HTTP routes of one client address (`RATE_LIMITED`). Counted as live streams are.
    pub routes_per_address: usize,
    /// Live streams of this process (`UNAVAILABLE`).
    pub streams: usize,
    /// Live streams of one client address (`RATE_LIMITED`). Counted only with
    /// `trust_proxy`, and not for this machine itself.
    pub streams_per_address: usize,
    /// Queries one live stream may watch (`PAYLOAD_TOO_LARGE`).
    pub queries_per_stream: usize,
    /// Milliseconds after which the context of a live stream is made again even if its
    /// read set has not changed.
    pub context_refresh_ms: u64,
    /// Milliseconds for which a result without subscribers is retained, for returning
    /// clients.
    pub idle_query_ms: u64,
    /// Documents one call may read (`PAYLOAD_TOO_LARGE`).
    pub max_documents_read: usize,
    /// Documents one call may write (`PAYLOAD_TOO_LARGE`).
    pub max_documents_written: usize,
    /// Milliseconds between comments on a quiet stream.
    pub heartbeat_ms: u64,
    /// Milliseconds for a client to send a body.
    pub body_ms: u64,
    /// Milliseconds for a client to send its headers.
    pub header_ms: u64,
    /// Milliseconds for which a client may read none of the data sent to it.
    pub slow_reader_ms: u64,
    /// Milliseconds between two reads of the change log while there are live queries.
    pub poll_ms: u64,
    /// Milliseconds between two checks of untracked tables that live queries have read.
    pub untracked_poll_ms: u64,
    /// Milliseconds between two checks that the triggers still exist.
    pub trigger_check_ms: u64,
}

/// Renamed limits: their old and new names.
const RENAMED: [(&str, &str); 9] = [
    ("stuckMs", "workerUnresponsiveMs"),
    ("contextMs", "contextRefreshMs"),
    ("triggersMs", "triggerCheckMs"),
    ("pollEveryMs", "untrackedPollMs"),
    ("stallMs", "slowReaderMs"),
    ("waitingCalls", "maxPendingCalls"),
    ("documentsRead", "maxDocumentsRead"),
    ("documentsWritten", "maxDocumentsWritten"),
    ("lingerMs", "idleQueryMs"),
];

fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    let given = serde_json::Map::deserialize(deserializer)?;
    if let Some((before, now)) = RENAMED.into_iter().find(|(before, _)| given.contains_key(*before)) {
        return Err(D::Error::custom(format!("`limits.{before}` was renamed to `limits.{now}`")));
    }
    Limits::deserialize(serde_json::Value::Object(given)).map_err(D::Error::custom)
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 1 << 20,
            result_bytes: 16 << 20,
            query_ms: 10_000,
            mutation_ms: 15_000,
            action_ms: 600_000,
            retries: 4,
            worker_unresponsive_ms: 5_000,
            max_pending_calls: 1_024,
            routes: 1_024,
            routes_per_address: 64,
            streams: 20_000,
            streams_per_address: 64,
            queries_per_stream: 256,
            context_refresh_ms: 60_000,
            idle_query_ms: 10_000,
            max_documents_read: 32_000,
            max_documents_written: 16_000,
            heartbeat_ms: 15_000,
            body_ms: 30_000,
            header_ms: 10_000,
            slow_reader_ms: 60_000,
            poll_ms: 100,
            untracked_poll_ms: 5_000,
            trigger_check_ms: 15_000,
        }
    }
}

impl Limits {
    /// The time limit of one query run.
    pub fn query_time(&self) -> Duration {
        Duration::from_millis(self.query_ms)
    }

    /// The time limit of one mutation, retries included.
    pub fn mutation_time(&self) -> Duration {
        Duration::from_millis(self.mutation_ms)
    }

    /// How long a worker may be unresponsive.
    pub fn unresponsive_time(&self) -> Duration {
        Duration::from_millis(self.worker_unresponsive_ms)
    }

    /// The time limit of one action.
    pub fn action_time(&self) -> Duration {
        Duration::from_millis(self.action_ms)
    }
}

fn default_pool_size() -> usize {
    10
}

fn default_base_path() -> String {
    "/api".to_owned()
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let size = usize::deserialize(deserializer)?;
    if size == 0 { Err(serde::de::Error::custom("poolSize must be at least 1")) } else { Ok(size) }
}

/// Normalizes `api/`, `/api` and `/api/` to the same path.
fn with_leading_slash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    let bare = path.trim_matches('/');
    Ok(if bare.is_empty() { String::new() } else { format!("/{bare}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_normalized_and_invalid_options_are_refused_by_name() {
        let with = |path: &str| parse(&format!(r#"{{"databaseUrl":"","basePath":"{path}"}}"#)).expect("fine").base_path;
        assert_eq!([with("/api/"), with("api"), with("/")], ["/api", "/api", ""]);
        for origin in ["*", "null", "https://app.example/", "app.example"] {
            let refused = parse(&format!(r#"{{"databaseUrl":"","cors":{{"origins":["{origin}"]}}}}"#));
            assert!(refused.expect_err("refused").contains("cors.origins"), "{origin}");
        }
        assert!(parse(r#"{"databaseUrl":"","poolSize":0}"#).expect_err("refused").contains("poolSize"));
        assert!(
            parse(r#"{"databaseUrl":"","limits":{"querySeconds":1}}"#).expect_err("refused").contains("querySeconds")
        );
    }

    #[test]
    fn a_limit_by_its_old_name_is_refused_with_the_new_one() {
        for (before, now) in RENAMED {
            let refused = parse(&format!(r#"{{"databaseUrl":"","limits":{{"{before}":1}}}}"#)).expect_err("refused");
            assert!(refused.contains(before) && refused.contains(now), "{refused}");
            assert!(parse(&format!(r#"{{"databaseUrl":"","limits":{{"{now}":1}}}}"#)).is_ok());
        }
    }
}
