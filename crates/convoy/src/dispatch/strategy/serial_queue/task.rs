//! The task of a queue: starts its functions, has them run in groups, and answers them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use super::group::{Abort, Finished, Group};
use super::turn::{Fatal, Leaves, Member, TurnEnd};
use super::{MAX_ABORTS, QueuedCall};
use crate::dispatch::Dispatcher;
use crate::dispatch::strategy::{Attempt, ReadWriteSet};

/// How many functions are started before it is their turn: while one waits for
/// Postgres, the next ones get as far as their first operation.
const PREFETCH: usize = 4;

/// The task of one queue.
pub(super) struct QueueTask {
    dispatcher: Dispatcher,
    name: Arc<str>,
    lock: u32,
    /// Started, in the order of their turns.
    ahead: VecDeque<Member>,
}

impl QueueTask {
    /// A task that goes on with the calls that wait.
    pub(super) fn new(dispatcher: Dispatcher, name: Arc<str>) -> QueueTask {
        let lock = xxh3_64(name.as_bytes()) as u32;
        if let Some(queue) = dispatcher.inner.serial.queues.lock().get_mut(&name) {
            queue.recount();
        }
        QueueTask { dispatcher, name, lock, ahead: VecDeque::new() }
    }

    /// Runs groups until no call waits.
    pub(super) async fn work(mut self) {
        loop {
            self.start_some(true);
            if self.ahead.is_empty() {
                return;
            }
            self.run_group().await;
        }
    }

    /// Starts functions that wait for their turn. With `close`, the queue ends if
    /// there are none.
    fn start_some(&mut self, close: bool) {
        while self.ahead.len() < PREFETCH {
            let next = {
                let mut queues = self.dispatcher.inner.serial.queues.lock();
                let next = queues.get_mut(&self.name).and_then(|queue| queue.waiting.pop_front());
                if next.is_none() && close && self.ahead.is_empty() {
                    queues.remove(&self.name);
                }
                next
            };
            let Some(waiting) = next else { return };
            self.ahead.push_back(Member::start(waiting));
        }
    }

    async fn run_group(&mut self) {
        let mut group = match Group::begin(self.dispatcher.clone(), self.lock).await {
            Ok(group) => group,
            Err(error) => {
                tracing::debug!(cause = %error, queue = &*self.name, "a serial queue has no connection; its calls run by themselves");
                while let Some(member) = self.ahead.pop_front() {
                    self.end(member.waiting, Attempt::NeedsOther);
                }
                return;
            }
        };
        loop {
            self.start_some(false);
            let Some(mut member) = self.ahead.pop_front_if(|next| group.takes(&next.waiting)) else { break };
            match group.play(&mut member).await {
                Ok(TurnEnd::Finished { result, keyed }) => group.add(member, result, keyed),
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
        // They come as far as they can while the commit is under way.
        self.start_some(false);
        match group.commit().await {
            Ok(ended) => ended.into_iter().for_each(|(waiting, attempt)| self.end(waiting, attempt)),
            Err((abort, finished)) => self.repeat(finished, None, abort),
        }
    }

    /// A member leaves its group.
    fn leave(&mut self, waiting: QueuedCall, why: Leaves) {
        match why {
            Leaves::NeedsOther => {
                // A function that fails after writing gets no buffer; so does this one from now on.
                waiting.scope.function().learned.fails_after_writing.set();
                self.ahead.push_front(Member::start(waiting));
            }
            Leaves::Idle => {
                self.dispatcher.inner.contention.record_slow(&waiting.scope.function().name);
                self.end(waiting, Attempt::NeedsOther);
            }
            // By itself it is counted how often that happens.
            Leaves::HostGone => self.end(waiting, Attempt::NeedsOther),
        }
    }

    /// A member's turn ended so that its group cannot go on.
    async fn abort_by(&mut self, group: Group, waiting: QueuedCall, why: Fatal) {
        match why {
            Fatal::Poisoned { failure, keyed } if group.is_empty() => {
                group.abort().await;
                self.end(waiting, Attempt::Failed(failure, keyed));
            }
            Fatal::Poisoned { .. } => {
                waiting.scope.function().learned.fails_after_writing.set();
                self.abort(group, Abort::Poisoned, Some(waiting)).await;
            }
            Fatal::Conflict(error) => self.abort(group, Abort::Conflict(error), Some(waiting)).await,
            Fatal::Broken(failure) => {
                self.end(waiting, Attempt::Done(Err(failure)));
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

    /// Nothing of a group is left. Its calls start again, those it ended with
    /// last; one that meets a conflict by itself, or is refused alone, is told so.
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
            // Each starts again as a group of its own, without a buffer, and so finds out
            // whether the error is its own.
            Abort::Rejected(_) | Abort::BufferRefused => {
                again.iter_mut().for_each(|waiting| waiting.aborts = MAX_ABORTS)
            }
            Abort::Poisoned | Abort::Broken => {}
        }
        again.into_iter().rev().for_each(|waiting| self.ahead.push_front(Member::start(waiting)));
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
            tracing::debug!("a call ended in its queue after it had been answered");
        }
    }
}
