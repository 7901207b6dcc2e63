//! One run of one function, from the engine's side: starts it, hears it, and
//! gives it up when it takes too long or its caller goes away.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::host::{CallLink, FromHost};
use super::scope::CallScope;
use super::{CallId, Dispatcher, Function, FunctionHost, FunctionKind, HostInvocation};
use crate::error::{Code, Failure};

/// A started run. Dropped before its function answered, it tells the host to
/// forget it.
pub(super) struct Call {
    id: CallId,
    host: Arc<dyn FunctionHost>,
    messages: mpsc::Receiver<FromHost>,
    deadline: Instant,
    over: bool,
}

impl Call {
    /// Starts a function.
    pub(super) fn start(scope: &CallScope) -> Call {
        let CallScope { dispatcher, program, request, deadline } = scope;
        let id = CallId(dispatcher.inner.next_call.fetch_add(1, Ordering::Relaxed));
        let (link, messages) = CallLink::new();
        let invocation = HostInvocation {
            call: id,
            work: request.function.work,
            function: request.function.name.clone(),
            input: request.input.clone(),
            request: request.caller.clone(),
        };
        let host = program.host.clone();
        host.start(invocation, link);
        Call { id, host, messages, deadline: *deadline, over: false }
    }

    /// The next message of the function. `None`: its host has gone away, and what the
    /// function has not finished will not be. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<FromHost>, Failure> {
        match tokio::time::timeout_at(self.deadline, self.messages.recv()).await {
            Ok(message) => {
                self.over = matches!(message, None | Some(FromHost::Respond { .. }));
                Ok(message)
            }
            Err(_elapsed) => Err(time_is_up()),
        }
    }

    /// Answers one batch.
    pub(super) fn answer(&self, batch: u32, results: String) {
        self.host.results(self.id, batch, results);
    }

    /// Gives the run up, unless it is over.
    pub(super) fn give_up(&mut self, why: Failure) {
        if !std::mem::replace(&mut self.over, true) {
            self.host.abandon(self.id, &why);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.over {
            self.host.abandon(self.id, &Failure::new(Code::Unavailable, "the caller went away"));
        }
    }
}

/// The limit was passed; [`Dispatcher::name_limit`] says which and whose.
pub(super) fn time_is_up() -> Failure {
    Failure::new(Code::Timeout, TIME_IS_UP)
}

const TIME_IS_UP: &str = "the function took longer than its time limit";

impl Dispatcher {
    /// Names the function and the limit in a failure that says that it was passed.
    pub(super) fn name_limit(&self, function: &Function, mut failure: Failure) -> Failure {
        if failure.code == Code::Timeout && failure.message == TIME_IS_UP {
            failure.message = format!("{}; make it do less, or raise the limit", self.did_not_finish(function));
        }
        failure
    }

    /// The function and its limit, as the beginning of a sentence.
    pub(super) fn did_not_finish(&self, function: &Function) -> String {
        let limits = &self.inner.limits;
        let (name, limit) = match function.kind {
            FunctionKind::Query => ("queryMs", limits.query_ms),
            FunctionKind::Mutation => ("mutationMs", limits.mutation_ms),
            FunctionKind::Action => ("actionMs", limits.action_ms),
        };
        format!("`{}` did not finish within {} (limits.{name})", function.name, spoken(limit))
    }
}

/// Milliseconds as people say them.
pub(super) fn spoken(ms: u64) -> String {
    if ms >= 1_000 && ms.is_multiple_of(100) {
        return format!("{} s", ms as f64 / 1_000.0);
    }
    format!("{ms} ms")
}

/// How often a call is run again whose host has gone away while nothing of it
/// was committed. A function that ends its host does so each time.
pub(super) const LOST_HOSTS: u32 = 2;

/// The worker has exited, and the call cannot be run again, or not once more.
pub(super) fn host_gone() -> Failure {
    Failure::new(Code::Unavailable, "the worker running this function exited; try again shortly")
}

/// The host broke the protocol: a defect of ours, not of the user's.
pub(super) fn broken_protocol(error: &dyn std::fmt::Display) -> Failure {
    Failure::internal("operations from the host", error)
}
