//! The engine's log, and the output of JavaScript: both use [`output`], which never blocks
//! or fails.

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::time::Duration;

use convoy::output;
use napi_derive::napi;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{fmt, registry};

/// Installs the log once per process. `CONVOY_DEBUG=1` enables debug messages.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(log_panic));
        let debug = std::env::var_os("CONVOY_DEBUG").is_some_and(|value| !value.is_empty() && value != "0");
        let (own_level, other_level) =
            if debug { (LevelFilter::DEBUG, LevelFilter::INFO) } else { (LevelFilter::INFO, LevelFilter::WARN) };
        let lines = fmt::layer()
            .with_writer(|| Log)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .log_internal_errors(false)
            .compact();
        let levels = Targets::new().with_default(other_level).with_target("convoy", own_level);
        let installed = registry().with(levels).with(lines).try_init();
        // Another addon of this process may have installed its log first, which is then used.
        if let Err(error) = installed {
            tracing::debug!(cause = %error, "a log was already installed");
        }
    });
}

/// Writes text to standard output (1) or standard error (2) of this process, from any
/// thread: never blocks or fails. Long lines are cut; if the queue is full, lines are
/// dropped and counted.
#[napi(catch_unwind)]
pub fn write_log(stream: u32, text: String) {
    let output = if stream == 1 { output::stdout() } else { output::stderr() };
    output.write(&text);
}

/// Waits until all output was written, for at most `timeout` milliseconds. Called at the
/// end of the process.
#[napi(catch_unwind)]
pub fn flush_log(timeout: u32) {
    output::flush(Duration::from_millis(u64::from(timeout)));
}

/// Logs a panic as one line. Replaces Rust's hook, which blocks on a full pipe.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    output::stderr().write_log(&format!("convoy: panic at {location}: {}\n", output::cut(&message)));
}

/// The writer of the log: each event is written whole, in one call.
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        output::stderr().write_log(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
