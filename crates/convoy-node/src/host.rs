//! JavaScript as a host of functions: calls go out through one thread-safe
//! function, and come back by call id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoy::{
    Activity, CallId, CallLink, CallMetadata, FunctionHost, FunctionResult, HostInvocation, HostTask, LinkError,
};
use convoy::{Code, Failure};
use napi::bindgen_prelude::{Buffer, Either, FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::promise::{malformed, rejection};

/// `(kind, callId, index, text, request)`.
pub type Delivery = FnArgs<(u32, i64, u32, Text, Option<String>)>;

/// A text; a large one as its bytes, which are not in V8's heap: where they do not fit
/// into that, V8 ends the whole process.
type Text = Either<String, Buffer>;

/// The most bytes that results have as a text.
const LARGE: usize = 8 << 20;

/// The JavaScript function every delivery goes to.
pub type Deliver = ThreadsafeFunction<Message, (), Delivery, Status, false, false>;

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

/// What is delivered.
pub enum Message {
    /// Run what this call asks for.
    Begin(u64),
    Results {
        call: u64,
        batch: u32,
        results: String,
    },
    Abandon {
        call: u64,
        why: String,
    },
    Ping,
}

/// The calls in progress in one JavaScript thread, by id: it answers by id,
/// whatever version of the code a call runs on.
#[derive(Default)]
pub struct Calls {
    table: Mutex<Table>,
    /// How many deliveries it has begun.
    begun: AtomicU64,
    /// The call it went on with last; 0 where it has been idle since.
    current: AtomicU64,
}

#[derive(Default)]
struct Table {
    calls: HashMap<u64, Entry>,
    /// The thread goes away.
    closed: bool,
}

enum Entry {
    /// JavaScript has not seen it yet.
    Waiting(Box<HostInvocation>, CallLink),
    Begun(CallLink),
}

impl Entry {
    fn link(self) -> CallLink {
        match self {
            Entry::Waiting(_, link) | Entry::Begun(link) => link,
        }
    }
}

impl Calls {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, invocation: HostInvocation, link: CallLink) {
        let (call, entry) = (invocation.call.0, Entry::Waiting(Box::new(invocation), link));
        let mut table = self.table();
        let unwanted = if table.closed { Some(entry) } else { table.calls.insert(call, entry) };
        // Its link may end what needs the lock.
        drop(table);
        drop(unwanted);
    }

    /// Takes a call out; whether JavaScript has begun it.
    fn take(&self, call: u64) -> Option<(CallLink, bool)> {
        let entry = self.table().calls.remove(&call)?;
        let begun = matches!(entry, Entry::Begun(_));
        Some((entry.link(), begun))
    }

    /// JavaScript begins a call; `None` where it was taken back or given up before.
    fn begin(&self, call: u64) -> Option<Box<HostInvocation>> {
        let mut table = self.table();
        match table.calls.remove(&call)? {
            Entry::Waiting(invocation, link) => {
                table.calls.insert(call, Entry::Begun(link));
                Some(invocation)
            }
            begun @ Entry::Begun(_) => {
                table.calls.insert(call, begun);
                None
            }
        }
    }

    fn take_back(&self, calls: &[CallId]) -> Vec<(HostInvocation, CallLink)> {
        let mut table = self.table();
        let mut taken = Vec::new();
        for call in calls {
            match table.calls.remove(&call.0) {
                Some(Entry::Waiting(invocation, link)) => taken.push((*invocation, link)),
                Some(begun) => drop(table.calls.insert(call.0, begun)),
                None => {}
            }
        }
        taken
    }

    fn activity(&self) -> Activity {
        let table = self.table();
        let begun = table.calls.iter().filter(|(_, entry)| matches!(entry, Entry::Begun(_)));
        let calls = begun.map(|(&call, _)| CallId(call)).collect();
        let current = Some(self.current.load(Ordering::Relaxed)).filter(|&call| call != 0).map(CallId);
        Activity { begun: self.begun.load(Ordering::Relaxed), current, calls }
    }

    /// The thread goes away, and its calls with it; so will those still to come.
    pub fn close(&self) {
        let calls = {
            let mut table = self.table();
            table.closed = true;
            std::mem::take(&mut table.calls)
        };
        drop(calls);
    }

    /// Sends a batch.
    pub fn operate(&self, call: i64, batch: u32, ops: String) -> Result<()> {
        let table = self.table();
        let entry = u64::try_from(call).ok().and_then(|call| table.calls.get(&call));
        match entry {
            Some(Entry::Begun(link)) => match link.operate(batch, ops) {
                Err(error @ LinkError::Full) => Err(rejection(&Failure::new(Code::Internal, error.to_string()))),
                _ => Ok(()),
            },
            // A call that is over was told so, and what it still sends is ignored.
            _ => Ok(()),
        }
    }

    /// Ends a call.
    pub fn respond(&self, call: i64, ok: bool, text: String, more: Option<String>) -> Result<()> {
        // A call the engine gave up is not in the table any more.
        let Some((link, _)) = u64::try_from(call).ok().and_then(|call| self.take(call)) else { return Ok(()) };
        let more = rest(more).map_err(|error| rejection(&malformed("an answer", &error)))?;
        if let Err(error) = link.respond(outcome(ok, text), more) {
            tracing::debug!(cause = %error, "a function answered a call that is over");
        }
        Ok(())
    }

    /// What JavaScript is given of a message, in its thread: from here on the call
    /// is begun.
    fn delivery(&self, message: Message) -> Delivery {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let current = |call: u64| self.current.store(call, Ordering::Relaxed);
        match message {
            Message::Begin(call) => match self.begin(call) {
                Some(invocation) => {
                    current(call);
                    let HostInvocation { work, input, request, .. } = *invocation;
                    let (kind, function) = match work {
                        HostTask::Function(function) => (CALL, function),
                        HostTask::Context => (CONTEXT, 0),
                    };
                    let request = request.map(|request| request.to_string());
                    (kind, call as i64, function, Text::A(input.to_string()), request).into()
                }
                None => nothing(),
            },
            Message::Results { call, batch, results } => {
                current(call);
                let results = match results.len() > LARGE {
                    true => Text::B(results.into_bytes().into()),
                    false => Text::A(results),
                };
                (RESULTS, call as i64, batch, results, None).into()
            }
            Message::Abandon { call, why } => {
                current(call);
                (ABANDON, call as i64, 0, Text::A(why), None).into()
            }
            Message::Ping => {
                current(0);
                nothing()
            }
        }
    }
}

