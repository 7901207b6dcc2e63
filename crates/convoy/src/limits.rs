//! The published limits that can be configured. `scripts/limits-reference.mjs` makes the table
//! in `docs/limits.md` of the definitions below, so their form is fixed: a text, then
//! `name: type = default, unit, range, "error";`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A day, in milliseconds.
const DAY: u64 = 86_400_000;
/// Numbers up to this one have no meaning to the engine of their own: more than fits.
const MANY: u64 = 1_000_000_000;

macro_rules! limits {
    ($($(#[doc = $text:literal])+ $name:ident: $type:ty = $default:expr, $unit:literal, $range:expr, $error:literal;)+) => {
        /// The published limits; exceeding one has a named error.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $text])+ pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)+ }
            }
        }

        /// The names, with the smallest and the largest value of each.
        const RANGES: &[(&str, RangeInclusive<u64>)] = &[$((stringify!($name), $range),)+];
    };
}

limits! {
    /// Size of a request body, and of a message over a WebSocket.
    body_bytes: usize = 1 << 20, "bytes", 1..=MANY, "`PAYLOAD_TOO_LARGE`";
    /// Size of the result of a function.
    result_bytes: usize = 16 << 20, "bytes", 1..=256 << 20, "`PAYLOAD_TOO_LARGE`";
    /// Time of a query, and of each of its statements.
    query_ms: u64 = 10_000, "ms", 1..=DAY, "`TIMEOUT`";
    /// Time of a mutation, retries included, and of each of its statements.
    mutation_ms: u64 = 15_000, "ms", 1..=DAY, "`TIMEOUT`";
    /// Time of an action, and of an [HTTP route](http-routes.md#limits) until its response begins.
    action_ms: u64 = 600_000, "ms", 1..=DAY, "`TIMEOUT`";
    /// Retries of a mutation after conflicts; they continue for at least one second.
    retries: u32 = 4, "", 0..=100, "`CONFLICT`";
    /// Time after which an unresponsive [worker](workers.md) is replaced, once a call on it has
    /// timed out; and after which `/api/health` returns 503 if the main thread runs functions and
    /// does not respond.
    worker_unresponsive_ms: u64 = 5_000, "ms", 1..=DAY, "`UNAVAILABLE` for its actions; its other calls run again";
    /// Pending calls, running or waiting for JavaScript; and calls with an idempotency key.
    max_pending_calls: usize = 1_024, "", 1..=MANY, "`UNAVAILABLE`";
    /// [HTTP routes](http-routes.md#limits) that run at once; they are no pending calls.
    routes: usize = 1_024, "", 0..=MANY, "`UNAVAILABLE`";
    /// HTTP routes of one client address, or of one network of IPv6 (/64), that run at once, behind a
    /// [trusted proxy](http.md#behind-a-proxy); clients on the same machine are not counted.
    routes_per_address: usize = 64, "", 0..=MANY, "`RATE_LIMITED`";
    /// Live streams of a process.
    streams: usize = 20_000, "", 0..=MANY, "`UNAVAILABLE`";
    /// Live streams of one client address, or of one network of IPv6 (/64), behind a
    /// [trusted proxy](http.md#behind-a-proxy); clients on the same machine are not counted.
    streams_per_address: usize = 64, "", 0..=MANY, "`RATE_LIMITED`";
    /// Queries of one live stream.
    queries_per_stream: usize = 256, "", 0..=MANY, "`PAYLOAD_TOO_LARGE`";
    /// Interval at which `createContext` runs again for an open stream without another reason.
    context_refresh_ms: u64 = 60_000, "ms", 1..=DAY, "–";
    /// Time for which the [result cache](functions.md#the-result-cache) keeps the result of a
    /// call, and that of a live query after its last subscriber has left.
    idle_query_ms: u64 = 60_000, "ms", 0..=DAY, "–";
    /// Size of the results in it together; beyond, those are dropped that are cheap to compute
    /// again for their size.
    result_cache_bytes: usize = 64 << 20, "bytes", 0..=MANY, "–";
    /// Documents and rows that one call reads.
    max_documents_read: usize = 32_000, "", 0..=MANY, "`PAYLOAD_TOO_LARGE`";
    /// Documents that one call writes.
    max_documents_written: usize = 16_000, "", 0..=MANY, "`PAYLOAD_TOO_LARGE`";
    /// Size of a [document](#size-of-a-document) after a write.
    document_bytes: usize = 1 << 20, "bytes", 1..=256 << 20, "`PAYLOAD_TOO_LARGE`";
    /// Silence on a stream before a comment is sent.
    heartbeat_ms: u64 = 15_000, "ms", 1..=DAY, "–";
    /// Size of the headers of a request together.
    header_bytes: usize = 64 << 10, "bytes", 1 << 10..=1 << 20, "`PAYLOAD_TOO_LARGE` with status 431; far beyond, 431 without JSON";
    /// Time to send a body; to an HTTP route, time in which a client may send less than 1 KiB per
    /// second.
    body_ms: u64 = 30_000, "ms", 1..=DAY, "`TIMEOUT`";
    /// Time to send headers, and the first message of a WebSocket.
    header_ms: u64 = 10_000, "ms", 1..=DAY, "the connection closes";
    /// Time within which a client must read data that was sent to it.
    slow_reader_ms: u64 = 60_000, "ms", 1..=DAY, "the connection closes";
    /// Waiting for a connection to Postgres, where all of `poolSize` are in use.
    connection_ms: u64 = 5_000, "ms", 1..=DAY, "`UNAVAILABLE`";
    /// Size of the [static files](static-files.md) together, which stay in memory.
    static_bytes: u64 = 256 << 20, "bytes", 1..=1 << 40, "the server does not start";
    /// Number of static files.
    static_files: usize = 20_000, "", 1..=MANY, "the server does not start";
    /// Interval at which the change log is read while there are live queries, besides each
    /// notification.
    poll_ms: u64 = 100, "ms", 1..=DAY, "–";
    /// Interval at which queries of a table without triggers run again.
    untracked_poll_ms: u64 = 5_000, "ms", 1..=DAY, "–";
    /// Interval at which triggers are checked.
    trigger_check_ms: u64 = 15_000, "ms", 1..=DAY, "–";
}

