//! Runs mutations and actions to their ends. A mutation runs again from the start after a
//! conflict; after repeated conflicts it continues in a
//! [serial queue](super::strategy::serial_queue).

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{MAX_HOST_RETRIES, host_gone, name_route_limit};
use super::contention::ContentionKey;
use super::route_exchange::RouteCall;
use super::scope::CallScope;
use super::strategy::{Attempt, non_transactional, optimistic, serial_queue, serializable};
use super::{Answer, Dispatcher, FunctionCall, Program};
use crate::error::Failure;
use crate::events::{Event, EventKind};
use crate::failpoints::{Failpoint, Point};
use crate::telemetry::Scope;

/// A call is retried after conflicts for at least this long, even past `limits.retries`.
const MIN_RETRY_TIME: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Runs a mutation or an action to its end on its own task, so that it continues when
    /// the caller disconnects.
    pub(crate) async fn run_to_end(&self, program: Arc<Program>, request: FunctionCall) -> Result<Answer, Failure> {
        let kind = request.function.kind;
        let panicked = || Failure::internal(kind.as_str(), &"its task ended without an answer (it panicked)");
        self.start(program, request).await.unwrap_or_else(|_dropped| Err(panicked()))
    }

    /// The same without waiting for it. The sender is dropped if its task panics.
    pub(super) fn start(
        &self,
        program: Arc<Program>,
        request: FunctionCall,
    ) -> oneshot::Receiver<Result<Answer, Failure>> {
        let (mut answer, answered) = oneshot::channel();
        let limit = match &request.route {
            Some(route) => route.time,
            None => self.limits_of(&request.function).time,
        };
        let began = Instant::now();
        let (deadline, telemetry) = (began + limit, Scope::current());
        let scope = CallScope { dispatcher: self.clone(), program, request, deadline, telemetry: telemetry.clone() };
        let end_exchange = scope.request.route.as_ref().map(RouteCall::end_on_drop);
        self.inner.mutations.spawn(async move {
            let function = scope.function().clone();
            let running = async {
                match function.transactional {
                    true => run_mutation(scope.clone()).await,
                    false => run_non_transactional(&scope).await,
                }
            };
            let running = telemetry.clone().run(running);
            let result = match scope.dispatcher.inner.failpoints.has(Failpoint::DropWithCaller) {
                false => running.await,
                true => tokio::select! {
                    result = running => result,
                    () = answer.closed() => return,
                },
            };
            drop(end_exchange);
            if result.is_ok() {
                scope.dispatcher.inner.failpoints.pass(Point::BeforeAnswer).await;
            }
            let result = result.map_err(|failure| match &scope.request.route {
                Some(route) => name_route_limit(&function, route.time, failure),
                None => scope.dispatcher.name_limit(&function, failure),
            });
            // Here, because the caller may have disconnected.
            telemetry.call.end(&result);
            scope.dispatcher.call_ended(&scope.request, began.into_std(), &result);
            if let Some(observer) = &scope.request.observer {
                observer.ended(&result);
            }
            if answer.send(result).is_err() {
                tracing::debug!(function = &*function.name, "a function ended after its caller had disconnected");
            }
        });
        answered
    }
}

/// Runs an action, or a mutation that opted out of its transaction.
async fn run_non_transactional(scope: &CallScope) -> Result<Answer, Failure> {
    let _running = match &scope.request.route {
        // It has a place among the routes.
        Some(_) => None,
        None => Some(scope.dispatcher.enter()?),
    };
    non_transactional::run(scope).await
}

/// Runs a mutation once no other call with its key runs in this process.
async fn run_mutation(scope: CallScope) -> Result<Answer, Failure> {
    let (dispatcher, request) = (scope.dispatcher.clone(), scope.request.clone());
    let _guard = match &request.key {
        Some(key) => {
            let max = dispatcher.inner.limits.max_pending_calls;
            Some(dispatcher.inner.keys.lock(&request.function, key, max, scope.deadline).await?)
        }
        None => None,
    };
    attempts(scope).await
}

async fn attempts(mut scope: CallScope) -> Result<Answer, Failure> {
    let dispatcher = scope.dispatcher.clone();
    let inner = &dispatcher.inner;
    let retries = dispatcher.limits_of(scope.function()).retries;
    let (mut conflicts, mut lost_hosts, began) = (0, 0, Instant::now());
    loop {
        let _running = dispatcher.enter()?;
        let (error, read_write_set) = match attempt(&scope, conflicts, lost_hosts == 0).await {
            Attempt::Done(result) => return result,
            Attempt::Failed(failure, keyed) => {
                return inner.committer.replay(failure, keyed, inner.limits.query_time()).await;
            }
            Attempt::HostGone if lost_hosts < MAX_HOST_RETRIES => {
                if lost_hosts == 0 {
                    scope.quarantine();
                }
                lost_hosts += 1;
                scope.telemetry.call.retry("lost_worker");
                continue;
            }
            Attempt::HostGone => return Err(host_gone()),
            Attempt::NeedsOther => {
                return Err(Failure::internal("mutation", &"no strategy could answer its operations"));
            }
            Attempt::Conflict(error, read_write_set) => (error, read_write_set),
        };
        inner.contention.record_conflict(scope.function(), &scope.request.input, &read_write_set);
        let may_retry = conflicts < retries || began.elapsed() < MIN_RETRY_TIME;
        if !may_retry || Instant::now() >= scope.deadline {
            return Err(error.to_failure(&scope.function().name));
        }
        conflicts += 1;
        scope.telemetry.call.retry("conflict");
        dispatcher.events().emit(|| Event::now(EventKind::Retry).of(&scope.function().name).with_code("CONFLICT"));
        if conflicts == 1 {
            // What it conflicted with has mostly been committed.
            continue;
        }
        // Exponential backoff with full jitter, so that the same calls do not conflict again.
        let max = 5u64 << (conflicts - 1).min(4);
        let pause = Duration::from_millis(rand::rng().random_range(0..=max));
        tokio::time::sleep(pause).await;
    }
}

/// Runs a mutation once, with the strategy that fits the learned traits of its function.
/// After two conflicts it is queued before its key is hot. Under a role it has a transaction
/// of its own, and with a time limit for its statements a transaction.
async fn attempt(scope: &CallScope, conflicts: u32, may_queue: bool) -> Attempt {
    let function = scope.function();
    if scope.may_have_role() {
        return serializable::attempt(scope).await;
    }
    let failpoints = &scope.dispatcher.inner.failpoints;
    let key = match failpoints.has(Failpoint::AlwaysSerialQueue) {
        true => Some(ContentionKey { function: function.name.clone(), document: None }),
        false => scope.dispatcher.inner.contention.hot_key(function, &scope.request.input, conflicts >= 2),
    };
    if may_queue
        && !failpoints.has(Failpoint::NoSerialQueue)
        && let Some(key) = key
    {
        match serial_queue::attempt(key, scope).await {
            Attempt::NeedsOther => {}
            attempt => return attempt,
        }
    }
    let needs_transaction = scope.limits().statement_timeout.is_some() || function.learned.needs_transaction.is_set();
    if !needs_transaction && !failpoints.has(Failpoint::NoOptimistic) {
        match optimistic::attempt(scope).await {
            Attempt::NeedsOther => function.learned.needs_transaction.set(),
            attempt => return attempt,
        }
    }
    serializable::attempt(scope).await
}
