//! Handles termination signals. They are handled here and not in JavaScript, whose thread
//! may be blocked by a loop. At the first signal the engines drain, after which the process
//! ends even if JavaScript is blocked; at the second signal it ends at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convoy::output;
use futures_util::future::join_all;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use napi_derive::napi;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::panic_point::{self, At};
use crate::runtime;
use crate::shared::Shared;

/// How long the engines may drain after the first signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(9);
/// How long JavaScript has at least to end the process once the engines have closed. With the time
/// to drain and to write the last lines it is less than the ten seconds that platforms wait.
const EXIT_GRACE: Duration = Duration::from_millis(700);
/// Signals within this time count as one: a terminal sends Ctrl-C to all processes of a
/// group, and npm forwards it again.
const DEBOUNCE: Duration = Duration::from_millis(400);
/// How long writing the last lines of the log may take.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// The exit code after a second signal.
const FORCED_EXIT_CODE: i32 = 130;

type OnSignal = ThreadsafeFunction<String, (), String, Status, false, true>;

/// Makes SIGTERM, SIGINT and SIGHUP end this process as described above. `on_signal` is
/// called with the name of the first one. Once per process, and only in processes that
/// Convoy owns.
#[napi(catch_unwind)]
pub fn handle_signals(on_signal: Function<'_, String, ()>) -> Result<()> {
    panic_point::reach(At::Call);
    static HANDLED: AtomicBool = AtomicBool::new(false);
    let on_signal: OnSignal = on_signal.build_threadsafe_function::<String>().weak::<true>().build()?;
    if HANDLED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let _runtime = runtime().enter();
    let signals = listen().map_err(|error| napi::Error::from_reason(error.to_string()))?;
    runtime().spawn(shut_down_on_signal(signals, on_signal));
    Ok(())
}

async fn shut_down_on_signal(mut signals: mpsc::Receiver<&'static str>, on_signal: OnSignal) {
    let Some(first) = signals.recv().await else { return };
    let began = Instant::now();
    on_signal.call(first.to_owned(), ThreadsafeFunctionCallMode::NonBlocking);
    let engines = Shared::all();
    let drained = join_all(engines.iter().map(|engine| engine.close()));
    tokio::pin!(drained);
    let mut closed = false;
    let mut deadline = began + DRAIN_TIMEOUT + EXIT_GRACE;
    loop {
        tokio::select! {
            Some(_again) = signals.recv() => {
                if began.elapsed() > DEBOUNCE {
                    end_process(FORCED_EXIT_CODE);
                }
            }
            _ = &mut drained, if !closed => {
                closed = true;
                deadline = (Instant::now() + EXIT_GRACE).max(began + DRAIN_TIMEOUT);
            }
            () = tokio::time::sleep_until(deadline) => {
                tracing::warn!("{first}: JavaScript has not ended the process in time; it ends now");
                end_process(0);
            }
        }
    }
}

/// Ends the process. Not with `exit`, which waits for the threads of JavaScript, and a
/// thread in a loop never ends.
fn end_process(code: i32) -> ! {
    output::flush(FLUSH_TIMEOUT);
    #[allow(
        unsafe_code,
        reason = "there is no safe way to end a process without exit handlers, which JavaScript may block"
    )]
    // SAFETY: `_exit` takes any code, and nothing runs after it.
    unsafe {
        libc::_exit(code)
    }
}

#[cfg(unix)]
fn listen() -> std::io::Result<mpsc::Receiver<&'static str>> {
    use tokio::signal::unix::{SignalKind, signal};

    // Signals that arrive while one is handled count as that one.
    let (sender, signals) = mpsc::channel(4);
    let kinds =
        [("SIGTERM", SignalKind::terminate()), ("SIGINT", SignalKind::interrupt()), ("SIGHUP", SignalKind::hangup())];
    for (name, kind) in kinds {
        remove_handler(kind.as_raw_value());
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        runtime().spawn(async move { while signal.recv().await.is_some() && sender.send(name).await.is_ok() {} });
    }
    Ok(signals)
}

/// Restores the default action. Node's handler assumes that it has removed itself before it
/// raises the signal again; chained after a handler that stays, it would raise it forever.
#[cfg(unix)]
fn remove_handler(signal: i32) {
    #[allow(unsafe_code, reason = "there is no safe way to remove a signal's handler")]
    // SAFETY: the default action replaces a handler; no code of ours runs in it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
}

#[cfg(not(unix))]
fn listen() -> std::io::Result<mpsc::Receiver<&'static str>> {
    let (sender, signals) = mpsc::channel(4);
    runtime()
        .spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send("SIGINT").await.is_ok() {} });
    Ok(signals)
}
