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

use crate::log_format::{self, Export, FUNCTION_TARGET, LineFormat, printed};
use crate::panic_point::{self, At};

/// Installs the log once per process. `CONVOY_DEBUG=1` enables debug messages.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(log_panic));
        output::format_notes_by(|note| printed(note, "warn", None).into_owned());
        let debug = std::env::var_os("CONVOY_DEBUG").is_some_and(|value| !value.is_empty() && value != "0");
        let (own_level, other_level) =
            if debug { (LevelFilter::DEBUG, LevelFilter::INFO) } else { (LevelFilter::INFO, LevelFilter::WARN) };
        let lines = fmt::layer()
            .with_writer(|| Log)
            .with_ansi(io::stderr().is_terminal())
            .log_internal_errors(false)
            .event_format(LineFormat::new());
        let levels = Targets::new()
            .with_default(other_level)
            .with_target("convoy", own_level)
            // JavaScript decides which lines of functions there are.
            .with_target(FUNCTION_TARGET, LevelFilter::DEBUG);
        let installed = registry().with(levels).with(lines).with(Export).try_init();
        // Another addon of this process may have installed its log first, which is then used.
        if let Err(error) = installed {
            tracing::debug!(cause = %error, "a log was already installed");
        }
    });
}

/// Writes text to standard output (1) or standard error (2) of this process, from any
/// thread: never blocks or fails. Long lines are cut; if the queue is full, lines are
/// dropped and counted. `function` has printed it, if that is known.
#[napi(catch_unwind)]
pub fn write_log(stream: u32, text: String, function: Option<String>) {
    panic_point::reach(At::Call);
    let (output, level) = if stream == 1 { (output::stdout(), "info") } else { (output::stderr(), "error") };
    output.write(&printed(&text, level, function.as_deref()));
}

/// Sets the form of the log of this process: `json`, or `pretty`.
#[napi(catch_unwind)]
pub fn set_log_format(format: String) {
    panic_point::reach(At::Call);
    log_format::set_json(format == "json");
}

/// A line of a function.
pub struct FunctionLine {
    pub call: i64,
    pub level: String,
    pub function: String,
    pub message: String,
    /// A JSON object.
    pub fields: Option<String>,
}

/// Logs a line of a function, as an event, so that it goes where the log goes.
pub fn log_of_function(line: &FunctionLine) {
    let FunctionLine { call, level, function, message, fields } = line;
    let (call, function, fields) = (*call, function.as_str(), fields.as_deref());
    match level.as_str() {
        "debug" => tracing::debug!(target: FUNCTION_TARGET, function, call, fields, "{message}"),
        "warn" => tracing::warn!(target: FUNCTION_TARGET, function, call, fields, "{message}"),
        "error" => tracing::error!(target: FUNCTION_TARGET, function, call, fields, "{message}"),
        _ => tracing::info!(target: FUNCTION_TARGET, function, call, fields, "{message}"),
    }
}

/// Waits until all output was written, for at most `timeout` milliseconds. Called at the
/// end of the process.
#[napi(catch_unwind)]
pub fn flush_log(timeout: u32) {
    panic_point::reach(At::Call);
    output::flush(Duration::from_millis(u64::from(timeout)));
}

/// Logs a panic as one line. Replaces Rust's hook, which blocks on a full pipe.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let line = format!("convoy: panic at {location}: {}\n", output::cut(&message));
    output::stderr().write_log(&printed(&line, "error", None));
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
