//! The engine's handle to one run of a function: starts it, receives its messages, and
//! abandons it at its deadline or when it is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::call_limits::time_limit_name;
use super::host::Prefetched;
use super::host::{CallLink, FromHost};
use super::route_exchange::RouteCall;
use super::scope::CallScope;
use super::{CallId, Dispatcher, Function, FunctionHost, HostInvocation};
use crate::error::{Code, Failure};
use crate::telemetry::{Span, SpanKind};

/// A started run. If it is dropped before its function has ended, it is abandoned in
/// the host.
pub(super) struct Call {
    id: CallId,
    host: Arc<dyn FunctionHost>,
    messages: mpsc::Receiver<FromHost>,
    /// A message that was received in advance.
    received: Option<FromHost>,
    deadline: Instant,
    /// Of a route, whose deadline is for the start of its response.
    route: Option<RouteCall>,
    over: bool,
    span: Span,
    /// It was started with prefetched operations.
    prefetched: bool,
    /// Whether its first batch was answered in advance, and it has sent no other since.
    in_turn: bool,
}

impl Call {
    /// Starts a function.
    pub(super) fn start(scope: &CallScope) -> Call {
        Call::start_with(scope, None)
    }

    /// Starts a function with the operations that were executed for it.
    pub(super) fn start_with(scope: &CallScope, prefetched: Option<Prefetched>) -> Call {
        let has_prefetched = prefetched.is_some();
        let CallScope { dispatcher, program, request, deadline, telemetry } = scope;
        let id = CallId(dispatcher.inner.next_call.fetch_add(1, Ordering::Relaxed));
        request.last_run.set(id.0);
        let mut span = telemetry.span.child(SpanKind::Internal, "run");
        if span.is_some() {
            span.name("run", request.function.name.clone());
            span.set("convoy.function", request.function.name.clone());
            span.set("convoy.run.id", id.0 as i64);
        }
        let route = request.route.clone();
        let (link, messages) = CallLink::new(route.as_ref());
        let invocation = HostInvocation {
            call: id,
            work: request.function.work,
            function: request.function.name.clone(),
            input: request.input.clone(),
            request: request.caller.clone(),
            observed: request.observed,
            span: span.remote(),
            prefetched,
        };
        let host = program.host.clone();
        // Dropping the link of a call that was not started ends the call: its host has exited.
        drop(host.start(invocation, link));
        Call {
            id,
            host,
            messages,
            received: None,
            deadline: *deadline,
            route,
            over: false,
            span,
            prefetched: has_prefetched,
            in_turn: false,
        }
    }

    /// The next message of the function; `None` if its host has exited, and then the
    /// function will not finish. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<FromHost>, Failure> {
        let message = match self.received.take() {
            Some(received) => Some(received),
            None => match tokio::time::timeout_at(self.deadline, self.messages.recv()).await {
                Ok(message) => message,
                Err(_elapsed) if self.route.as_ref().is_some_and(RouteCall::has_begun) => self.messages.recv().await,
                Err(_elapsed) => return Err(timed_out()),
            },
        };
        self.over = matches!(message, None | Some(FromHost::Respond { .. }));
        self.in_turn &= !matches!(message, Some(FromHost::Operate { .. }));
        Ok(message)
    }

    /// The next message, if it has arrived; [`Call::next`] returns it, too.
    pub(super) fn peek(&mut self) -> Option<&FromHost> {
        if self.received.is_none() {
            // A host that has exited is noticed by `next`.
            self.received = self.messages.try_recv().ok();
        }
        self.received.as_ref()
    }

    /// The first batch was answered in advance ([`FunctionHost::results_in_turn`]), so it is no
    /// message any more.
    pub(super) fn answered_in_turn(&mut self) {
        self.received = None;
        self.in_turn = true;
    }

    /// Whether its first batch was answered in advance, and it has sent no other since.
    pub(super) fn is_in_turn(&self) -> bool {
        self.in_turn
    }

    /// The id of the run.
    pub(super) fn id(&self) -> CallId {
        self.id
    }

    /// The host that runs it.
    pub(super) fn host(&self) -> &Arc<dyn FunctionHost> {
        &self.host
    }

    /// Whether it was started with prefetched operations.
    pub(super) fn has_prefetched(&self) -> bool {
        self.prefetched
    }

    /// The span of the run.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Sends the answers to one batch.
    pub(super) fn answer(&self, batch: u32, results: String) {
        self.host.results(self.id, batch, results);
    }

    /// Abandons the run, unless it has ended.
    pub(super) fn abandon(&mut self, why: Failure) {
        self.span.fail(why.code.as_str());
        if !std::mem::replace(&mut self.over, true) {
            self.host.abandon(self.id, &why);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.over {
            self.host.abandon(self.id, &Failure::new(Code::Unavailable, "The caller disconnected."));
        }
    }
}

/// The failure at the deadline; [`Dispatcher::name_limit`] adds the function and the limit.
pub(super) fn timed_out() -> Failure {
    Failure::new(Code::Timeout, TIMED_OUT)
}

const TIMED_OUT: &str = "The function took longer than its time limit.";

impl Dispatcher {
    /// Adds the function and the limit to the message of a deadline failure.
    pub(super) fn name_limit(&self, function: &Function, mut failure: Failure) -> Failure {
        if failure.code == Code::Timeout && failure.message == TIMED_OUT {
            failure.message = format!("{}; make it do less, or raise the limit.", self.did_not_finish(function));
        }
        failure
    }

    /// The beginning of a message about a function that exceeded its time limit.
    pub(super) fn did_not_finish(&self, function: &Function) -> String {
        let (name, limit) = (time_limit_name(function), self.limits_of(function).time);
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        format!("`{}` did not finish within {} ({name})", function.name, format_ms(limit))
    }
}

/// Adds the route and its limit to the message of a deadline failure.
pub(super) fn name_route_limit(function: &Function, time: Duration, mut failure: Failure) -> Failure {
    if failure.code == Code::Timeout && failure.message == TIMED_OUT {
        let limit = format_ms(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        failure.message =
            format!("`{}` did not answer within {limit}; make it do less, or raise its timeoutMs.", function.name);
    }
    failure
}

/// Milliseconds as text, in seconds if they are whole or have one decimal.
pub(super) fn format_ms(ms: u64) -> String {
    if ms >= 1_000 && ms.is_multiple_of(100) {
        return format!("{} s", ms as f64 / 1_000.0);
    }
    format!("{ms} ms")
}

/// How often a call runs again after its host has exited, if nothing of it was committed.
/// Limited, because a function that ends its host does so each time.
pub(super) const MAX_HOST_RETRIES: u32 = 2;

/// The failure of a call whose worker has exited and that does not run again.
pub(super) fn host_gone() -> Failure {
    Failure::new(Code::Unavailable, "The worker running this function exited; try again shortly.")
}

/// The failure after a protocol error of the host, which is a defect of Convoy.
pub(super) fn broken_protocol(error: &dyn std::fmt::Display) -> Failure {
    Failure::internal("operations from the host", error)
}
