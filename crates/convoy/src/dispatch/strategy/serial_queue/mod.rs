//! Mutations that keep meeting over the same documents, run one after another in
//! transactions they share.
//!
//! Serializable transactions that meet make each other start again, and under
//! contention most of the work is lost. In a serial queue there are no conflicts: one connection
//! runs call after call inside one transaction and commits for all of them at
//! once, so that contention costs nothing and a commit is paid once per group. A
//! call sees what those before it in the group have done, so nobody is answered,
//! not even with a refusal, before the group has committed.
//!
//! What one call does wrong must not become another's loss: a call that fails
//! after it has written spoils the group, which then starts again, from then on
//! with a savepoint around that function; a group that was undone twice runs as
//! groups of one. A function that keeps the queue waiting leaves it.

mod group;
mod task;
mod turn;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Attempt;
use crate::dispatch::call::time_is_up;
use crate::dispatch::heat::Place;
use crate::dispatch::scope::CallScope;
use crate::error::Failure;
use crate::supervise::Part;
use task::QueueTask;

/// A call whose group was undone so often is a group of its own.
const UNDONE: u32 = 2;

/// The queues in use.
#[derive(Default)]
pub(in crate::dispatch) struct SerialQueues {
    /// A queue is here while a task works on it. Never locked across an await.
    /// Bounded by the calls that may run at once.
    queues: Mutex<HashMap<Arc<str>, Queue>>,
    next: AtomicU64,
    ended: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// How many calls of each place are in the queue, waiting or not.
    present: HashMap<Place, usize>,
}

/// A call in a queue.
struct Waiting {
    number: u64,
    place: Place,
    scope: CallScope,
    answer: oneshot::Sender<Attempt>,
    /// How often its group was undone.
    undone: u32,
}

impl Waiting {
    /// Whether it shares a transaction with no other call: it has been undone too often,
    /// or its function runs `raw`.
    fn is_single(&self) -> bool {
        self.undone >= UNDONE || self.scope.function().runs_raw()
    }
}

/// Runs a call once, in the queue of its place.
pub(in crate::dispatch) async fn attempt(place: Place, scope: &CallScope) -> Attempt {
    let inner = &scope.dispatcher.inner;
    let (answer, mut answered) = oneshot::channel();
    let name = place.lane();
    let number = inner.serial.next.fetch_add(1, Ordering::Relaxed);
    let waiting = Waiting { number, place: place.clone(), scope: scope.clone(), answer, undone: 0 };
    let (idle, met) = inner.serial.push(&name, waiting);
    if met {
        inner.heat.met(&place);
    }
    if idle {
        let (dispatcher, name) = (scope.dispatcher.clone(), name.clone());
        inner.mutations.spawn(async move {
            // It goes on with those that wait; what it had in hand ends unanswered.
            let never = CancellationToken::new();
            let work = || QueueTask::new(dispatcher.clone(), name.clone()).work();
            dispatcher.inner.supervisor.keep(Part::SerialLane, &never, work).await;
        });
    }
    let ended = match tokio::time::timeout_at(scope.deadline, &mut answered).await {
        Ok(ended) => ended,
        Err(_elapsed) if inner.serial.withdraw(&name, number) => return Attempt::Done(Err(time_is_up())),
        // It is under way, and its queue answers.
        Err(_elapsed) => answered.await,
    };
    let unanswered = || Failure::internal("mutation", &"its serial queue ended without an answer");
    ended.unwrap_or_else(|_dropped| Attempt::Done(Err(unanswered())))
}

impl SerialQueues {
    /// How many calls have ended in a queue.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Adds a call. Gives whether the queue was idle, and whether another call of this
    /// place is in it.
    fn push(&self, name: &Arc<str>, waiting: Waiting) -> (bool, bool) {
        let mut queues = self.queues.lock();
        let idle = !queues.contains_key(name);
        let queue = queues.entry(name.clone()).or_default();
        let present = queue.present.entry(waiting.place.clone()).or_default();
        *present += 1;
        let met = *present > 1;
        queue.waiting.push_back(waiting);
        (idle, met)
    }

    /// Takes a call out of its queue. `false`: it is under way.
    fn withdraw(&self, name: &str, number: u64) -> bool {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(name) else { return false };
        let Some(at) = queue.waiting.iter().position(|waiting| waiting.number == number) else { return false };
        if let Some(waiting) = queue.waiting.remove(at) {
            queue.left(&waiting.place);
        }
        true
    }
}

impl Queue {
    /// Restarts the counts from the calls that still wait; the others are lost.
    fn recount(&mut self) {
        self.present.clear();
        for waiting in &self.waiting {
            *self.present.entry(waiting.place.clone()).or_default() += 1;
        }
    }

    fn left(&mut self, place: &Place) {
        if let Some(present) = self.present.get_mut(place) {
            *present -= 1;
            if *present == 0 {
                self.present.remove(place);
            }
        }
    }
}
