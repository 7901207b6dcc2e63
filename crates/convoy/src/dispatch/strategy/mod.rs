//! The strategies by which functions run. Each answers a function's operations in its own
//! way; what they commit goes through [`commit`](super::commit).

pub(super) mod insert_batching;
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
    /// It is answered with this.
    Done(Result<Answer, Failure>),
    /// It failed, but an earlier call with its key may have succeeded.
    Failed(Failure, Option<Keyed>),
    /// Another transaction won; nothing of this attempt is left.
    Conflict(DbError, ReadWriteSet),
    /// Its host went away, and nothing of this attempt is left.
    HostGone,
    /// Nothing of it is left, and it has to run with another strategy.
    NeedsOther,
}

impl Attempt {
    /// Of a call that was about to commit alone.
    fn of_commit(
        commit: Commit,
        scope: &CallScope,
        result: String,
        keyed: Option<Keyed>,
        touched: impl FnOnce() -> ReadWriteSet,
    ) -> Attempt {
        match commit {
            Commit::Committed => Attempt::Done(Ok(Answer::fresh(result))),
            Commit::Conflict(error) => Attempt::Conflict(error, touched()),
            Commit::Rejected(error) => Attempt::Failed(scope.explain(&error), keyed),
            Commit::InDoubt(failure) => Attempt::Done(Err(failure)),
        }
    }

    /// Of a run that stopped, and of which nothing is left.
    fn of_stop(stop: Stop, keyed: Option<Keyed>, touched: impl FnOnce() -> ReadWriteSet) -> Attempt {
        match stop {
            Stop::Failed(failure) | Stop::Broken(failure) => Attempt::Failed(failure, keyed),
            Stop::Conflict(error) => Attempt::Conflict(error, touched()),
            Stop::HostGone => Attempt::HostGone,
            Stop::Idle | Stop::NeedsOther => Attempt::NeedsOther,
        }
    }
}

/// What an attempt that met a conflict has read and written: some of it is contended.
#[derive(Default)]
pub(super) struct ReadWriteSet {
    pub reads: ReadSet,
    pub written: Arc<[Change]>,
}