/// Renamed limits: their old and new names.
const RENAMED: [(&str, &str); 10] = [
    ("stuckMs", "workerUnresponsiveMs"),
    ("contextMs", "contextRefreshMs"),
    ("triggersMs", "triggerCheckMs"),
    ("pollEveryMs", "untrackedPollMs"),
    ("stallMs", "slowReaderMs"),
    ("waitingCalls", "maxPendingCalls"),
    ("documentsRead", "maxDocumentsRead"),
    ("documentsWritten", "maxDocumentsWritten"),
    ("lingerMs", "idleQueryMs"),
    ("idleQueries", "resultCacheBytes"),
];

/// Parses the option `limits`.
pub(crate) fn parse<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    let given = serde_json::Map::deserialize(deserializer)?;
    if let Some((before, now)) = RENAMED.into_iter().find(|(before, _)| given.contains_key(*before)) {
        return Err(D::Error::custom(format!("`limits.{before}` was renamed to `limits.{now}`")));
    }
    for (name, range) in RANGES {
        let name = camel_case(name);
        let Some(value) = given.get(&name) else { continue };
        if !value.as_u64().is_some_and(|value| range.contains(&value)) {
            let (min, max) = (range.start(), range.end());
            let reason = format!("`limits.{name}` is a whole number from {min} to {max}; {value} was given");
            return Err(D::Error::custom(reason));
        }
    }
    Limits::deserialize(Value::Object(given)).map_err(D::Error::custom)
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_ascii_uppercase() + &word[1..])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn parse(limits: &str) -> Result<Config, String> {
        serde_json::from_str(&format!(r#"{{"databaseUrl":"","limits":{limits}}}"#)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_limit_by_its_old_name_is_refused_with_the_new_one() {
        for (before, now) in RENAMED {
            let refused = parse(&format!(r#"{{"{before}":1}}"#)).expect_err("refused");
            assert!(refused.contains(before) && refused.contains(now), "{refused}");
            assert!(parse(&format!(r#"{{"{now}":1}}"#)).is_ok());
        }
    }

    #[test]
    fn every_limit_takes_the_ends_of_its_range_and_nothing_beyond() {
        for (name, range) in RANGES {
            let name = camel_case(name);
            for value in [*range.start(), *range.end()] {
                assert!(parse(&format!(r#"{{"{name}":{value}}}"#)).is_ok(), "{name} {value}");
            }
            let below = range.start().checked_sub(1).map_or("-1".to_owned(), |below| below.to_string());
            for value in [below, (range.end() + 1).to_string(), "1.5".to_owned(), "\"9\"".to_owned(), "null".to_owned()]
            {
                let refused = parse(&format!(r#"{{"{name}":{value}}}"#)).expect_err("refused");
                assert!(refused.contains(&format!("`limits.{name}` is a whole number from")), "{refused}");
            }
        }
    }

    #[test]
    fn defaults_are_in_their_ranges() {
        let Limits { streams, query_ms, .. } = Limits::default();
        assert_eq!((streams, query_ms, RANGES.len()), (20_000, 10_000, 30));
    }
}
