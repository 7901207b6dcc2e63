//! The loop of every run: receives the operations of a function, answers them by its
//! strategy, and ends with the function's result or with the reason why it was stopped.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::FunctionKind;
use super::cached_read;
use super::call::{Call, broken_protocol, timed_out};
use super::host::{CallMetadata, FromHost, FunctionResult};
use super::prefetch::{are_reads, takes_prefetched};
use super::scope::CallScope;
use crate::db::{ReadSet, push_failure};
use crate::error::{Code, Failure};
use crate::failpoints::Point;
use crate::op::{Batch, Edit, Op, RunAs};
use crate::postgres::DbError;

/// How the operations of a run are answered.
pub(super) trait Strategy {
    /// How long the function may go without sending a message, besides the limit of its call.
    const MAX_IDLE: Option<Duration> = None;

    /// Appends one answer for each operation to `out`, each followed by a comma, or ends the
    /// run. The operations run under the role `run_as`; `None` is that of the connection. With
    /// a failure, the following operations of the batch fail too.
    async fn answer(
        &mut self,
        ops: &mut [Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<Option<Failure>, Stop>;

    /// Forgets what was read before the function has begun, because it has not used it: only what it
    /// reads itself counts. False if an error of that cannot be undone.
    fn forget(&mut self) -> bool {
        true
    }

    /// Adds reads that were answered in another way. Only queries have to know them.
    fn add_reads(&mut self, _reads: &ReadSet) {}
}

/// Why a run ends before its function has returned.
#[derive(Debug)]
pub(super) enum Stop {
    /// The host of the function has exited.
    HostGone,
    /// The function sent no message for longer than [`Strategy::MAX_IDLE`].
    Idle,
    /// The run fails with this. Its transaction, if it has one, can still be rolled back.
    Failed(Failure),
    /// The run fails with this, and its connection is lost or busy: dropping the
    /// transaction closes it, and Postgres rolls back.
    Broken(Failure),
    /// Another transaction won. The run left no effects, and may run again.
    Conflict(DbError),
    /// The strategy cannot answer an operation; the run starts again with another strategy.
    NeedsOther,
}

impl Stop {
    /// The failure that the host receives for the function, which may still be running.
    fn abandon_reason(&self) -> Failure {
        match self {
            Stop::Failed(failure) | Stop::Broken(failure) => failure.clone(),
            Stop::Conflict(_) => {
                Failure::new(Code::Unavailable, "This run was stopped by a conflict, and starts again.")
            }
            Stop::HostGone | Stop::Idle | Stop::NeedsOther => {
                Failure::new(Code::Unavailable, "This run was stopped, and starts again with another strategy.")
            }
        }
    }
}

/// Answers a function's operations until it ends.
pub(super) async fn drive<S: Strategy>(
    call: &mut Call,
    scope: &CallScope,
    strategy: &mut S,
) -> Result<(FunctionResult, CallMetadata), Stop> {
    scope.dispatcher.inner.failpoints.pass(Point::HostCall).await;
    let telemetry = scope.telemetry.within(call.span());
    let ended = telemetry.run(answer_all(call, scope, strategy)).await;
    if let Err(stop) = &ended {
        call.abandon(stop.abandon_reason());
    }
    ended
}

async fn answer_all<S: Strategy>(
    call: &mut Call,
    scope: &CallScope,
    strategy: &mut S,
) -> Result<(FunctionResult, CallMetadata), Stop> {
    let is_mutation = scope.function().kind == FunctionKind::Mutation && scope.function().transactional;
    let mut used = Vec::new();
    let first_operations = takes_prefetched(scope).then(|| &scope.function().learned.first_operations);
    let mut is_first = !call.is_in_turn();
    loop {
        let message = match S::MAX_IDLE {
            Some(max_idle) => tokio::time::timeout(max_idle, call.next()).await.map_err(|_elapsed| Stop::Idle)?,
            None => call.next().await,
        };
        let (batch, text) = match message.map_err(Stop::Failed)? {
            Some(FromHost::Operate { batch, ops }) => (batch, ops),
            Some(FromHost::Respond { mut result, metadata }) => {
                // A kept read has changed meanwhile, such as a deleted session.
                if !scope.dispatcher.inner.read_cache.are_current(&used) {
                    return Err(Stop::Conflict(DbError::stale_read()));
                }
                // A refused call says nothing about the others.
                if let Some(first) = first_operations.filter(|_| is_first && call.has_prefetched())
                    && matches!(result, FunctionResult::Returned(_))
                {
                    first.used(!metadata.unused);
                }
                if let Some(writes) =
                    metadata.writes.as_deref().filter(|_| matches!(result, FunctionResult::Returned(_)))
                    && let Some(failure) = write_held(scope, strategy, writes.get()).await?
                {
                    result = FunctionResult::Refused(failure);
                }
                return Ok((result, metadata));
            }
            None => return Err(Stop::HostGone),
        };
        let mut operations = Batch::parse(&text, &scope.program.schema, scope.program.role())
            .map_err(|error| Stop::Failed(broken_protocol(&error)))?;
        if std::mem::take(&mut is_first)
            && let Some(first) = first_operations
        {
            match call.has_prefetched() {
                // It has answered its first batch by them.
                true if batch > 0 => first.used(true),
                true => {
                    strategy.forget();
                    first.used(false);
                }
                false => first.record(&scope.request.input, &text, are_reads(scope.function().kind, &operations.ops)),
            }
        }
        let mut answers = String::with_capacity(1_024);
        answers.push('[');
        // Other runs have no commit to stop.
        let used = is_mutation.then_some(&mut used);
        let answering = cached_read::answer(scope, strategy, &mut operations, used, &mut answers);
        match tokio::time::timeout_at(scope.operation_deadline(), answering).await {
            Ok(answered) => answered?,
            Err(_elapsed) => return Err(Stop::Broken(timed_out())),
        }
        end_array(&mut answers);
        call.answer(batch, answers);
    }
}

/// Executes the writes that the host has held until the function returned. Returns the failure
/// of the first that fails.
async fn write_held<S: Strategy>(scope: &CallScope, strategy: &mut S, writes: &str) -> Result<Option<Failure>, Stop> {
    let broken = |error: &dyn std::fmt::Display| Stop::Failed(broken_protocol(error));
    if scope.function().kind != FunctionKind::Mutation || !scope.function().transactional {
        return Err(broken(&"only a mutation in a transaction can hold writes"));
    }
    if scope.program.role().is_some() {
        return Err(broken(&"no write is held where policies may refuse it"));
    }
    let mut ops = Op::parse_batch(writes, &scope.program.schema).map_err(|error| broken(&error))?;
    if ops.iter().flatten().any(|op| !matches!(op, Op::Insert { .. } | Op::Edit { edit: Edit::Patch { .. }, .. })) {
        return Err(broken(&"only inserts and patches can be held"));
    }
    let mut answers = String::from("[");
    match tokio::time::timeout_at(scope.operation_deadline(), strategy.answer(&mut ops, None, &mut answers)).await {
        Ok(answered) => answered?,
        Err(_elapsed) => return Err(Stop::Broken(timed_out())),
    };
    end_array(&mut answers);
    first_failure(&answers).map_err(|error| broken(&error))
}

/// Ends a JSON array of which each element is followed by a comma.
pub(super) fn end_array(answers: &mut String) {
    if answers.ends_with(',') {
        answers.pop();
    }
    answers.push(']');
}

/// The first failure among answers, a JSON array.
fn first_failure(answers: &str) -> serde_json::Result<Option<Failure>> {
    #[derive(Deserialize)]
    struct Answered {
        error: Option<Failed>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Failed {
        code: String,
        message: String,
        details: Option<Box<RawValue>>,
        error_id: Option<String>,
    }
    let answers: Vec<Answered> = serde_json::from_str(answers)?;
    let failed = answers.into_iter().find_map(|answered| answered.error);
    Ok(failed.map(|Failed { code, message, details, error_id }| Failure {
        details,
        error_id,
        ..Failure::new(Code::parse(&code).unwrap_or(Code::Internal), message)
    }))
}

/// Answers each of `ops` with this failure.
pub(super) fn fail_all(ops: &[Result<Op, Failure>], failure: &Failure, out: &mut String) {
    ops.iter().for_each(|_| push_failure(out, failure));
}
