//! The task of a lane: starts its functions, plays them one after another inside
//! one transaction, commits for all of them, and then answers them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::{Ended, Waiting};
use crate::change::By;
use crate::db::{Access, Draft, Executor, Memory, Written};
use crate::dispatch::host::FromHost;
use crate::dispatch::idempotency::Keyed;
use crate::dispatch::mutation::{Attempt, Touched};
use crate::dispatch::run::{Over, Run};
use crate::dispatch::{Answer, Dispatcher};
use crate::error::{Code, Failure};
use crate::postgres::{CommitOutcome, DbError, Isolation, Transaction};
use crate::sql::idempotency::Entry;
use crate::supervise::Part;

/// The most calls of one group, and the longest it takes new ones.
const MOST: usize = 64;
const LONGEST: Duration = Duration::from_millis(20);
/// How many functions are started before it is their turn: while one waits for
/// Postgres, the next ones get as far as their first operation.
const AHEAD: usize = 4;
/// How long a function may do nothing while it is its turn.
const IDLE: Duration = Duration::from_millis(20);
/// A call whose group was undone so often is a group of its own.
const UNDONE: u32 = 2;

/// A call whose function runs.
struct Member {
    waiting: Waiting,
    run: Run,
}

/// A call whose function has ended; it is answered when its group has committed.
struct Finished {
    waiting: Waiting,
    result: Result<String, Failure>,
    keyed: Option<Keyed>,
    written: Written,
}

/// How a member's turn ended.
enum Played {
    Finished {
        result: Result<String, Failure>,
        keyed: Option<Keyed>,
    },
    /// It failed, and what it had written is still in the transaction.
    Spoiled {
        failure: Failure,
        keyed: Option<Keyed>,
    },
    /// It did nothing for too long.
    Slow,
    /// Its host went away.
    HostGone,
    /// It goes back to a place in its draft that Postgres does not know.
    Undraftable,
    Lost(DbError),
    /// The connection is of no use any more.
    Broken(Failure),
}

/// Why a group is undone.
enum Undone {
    Lost(DbError),
    Spoiled,
}

/// The task of one lane.
pub(super) struct Worker {
    dispatcher: Dispatcher,
    name: Arc<str>,
    lock: u32,
    /// Started, in the order of their turns.
    ahead: VecDeque<Member>,
}

impl Worker {
    pub fn new(dispatcher: Dispatcher, name: Arc<str>) -> Worker {
        let lock = xxh3_64(name.as_bytes()) as u32;
        if let Some(lane) = dispatcher.inner.serial.lanes.lock().get_mut(&name) {
            lane.begin_anew();
        }
        Worker { dispatcher, name, lock, ahead: VecDeque::new() }
    }

    pub async fn work(mut self) {
        loop {
            self.start_some(true);
            if self.ahead.is_empty() {
                return;
            }
            self.group().await;
        }
    }

    /// Starts functions that wait for their turn. With `close`, the lane ends if
    /// there are none.
    fn start_some(&mut self, close: bool) {
        while self.ahead.len() < AHEAD {
            let next = {
                let mut lanes = self.dispatcher.inner.serial.lanes.lock();
                let next = lanes.get_mut(&self.name).and_then(|lane| lane.waiting.pop_front());
                if next.is_none() && close && self.ahead.is_empty() {
                    lanes.remove(&self.name);
                }
                next
            };
            let Some(waiting) = next else { return };
            let run = Run::start(&self.dispatcher, &waiting.program, &waiting.request, waiting.deadline);
            self.ahead.push_back(Member { waiting, run });
        }
    }

