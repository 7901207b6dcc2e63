//! The loop that every run goes through: it takes a function's operations, has its
//! strategy answer them, and ends with the function's result or with why there is none.

use std::time::Duration;

use super::call::{Call, broken_protocol, time_is_up};
use super::host::{CallMetadata, FromHost, FunctionResult};
use super::scope::CallScope;
use crate::db::push_failure;
use crate::error::{Code, Failure};
use crate::op::Op;
use crate::postgres::DbError;

/// How the operations of a run are answered.
pub(super) trait Strategy {
    /// How long the function may do nothing, beside the limit of its call.
    const MAX_IDLE: Option<Duration> = None;

    /// Appends one answer for each operation to `out`, each followed by a comma, or
    /// ends the run.
    async fn answer(&mut self, ops: &mut [Result<Op, Failure>], out: &mut String) -> Result<(), Stop>;
}

/// Why a run ends before its function has returned.
#[derive(Debug)]
pub(super) enum Stop {
    /// What ran the function went away.
    HostGone,
    /// The function did nothing for longer than [`Strategy::MAX_IDLE`].
    Idle,
    /// The run fails with this. Its transaction, if it has one, can still be rolled back.
    Failed(Failure),
    /// The run fails with this, and its connection is lost or busy: dropping the
    /// transaction closes it, and Postgres rolls back.
    Broken(Failure),
    /// Another transaction won. Nothing of the run is left, and it may run again.
    Conflict(DbError),
    /// The strategy cannot answer such an operation; the run starts again with another.
    NeedsOther,
}

impl Stop {
    /// What the function, which may still run, is told.
    fn told(&self) -> Failure {
        match self {
            Stop::Failed(failure) | Stop::Broken(failure) => failure.clone(),
            Stop::Conflict(_) => Failure::new(Code::Unavailable, "this run starts again: another writer won"),
            Stop::HostGone | Stop::Idle | Stop::NeedsOther => {
                Failure::new(Code::Unavailable, "this run starts again in another kind of transaction")
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
    let ended = answer_all(call, scope, strategy).await;
    if let Err(stop) = &ended {
        call.give_up(stop.told());
    }
    ended
}

async fn answer_all<S: Strategy>(
    call: &mut Call,
    scope: &CallScope,
    strategy: &mut S,
) -> Result<(FunctionResult, CallMetadata), Stop> {
    loop {
        let message = match S::MAX_IDLE {
            Some(most) => tokio::time::timeout(most, call.next()).await.map_err(|_elapsed| Stop::Idle)?,
            None => call.next().await,
        };
        let (batch, text) = match message.map_err(Stop::Failed)? {
            Some(FromHost::Operate { batch, ops }) => (batch, ops),
            Some(FromHost::Respond { result, metadata }) => return Ok((result, metadata)),
            None => return Err(Stop::HostGone),
        };
        let mut ops =
            Op::parse_batch(&text, &scope.program.schema).map_err(|error| Stop::Failed(broken_protocol(&error)))?;
        let mut answers = String::with_capacity(1_024);
        answers.push('[');
        match tokio::time::timeout_at(scope.deadline, strategy.answer(&mut ops, &mut answers)).await {
            Ok(answered) => answered?,
            Err(_elapsed) => return Err(Stop::Broken(time_is_up())),
        }
        if answers.ends_with(',') {
            answers.pop();
        }
        answers.push(']');
        call.answer(batch, answers);
    }
}

/// Answers all of these with one failure.
pub(super) fn fail_all(ops: &[Result<Op, Failure>], failure: &Failure, out: &mut String) {
    ops.iter().for_each(|_| push_failure(out, failure));
}
