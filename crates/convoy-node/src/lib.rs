//! The N-API binding of the engine: converts and forwards, without decisions.
//!
//! Data crosses as JSON text. Exceptions do not cross: every call into Rust returns a
//! value or a rejected promise with a failure's JSON as message, and panics are caught
//! here. The addon may be loaded more than once and in worker threads; engines share only
//! the threads of the runtime. A worker thread finds its engine by number ([`shared`]).

// `#[napi]` exports functions of private modules.
#![allow(unreachable_pub)]

mod dev_page;
mod engine;
mod events;
mod exchange;
mod host;
mod log_format;
mod logging;
mod panic_point;
mod promise;
mod route;
mod shared;
mod signals;
mod tools;
mod watch;
mod worker;

use std::sync::OnceLock;

use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

/// Calls allocate in one thread and free in another, which costs the allocator of the C library a
/// tenth of a short call.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The runtime of all engines of this process. Two to four threads suffice: JavaScript has
/// its own thread, and Postgres its own processes.
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