    async fn group(&mut self) {
        let mut transaction = match self.begin().await {
            Ok(transaction) => transaction,
            Err(error) => {
                tracing::debug!(cause = %error, lane = &*self.name, "a lane has no connection; its calls run by themselves");
                while let Some(member) = self.ahead.pop_front() {
                    self.end(member.waiting, Ended::Alone);
                }
                return;
            }
        };
        let began = Instant::now();
        let mut finished: Vec<Finished> = Vec::new();
        let mut memory = Memory::default();
        let mut draft = Some(Draft::default());
        let mut drafted = Written::default();
        while finished.len() < MOST && began.elapsed() < LONGEST {
            self.start_some(false);
            let joins = self.ahead.front().is_some_and(|next| {
                finished.is_empty() || !(next.waiting.is_single() || finished[0].waiting.is_single())
            });
            let Some(mut member) = self.ahead.pop_front_if(|_| joins) else { break };
            member.run.shared = !member.waiting.is_single();
            if !member.run.shared {
                // What was drafted may be why; now each write is its own.
                draft = None;
            }
            std::mem::swap(&mut member.run.executor.memory, &mut memory);
            if member.waiting.request.function.fails_late()
                && let Some(before) = &mut draft
            {
                // It gets a savepoint, which must not undo what came before it.
                match self.settle(&mut transaction, before).await {
                    Ok(written) => {
                        drafted.join(written);
                        // It is older than what was drafted since.
                        member.run.executor.memory.clear();
                    }
                    Err(error) => {
                        transaction.rollback().await;
                        let why = why(error, &mut finished);
                        return self.undo(finished, Some(member.waiting), why);
                    }
                }
            } else {
                std::mem::swap(&mut member.run.draft, &mut draft);
            }
            let played = member.run.play(&mut transaction, &member.waiting).await;
            if member.run.draft.is_some() {
                std::mem::swap(&mut member.run.draft, &mut draft);
            }
            std::mem::swap(&mut member.run.executor.memory, &mut memory);
            let Member { waiting, mut run } = member;
            match played {
                Played::Finished { result, keyed } => {
                    let written = run.executor.take_written();
                    finished.push(Finished { waiting, result, keyed, written });
                }
                Played::Spoiled { failure, keyed } if finished.is_empty() => {
                    transaction.rollback().await;
                    return self.end(waiting, Ended::with(Attempt::Failed(failure, keyed)));
                }
                Played::Spoiled { .. } => {
                    waiting.request.function.failed_late();
                    transaction.rollback().await;
                    return self.undo(finished, Some(waiting), Undone::Spoiled);
                }
                Played::Slow | Played::HostGone | Played::Undraftable => {
                    match played {
                        Played::Undraftable => {
                            // From now on without a draft, as one that fails late.
                            waiting.request.function.failed_late();
                            self.again(waiting);
                        }
                        Played::Slow => {
                            self.dispatcher.inner.heat.slow(&waiting.request.function.name);
                            self.end(waiting, Ended::Alone);
                        }
                        // By itself it is counted how often that happens.
                        _ => self.end(waiting, Ended::Alone),
                    }
                    if run.executor.is_dirty() || run.is_broken() {
                        transaction.rollback().await;
                        return self.undo(finished, None, Undone::Spoiled);
                    }
                    // It may have written what others had drafted.
                    drafted.join(run.executor.take_written());
                }
                Played::Lost(error) => {
                    transaction.rollback().await;
                    return self.undo(finished, Some(waiting), Undone::Lost(error));
                }
                // Dropping the transaction closes its connection.
                Played::Broken(failure) => {
                    self.end(waiting, Ended::with(Attempt::Done(Err(failure))));
                    return self.undo(finished, None, Undone::Spoiled);
                }
            }
        }
        // They come as far as they can while the commit is under way.
        self.start_some(false);
        let written = match &mut draft {
            Some(draft) => self.settle(&mut transaction, draft).await,
            None => Ok(Written::default()),
        };
        match written {
            Ok(written) => {
                drafted.join(written);
                self.commit(transaction, finished, drafted).await;
            }
            Err(error) => {
                transaction.rollback().await;
                let why = why(error, &mut finished);
                self.undo(finished, None, why);
            }
        }
    }

    async fn begin(&self) -> Result<Transaction, DbError> {
        let lanes = &self.dispatcher.inner.postgres.lanes;
        let mut transaction = Transaction::begin(lanes, Isolation::Serializable).await?;
        transaction.lock_lane(self.lock).await?;
        Ok(transaction)
    }

    /// Writes what the group has drafted.
    async fn settle(&self, transaction: &mut Transaction, draft: &mut Draft) -> Result<Written, DbError> {
        let mut executor = Executor::new(self.dispatcher.inner.node, 0, 0, Memory::none());
        executor.settle(&mut Access::Within(transaction), draft).await?;
        Ok(executor.take_written())
    }

