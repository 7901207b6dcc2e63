//! The task of a queue: starts functions, runs them in groups, and answers their calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::group::{Abort, Finished, Group, MAX_CALLS};
use super::turn::{Fatal, Leaves, Member, TurnEnd};
use super::{MAX_ABORTS, QueuedCall};
use crate::dispatch::Dispatcher;
use crate::dispatch::contention::document_ids;
use crate::dispatch::strategy::{Attempt, ReadWriteSet};
use crate::schema::Table;

/// How many functions are started before their turn. While one waits for Postgres, the next
/// ones run up to their first operation.
const PREFETCH: usize = 16;
/// The most documents that are read before the calls of a group ask for them.
const MAX_LOADED: usize = 256;

/// The task of one queue.
pub(super) struct QueueTask {
    pub(super) dispatcher: Dispatcher,
    name: Arc<str>,
    lock: u32,
    /// Started functions, in the order of their turns.
    pub(super) prefetched: VecDeque<Member>,
}

impl QueueTask {
    /// A task that runs the waiting calls of this queue.
    pub(super) fn new(dispatcher: Dispatcher, name: Arc<str>) -> QueueTask {
        let lock = xxh3_64(name.as_bytes()) as u32;
        if let Some(queue) = dispatcher.inner.serial.queues.lock().get_mut(&name) {
            queue.recount();
        }
        QueueTask { dispatcher, name, lock, prefetched: VecDeque::new() }
    }

    /// Runs groups until no call waits.
    pub(super) async fn work(mut self) {
        loop {
            self.prefetch(true);
            if self.prefetched.is_empty() {
                return;
            }
            self.run_group().await;
        }
    }

    /// Starts functions that wait for their turn. With `close`, the queue is removed if no
    /// call waits.
    fn prefetch(&mut self, close: bool) {
        while self.prefetched.len() < PREFETCH {
            let next = {
                let mut queues = self.dispatcher.inner.serial.queues.lock();
                let next = queues.get_mut(&self.name).and_then(|queue| queue.waiting.pop_front());
                if next.is_none() && close && self.prefetched.is_empty() {
                    queues.remove(&self.name);
                }
                next
            };
            let Some(waiting) = next else { return };
            self.prefetched.push_back(Member::start(waiting));
        }
    }

    /// The documents that the inputs of the calls of this group name. The calls probably read
    /// them, and each would wait for a statement of its own.
    fn named_documents(&self, group: &Group) -> Vec<(Arc<Table>, Vec<Uuid>)> {
        let mut named: Vec<(Arc<Table>, Vec<Uuid>)> = Vec::new();
        if self.prefetched.front().is_none_or(|first| first.waiting.is_single()) {
            return named;
        }
        let queues = self.dispatcher.inner.serial.queues.lock();
        let waiting = queues.get(&self.name).into_iter().flat_map(|queue| &queue.waiting);
        let calls = self.prefetched.iter().map(|member| &member.waiting).chain(waiting);
        let documents = calls
            .take_while(|call| group.accepts(call) && !call.is_single())
            .take(MAX_CALLS)
            .flat_map(|call| document_ids(&call.scope.request.input).map(|document| (&call.scope.program, document)));
        for (program, (table, id)) in documents.take(MAX_LOADED) {
            let Some(table) = program.schema.table(&table) else { continue };
            match named.iter_mut().find(|(of, _)| of.physical == table.physical) {
                Some((_, ids)) if ids.contains(&id) => {}
                Some((_, ids)) => ids.push(id),
                None => named.push((table.clone(), vec![id])),
            }
        }
        named
    }

    async fn run_group(&mut self) {
        // Those that the last group has left, because it was aborted.
        self.restart_in_turn();
        let statement_timeout =
            self.prefetched.front().and_then(|first| first.waiting.scope.limits().statement_timeout);
        let begin = || Group::begin(self.dispatcher.clone(), self.lock, statement_timeout);
        let begun = async {
            let mut group = begin().await?;
            let named = self.named_documents(&group);
            let Err(error) = group.load(named).await else { return Ok(group) };
            // The calls may not read them.
            tracing::debug!(cause = %error, queue = &*self.name, "a group runs without documents read in advance");
            group.abort().await;
            begin().await
        };
        let mut group = match begun.await {
            Ok(group) => group,
            Err(error) => {
                tracing::debug!(cause = %error, queue = &*self.name, "a group of a serial queue did not begin; its calls run outside of it");
                while let Some(member) = self.prefetched.pop_front() {
                    self.end(member.waiting, Attempt::NeedsOther);
                }
                return;
            }
        };
        loop {
            self.prefetch(false);
            self.answer_in_turn(&group);
            let Some(mut member) = self.prefetched.pop_front_if(|next| group.accepts(&next.waiting)) else { break };
            let ended = group.run_turn(&mut member).await;
            self.end_turn(&member);
            match ended {
                Ok(TurnEnd::Finished { result, keyed }) => {
                    self.dispatcher.inner.contention.record_finished(&member.waiting.scope.function().name);
                    group.add(member, result, keyed);
                }
                Ok(TurnEnd::Leaves(why)) => {
                    let poisoned = member.has_left_writes();
                    group.keep_written(member.run.executor.take_written());
                    self.leave(member.waiting, why);
                    if poisoned {
                        return self.abort(group, Abort::Poisoned, None).await;
                    }
                }
                Ok(TurnEnd::Fatal(why)) => return self.abort_by(group, member.waiting, why).await,
                Err(abort) => return self.abort(group, abort, Some(member.waiting)).await,
            }
        }
        self.end_turns();
        // Functions run up to their first operation during the commit.
        self.prefetch(false);
        match group.commit().await {
            Ok(ended) => ended.into_iter().for_each(|(waiting, attempt)| self.end(waiting, attempt)),
            Err((abort, finished)) => self.repeat(finished, None, abort),
        }
    }

