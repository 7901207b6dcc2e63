//! Development only: a database per test, a scripted function host, and a client of the HTTP
//! API.
//!
//! Tests run against a real Postgres named by `CONVOY_TEST_DATABASE_URL`, which
//! `npm test` starts. Tests wait for events; a timeout only turns a hang into a failure.

mod app;
mod client;
mod cluster;
mod connection;
mod database;
mod events;
mod host;
pub mod list_append;
mod pooler;
mod process;
mod proxy;
mod reader;
mod rows;
pub mod seeds;
mod session;
mod wire;

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

pub use app::{App, IndexSpec, table};
pub use client::{Answer, Client, Reply, Watch};
pub use cluster::{Cluster, PostgresTools};
pub use connection::{Connection, ConnectionLost};
pub use database::{NotificationListener, Psql, TestDb};
pub use host::{Ctx, Functions, Thrown};
pub use pooler::Pooler;
pub use process::{ServerProcess, options_of_server, serve_until_input_ends};
pub use proxy::{Conditions, Direction, End, Flow, Flushes, Listener, Proxy};
pub use reader::{Reader, StreamState};
pub use session::{Answers, LiveSession};
pub use wire::{Cut, Wire};

/// How long a test waits for an event before it fails: long enough for a machine without idle
/// time, since only a hang takes as long.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Raises the limit of open files and sockets of this process.
pub fn allow_open_files(needed: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = limit.maximum.map_or(Some(needed), |allowed| Some(allowed.min(needed)));
        setrlimit(Resource::Nofile, limit).expect("a limit may be raised to its maximum");
    }
    let allowed = limit.current.unwrap_or(u64::MAX);
    assert!(allowed >= needed, "this test needs {needed} open files, and {allowed} are allowed; see `ulimit -Hn`");
}

/// Waits for an event, no longer than [`EVENT_TIMEOUT`].
pub async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(EVENT_TIMEOUT, event).await.expect("the awaited event comes")
}