    async fn commit(&mut self, mut transaction: Transaction, mut finished: Vec<Finished>, drafted: Written) {
        let answers: Vec<(&Entry, &str)> = finished
            .iter()
            .filter_map(|one| Some((&one.keyed.as_ref()?.entry, one.result.as_ref().ok()?.as_str())))
            .collect();
        if !answers.is_empty() {
            match self.dispatcher.keep(&mut transaction, &answers).await {
                Ok(()) => {}
                Err(error) => {
                    transaction.rollback().await;
                    return self.refused(error, finished);
                }
            }
        }
        let _committing = self.dispatcher.committing();
        match transaction.commit().await {
            CommitOutcome::Committed => {
                self.dispatcher.inner.mistakes.reach(Part::SerialLane);
                let mut changes = drafted.changes;
                changes.extend(finished.iter_mut().flat_map(|one| std::mem::take(&mut one.written.changes)));
                let by = By::functions(finished.iter().map(|one| &one.waiting.request.function.name));
                self.dispatcher.tell(changes, &by);
                for Finished { waiting, result, keyed, .. } in finished {
                    let attempt = match result {
                        Ok(result) => Attempt::Done(Ok(Answer::fresh(result))),
                        Err(failure) => Attempt::Failed(failure, keyed),
                    };
                    self.end(waiting, Ended::with(attempt));
                }
            }
            CommitOutcome::RolledBack(error) => self.refused(error, finished),
            CommitOutcome::Unknown(error) => {
                self.dispatcher.tell(drafted.changes, &By::Caution);
                for Finished { waiting, result, keyed, mut written } in finished {
                    // It is one transaction, whoever of them wrote first.
                    written.xid = written.xid.or_else(|| drafted.xid.clone());
                    let attempt = match result {
                        Ok(result) => {
                            let deadline = waiting.deadline;
                            self.dispatcher.judge(written, result, keyed, &error, deadline).await
                        }
                        Err(failure) => Attempt::Failed(failure, keyed),
                    };
                    self.end(waiting, Ended::with(attempt));
                }
            }
        }
    }

    /// Postgres did not take what the group was about to commit. A call that was
    /// alone in it is told why.
    fn refused(&mut self, error: DbError, mut finished: Vec<Finished>) {
        if finished.len() == 1
            && !matches!(error, DbError::Retry(_))
            && let Some(Finished { waiting, keyed, .. }) = finished.pop()
        {
            let failure = self.dispatcher.explain(&waiting.program, &waiting.request.function, &error);
            return self.end(waiting, Ended::with(Attempt::Failed(failure, keyed)));
        }
        let why = why(error, &mut finished);
        self.undo(finished, None, why);
    }

    /// Nothing of the group is left. Its calls start again, those it ended with
    /// last; one that loses by itself is told so.
    fn undo(&mut self, finished: Vec<Finished>, last: Option<Waiting>, why: Undone) {
        let single = finished.len() + usize::from(last.is_some()) == 1;
        let mut again: VecDeque<Waiting> = finished.into_iter().map(|one| one.waiting).chain(last).collect();
        if let Undone::Lost(error) = why {
            again.iter_mut().for_each(|waiting| waiting.undone += 1);
            if single
                && again[0].undone > UNDONE
                && let Some(waiting) = again.pop_front()
            {
                return self.end(waiting, Ended::with(Attempt::Lost(error, Touched::default())));
            }
        }
        again.into_iter().rev().for_each(|waiting| self.again(waiting));
    }

    /// Starts a call anew; it is the next one.
    fn again(&mut self, waiting: Waiting) {
        let run = Run::start(&self.dispatcher, &waiting.program, &waiting.request, waiting.deadline);
        self.ahead.push_front(Member { waiting, run });
    }

