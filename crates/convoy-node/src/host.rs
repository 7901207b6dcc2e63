//! JavaScript as a host of functions: calls go out through one thread-safe
//! function, and come back by call id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoy::dispatch::{CallId, CallLink, FunctionHost, Invocation, LinkError, Outcome, Rest, Work};
use convoy::{Code, Failure};
use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::promise::{malformed, rejection};

/// `(kind, callId, index, text, request)`.
pub type Delivery = FnArgs<(u32, i64, u32, String, Option<String>)>;

/// The JavaScript function every delivery goes to.
pub type Deliver = ThreadsafeFunction<Delivery, (), Delivery, Status, false, false>;

/// Run a function.
const CALL: u32 = 0;
/// The results of a batch.
const RESULTS: u32 = 1;
/// The engine gave a call up.
const ABANDON: u32 = 2;
/// Make a context, to say who asks.
const CONTEXT: u32 = 3;
/// Say that the thread gets to its deliveries; returning is the answer.
const PING: u32 = 4;

/// The calls in progress in one JavaScript thread, by id: it answers by id,
/// whatever version of the code a call runs on.
pub struct Calls(Mutex<Option<HashMap<u64, CallLink>>>);

impl Default for Calls {
    fn default() -> Calls {
        Calls(Mutex::new(Some(HashMap::new())))
    }
}

impl Calls {
    fn table(&self) -> MutexGuard<'_, Option<HashMap<u64, CallLink>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, call: CallId, link: CallLink) {
        let unwanted = match &mut *self.table() {
            Some(calls) => calls.insert(call.0, link),
            None => Some(link),
        };
        drop(unwanted);
    }

    fn take(&self, call: i64) -> Option<CallLink> {
        self.table().as_mut()?.remove(&u64::try_from(call).ok()?)
    }

    /// The thread goes away, and its calls with it; so will those still to come.
    pub fn close(&self) {
        let calls = self.table().take();
        drop(calls);
    }

    /// Sends a batch.
    pub fn operate(&self, call: i64, batch: u32, ops: String) -> Result<()> {
        let calls = self.table();
        let link = u64::try_from(call).ok().and_then(|call| calls.as_ref()?.get(&call));
        match link.map(|link| link.operate(batch, ops)) {
            Some(Err(error @ LinkError::Full)) => Err(rejection(&Failure::new(Code::Internal, error.to_string()))),
            // A call that is over was told so, and what it still sends is ignored.
            _ => Ok(()),
        }
    }

    /// Ends a call.
    pub fn respond(&self, call: i64, ok: bool, text: String, more: Option<String>) -> Result<()> {
        // A call the engine gave up is not in the table any more.
        let Some(link) = self.take(call) else { return Ok(()) };
        let more = rest(more).map_err(|error| rejection(&malformed("an answer", &error)))?;
        if let Err(error) = link.respond(outcome(ok, text), more) {
            tracing::debug!(cause = %error, "a function answered a call that is over");
        }
        Ok(())
    }
}

/// One version of the code, in one JavaScript thread.
pub struct JsHost {
    deliver: Deliver,
    calls: Arc<Calls>,
}

impl JsHost {
    /// Takes the function deliveries go to.
    pub fn new(deliver: &Function<'_, Delivery, ()>, calls: Arc<Calls>) -> Result<JsHost> {
        let deliver = deliver.build_threadsafe_function::<Delivery>().build_callback(|context| Ok(context.value))?;
        Ok(JsHost { deliver, calls })
    }

    fn deliver(&self, delivery: (u32, i64, u32, String, Option<String>)) -> Status {
        self.deliver_and(delivery, || {})
    }

    /// Calls `returned` when JavaScript has taken the delivery.
    fn deliver_and(
        &self,
        delivery: (u32, i64, u32, String, Option<String>),
        returned: impl FnOnce() + 'static,
    ) -> Status {
        // The JavaScript side is total; were it ever to throw, the error must
        // not end the process, so it is received here.
        self.deliver.call_with_return_value(
            delivery.into(),
            ThreadsafeFunctionCallMode::NonBlocking,
            move |result: Result<()>, _| {
                match result {
                    Ok(()) => {}
                    // Nothing was thrown: the thread is being ended, and runs no
                    // JavaScript any more.
                    Err(error) if error.reason.is_empty() => {
                        tracing::debug!(cause = %error, "a delivery came to a thread that is ending");
                    }
                    Err(error) => {
                        tracing::error!(cause = %error, "the function host threw; this is a defect of Convoy");
                    }
                }
                returned();
                Ok(())
            },
        )
    }
}

impl FunctionHost for JsHost {
    fn start(&self, invocation: Invocation, link: CallLink) {
        let Invocation { call, work, input, request } = invocation;
        self.calls.insert(call, link);
        let request = request.map(|request| request.to_string());
        let (kind, function) = match work {
            Work::Function(function) => (CALL, function),
            Work::Context => (CONTEXT, 0),
        };
        let status = self.deliver((kind, call.0 as i64, function, input.to_string(), request));
        if status != Status::Ok {
            // The thread is gone; dropping the link tells the engine.
            drop(self.calls.take(call.0 as i64));
        }
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        if self.deliver((RESULTS, call.0 as i64, batch, results, None)) != Status::Ok {
            drop(self.calls.take(call.0 as i64));
        }
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        drop(self.calls.take(call.0 as i64));
        // A thread that is gone needs no telling.
        self.deliver((ABANDON, call.0 as i64, 0, why.to_json(), None));
    }

    fn ping(&self, answered: oneshot::Sender<()>) {
        // Whoever asked may have stopped waiting.
        self.deliver_and((PING, 0, 0, String::new(), None), || answered.send(()).unwrap_or_default());
    }
}

/// How a function failed: with words for its caller, or `thrown`. One struct,
/// since serde cannot keep raw JSON inside an untagged enum.
#[derive(Deserialize)]
struct Refusal {
    thrown: Option<Thrown>,
    code: Option<String>,
    #[serde(default)]
    message: String,
    details: Option<Box<RawValue>>,
    status: Option<u16>,
}

#[derive(Deserialize)]
struct Thrown {
    message: String,
    #[serde(default)]
    stack: String,
}

/// What JavaScript says beside the outcome.
fn rest(text: Option<String>) -> serde_json::Result<Rest> {
    text.map_or_else(|| Ok(Rest::default()), |text| serde_json::from_str(&text))
}

/// How JavaScript says a function ended.
fn outcome(ok: bool, text: String) -> Outcome {
    if ok {
        return Outcome::Returned(text);
    }
    let broke = |message: String| Outcome::Threw { message, stack: String::new() };
    let refusal: Refusal = match serde_json::from_str(&text) {
        Ok(refusal) => refusal,
        Err(error) => return broke(format!("{text} ({error})")),
    };
    let Refusal { thrown, code, message, details, status } = refusal;
    match (thrown, code.as_deref().map(Code::parse)) {
        (Some(Thrown { message, stack }), _) => Outcome::Threw { message, stack },
        (None, Some(Some(code))) => Outcome::Refused(Failure { code, message, details, status, error_id: None }),
        (None, _) => broke(format!("unknown error code {}: {message}", code.unwrap_or_default())),
    }
}
