//! The configuration of an engine: the database, the options and the limits.

mod security_headers;

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::failpoints::Failpoints;
use crate::limits;
pub use crate::limits::Limits;
use crate::origin::Origin;
use crate::rate_limit::Policy;
use crate::telemetry::TelemetryOptions;
use crate::trusted_proxies::TrustedProxies;

pub use security_headers::{HeaderChanges, Hsts, SecurityHeaderOptions};

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
    #[serde(default = "default_pool_size", deserialize_with = "pool_size")]
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
    pub security_headers: SecurityHeaderOptions,
    /// A folder of static files, which listeners of the engine serve beside the base path.
    #[serde(default, rename = "static")]
    pub static_files: Option<PathBuf>,
    /// Whether to serve the OpenAPI document, and options of it for the host.
    #[serde(default)]
    pub openapi: Option<OpenApiOptions>,
    /// The prefix of all paths.
    #[serde(default = "default_base_path", deserialize_with = "base_path")]
    pub base_path: String,
    /// How often a caller may call functions and routes, all of them together.
    #[serde(default)]
    pub(crate) rate_limit: Option<Policy>,
    /// Published limits.
    #[serde(default, deserialize_with = "limits::parse")]
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

fn default_pool_size() -> usize {
    10
}

fn default_base_path() -> String {
    "/api".to_owned()
}

/// More than a server of Postgres usually accepts.
const MAX_POOL_SIZE: usize = 10_000;

fn pool_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let size = usize::deserialize(deserializer)?;
    let is_valid = (1..=MAX_POOL_SIZE).contains(&size);
    is_valid.then_some(size).ok_or_else(|| serde::de::Error::custom("poolSize is from 1 to 10,000"))
}

/// Normalizes `api/`, `/api` and `/api/` to the same path. Refuses what no path of a request begins with.
fn base_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    let bare = path.trim_matches('/');
    if bare.is_empty() {
        return Ok(String::new());
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(character);
    // A letter and a colon is a drive: some shells of Windows convert `/api` to a path of theirs.
    let is_drive = |segment: &str| segment.len() == 2 && segment.ends_with(':');
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && !is_drive(segment) && segment.chars().all(is_plain);
    if !bare.split('/').all(is_segment) {
        let reason =
            format!("basePath is a path of plain characters, such as \"/api\" or \"/v1/convoy\"; {path:?} was given");
        return Err(serde::de::Error::custom(reason));
    }
    Ok(format!("/{bare}"))
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
        assert_eq!([with("/api/"), with("api"), with("/"), with("/v1:beta/a@b")], ["/api", "/api", "", "/v1:beta/a@b"]);
        for origin in ["*", "null", "https://app.example/", "app.example"] {
            let refused = parse(&format!(r#"{{"databaseUrl":"","cors":{{"origins":["{origin}"]}}}}"#));
            assert!(refused.expect_err("refused").contains("cors.origins"), "{origin}");
        }
        for path in ["/api?x", "https://a/api", "/my api", "C:/Git/api", "/a//b", "/a/../b", "/.", "/ä", "a#b", "/%61"]
        {
            let refused = parse(&format!(r#"{{"databaseUrl":"","basePath":"{path}"}}"#));
            assert!(refused.expect_err("refused").contains("basePath"), "{path}");
        }
        let sized = |size: u64| parse(&format!(r#"{{"databaseUrl":"","poolSize":{size}}}"#));
        assert_eq!([1, 10_000].map(|size| sized(size).expect("accepted").pool_size), [1, 10_000]);
        assert!(
            [0, 10_001, u64::MAX]
                .map(|size| sized(size).expect_err("refused").contains("poolSize"))
                .iter()
                .all(|it| *it)
        );
        assert!(
            parse(r#"{"databaseUrl":"","limits":{"querySeconds":1}}"#).expect_err("refused").contains("querySeconds")
        );
    }
}
