//! The engine's log, and what JavaScript prints: both through [`output`], which
//! neither waits nor fails.

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

/// Sets the log up once per process. `CONVOY_DEBUG=1` shows everything.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(say_panic));
        let debug = std::env::var_os("CONVOY_DEBUG").is_some_and(|value| !value.is_empty() && value != "0");
        let (ours, others) =
            if debug { (LevelFilter::DEBUG, LevelFilter::INFO) } else { (LevelFilter::INFO, LevelFilter::WARN) };
        let lines = fmt::layer()
            .with_writer(|| Log)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .log_internal_errors(false)
            .compact();
        let levels = Targets::new().with_default(others).with_target("convoy", ours);
        let started = registry().with(lines.with_filter(levels)).try_init();
        // Another addon of this process may have set its own up first; then
        // that one is used.
        if let Err(error) = started {
            tracing::debug!(cause = %error, "a log was already set up");
        }
    });
}

/// Adds text to standard output (1) or standard error (2) of this process, from
/// any thread: never waits, never fails. Long lines are cut; where there is no
/// room, lines are dropped and counted.
#[napi(catch_unwind)]
pub fn write_log(stream: u32, text: String) {
    let output = if stream == 1 { output::stdout() } else { output::stderr() };
    output.write(&text);
}

/// Waits until everything was written, at most so many milliseconds: for the end of
/// the process.
#[napi(catch_unwind)]
pub fn flush_log(most: u32) {
    output::flush(Duration::from_millis(u64::from(most)));
}

/// One line for a panic, in place of Rust's own, which would wait for a full pipe.
fn say_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    output::stderr().write(&format!("convoy: panic at {place}: {}\n", output::cut(&message)));
}

/// Where events of the log go: each comes whole, in one call.
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        output::stderr().write(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
