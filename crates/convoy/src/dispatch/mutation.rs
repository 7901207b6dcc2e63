//! Runs mutations and actions to their ends. A mutation runs again from the start when
//! another transaction won; where that happens again and again, it goes on in a
//! [serial queue](super::strategy::serial_queue).

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{LOST_HOSTS, host_gone};
use super::contention::ContentionKey;
use super::scope::CallScope;
use super::strategy::{Attempt, non_transactional, optimistic, serial_queue, serializable};
use super::{Answer, Dispatcher, FunctionCall, FunctionKind, Program};
use crate::error::Failure;
use crate::failpoints::Failpoint;

/// A call that keeps meeting conflicts goes on for this long, however often that is.
const RETRY_TIME: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Runs a mutation or an action to its end on a task of its own: a caller who stops
    /// waiting does not stop it.
    pub(crate) async fn run_to_end(&self, program: Arc<Program>, request: FunctionCall) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        let limits = &self.inner.limits;
        let kind = request.function.kind;
        let limit = if kind == FunctionKind::Action { limits.action_time() } else { limits.mutation_time() };
        let scope = CallScope { dispatcher: self.clone(), program, request, deadline: Instant::now() + limit };
        self.inner.mutations.spawn(async move {
            let function = scope.function().clone();
            let result = match function.transactional {
                true => one_at_a_time(scope.clone()).await,
                false => once(&scope).await,
            };
            let result = result.map_err(|failure| scope.dispatcher.name_limit(&function, failure));
            if answer.send(result).is_err() {
                tracing::debug!(function = &*function.name, "the caller of a function did not wait for its end");
            }
        });
        let panicked = || Failure::internal(kind.as_str(), &"its task ended without an answer (it panicked)");
        answered.await.unwrap_or_else(|_dropped| Err(panicked()))
    }
}

/// Runs what has no transaction of its own.
async fn once(scope: &CallScope) -> Result<Answer, Failure> {
    let _running = scope.dispatcher.enter()?;
    non_transactional::run(scope).await
}

/// Waits until no other call with this key runs here, and then runs it.
async fn one_at_a_time(scope: CallScope) -> Result<Answer, Failure> {
    let (dispatcher, request) = (scope.dispatcher.clone(), scope.request.clone());
    let _turn = match &request.key {
        Some(key) => {
            let most = dispatcher.inner.limits.max_pending_calls;
            Some(dispatcher.inner.keys.turn(&request.function, key, most, scope.deadline).await?)
        }
        None => None,
    };
    attempts(scope).await
}

async fn attempts(mut scope: CallScope) -> Result<Answer, Failure> {
    let dispatcher = scope.dispatcher.clone();
    let inner = &dispatcher.inner;
    let (mut conflicts, mut lost_hosts, began) = (0, 0, Instant::now());
    loop {
        let _running = dispatcher.enter()?;
        let (error, touched) = match attempt(&scope, conflicts, lost_hosts == 0).await {
            Attempt::Done(result) => return result,
            Attempt::Failed(failure, keyed) => {
                return inner.committer.replay(failure, keyed, inner.limits.query_time()).await;
            }
            Attempt::HostGone if lost_hosts < LOST_HOSTS => {
                if lost_hosts == 0 {
                    scope.quarantine();
                }
                lost_hosts += 1;
                continue;
            }
            Attempt::HostGone => return Err(host_gone()),
            Attempt::NeedsOther => {
                return Err(Failure::internal("mutation", &"no kind of transaction could answer its operations"));
            }
            Attempt::Conflict(error, touched) => (error, touched),
        };
        inner.contention.record_conflict(scope.function(), &scope.request.input, &touched);
        let patient = conflicts < inner.limits.retries || began.elapsed() < RETRY_TIME;
        if !patient || Instant::now() >= scope.deadline {
            return Err(error.to_failure(&scope.function().name));
        }
        conflicts += 1;
        // Full jitter over a growing span, so that those who met do not meet again.
        let most = 5u64 << conflicts.min(4);
        let pause = Duration::from_millis(rand::rng().random_range(0..=most));
        tokio::time::sleep(pause).await;
    }
}

/// Runs it once, with the strategy that fits what is known of its function. One that has
/// met two conflicts does not wait for its key to become hot.
async fn attempt(scope: &CallScope, conflicts: u32, may_queue: bool) -> Attempt {
    let function = scope.function();
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
    if !function.learned.needs_transaction.is_set() && !failpoints.has(Failpoint::NoOptimistic) {
        match optimistic::attempt(scope).await {
            Attempt::NeedsOther => function.learned.needs_transaction.set(),
            attempt => return attempt,
        }
    }
    serializable::attempt(scope).await
}
