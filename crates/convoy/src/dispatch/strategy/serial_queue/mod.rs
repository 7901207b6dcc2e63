//! Runs mutations that conflict over the same documents one after another, in transactions
//! that they share (group commit).
//!
//! Serializable transactions that conflict make each other start again, and under
//! contention most of the work is lost. A serial queue has no conflicts within itself: one
//! connection runs call after call inside one transaction and commits once for all of them.
//! A call sees the writes of the calls before it in its group, so every call, also one that
//! fails, is answered only after the group has committed.
//!
//! A fault of one call must not fail another. A call that fails after it has written
//! poisons the group: the group starts again, from then on with a savepoint around that
//! function. The calls of a group that was aborted twice run as groups of one. A call that
//! idles for too long during its turn is evicted.

mod group;
mod in_turn;
mod task;
mod turn;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Attempt;
use crate::dispatch::call::timed_out;
use crate::dispatch::commit::outcome_unknown;
use crate::dispatch::contention::ContentionKey;
use crate::dispatch::scope::CallScope;
use crate::supervise::Part;
use task::QueueTask;

/// A call whose group was aborted this many times runs in a group of one.
const MAX_ABORTS: u32 = 2;

/// The queues in use.
#[derive(Default)]
pub(in crate::dispatch) struct SerialQueues {
    /// Has an entry for a queue while a task works on it. Never locked across an await.
    /// Bounded by the limit on concurrent calls.
    queues: Mutex<HashMap<Arc<str>, Queue>>,
    next: AtomicU64,
    ended: AtomicU64,
    /// Turns whose first operations were answered together with those of others.
    together: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<QueuedCall>,
    /// The number of calls of each key in the queue, waiting or running.
    present: HashMap<ContentionKey, usize>,
}

/// A call in a queue.
struct QueuedCall {
    number: u64,
    key: ContentionKey,
    scope: CallScope,
    answer: oneshot::Sender<Attempt>,
    /// How often its group was aborted.
    aborts: u32,
}

impl QueuedCall {
    /// Whether it must run in a group of one: its group was aborted too often, or its
    /// function runs `raw`.
    fn is_single(&self) -> bool {
        self.aborts >= MAX_ABORTS || self.scope.function().learned.runs_raw.is_set()
    }
}

impl SerialQueues {
    /// How many calls wait in all queues.
    pub(in crate::dispatch) fn waiting(&self) -> usize {
        self.queues.lock().values().map(|queue| queue.waiting.len()).sum()
    }
}

/// Runs a call once, in the queue of its key.
pub(in crate::dispatch) async fn attempt(key: ContentionKey, scope: &CallScope) -> Attempt {
    let inner = &scope.dispatcher.inner;
    let (answer, mut answered) = oneshot::channel();
    let name = key.queue();
    let number = inner.serial.next.fetch_add(1, Ordering::SeqCst);
    let waiting = QueuedCall { number, key: key.clone(), scope: scope.clone(), answer, aborts: 0 };
    let (idle, overlaps) = inner.serial.push(&name, waiting);
    if overlaps {
        inner.contention.record_overlap(&key);
    }
    if idle {
        let (dispatcher, name) = (scope.dispatcher.clone(), name.clone());
        inner.mutations.spawn(async move {
            // After a panic it continues with the waiting calls; those in progress fail.
            let never = CancellationToken::new();
            let work = || QueueTask::new(dispatcher.clone(), name.clone()).work();
            dispatcher.inner.supervisor.keep(Part::SerialQueue, &never, work).await;
        });
    }
    let ended = match tokio::time::timeout_at(scope.deadline, &mut answered).await {
        Ok(ended) => ended,
        Err(_elapsed) if inner.serial.withdraw(&name, number) => return Attempt::Done(Err(timed_out())),
        // It is running, and is answered by its queue.
        Err(_elapsed) => answered.await,
    };
    // The panic may have happened after the commit. It was logged where it was caught.
    let unanswered = || outcome_unknown("The task that ran this call has panicked");
    ended.unwrap_or_else(|_dropped| Attempt::Done(Err(unanswered())))
}

impl SerialQueues {
    /// How many calls have ended in a queue.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// How many turns began with operations that were answered together.
    pub(crate) fn together(&self) -> u64 {
        self.together.load(Ordering::Relaxed)
    }

    /// Adds a call. Returns whether the queue was idle, and whether another call of this
    /// key is in it.
    fn push(&self, name: &Arc<str>, waiting: QueuedCall) -> (bool, bool) {
        let mut queues = self.queues.lock();
        let idle = !queues.contains_key(name);
        let queue = queues.entry(name.clone()).or_default();
        let present = queue.present.entry(waiting.key.clone()).or_default();
        *present += 1;
        let overlaps = *present > 1;
        queue.waiting.push_back(waiting);
        (idle, overlaps)
    }

    /// Removes a call from its queue; `false` if it has already been taken.
    fn withdraw(&self, name: &str, number: u64) -> bool {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(name) else { return false };
        let Some(at) = queue.waiting.iter().position(|waiting| waiting.number == number) else { return false };
        if let Some(waiting) = queue.waiting.remove(at) {
            queue.left(&waiting.key);
        }
        true
    }
}

impl Queue {
    /// Recomputes the counts from the waiting calls, after a panic lost the others.
    fn recount(&mut self) {
        self.present.clear();
        for waiting in &self.waiting {
            *self.present.entry(waiting.key.clone()).or_default() += 1;
        }
    }

    fn left(&mut self, key: &ContentionKey) {
        if let Some(present) = self.present.get_mut(key) {
            *present -= 1;
            if *present == 0 {
                self.present.remove(key);
            }
        }
    }
}
