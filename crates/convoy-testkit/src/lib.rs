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

/// Waits for an event of the test's own, no longer than [`PATIENCE`].
pub async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.expect("the awaited event comes")
}
