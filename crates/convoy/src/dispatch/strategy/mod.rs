//! The strategies for running functions. Each answers the operations of a function in a
//! different way; all commit through [`commit`](super::commit).

pub(super) mod commit_batching;
pub(super) mod non_transactional;
pub(super) mod optimistic;
pub(super) mod serial_queue;
pub(super) mod serializable;
pub(super) mod snapshot;
mod transaction;

use std::sync::Arc;

use super::Answer;
use super::commit::Commit;
use super::commit::idempotency::Keyed;
use super::drive::Stop;
use super::scope::CallScope;
use crate::change::Change;
use crate::db::ReadSet;
use crate::error::Failure;
use crate::postgres::DbError;

/// How one attempt to run a mutation ended.
pub(super) enum Attempt {
    /// The final answer of the call.
    Done(Result<Answer, Failure>),
    /// It failed, but an earlier call with its key may have succeeded.
    Failed(Failure, Option<Keyed>),
    /// Another transaction won; the attempt is rolled back.
    Conflict(DbError, ReadWriteSet),
    /// Its host has exited; the attempt is rolled back.
    HostGone,
    /// The attempt is rolled back, and must run with another strategy.
    NeedsOther,
}

impl Attempt {
    /// The end of an attempt after its commit.
    fn of_commit(
        commit: Commit,
        scope: &CallScope,
        result: String,
        keyed: Option<Keyed>,
        read_write_set: impl FnOnce() -> ReadWriteSet,
    ) -> Attempt {
        match commit {
            Commit::Committed => Attempt::Done(Ok(Answer::fresh(result))),
            Commit::Conflict(error) => Attempt::Conflict(error, read_write_set()),
            Commit::Rejected(error) => Attempt::Failed(scope.explain(&error), keyed),
            Commit::InDoubt(failure) => Attempt::Done(Err(failure)),
        }
    }

    /// The end of an attempt that was stopped and rolled back.
    fn of_stop(stop: Stop, keyed: Option<Keyed>, read_write_set: impl FnOnce() -> ReadWriteSet) -> Attempt {
        match stop {
            Stop::Failed(failure) | Stop::Broken(failure) => Attempt::Failed(failure, keyed),
            Stop::Conflict(error) => Attempt::Conflict(error, read_write_set()),
            Stop::HostGone => Attempt::HostGone,
            Stop::Idle | Stop::NeedsOther => Attempt::NeedsOther,
        }
    }
}

/// The reads and writes of an attempt that ended in a conflict.
#[derive(Default)]
pub(super) struct ReadWriteSet {
    pub reads: ReadSet,
    pub written: Arc<[Change]>,
}
