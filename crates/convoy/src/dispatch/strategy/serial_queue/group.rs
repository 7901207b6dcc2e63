//! A group: calls that run one after another in one transaction, and their effects.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::QueuedCall;
use super::turn::{Member, TurnEnd};
use crate::change::ChangeSource;
use crate::db::{Access, Budget, Executor, TxCache, WriteBuffer, Written};
use crate::dispatch::commit::idempotency::Keyed;
use crate::dispatch::commit::{Commit, Unit};
use crate::dispatch::strategy::Attempt;
use crate::dispatch::{Answer, Dispatcher};
use crate::error::Failure;
use crate::failpoints::Failpoint;
use crate::postgres::{Begin, DbError, Isolation, Transaction};
use crate::schema::Table;
use crate::sql::idempotency::Entry;
use crate::supervise::Part;

/// The maximum number of calls in a group, and how long it takes calls.
pub(super) const MAX_CALLS: usize = 64;
const MAX_TIME: Duration = Duration::from_millis(20);

/// Calls that share a transaction.
pub(super) struct Group {
    dispatcher: Dispatcher,
    transaction: Transaction,
    began: Instant,
    /// The number of the first call that arrived too late. The snapshot of the group lacks what
    /// others have committed since, and a later call may have been sent because of that.
    late: u64,
    finished: Vec<Finished>,
    /// The document cache, handed from turn to turn.
    tx_cache: TxCache,
    /// Writes that were not sent yet; `None` if each write is sent at once.
    buffer: Option<WriteBuffer>,
    /// The changes of the flushed buffer and of members that left.
    written: Written,
}

/// A call whose function has ended; it is answered after the commit of its group.
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
    /// Postgres has rejected the commit.
    Rejected(DbError),
    /// Postgres has rejected a write of the buffer, which may be any call's.
    BufferRejected,
    /// The transaction has writes that must not be committed.
    Poisoned,
    /// The connection is lost or busy.
    Broken,
}

impl Group {
    /// Begins a transaction for calls with this time limit of statements, and takes the lock
    /// that serialises the queue across processes.
    pub(super) async fn begin(
        dispatcher: Dispatcher,
        lock: u32,
        statement_timeout: Option<Duration>,
    ) -> Result<Group, DbError> {
        let begin = Begin { isolation: Isolation::Serializable, run_as: None, statement_timeout };
        let mut transaction = Transaction::begin_with(&dispatcher.inner.postgres.queue_writers, begin).await?;
        transaction.lock_queue(lock).await?;
        // The first statement after the lock takes the snapshot.
        let late = dispatcher.inner.serial.next.load(Ordering::SeqCst);
        Ok(Group {
            dispatcher,
            transaction,
            began: Instant::now(),
            late,
            finished: Vec::new(),
            tx_cache: TxCache::default(),
            buffer: Some(WriteBuffer::default()),
            written: Written::default(),
        })
    }

