//! Development only: a database per test, a scripted function host, and a client
//! that speaks the wire.
//!
//! Tests run against a real Postgres named by `CONVOY_TEST_DATABASE_URL`, which
//! `npm test` starts. Waiting is for events; a deadline only turns a hang into a
//! failure.

mod app;
mod client;
mod connection;
mod database;
mod events;
mod host;
mod pooler;
mod proxy;
mod reader;
mod rows;
mod session;
mod wire;

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

pub use app::{App, IndexSpec, table};
pub use client::{Answer, Client, Reply, Watch};
pub use connection::Connection;
pub use database::{Eavesdropper, Psql, TestDb};
pub use host::{Ctx, Functions, Thrown};
pub use pooler::Pooler;
pub use proxy::{End, Listener, Proxy};
pub use reader::{Holder, Reader};
pub use session::{Answers, Session};
pub use wire::{Cut, Wire};

/// How long a test waits for an event before it calls it missing.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Lets this process open so many files and sockets.
pub fn allow_open_files(wanted: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = limit.maximum.map_or(Some(wanted), |most| Some(most.min(wanted)));
        setrlimit(Resource::Nofile, limit).expect("a limit may be raised to its maximum");
    }
    let most = limit.current.unwrap_or(u64::MAX);
    assert!(most >= wanted, "this test needs {wanted} open files, and {most} are allowed; see `ulimit -Hn`");
}

/// Waits for an event of the test's own, no longer than [`PATIENCE`].
pub async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.expect("the awaited event comes")
}
