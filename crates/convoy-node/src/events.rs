//! The handler of events in JavaScript: batches go through one thread-safe function, and the
//! next one waits until JavaScript has taken the last.

use std::sync::Arc;

use convoy::{Event, EventReader};
use futures_util::future::BoxFuture;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use tokio::sync::Notify;

/// It does not keep the event loop of its thread alive.
type OnEvents = ThreadsafeFunction<String, (), String, Status, false, true>;

/// The handler as the engine sees it.
pub struct JsEventReader {
    on_events: OnEvents,
    taken: Arc<Notify>,
}

impl JsEventReader {
    /// `taken` is notified when JavaScript has handled a batch.
    pub fn new(on_events: &Function<'_, String, ()>, taken: Arc<Notify>) -> Result<JsEventReader> {
        let on_events = on_events.build_threadsafe_function::<String>().weak::<true>().build()?;
        Ok(JsEventReader { on_events, taken })
    }
}

impl EventReader for JsEventReader {
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, ()> {
        let taken = self.taken.clone();
        let sent = serde_json::to_string(&events)
            .inspect_err(|error| tracing::error!(cause = %error, "events could not be written as JSON"))
            .is_ok_and(|json| self.on_events.call(json, ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok);
        Box::pin(async move {
            // Otherwise its thread has ended, and there is nothing to wait for.
            if sent {
                taken.notified().await;
            }
        })
    }
}