/// A delivery that asks for nothing.
fn nothing() -> Delivery {
    (PING, 0, 0, Text::A(String::new()), None).into()
}

/// One version of the code, in one JavaScript thread.
pub struct JsHost {
    deliver: Deliver,
    calls: Arc<Calls>,
}

impl JsHost {
    /// Takes the function deliveries go to.
    pub fn new(deliver: &Function<'_, Delivery, ()>, calls: Arc<Calls>) -> Result<JsHost> {
        let inside = calls.clone();
        let deliver = deliver
            .build_threadsafe_function::<Message>()
            .build_callback(move |context| Ok(inside.delivery(context.value)))?;
        Ok(JsHost { deliver, calls })
    }

    fn deliver(&self, message: Message) -> Status {
        self.deliver_and(message, || {})
    }

    /// Calls `returned` when JavaScript has taken the delivery.
    fn deliver_and(&self, message: Message, returned: impl FnOnce() + 'static) -> Status {
        // The JavaScript side is total; were it ever to throw, the error must
        // not end the process, so it is received here.
        self.deliver.call_with_return_value(
            message,
            ThreadsafeFunctionCallMode::NonBlocking,
            move |result: Result<()>, _| {
                match result {
                    Ok(()) => returned(),
                    // Nothing was thrown: the thread is being ended, and runs no
                    // JavaScript any more. That is no sign of life.
                    Err(error) if error.reason.is_empty() => {
                        tracing::debug!(cause = %error, "a delivery came to a thread that is ending");
                    }
                    Err(error) => {
                        tracing::error!(cause = %error, "the function host threw; this is a defect of Convoy");
                        returned();
                    }
                }
                Ok(())
            },
        )
    }
}

impl FunctionHost for JsHost {
    fn start(&self, invocation: HostInvocation, link: CallLink) {
        let call = invocation.call.0;
        self.calls.insert(invocation, link);
        if self.deliver(Message::Begin(call)) != Status::Ok {
            // The thread is gone; dropping the link tells the engine.
            drop(self.calls.take(call));
        }
    }

    fn results(&self, CallId(call): CallId, batch: u32, results: String) {
        if self.deliver(Message::Results { call, batch, results }) != Status::Ok {
            drop(self.calls.take(call));
        }
    }

    fn abandon(&self, CallId(call): CallId, why: &Failure) {
        // JavaScript need not hear of one that it has not begun, and never will.
        if let Some((_, true)) = self.calls.take(call) {
            // A thread that is gone needs no telling.
            self.deliver(Message::Abandon { call, why: why.to_json() });
        }
    }

    fn ping(&self, answered: oneshot::Sender<()>) {
        // Whoever asked may have stopped waiting.
        self.deliver_and(Message::Ping, || answered.send(()).unwrap_or_default());
    }

    fn take_back(&self, calls: &[CallId]) -> Vec<(HostInvocation, CallLink)> {
        self.calls.take_back(calls)
    }

    fn activity(&self) -> Activity {
        self.calls.activity()
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
fn rest(text: Option<String>) -> serde_json::Result<CallMetadata> {
    text.map_or_else(|| Ok(CallMetadata::default()), |text| serde_json::from_str(&text))
}

/// How JavaScript says a function ended.
fn outcome(ok: bool, text: String) -> FunctionResult {
    if ok {
        return FunctionResult::Returned(text);
    }
    let broke = |message: String| FunctionResult::Threw { message, stack: String::new() };
    let refusal: Refusal = match serde_json::from_str(&text) {
        Ok(refusal) => refusal,
        Err(error) => return broke(format!("{text} ({error})")),
    };
    let Refusal { thrown, code, message, details, status } = refusal;
    match (thrown, code.as_deref().map(Code::parse)) {
        (Some(Thrown { message, stack }), _) => FunctionResult::Threw { message, stack },
        (None, Some(Some(code))) => FunctionResult::Refused(Failure { code, message, details, status, error_id: None }),
        (None, _) => broke(format!("unknown error code {}: {message}", code.unwrap_or_default())),
    }
}
