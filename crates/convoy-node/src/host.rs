//! JavaScript as a function host: calls are sent through one thread-safe function, and
//! answered by call id.

use std::collections::HashMap;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoy::{
    Activity, CallId, CallLink, CallMetadata, FunctionHost, FunctionResult, HostInvocation, HostTask, HostTurn,
    LinkError, RemoteSpan, RouteExchange, UnstartedCall,
};
use convoy::{Code, Failure};
use napi::bindgen_prelude::{Buffer, Either, FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::panic_point::{self, At};
use crate::promise::{malformed, rejection};

/// `(kind, callId, index, text, request, prefetchedOps, prefetchedAnswers)`.
pub type Delivery = FnArgs<(u32, i64, u32, Text, Option<String>, Option<String>, Option<String>)>;

/// A text; a large one as bytes, which are not in V8's heap: V8 ends the process if its
/// heap is exhausted.
type Text = Either<String, Buffer>;

/// The maximum size of results that are sent as a string, in bytes.
const MAX_STRING_BYTES: usize = 8 << 20;

/// The JavaScript function that receives every delivery.
pub type Deliver = ThreadsafeFunction<Message, (), Delivery, Status, false, false>;

/// Run a function.
const CALL: u32 = 0;
/// The results of a batch.
const RESULTS: u32 = 1;
/// The engine abandoned a call.
const ABANDON: u32 = 2;
/// Make a context, which authenticates the caller.
const CONTEXT: u32 = 3;
/// Run an HTTP route.
const ROUTE: u32 = 5;
/// Check that the thread handles deliveries; returning is the answer.
const PING: u32 = 4;
/// Run a query, and report whether its result depends on anything that changes without a write.
const OBSERVED_CALL: u32 = 6;

/// The results of the first batches of several calls, each delivered in its turn.
const TURNS: u32 = 7;

/// A message to the thread.
pub enum Message {
    /// Run the function or context of this call.
    Begin(u64),
    Results {
        call: u64,
        batch: u32,
        results: String,
    },
    /// The first of these calls, and the results of all: a JSON array of `Turn`s.
    Turns {
        first: u64,
        turns: String,
    },
    Abandon {
        call: u64,
        why: String,
    },
    Ping,
}

impl Message {
    fn call(&self) -> Option<u64> {
        match self {
            Message::Begin(call)
            | Message::Results { call, .. }
            | Message::Turns { first: call, .. }
            | Message::Abandon { call, .. } => Some(*call),
            Message::Ping => None,
        }
    }
}

/// The calls in progress in one JavaScript thread, by id; of all loaded versions of the
/// code.
#[derive(Default)]
pub struct Calls {
    table: Mutex<Table>,
    /// How many deliveries the thread has begun.
    begun: AtomicU64,
    /// The call of the last delivery; 0 if the thread has been idle since.
    current: AtomicU64,
}

#[derive(Default)]
struct Table {
    calls: HashMap<u64, Entry>,
    /// The call that JavaScript continues when this one has ended.
    next_turn: HashMap<u64, u64>,
    /// The thread is ending.
    closed: bool,
}

enum Entry {
    /// JavaScript has not begun it yet.
    Waiting(Box<HostInvocation>, CallLink),
    Begun(CallLink, Option<RemoteSpan>),
}

impl Entry {
    fn link(self) -> CallLink {
        match self {
            Entry::Waiting(_, link) | Entry::Begun(link, _) => link,
        }
    }
}

impl Calls {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call, or returns it if the thread is ending.
    fn insert(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        let mut table = self.table();
        if table.closed {
            return Some((invocation, link));
        }
        let displaced = table.calls.insert(invocation.call.0, Entry::Waiting(Box::new(invocation), link));
        // Dropping a link may run code that takes the lock.
        drop(table);
        drop(displaced);
        None
    }

    /// Removes a call. Also returns whether JavaScript has begun it.
    fn take(&self, call: u64) -> Option<(CallLink, bool)> {
        let (entry, _) = self.remove(call)?;
        let begun = matches!(entry, Entry::Begun(..));
        Some((entry.link(), begun))
    }

    /// Removes a call. Also returns which one JavaScript continues after it.
    fn remove(&self, call: u64) -> Option<(Entry, Option<u64>)> {
        let mut table = self.table();
        let next = table.next_turn.remove(&call);
        Some((table.calls.remove(&call)?, next))
    }

    /// Records in which order JavaScript continues these calls.
    fn set_turns(&self, calls: &[u64]) {
        let Table { calls: running, next_turn, .. } = &mut *self.table();
        let pairs = calls.windows(2).map(|pair| (pair[0], pair[1]));
        next_turn.extend(pairs.filter(|(call, _)| running.contains_key(call)));
    }

    /// Marks a call as begun; `None` if it was taken back or abandoned before.
    fn begin(&self, call: u64) -> Option<Box<HostInvocation>> {
        let mut table = self.table();
        match table.calls.remove(&call)? {
            Entry::Waiting(invocation, link) => {
                table.calls.insert(call, Entry::Begun(link, invocation.span));
                Some(invocation)
            }
            begun @ Entry::Begun(..) => {
                table.calls.insert(call, begun);
                None
            }
        }
    }

    fn take_back(&self, calls: &[CallId]) -> Vec<UnstartedCall> {
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
        let begun = table.calls.iter().filter(|(_, entry)| matches!(entry, Entry::Begun(..)));
        let calls = begun.map(|(&call, _)| CallId(call)).collect();
        let current = Some(self.current.load(Ordering::Relaxed)).filter(|&call| call != 0).map(CallId);
        Activity { begun: self.begun.load(Ordering::Relaxed), current, calls }
    }

    /// Drops all calls because the thread is ending, and refuses later ones.
    pub fn close(&self) {
        let calls = {
            let mut table = self.table();
            table.closed = true;
            std::mem::take(&mut table.calls)
        };
        drop(calls);
    }

    /// Sends a batch of operations to the engine.
    pub fn operate(&self, call: i64, batch: u32, ops: String) -> Result<()> {
        let table = self.table();
        let entry = u64::try_from(call).ok().and_then(|call| table.calls.get(&call));
        match entry {
            Some(Entry::Begun(link, _)) => match link.operate(batch, ops) {
                Err(error @ LinkError::Full) => Err(rejection(&Failure::new(Code::Internal, error.to_string()))),
                _ => Ok(()),
            },
            // A batch of a call that has ended is ignored.
            _ => Ok(()),
        }
    }

    /// The span of a call that runs, as a `traceparent`; `None` if traces are not recorded.
    pub fn traceparent(&self, call: i64) -> Option<String> {
        match self.table().calls.get(&u64::try_from(call).ok()?)? {
            Entry::Begun(_, span) => span.map(RemoteSpan::to_traceparent),
            Entry::Waiting(..) => None,
        }
    }

    /// The request and response of a route that runs; `None` if it has ended.
    pub fn route(&self, call: i64) -> Option<Arc<RouteExchange>> {
        let table = self.table();
        match table.calls.get(&u64::try_from(call).ok()?)? {
            Entry::Begun(link, _) => link.route().cloned(),
            Entry::Waiting(..) => None,
        }
    }

    /// Ends a call.
    pub fn respond(&self, call: i64, ok: bool, text: String, more: Option<String>) -> Result<()> {
        // A call that the engine abandoned is no longer in the table.
        let Some((entry, next)) = u64::try_from(call).ok().and_then(|call| self.remove(call)) else { return Ok(()) };
        let link = entry.link();
        // Only JavaScript goes on to the next turn: an abandoned call may still block its thread.
        if let Some(next) = next {
            self.begun.fetch_add(1, Ordering::Relaxed);
            self.current.store(next, Ordering::Relaxed);
        }
        let metadata = call_metadata(more).map_err(|error| rejection(&malformed("call metadata", &error)))?;
        if let Err(error) = link.respond(function_result(ok, text), metadata) {
            tracing::debug!(cause = %error, "a function answered a call that has ended");
        }
        Ok(())
    }

    /// As `delivery`. A panic would end the process, so it ends the message's call instead.
    fn delivery_or_no_op(&self, message: Message) -> Delivery {
        let call = message.call();
        std::panic::catch_unwind(AssertUnwindSafe(|| self.delivery(message))).unwrap_or_else(|_logged| {
            drop(call.and_then(|call| self.take(call)));
            no_op()
        })
    }

    /// Converts a message to its delivery, in the JavaScript thread. Marks its call as begun.
    fn delivery(&self, message: Message) -> Delivery {
        panic_point::reach(At::Delivery);
        self.begun.fetch_add(1, Ordering::Relaxed);
        let current = |call: u64| self.current.store(call, Ordering::Relaxed);
        match message {
            Message::Begin(call) => match self.begin(call) {
                Some(invocation) => {
                    current(call);
                    let HostInvocation { work, input, request, observed, prefetched, .. } = *invocation;
                    let (kind, function) = match work {
                        HostTask::Function(function) if observed => (OBSERVED_CALL, function),
                        HostTask::Function(function) => (CALL, function),
                        HostTask::Route(route) => (ROUTE, route),
                        HostTask::Context => (CONTEXT, 0),
                    };
                    let request = request.map(|request| request.to_string());
                    let (ops, answers) = prefetched.map(|prefetched| (prefetched.ops, prefetched.answers)).unzip();
                    (kind, call as i64, function, Text::A(input.to_string()), request, ops, answers).into()
                }
                None => no_op(),
            },
            Message::Results { call, batch, results } => {
                current(call);
                let results = match results.len() > MAX_STRING_BYTES {
                    true => Text::B(results.into_bytes().into()),
                    false => Text::A(results),
                };
                (RESULTS, call as i64, batch, results, None, None, None).into()
            }
            Message::Turns { first, turns } => {
                current(first);
                (TURNS, first as i64, 0, Text::A(turns), None, None, None).into()
            }
            Message::Abandon { call, why } => {
                current(call);
                (ABANDON, call as i64, 0, Text::A(why), None, None, None).into()
            }
            Message::Ping => {
                current(0);
                no_op()
            }
        }
    }
}

/// `[{"call":…,"batch":…,"answers":[…]},…]`.
fn turns_json(turns: &[HostTurn]) -> String {
    let mut json = String::with_capacity(turns.iter().map(|turn| turn.answers.len() + 48).sum());
    for HostTurn { call, batch, answers } in turns {
        json.push(if json.is_empty() { '[' } else { ',' });
        // Writing to a string cannot fail.
        let _ = write!(json, r#"{{"call":{},"batch":{batch},"answers":{answers}}}"#, call.0);
    }
    json.push(']');
    json
}

/// A delivery without a task.
fn no_op() -> Delivery {
    (PING, 0, 0, Text::A(String::new()), None, None, None).into()
}

/// One version of the code, in one JavaScript thread.
pub struct JsHost {
    deliver: Deliver,
    calls: Arc<Calls>,
}

impl JsHost {
    /// A host that sends its deliveries to this function.
    pub fn new(deliver: &Function<'_, Delivery, ()>, calls: Arc<Calls>) -> Result<JsHost> {
        let shared = calls.clone();
        let deliver = deliver
            .build_threadsafe_function::<Message>()
            .build_callback(move |context| Ok(shared.delivery_or_no_op(context.value)))?;
        Ok(JsHost { deliver, calls })
    }

    fn deliver(&self, message: Message) -> Status {
        self.deliver_and(message, || {})
    }

    /// Delivers a message, and calls `returned` when JavaScript has returned from it.
    fn deliver_and(&self, message: Message, returned: impl FnOnce() + 'static) -> Status {
        // The JavaScript side does not throw; if it did, the error must not end the process,
        // so it is handled here.
        self.deliver.call_with_return_value(
            message,
            ThreadsafeFunctionCallMode::NonBlocking,
            move |result: Result<()>, _| {
                match result {
                    Ok(()) => returned(),
                    // No exception, but the thread is being terminated and runs no more
                    // JavaScript, so this does not count as an answer.
                    Err(error) if error.reason.is_empty() => {
                        tracing::debug!(cause = %error, "a delivery reached a thread that is ending");
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
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        let call = invocation.call;
        let refused = self.calls.insert(invocation, link);
        if refused.is_some() || self.deliver(Message::Begin(call.0)) == Status::Ok {
            return refused;
        }
        // The thread accepts no deliveries because it is ending.
        self.calls.take_back(&[call]).pop()
    }

    fn takes_prefetched(&self) -> bool {
        true
    }

    fn results(&self, CallId(call): CallId, batch: u32, results: String) {
        if self.deliver(Message::Results { call, batch, results }) != Status::Ok {
            drop(self.calls.take(call));
        }
    }

    fn results_in_turn(&self, turns: &[HostTurn]) -> usize {
        let calls: Vec<u64> = turns.iter().map(|turn| turn.call.0).collect();
        let Some(&first) = calls.first() else { return 0 };
        self.calls.set_turns(&calls);
        if self.deliver(Message::Turns { first, turns: turns_json(turns) }) != Status::Ok {
            calls.iter().for_each(|&call| drop(self.calls.take(call)));
        }
        turns.len()
    }

    fn abandon(&self, CallId(call): CallId, why: &Failure) {
        // A call that JavaScript has not begun needs no message.
        if let Some((_, true)) = self.calls.take(call) {
            // Fails only if the thread has ended.
            self.deliver(Message::Abandon { call, why: why.to_json() });
        }
    }

    fn ping(&self, answered: oneshot::Sender<()>) {
        // The receiver may have stopped waiting.
        self.deliver_and(Message::Ping, || answered.send(()).unwrap_or_default());
    }

    fn take_back(&self, calls: &[CallId]) -> Vec<UnstartedCall> {
        self.calls.take_back(calls)
    }

    fn activity(&self) -> Activity {
        self.calls.activity()
    }
}

/// The error of a function: with a code for its caller, or `thrown`. One struct, since
/// serde cannot keep raw JSON inside an untagged enum.
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

/// Parses the metadata that JavaScript reports beside the result.
fn call_metadata(text: Option<String>) -> serde_json::Result<CallMetadata> {
    text.map_or_else(|| Ok(CallMetadata::default()), |text| serde_json::from_str(&text))
}

/// Parses the result that JavaScript reports.
fn function_result(ok: bool, text: String) -> FunctionResult {
    if ok {
        return FunctionResult::Returned(text);
    }
    let invalid = |message: String| FunctionResult::Threw { message, stack: String::new() };
    let refusal: Refusal = match serde_json::from_str(&text) {
        Ok(refusal) => refusal,
        Err(error) => return invalid(format!("{text} ({error})")),
    };
    let Refusal { thrown, code, message, details, status } = refusal;
    match (thrown, code.as_deref().map(Code::parse)) {
        (Some(Thrown { message, stack }), _) => FunctionResult::Threw { message, stack },
        (None, Some(Some(code))) => FunctionResult::Refused(Failure { code, message, details, status, error_id: None }),
        (None, _) => invalid(format!("unknown error code {}: {message}", code.unwrap_or_default())),
    }
}
