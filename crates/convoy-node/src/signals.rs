//! The signals that ask a process of ours to end. They are heard here and not in
//! JavaScript, whose thread may be kept by a loop: the engines drain at the first,
//! and the process ends with the drain, whatever JavaScript does; at the second it
//! ends at once.

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

use crate::runtime;
use crate::shared::Shared;

/// How long the process may live after the first signal, as an engine drains.
const DRAIN: Duration = Duration::from_secs(10);
/// What JavaScript has at least, after the engines have closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// One Ctrl-C can arrive several times: the terminal sends it to everyone, and npm
/// and its like pass it on. Nobody presses it twice as fast as this.
const ONE_PRESS: Duration = Duration::from_millis(400);
/// How long the last lines of the log may take.
const FLUSH: Duration = Duration::from_millis(200);

/// The exit code after a second signal.
const HURRIED: i32 = 130;

type Told = ThreadsafeFunction<String, (), String, Status, false, true>;

/// From now on SIGTERM, SIGINT and SIGHUP end this process as said above. `told` is
/// called with the first one's name. Once per process; for those that own it.
#[napi(catch_unwind)]
pub fn handle_signals(told: Function<'_, String, ()>) -> Result<()> {
    static HANDLED: AtomicBool = AtomicBool::new(false);
    let told: Told = told.build_threadsafe_function::<String>().weak::<true>().build()?;
    if HANDLED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let _runtime = runtime().enter();
    let signals = listen().map_err(|error| napi::Error::from_reason(error.to_string()))?;
    runtime().spawn(until_the_end(signals, told));
    Ok(())
}

async fn until_the_end(mut signals: mpsc::Receiver<&'static str>, told: Told) {
    let Some(first) = signals.recv().await else { return };
    let began = Instant::now();
    told.call(first.to_owned(), ThreadsafeFunctionCallMode::NonBlocking);
    let engines = Shared::all();
    let drained = join_all(engines.iter().map(|engine| engine.close()));
    tokio::pin!(drained);
    let mut closed = false;
    let mut end = began + DRAIN + LAST_WORDS;
    loop {
        tokio::select! {
            Some(_again) = signals.recv() => {
                if began.elapsed() > ONE_PRESS {
                    end_process(HURRIED);
                }
            }
            _ = &mut drained, if !closed => {
                closed = true;
                end = (Instant::now() + LAST_WORDS).max(began + DRAIN);
            }
            () = tokio::time::sleep_until(end) => {
                tracing::warn!("{first}: JavaScript has not ended the process in time; it ends now");
                end_process(0);
            }
        }
    }
}

/// Not by `exit`: that waits for a thread of JavaScript, and a thread in a loop
/// never comes.
fn end_process(code: i32) -> ! {
    output::flush(FLUSH);
    #[allow(unsafe_code, reason = "there is no safe way to end a process without running what JavaScript holds up")]
    // SAFETY: `_exit` takes any code, and nothing runs after it.
    unsafe {
        libc::_exit(code)
    }
}

#[cfg(unix)]
fn listen() -> std::io::Result<mpsc::Receiver<&'static str>> {
    use tokio::signal::unix::{SignalKind, signal};

    // Those that come while one is looked at count as that one.
    let (heard, signals) = mpsc::channel(4);
    let kinds =
        [("SIGTERM", SignalKind::terminate()), ("SIGINT", SignalKind::interrupt()), ("SIGHUP", SignalKind::hangup())];
    for (name, kind) in kinds {
        forget_handler(kind.as_raw_value());
        let (mut signal, heard) = (signal(kind)?, heard.clone());
        runtime().spawn(async move { while signal.recv().await.is_some() && heard.send(name).await.is_ok() {} });
    }
    Ok(signals)
}

/// Node's own handler raises the signal again, for which it counts on being gone by
/// then. Called after one that stays, it would raise it for ever.
#[cfg(unix)]
fn forget_handler(signal: i32) {
    #[allow(unsafe_code, reason = "there is no safe way to give up a signal's handler")]
    // SAFETY: the default takes the place of a handler; no code of ours runs in it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
}

#[cfg(not(unix))]
fn listen() -> std::io::Result<mpsc::Receiver<&'static str>> {
    let (heard, signals) = mpsc::channel(4);
    runtime()
        .spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && heard.send("SIGINT").await.is_ok() {} });
    Ok(signals)
}
