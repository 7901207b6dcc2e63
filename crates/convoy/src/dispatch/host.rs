//! The seam where the user's functions stand. The engine asks for something
//! that can run a function and answer its operations; it never learns what.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::error::Failure;

/// Something that runs the user's functions.
///
/// Implementations are total: whatever a function does, its call ends in
/// exactly one [`CallLink::respond`], or the link is dropped, which counts as
/// the host having gone away. No method may block.
pub trait FunctionHost: Send + Sync + 'static {
    /// Starts a function. Its operations and its result go through `link`.
    fn start(&self, invocation: HostInvocation, link: CallLink);

    /// The answers to one batch of operations, a JSON array.
    fn results(&self, call: CallId, batch: u32, results: String);

    /// The engine has given a call up; what its function still does is ignored.
    fn abandon(&self, call: CallId, why: &Failure);

    /// Asks for a sign of life: answered once everything asked before has at
    /// least begun. One that cannot get stuck may answer at once.
    fn ping(&self, answered: oneshot::Sender<()>) {
        // The receiver may have stopped waiting.
        answered.send(()).unwrap_or_default();
    }

    /// Calls out of `calls` that it has not begun, with their links; it begins them
    /// no more. One that begins calls as they come has none.
    fn take_back(&self, _calls: &[CallId]) -> Vec<(HostInvocation, CallLink)> {
        Vec::new()
    }

    /// What it does now, as far as it knows; asked of one that gives no sign.
    fn activity(&self) -> Activity {
        Activity::default()
    }

    /// Whether it gives no sign of life, and for how long it has not.
    fn silence(&self) -> Option<Silence> {
        None
    }

    /// The one of its workers that has to run a call, where it has any.
    fn at(self: Arc<Self>, _worker: WorkerId) -> Option<Arc<dyn FunctionHost>> {
        None
    }

    /// Where a call runs again whose host has gone away: away from others, as it
    /// may be why.
    fn quarantine(self: Arc<Self>) -> Option<Arc<dyn FunctionHost>> {
        None
    }

    /// Other code is in place, or none any more: no new calls come, but those it
    /// has go on.
    fn retire(&self) {}
}

/// What a host does now.
#[derive(Debug, Default)]
pub struct Activity {
    /// Grows with everything it begins, so that one that works through a queue can
    /// be told from one that is stuck.
    pub begun: u64,
    /// The call it went on with last, unless it has been idle since.
    pub current: Option<CallId>,
    /// The calls it has begun that are not over.
    pub calls: Vec<CallId>,
}

/// A host that gives no sign of life.
#[derive(Debug, Clone)]
pub struct Silence {
    /// Since when.
    pub since: tokio::time::Instant,
    /// The function that keeps its thread, where that is known.
    pub function: Option<Arc<str>>,
    /// In words: `messages.loop has kept its thread busy since 12:34:56 UTC`.
    pub why: String,
}

/// Names one of the threads of a process that run functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u32);

/// Names one run of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub u64);

/// One run to start.
pub struct HostInvocation {
    /// Its name from now on.
    pub call: CallId,
    /// What to run.
    pub work: HostTask,
    /// Its function's name, for the log.
    pub function: Arc<str>,
    /// The input, JSON text.
    pub input: Arc<str>,
    /// Who asks, JSON text; only where the program has a context to make of it.
    pub request: Option<Arc<str>>,
}

/// What a host is asked to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostTask {
    /// The function at this place of the program description.
    Function(u32),
    /// Only the program's context, for the caller of the request: who is it? It
    /// reads as a query does. Answered with the result `null` and, in
    /// [`CallMetadata::seen`], everything the context says.
    Context,
}

/// How a function ended.
#[derive(Debug)]
pub enum FunctionResult {
    /// It returned; the result as JSON text.
    Returned(String),
    /// It refused, in words meant for the caller.
    Refused(Failure),
    /// It broke. The cause is for the log only.
    Threw {
        /// The error's message.
        message: String,
        /// Its stack, if any.
        stack: String,
    },
}

/// What a running function sends to its call.
pub(super) enum FromHost {
    Operate { batch: u32, ops: String },
    Respond { result: FunctionResult, metadata: CallMetadata },
}

/// What a function's end says beside its result.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallMetadata {
    /// Inserts not sent before, in order: a JSON array of operations.
    pub held: Option<Box<RawValue>>,
    /// Who called, as far as the program's context tells; absent where there is
    /// no context, or none could be made.
    pub identity: Option<String>,
    /// A query's result grows old by itself after so many milliseconds.
    pub refresh_ms: Option<u64>,
    /// What of its caller a query looked at; of a context alone, all there is.
    /// Absent where that is not known, and then the result is not shared, or where
    /// the program has no context. A key that cannot be compared stands for a
    /// function it has called that opts out of sharing.
    pub seen: Option<Seen>,
    /// When what the context says of the caller ceases to hold, in milliseconds
    /// since 1970.
    pub expires_at: Option<f64>,
}

/// What a context says of its caller, by key: canonical JSON where the value is
/// plain data, and nothing where it is something that cannot be compared.
pub type Seen = BTreeMap<String, Option<String>>;

/// A running function's line to its call.
pub struct CallLink {
    sender: mpsc::Sender<FromHost>,
    /// Called when the link is dropped, answered or not.
    at_end: Option<AtEnd>,
}

struct AtEnd(Option<Box<dyn FnOnce() + Send>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The call is over.
    #[error("the function's call is over")]
    Over,
    /// Too many batches wait; await some first.
    #[error("more than {BATCHES} batches of operations are waiting; await some before starting more")]
    Full,
}

/// How many messages of one call may wait.
pub(super) const BATCHES: usize = 256;

impl CallLink {
    pub(super) fn new() -> (CallLink, mpsc::Receiver<FromHost>) {
        let (sender, receiver) = mpsc::channel(BATCHES);
        (CallLink { sender, at_end: None }, receiver)
    }

    /// Whether the call was given up or has ended.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed()
    }

    /// Has `ended` called when the call is over for its host.
    pub(super) fn at_end(mut self, ended: impl FnOnce() + Send + 'static) -> CallLink {
        self.at_end = Some(AtEnd(Some(Box::new(ended))));
        self
    }

    /// Sends one batch of operations, a JSON array.
    pub fn operate(&self, batch: u32, ops: String) -> Result<(), LinkError> {
        self.send(FromHost::Operate { batch, ops })
    }

    /// Ends the call.
    pub fn respond(self, result: FunctionResult, metadata: CallMetadata) -> Result<(), LinkError> {
        self.send(FromHost::Respond { result, metadata })
    }

    fn send(&self, message: FromHost) -> Result<(), LinkError> {
        self.sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::Over,
        })
    }
}