    fn end(&self, waiting: Waiting, ended: Ended) {
        if matches!(ended, Ended::With(_)) {
            self.dispatcher.inner.serial.ended.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(lane) = self.dispatcher.inner.serial.lanes.lock().get_mut(&self.name) {
            lane.left(&waiting.place);
        }
        if waiting.answer.send(ended).is_err() {
            tracing::debug!("a call ended in its lane after it had been answered");
        }
    }
}

/// Why a group is undone by an error that may be of any of its calls. Unless they
/// met a stranger, each starts again as a group of its own, without a draft, and so
/// finds out whether the error is its own.
fn why(error: DbError, finished: &mut [Finished]) -> Undone {
    if matches!(error, DbError::Retry(_)) {
        return Undone::Lost(error);
    }
    finished.iter_mut().for_each(|one| one.waiting.undone = UNDONE);
    Undone::Spoiled
}

impl Waiting {
    /// Whether it shares a transaction with no other call: it has been undone too often,
    /// or its function runs `raw`.
    fn is_single(&self) -> bool {
        self.undone >= UNDONE || self.request.function.runs_raw()
    }
}

impl Run {
    /// Plays one call's turn in a group.
    async fn play(&mut self, transaction: &mut Transaction, waiting: &Waiting) -> Played {
        let function = waiting.request.function.clone();
        self.mark = self.draft.as_mut().map_or(0, Draft::begin);
        // Above all names the function may use itself. One that only drafts needs
        // none, for its draft goes back by itself.
        let savepoint = (function.fails_late() && self.draft.is_none()).then_some(u32::MAX);
        if let Some(name) = savepoint
            && let Err(error) = transaction.savepoint(name).await
        {
            return Played::Broken(error.to_failure(&function.name));
        }
        let (outcome, rest) = loop {
            let message = match tokio::time::timeout(IDLE, self.call.next()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return self.leaves(Played::HostGone),
                Ok(Err(failure)) => return self.failed(transaction, savepoint, failure, None).await,
                Err(_elapsed) => {
                    self.call.give_up(Failure::new(Code::Unavailable, "this run starts again outside its lane"));
                    return self.leaves(Played::Slow);
                }
            };
            match message {
                FromHost::Respond { outcome, rest } => break (outcome, rest),
                FromHost::Operate { batch, ops } => match self.batch(transaction, batch, &ops).await {
                    Ok(()) => {}
                    Err(Over::Lost(error)) => return Played::Lost(error),
                    Err(Over::Failed(failure)) => return Played::Broken(failure),
                    Err(Over::Unfit) => return self.leaves(Played::Undraftable),
                },
            }
        };
        let keyed = Keyed::of(&waiting.program, &waiting.request, rest.identity.as_deref());
        let concluded = self.conclude(outcome).and_then(|result| Ok((result, self.held(&rest)?)));
        let (result, held) = match concluded {
            Ok(concluded) => concluded,
            Err(failure) => return self.failed(transaction, savepoint, failure, keyed).await,
        };
        if let Some(draft) = &mut self.draft {
            for insert in held {
                draft.insert(insert.table, insert.rows);
            }
            return Played::Finished { result: Ok(result), keyed };
        }
        match self.flush(transaction, held).await {
            Ok(()) => Played::Finished { result: Ok(result), keyed },
            Err(Over::Lost(error)) => Played::Lost(error),
            Err(Over::Failed(failure)) => self.failed(transaction, savepoint, failure, keyed).await,
            Err(Over::Unfit) => self.leaves(Played::Undraftable),
        }
    }

    /// It leaves the group, and what it has drafted with it.
    fn leaves(&mut self, how: Played) -> Played {
        if let Some(draft) = &mut self.draft {
            draft.undo_to(self.mark);
        }
        how
    }

    /// The function failed: what it has done is undone, if that is possible.
    async fn failed(
        &mut self,
        transaction: &mut Transaction,
        savepoint: Option<u32>,
        failure: Failure,
        keyed: Option<Keyed>,
    ) -> Played {
        if !self.executor.is_dirty() && !self.is_broken() {
            if let Some(draft) = &mut self.draft {
                draft.undo_to(self.mark);
            }
            return Played::Finished { result: Err(failure), keyed };
        }
        let Some(name) = savepoint else { return Played::Spoiled { failure, keyed } };
        match transaction.rollback_to(name).await {
            Ok(()) => {
                self.executor.undo_to(0);
                Played::Finished { result: Err(failure), keyed }
            }
            Err(error) => Played::Broken(error.to_failure("lane")),
        }
    }
}
