//! One call's turn in a group.

use std::sync::Arc;
use std::time::Duration;

use super::QueuedCall;
use crate::db::WriteBuffer;
use crate::dispatch::call::Call;
use crate::dispatch::commit::idempotency::Keyed;
use crate::dispatch::drive::{Stop, Strategy, drive};
use crate::dispatch::host::{CallMetadata, FunctionResult};
use crate::dispatch::strategy::transaction::TransactionRun;
use crate::error::Failure;
use crate::op::{Op, RunAs};
use crate::postgres::{DbError, Transaction};

/// The savepoint before the turn of a function that has failed after writing. Functions
/// themselves use lower numbers.
const TURN_SAVEPOINT: u32 = u32::MAX;

/// A call whose function was started.
pub(super) struct Member {
    pub waiting: QueuedCall,
    pub run: TransactionRun,
    pub call: Call,
    /// Its first operations were answered in advance; see [`super::in_turn`].
    pub in_turn: bool,
    /// Since then it has done no more than its host has applied to the answers of others.
    pub as_predicted: bool,
}

/// How a member's turn ended.
pub(super) enum TurnEnd {
    /// The function has ended. If it failed, its writes are undone.
    Finished { result: Result<String, Failure>, keyed: Option<Keyed> },
    /// The call leaves the group.
    Leaves(Leaves),
    /// The group must be aborted.
    Fatal(Fatal),
}

/// Why a turn aborts its group.
pub(super) enum Fatal {
    /// The function failed, and its writes are still in the transaction.
    Poisoned { failure: Failure, keyed: Option<Keyed> },
    /// A conflict with another transaction.
    Conflict(DbError),
    /// The connection is lost or busy. `keyed` is set if the function had ended: then an
    /// earlier call with its key may have succeeded.
    Broken { failure: Failure, keyed: Option<Keyed> },
}

/// Why a member leaves its group.
pub(super) enum Leaves {
    /// Its function sent no message for too long.
    Idle,
    /// Its host has exited.
    HostGone,
    /// It needs a transaction that is not shared, or has no buffer.
    NeedsOther,
}

/// Answers one function's operations in the transaction of its group.
struct Turn<'a> {
    run: &'a mut TransactionRun,
    transaction: &'a mut Transaction,
}

impl Strategy for Turn<'_> {
    const MAX_IDLE: Option<Duration> = Some(Duration::from_millis(20));

    async fn answer(
        &mut self,
        ops: &mut [Result<Op, Failure>],
        run_as: Option<&Arc<RunAs>>,
        out: &mut String,
    ) -> Result<Option<Failure>, Stop> {
        // Its transaction is shared with other calls.
        if run_as.is_some() {
            return Err(Stop::NeedsOther);
        }
        self.run.answer(self.transaction, ops, None, out).await.map(|()| None)
    }
}

impl Member {
    /// Starts the function of a call.
    pub(super) fn start(waiting: QueuedCall) -> Member {
        let call = Call::start(&waiting.scope);
        let mut run = TransactionRun::new(waiting.scope.clone());
        run.shared = !waiting.is_single();
        Member { waiting, run, call, in_turn: false, as_predicted: false }
    }

    /// Runs the function to its end.
    pub(super) async fn run_turn(&mut self, transaction: &mut Transaction) -> TurnEnd {
        let Member { waiting, run, call, .. } = self;
        run.undo_start = run.buffer.as_mut().map_or(0, WriteBuffer::begin);
        // A buffered function needs no savepoint, because the buffer has an undo log.
        let savepoint = waiting.scope.function().learned.needs_savepoint.is_set() && run.buffer.is_none();
        if savepoint && let Err(error) = transaction.savepoint(TURN_SAVEPOINT).await {
            return TurnEnd::Fatal(Fatal::Broken { failure: waiting.scope.explain(&error), keyed: None });
        }
        let stop = match drive(call, &waiting.scope, &mut Turn { run: &mut *run, transaction: &mut *transaction }).await
        {
            Ok((ended, metadata)) => return self.end(transaction, savepoint, ended, metadata).await,
            Err(stop) => stop,
        };
        self.stopped(transaction, savepoint, stop, None).await
    }

    async fn end(
        &mut self,
        transaction: &mut Transaction,
        savepoint: bool,
        ended: FunctionResult,
        metadata: CallMetadata,
    ) -> TurnEnd {
        let keyed = Keyed::of(&self.waiting.scope, metadata.identity.as_deref());
        let wrote = metadata.held.is_some() || metadata.writes.is_some();
        let finished = self.run.finish(ended, &metadata);
        // The host has applied the writes of a function that has returned. A statement may have
        // had another effect, by a trigger.
        self.as_predicted = self.call.is_in_turn() && self.run.is_buffered() && (finished.is_ok() || !wrote);
        let (result, held) = match finished {
            Ok(finished) => finished,
            Err(failure) => return self.stopped(transaction, savepoint, Stop::Failed(failure), keyed).await,
        };
        if let Some(buffer) = &mut self.run.buffer {
            held.into_iter().for_each(|insert| buffer.insert(insert.table, insert.rows));
            return TurnEnd::Finished { result: Ok(result), keyed };
        }
        match self.run.insert(transaction, held).await {
            Ok(()) => TurnEnd::Finished { result: Ok(result), keyed },
            Err(stop) => {
                // Postgres rejects all statements until a rollback to the savepoint.
                self.run.executor.set_dirty();
                self.stopped(transaction, savepoint, stop, keyed).await
            }
        }
    }

    async fn stopped(
        &mut self,
        transaction: &mut Transaction,
        savepoint: bool,
        stop: Stop,
        keyed: Option<Keyed>,
    ) -> TurnEnd {
        match stop {
            Stop::Failed(failure) => self.failed(transaction, savepoint, failure, keyed).await,
            Stop::Broken(failure) => TurnEnd::Fatal(Fatal::Broken { failure, keyed }),
            Stop::Conflict(error) => TurnEnd::Fatal(Fatal::Conflict(error)),
            Stop::Idle => self.leaves(Leaves::Idle),
            Stop::HostGone => self.leaves(Leaves::HostGone),
            Stop::NeedsOther => self.leaves(Leaves::NeedsOther),
        }
    }

    /// The member leaves the group; its buffered writes are undone.
    fn leaves(&mut self, why: Leaves) -> TurnEnd {
        self.undo_buffer();
        TurnEnd::Leaves(why)
    }

    /// Undoes the writes of a failed function, if that is possible without the group's.
    async fn failed(
        &mut self,
        transaction: &mut Transaction,
        savepoint: bool,
        failure: Failure,
        keyed: Option<Keyed>,
    ) -> TurnEnd {
        if !self.run.executor.is_dirty() && !self.run.is_aborted() {
            self.undo_buffer();
            return TurnEnd::Finished { result: Err(failure), keyed };
        }
        if !savepoint {
            return TurnEnd::Fatal(Fatal::Poisoned { failure, keyed });
        }
        match transaction.rollback_to(TURN_SAVEPOINT).await {
            Ok(()) => {
                self.run.executor.undo_to(0);
                TurnEnd::Finished { result: Err(failure), keyed }
            }
            Err(error) => TurnEnd::Fatal(Fatal::Broken { failure: self.waiting.scope.explain(&error), keyed }),
        }
    }

    fn undo_buffer(&mut self) {
        if let Some(buffer) = &mut self.run.buffer {
            buffer.undo_to(self.run.undo_start);
        }
    }

    /// Whether its writes, which must not be committed, are still in the transaction.
    pub(super) fn has_left_writes(&self) -> bool {
        self.run.executor.is_dirty() || self.run.is_aborted()
    }
}
