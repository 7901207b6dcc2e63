//! The interface to the runtime of user functions. The engine depends on nothing else of
//! that runtime, which is JavaScript, or Rust in tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::route_exchange::{RouteCall, RouteExchange};
use crate::error::Failure;
use crate::telemetry::RemoteSpan;

/// Runs user functions.
///
/// Each call ends in exactly one [`CallLink::respond`], or its link is dropped, which means
/// that the host has exited. No method may block.
pub trait FunctionHost: Send + Sync + 'static {
    /// Starts a function. Its operations and its result go through `link`. A host that has
    /// exited returns the call, of which nothing has run.
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall>;

    /// Delivers the answers to one batch of operations, a JSON array.
    fn results(&self, call: CallId, batch: u32, results: String);

    /// Delivers the answers to the first batches of several calls, each when the call before it
    /// has ended: with documents as the patches have left them that earlier calls have held.
    /// After a call that sends further operations, the rest is not delivered. Returns how many of
    /// the calls, from the first on, it has accepted; a host that does not support this accepts none.
    fn results_in_turn(&self, _turns: &[HostTurn]) -> usize {
        0
    }

    /// Abandons a call; operations and results of its function are ignored from now on.
    fn abandon(&self, call: CallId, why: &Failure);

    /// Whether it uses [`HostInvocation::prefetched`].
    fn takes_prefetched(&self) -> bool {
        false
    }

    /// Checks whether the host is responsive: `answered` is sent once all earlier
    /// deliveries have at least begun. A host that cannot block answers at once.
    fn ping(&self, answered: oneshot::Sender<()>) {
        // The receiver may have stopped waiting.
        answered.send(()).unwrap_or_default();
    }

    /// Withdraws those of `calls` that were not started, and returns them with their links.
    /// A host that starts calls immediately has none.
    fn take_back(&self, _calls: &[CallId]) -> Vec<UnstartedCall> {
        Vec::new()
    }

    /// The current activity of the host, as far as it is known. Called for unresponsive hosts.
    fn activity(&self) -> Activity {
        Activity::default()
    }

    /// Whether the host is unresponsive, and since when.
    fn unresponsive(&self) -> Option<Unresponsive> {
        None
    }

    /// One of its workers as a host, if it has workers.
    fn at(self: Arc<Self>, _worker: WorkerId) -> Option<Arc<dyn FunctionHost>> {
        None
    }

    /// The host for calls that have lost theirs: such a call may be what ended it, so it
    /// runs separately from others.
    fn quarantine(self: Arc<Self>) -> Option<Arc<dyn FunctionHost>> {
        None
    }

    /// Called when the program was replaced or the engine closes: no new calls are made,
    /// and running ones go on.
    fn retire(&self) {}
}

/// The answers to the first batch of a call.
#[derive(Debug)]
pub struct HostTurn {
    /// The call.
    pub call: CallId,
    /// The number of the batch.
    pub batch: u32,
    /// The answers, a JSON array.
    pub answers: String,
}

/// A call of which nothing has run, with the link of its messages.
pub type UnstartedCall = (HostInvocation, CallLink);

/// The current activity of a host.
#[derive(Debug, Default)]
pub struct Activity {
    /// The number of deliveries begun; it grows while a host works through its queue, and
    /// stays the same while it is blocked.
    pub begun: u64,
    /// The call it continued last, unless it has been idle since.
    pub current: Option<CallId>,
    /// The calls it has started that have not ended.
    pub calls: Vec<CallId>,
}

/// The state of an unresponsive host.
#[derive(Debug, Clone)]
pub struct Unresponsive {
    /// When it stopped responding.
    pub since: tokio::time::Instant,
    /// The function that blocks its thread, if known.
    pub function: Option<Arc<str>>,
    /// The reason, for logs: `messages.loop has kept its thread busy since 12:34:56 UTC`.
    pub why: String,
}

/// Identifies a worker thread within its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u32);

/// Identifies one run of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub u64);

/// One run of a function.
pub struct HostInvocation {
    /// Its id.
    pub call: CallId,
    /// The function to run.
    pub work: HostTask,
    /// The name of its function, for the log.
    pub function: Arc<str>,
    /// The input, JSON text.
    pub input: Arc<str>,
    /// The caller's request, JSON text; only if the program has a context, and for routes.
    pub request: Option<Arc<str>>,
    /// Whether to observe if the function depends on anything that changes without a write.
    pub observed: bool,
    /// The span of the run, if traces are recorded.
    pub span: Option<RemoteSpan>,
    /// The operations with which it probably begins, with their answers.
    pub prefetched: Option<Prefetched>,
}

