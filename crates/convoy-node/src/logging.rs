//! The engine's log, written to standard error.

use std::io::IsTerminal;
use std::sync::Once;

use tracing_subscriber::EnvFilter;

/// Sets the log up once per process. `CONVOY_DEBUG=1` shows everything.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let debug = std::env::var_os("CONVOY_DEBUG").is_some_and(|value| !value.is_empty() && value != "0");
        let level = if debug { "convoy=debug,info" } else { "convoy=info,warn" };
        let started = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .compact()
            .try_init();
        // Another addon of this process may have set its own up first; then
        // that one is used.
        if let Err(error) = started {
            tracing::debug!(cause = %error, "a log was already set up");
        }
    });
}