    /// Reads documents that its calls will probably read, in one statement for each table.
    pub(super) async fn load(&mut self, documents: Vec<(Arc<Table>, Vec<Uuid>)>) -> Result<(), DbError> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        for (table, ids) in documents {
            let rows = Access::Within(&mut self.transaction).get_versions(&table, &ids).await?;
            buffer.load(&table, &ids, rows)?;
        }
        self.began = Instant::now();
        Ok(())
    }

    /// Whether a call may join: it had arrived when the group began, its statements have the same
    /// time limit, the group is not full, and neither the call nor the group's first call needs a
    /// group of one.
    pub(super) fn accepts(&self, waiting: &QueuedCall) -> bool {
        let in_time = match self.dispatcher.inner.failpoints.has(Failpoint::LateCallsJoin) {
            true => true,
            false => waiting.number < self.late && (self.is_empty() || self.began.elapsed() < MAX_TIME),
        };
        let shares = self.finished.first().is_none_or(|first| !waiting.is_single() && !first.waiting.is_single());
        let same_timeout = waiting.scope.limits().statement_timeout == self.transaction.statement_timeout();
        in_time && shares && same_timeout && self.finished.len() < MAX_CALLS
    }

    /// The number of calls that have finished.
    pub(super) fn len(&self) -> usize {
        self.finished.len()
    }

    /// The writes that were not sent yet, and the loaded documents; `None` if each write is sent
    /// at once.
    pub(super) fn buffer(&self) -> Option<&WriteBuffer> {
        self.buffer.as_ref()
    }

    /// Whether no call has finished yet.
    pub(super) fn is_empty(&self) -> bool {
        self.finished.is_empty()
    }

    /// Runs a member's turn, with the cache and the buffer of the group.
    pub(super) async fn run_turn(&mut self, member: &mut Member) -> Result<TurnEnd, Abort> {
        if !member.run.shared {
            // A buffered write may have aborted its last group; now each is sent separately.
            self.buffer = None;
        }
        if member.waiting.scope.function().learned.needs_savepoint.is_set() {
            // Its turn may be rolled back to a savepoint, which must keep earlier writes.
            self.flush_buffer().await?;
        } else {
            std::mem::swap(&mut member.run.buffer, &mut self.buffer);
        }
        std::mem::swap(&mut member.run.executor.tx_cache, &mut self.tx_cache);
        let ended = member.run_turn(&mut self.transaction).await;
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

    /// Adds the buffered writes of others that a leaving member has flushed.
    pub(super) fn keep_written(&mut self, written: Written) {
        self.written.join(written);
    }

    /// Writes the buffer to Postgres.
    async fn flush_buffer(&mut self) -> Result<(), Abort> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        let mut executor = Executor::new(self.dispatcher.inner.node, Budget::counted(), TxCache::none());
        executor.flush(&mut Access::Within(&mut self.transaction), buffer).await.map_err(|error| match error {
            DbError::Retry(_) => Abort::Conflict(error),
            _ if error.connection_lost() => Abort::Broken,
            _ => Abort::BufferRejected,
        })?;
        self.written.join(executor.take_written());
        // The cache does not have the buffered writes.
        self.tx_cache.clear();
        Ok(())
    }

    /// Commits, and returns how each call ended. If the group is aborted instead, returns the
    /// reason and the calls.
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
            responses: finished.iter().filter_map(Finished::response).collect(),
            deadline: finished.iter().map(|one| one.waiting.scope.deadline).max().unwrap_or_else(Instant::now),
            part: Some(Part::SerialQueue),
            observers: finished.iter().filter_map(|one| one.waiting.scope.observer()).collect(),
            spans: finished.iter().filter_map(|one| one.waiting.scope.telemetry.span.recorded()).collect(),
        };
        let failure = match dispatcher.inner.committer.transaction(transaction, changes.into(), xid, unit).await {
            Commit::Committed => None,
            Commit::InDoubt(failure) => Some(failure),
            Commit::Conflict(error) => return Err((Abort::Conflict(error), finished)),
            Commit::Rejected(error) => return Err((Abort::Rejected(error), finished)),
        };
        Ok(finished.into_iter().map(|one| one.ended(failure.as_ref())).collect())
    }

    /// Rolls back, and returns the finished calls.
    pub(super) async fn abort(self) -> Vec<Finished> {
        self.transaction.rollback().await;
        self.finished
    }

    /// Closes the connection, which rolls back, and returns the finished calls.
    pub(super) fn disconnect(self) -> Vec<Finished> {
        self.finished
    }
}

impl Finished {
    /// The response to store, of a keyed call that succeeded.
    fn response(&self) -> Option<(&Entry, &str)> {
        Some((&self.keyed.as_ref()?.entry, self.result.as_ref().ok()?.as_str()))
    }

    /// The end of its call after the commit; `in_doubt` is the failure if that is in doubt.
    fn ended(self, in_doubt: Option<&Failure>) -> (QueuedCall, Attempt) {
        let attempt = match (self.result, in_doubt) {
            (Ok(result), None) => Attempt::Done(Ok(Answer::fresh(result))),
            (Ok(_), Some(failure)) => Attempt::Done(Err(failure.clone())),
            (Err(failure), _) => Attempt::Failed(failure, self.keyed),
        };
        (self.waiting, attempt)
    }

    /// The end of its call after Postgres rejected the commit of it alone.
    pub(super) fn rejected(self, error: &DbError) -> (QueuedCall, Attempt) {
        let failure = self.waiting.scope.explain(error);
        (self.waiting, Attempt::Failed(failure, self.keyed))
    }
}
