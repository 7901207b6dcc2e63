//! A group: calls that run one after another in one transaction, and what they have done.

use std::time::Duration;

use tokio::time::Instant;

use super::QueuedCall;
use super::turn::{Member, TurnEnd};
use crate::change::ChangeSource;
use crate::db::{Access, Budget, Executor, TxCache, WriteBuffer, Written};
use crate::dispatch::commit::idempotency::Keyed;
use crate::dispatch::commit::{Commit, Unit};
use crate::dispatch::strategy::Attempt;
use crate::dispatch::{Answer, Dispatcher};
use crate::error::Failure;
use crate::postgres::{DbError, Isolation, Transaction};
use crate::sql::idempotency::Entry;
use crate::supervise::Part;

/// The most calls of one group, and the longest it takes new ones.
const MAX_CALLS: usize = 64;
const MAX_TIME: Duration = Duration::from_millis(20);

/// Calls that share a transaction.
pub(super) struct Group {
    dispatcher: Dispatcher,
    transaction: Transaction,
    began: Instant,
    finished: Vec<Finished>,
    /// What is known of documents, from turn to turn.
    tx_cache: TxCache,
    /// Writes that Postgres has not been sent yet; none where each is sent at once.
    buffer: Option<WriteBuffer>,
    /// What was written for the buffer, or left by members that went.
    written: Written,
}

/// A call whose function has ended; it is answered when its group has committed.
pub(super) struct Finished {
    pub waiting: QueuedCall,
    result: Result<String, Failure>,
    keyed: Option<Keyed>,
    written: Written,
}

/// Why a group cannot be committed.
pub(super) enum Abort {
    /// A conflict with another transaction.
    Conflict(DbError),
    /// Postgres has refused the commit.
    Rejected(DbError),
    /// Postgres has refused a write of the buffer, which may be any call's.
    BufferRefused,
    /// Something is in the transaction that must not be committed.
    Poisoned,
    /// Its connection is lost or busy.
    Broken,
}

impl Group {
    /// Begins a transaction, and waits for the turn among all processes.
    pub(super) async fn begin(dispatcher: Dispatcher, lock: u32) -> Result<Group, DbError> {
        let mut transaction =
            Transaction::begin(&dispatcher.inner.postgres.queue_writers, Isolation::Serializable).await?;
        transaction.lock_queue(lock).await?;
        Ok(Group {
            dispatcher,
            transaction,
            began: Instant::now(),
            finished: Vec::new(),
            tx_cache: TxCache::default(),
            buffer: Some(WriteBuffer::default()),
            written: Written::default(),
        })
    }

    /// Whether a call may join: there is room, and neither it nor the first one needs a
    /// group to itself.
    pub(super) fn takes(&self, waiting: &QueuedCall) -> bool {
        let shares = self.finished.first().is_none_or(|first| !waiting.is_single() && !first.waiting.is_single());
        shares && self.finished.len() < MAX_CALLS && self.began.elapsed() < MAX_TIME
    }

    /// Whether no call has finished yet.
    pub(super) fn is_empty(&self) -> bool {
        self.finished.is_empty()
    }

    /// Runs a member's turn. It has what is known of documents, and the buffer.
    pub(super) async fn play(&mut self, member: &mut Member) -> Result<TurnEnd, Abort> {
        if !member.run.shared {
            // What was buffered may be why; now each write is its own.
            self.buffer = None;
        }
        if member.waiting.scope.function().learned.fails_after_writing.is_set() {
            // It gets a savepoint, which must not undo what came before it.
            self.flush_buffer().await?;
        } else {
            std::mem::swap(&mut member.run.buffer, &mut self.buffer);
        }
        std::mem::swap(&mut member.run.executor.tx_cache, &mut self.tx_cache);
        let ended = member.play(&mut self.transaction).await;
        std::mem::swap(&mut member.run.executor.tx_cache, &mut self.tx_cache);
        if member.run.buffer.is_some() {
            std::mem::swap(&mut member.run.buffer, &mut self.buffer);
        }
        Ok(ended)
    }

