//! The N-API skin of the engine: conversions and forwarding, no decisions.
//!
//! What crosses is JSON text. Nothing thrown crosses: every call into Rust ends
//! in a value or in a rejected promise whose message is a failure's JSON, and
//! panics are caught at the border. The addon may be loaded more than once and
//! in worker threads; engines share nothing but the runtime's threads. A worker
//! thread finds the engine it works for by its number ([`shared`]).

// `#[napi]` exports functions of private modules.
#![allow(unreachable_pub)]

mod engine;
mod host;
mod logging;
mod promise;
mod shared;
mod signals;
mod worker;

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// The threads all engines of this process run on. JavaScript has a thread of
/// its own, and Postgres its processes, so a few are enough.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4));
        Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("convoy")
            .enable_all()
            .build()
            .expect("the operating system starts threads")
    })
}