/// Operations that were executed before their function has begun. If its first batch has the same
/// text, the host answers it by `answers` in place of sending it; the next batch is number 1.
pub struct Prefetched {
    /// The batch, a JSON array.
    pub ops: String,
    /// The answers, a JSON array in the same order.
    pub answers: String,
}

/// A task of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostTask {
    /// The function at this index of the program description.
    Function(u32),
    /// The HTTP route at this index of the program description. Its input is the parameters
    /// of the path, the URL, and whether there is a body; the rest goes through
    /// [`CallLink::route`], and the result is `null`.
    Route(u32),
    /// Only `createContext`, for the caller of the request. It reads like a query. The
    /// result is `null`, and [`CallMetadata::seen`] has all members of the context.
    Context,
}

/// How a function ended.
#[derive(Debug)]
pub enum FunctionResult {
    /// It returned this JSON text.
    Returned(String),
    /// It threw an error that is meant for the caller.
    Refused(Failure),
    /// It threw another error. The cause goes to the log only.
    Threw {
        /// The error's message.
        message: String,
        /// Its stack, if any.
        stack: String,
    },
}

/// A message from a running function.
pub(super) enum FromHost {
    Operate { batch: u32, ops: String },
    Respond { result: FunctionResult, metadata: CallMetadata },
}

/// The data that the host sends beside the result of a function.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallMetadata {
    /// Held inserts, in order: a JSON array of operations.
    pub held: Option<Box<RawValue>>,
    /// Held writes that are not only inserts, in order: a JSON array of inserts and patches.
    pub writes: Option<Box<RawValue>>,
    /// The caller's identity from the context; absent if the program has no context, or
    /// if `createContext` failed.
    pub identity: Option<String>,
    /// The result of a query expires after this many milliseconds.
    pub refresh_ms: Option<u64>,
    /// The function has not begun with the prefetched operations.
    #[serde(default)]
    pub unused: bool,
    /// The result of an observed query depends on a clock, a random number or the network, so
    /// another run may return another result although nothing was written.
    #[serde(default)]
    pub impure: bool,
    /// The members of the context that a query has read; all members for
    /// [`HostTask::Context`]. Absent if that is unknown, and then the result is not shared,
    /// or if the program has no context. A key that cannot be compared stands for a called
    /// function that opts out of sharing.
    pub seen: Option<Seen>,
    /// When the context expires, in milliseconds since 1970.
    pub expires_at: Option<f64>,
    /// Only for [`HostTask::Context`]: identifies the user that is signed in.
    pub user: Option<String>,
}

/// Members of a context by key: canonical JSON if the value is plain data, `None` if it
/// cannot be compared. A key that begins with `@@` is about the context as a whole, or is a
/// question to its `auth`; [`WHOLE`] is the only one that holds for every caller.
pub type Seen = BTreeMap<String, Option<String>>;

/// The key by which a host states that a context is what its members show. Not a read: a run
/// that has read only this has read nothing of its caller.
pub(crate) const WHOLE: &str = "@@plain";

/// The channel from a running function to its call.
pub struct CallLink {
    sender: mpsc::Sender<FromHost>,
    /// Of a route: its request and response.
    route: Option<Arc<RouteExchange>>,
    /// Called when the link is dropped, with or without a response.
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

/// Why a batch was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The call has ended.
    #[error("The call of this function has ended.")]
    Over,
    /// Too many batches wait; await some first.
    #[error("More than {BATCHES} batches of operations are waiting; await some before starting more.")]
    Full,
}

/// The capacity of a call's channel.
pub(super) const BATCHES: usize = 256;

impl CallLink {
    pub(super) fn new(route: Option<&RouteCall>) -> (CallLink, mpsc::Receiver<FromHost>) {
        let (sender, receiver) = mpsc::channel(BATCHES);
        let route = route.map(|route| route.exchange.clone());
        (CallLink { sender, route, at_end: None }, receiver)
    }

    /// The request and response of a route; `None` for other functions.
    pub fn route(&self) -> Option<&Arc<RouteExchange>> {
        self.route.as_ref()
    }

    /// Whether the call was abandoned or has ended.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed()
    }

    /// Calls `ended` when the link is dropped.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_the_limit_may_wait_and_one_more_is_refused_until_one_is_taken() {
        let (link, mut messages) = CallLink::new(None);
        for batch in 0..BATCHES as u32 {
            assert!(link.operate(batch, "[]".to_owned()).is_ok());
        }
        assert!(matches!(link.operate(256, "[]".to_owned()), Err(LinkError::Full)));
        assert!(matches!(messages.try_recv(), Ok(FromHost::Operate { batch: 0, .. })));
        assert!(link.operate(256, "[]".to_owned()).is_ok());
    }
}