    /// Adds a call that has finished.
    pub(super) fn add(&mut self, member: Member, result: Result<String, Failure>, keyed: Option<Keyed>) {
        let Member { waiting, mut run, .. } = member;
        let written = run.executor.take_written();
        self.finished.push(Finished { waiting, result, keyed, written });
    }

    /// Keeps what a member that leaves has written of the others' buffer.
    pub(super) fn keep_written(&mut self, written: Written) {
        self.written.join(written);
    }

    /// Writes what the group has buffered.
    async fn flush_buffer(&mut self) -> Result<(), Abort> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        let mut executor = Executor::new(self.dispatcher.inner.node, Budget::counted(), TxCache::none());
        executor.flush(&mut Access::Within(&mut self.transaction), buffer).await.map_err(|error| match error {
            DbError::Retry(_) => Abort::Conflict(error),
            _ => Abort::BufferRefused,
        })?;
        self.written.join(executor.take_written());
        // It is older than what was buffered since.
        self.tx_cache.clear();
        Ok(())
    }

    /// Commits for all calls, and gives how each ended; or what becomes of them where
    /// nothing is left of the group.
    pub(super) async fn commit(mut self) -> Result<Vec<(QueuedCall, Attempt)>, (Abort, Vec<Finished>)> {
        if let Err(abort) = self.flush_buffer().await {
            return Err((abort, self.abort().await));
        }
        let Group { dispatcher, transaction, mut finished, written, .. } = self;
        let Written { mut changes, mut xid } = written;
        for one in &mut finished {
            changes.append(&mut one.written.changes);
            xid = xid.or(one.written.xid.take());
        }
        let unit = Unit {
            by: ChangeSource::functions(finished.iter().map(|one| &one.waiting.scope.function().name)),
            answers: finished.iter().filter_map(Finished::answer).collect(),
            deadline: finished.iter().map(|one| one.waiting.scope.deadline).max().unwrap_or_else(Instant::now),
            part: Some(Part::SerialQueue),
        };
        let failure = match dispatcher.inner.committer.transaction(transaction, changes.into(), xid, unit).await {
            Commit::Committed => None,
            Commit::InDoubt(failure) => Some(failure),
            Commit::Conflict(error) => return Err((Abort::Conflict(error), finished)),
            Commit::Rejected(error) => return Err((Abort::Rejected(error), finished)),
        };
        Ok(finished.into_iter().map(|one| one.ended(failure.as_ref())).collect())
    }

    /// Rolls back; gives the calls of which nothing is left.
    pub(super) async fn abort(self) -> Vec<Finished> {
        self.transaction.rollback().await;
        self.finished
    }

    /// Closes the connection, which rolls back.
    pub(super) fn disconnect(self) -> Vec<Finished> {
        self.finished
    }
}

impl Finished {
    /// What is kept of a keyed call that succeeded.
    fn answer(&self) -> Option<(&Entry, &str)> {
        Some((&self.keyed.as_ref()?.entry, self.result.as_ref().ok()?.as_str()))
    }

    /// How its call ended, after a commit that may be in doubt.
    fn ended(self, in_doubt: Option<&Failure>) -> (QueuedCall, Attempt) {
        let attempt = match (self.result, in_doubt) {
            (Ok(result), None) => Attempt::Done(Ok(Answer::fresh(result))),
            (Ok(_), Some(failure)) => Attempt::Done(Err(failure.clone())),
            (Err(failure), _) => Attempt::Failed(failure, self.keyed),
        };
        (self.waiting, attempt)
    }

    /// How it ended where Postgres has refused what it alone was about to commit.
    pub(super) fn rejected(self, error: &DbError) -> (QueuedCall, Attempt) {
        let failure = self.waiting.scope.explain(error);
        (self.waiting, Attempt::Failed(failure, self.keyed))
    }
}