    /// Ends the call of a member that leaves its group, or starts it again.
    fn leave(&mut self, waiting: QueuedCall, why: Leaves) {
        match why {
            Leaves::NeedsOther => {
                // Like a function that fails after writing, it gets no buffer from now on.
                waiting.scope.function().learned.needs_savepoint.set();
                self.prefetched.push_front(Member::start(waiting));
            }
            Leaves::Idle => {
                self.dispatcher.inner.contention.record_evicted(&waiting.scope.function().name);
                self.end(waiting, Attempt::NeedsOther);
            }
            // Outside of the queue it is retried, and the retries are counted.
            Leaves::HostGone => self.end(waiting, Attempt::NeedsOther),
        }
    }

    /// Aborts a group after a turn that makes it impossible to commit.
    async fn abort_by(&mut self, group: Group, waiting: QueuedCall, why: Fatal) {
        match why {
            Fatal::Poisoned { failure, keyed } if group.is_empty() => {
                group.abort().await;
                self.end(waiting, Attempt::Failed(failure, keyed));
            }
            Fatal::Poisoned { .. } => {
                waiting.scope.function().learned.needs_savepoint.set();
                self.abort(group, Abort::Poisoned, Some(waiting)).await;
            }
            Fatal::Conflict(error) => self.abort(group, Abort::Conflict(error), Some(waiting)).await,
            Fatal::Broken { failure, keyed } => {
                self.end(waiting, Attempt::Failed(failure, keyed));
                self.abort(group, Abort::Broken, None).await;
            }
        }
    }

    async fn abort(&mut self, group: Group, why: Abort, last: Option<QueuedCall>) {
        let finished = match why {
            Abort::Broken => group.disconnect(),
            _ => group.abort().await,
        };
        self.repeat(finished, last, why);
    }

    /// Starts the calls of an aborted group again, in the same order. A call that has had
    /// conflicts or was rejected in a group of one is answered instead.
    fn repeat(&mut self, mut finished: Vec<Finished>, last: Option<QueuedCall>, why: Abort) {
        if let (Abort::Rejected(error), 1, None) = (&why, finished.len(), &last)
            && let Some(one) = finished.pop()
        {
            let (waiting, attempt) = one.rejected(error);
            return self.end(waiting, attempt);
        }
        let mut again: VecDeque<QueuedCall> = finished.into_iter().map(|one| one.waiting).chain(last).collect();
        match why {
            Abort::Conflict(error) => {
                again.iter_mut().for_each(|waiting| waiting.aborts += 1);
                if again.len() == 1
                    && let Some(waiting) = again.pop_front_if(|alone| alone.aborts > MAX_ABORTS)
                {
                    return self.end(waiting, Attempt::Conflict(error, ReadWriteSet::default()));
                }
            }
            // Each starts again in a group of one without a buffer, which shows which call
            // caused the error.
            Abort::Rejected(_) | Abort::BufferRejected => {
                again.iter_mut().for_each(|waiting| waiting.aborts = MAX_ABORTS)
            }
            Abort::Poisoned | Abort::Broken => {}
        }
        again.into_iter().rev().for_each(|waiting| self.prefetched.push_front(Member::start(waiting)));
    }

    fn end(&self, waiting: QueuedCall, attempt: Attempt) {
        let serial = &self.dispatcher.inner.serial;
        if !matches!(attempt, Attempt::NeedsOther) {
            serial.ended.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(queue) = serial.queues.lock().get_mut(&self.name) {
            queue.left(&waiting.key);
        }
        if waiting.answer.send(attempt).is_err() {
            tracing::debug!("a queued call ended after it had been answered");
        }
    }
}
