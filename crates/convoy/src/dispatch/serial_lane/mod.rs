//! Mutations that keep meeting over the same documents, run one after another in
//! transactions they share.
//!
//! Serializable transactions that meet make each other start again, and under
//! contention most of the work is lost. In a lane nobody meets: one connection
//! runs call after call inside one transaction and commits for all of them at
//! once, so that contention costs nothing and a commit is paid once per group. A
//! call sees what those before it in the group have done, so nobody is answered,
//! not even with a refusal, before the group has committed.
//!
//! What one call does wrong must not become another's loss: a call that fails
//! after it has written spoils the group, which then starts again, from then on
//! with a savepoint around that function; a group that was undone twice runs as
//! groups of one. A handler that keeps the lane waiting is put out of it.

mod group;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call::time_is_up;
use super::heat::Place;
use super::mutation::Attempt;
use super::{Dispatcher, Program, Request};
use crate::error::Failure;
use crate::supervise::Part;
use group::Worker;

/// What became of a call that was sent through a lane.
pub(super) enum Ended {
    With(Box<Attempt>),
    /// The lane is no place for it; it should run by itself.
    Alone,
}

impl Ended {
    fn with(attempt: Attempt) -> Ended {
        Ended::With(Box::new(attempt))
    }
}

/// The lanes in use.
#[derive(Default)]
pub(super) struct SerialLanes {
    /// A lane is here while a task works on it. Never locked across an await.
    /// Bounded by the calls that may run at once.
    lanes: Mutex<HashMap<Arc<str>, Lane>>,
    next: AtomicU64,
    ended: AtomicU64,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// How many calls of each place are in the lane, waiting or not.
    present: HashMap<Place, usize>,
}

struct Waiting {
    number: u64,
    place: Place,
    program: Arc<Program>,
    request: Request,
    deadline: Instant,
    answer: oneshot::Sender<Ended>,
    /// How often its group was undone.
    undone: u32,
}

impl Dispatcher {
    /// Runs a call in the lane of its place.
    pub(super) async fn in_lane(
        &self,
        place: Place,
        program: &Arc<Program>,
        request: &Request,
        deadline: Instant,
    ) -> Ended {
        let (answer, mut answered) = oneshot::channel();
        let name = place.lane();
        let number = self.inner.serial.next.fetch_add(1, Ordering::Relaxed);
        let (idle, met) = {
            let mut lanes = self.inner.serial.lanes.lock();
            let idle = !lanes.contains_key(&name);
            let lane = lanes.entry(name.clone()).or_default();
            let present = lane.present.entry(place.clone()).or_default();
            *present += 1;
            let met = *present > 1;
            let waiting = Waiting {
                number,
                place: place.clone(),
                program: program.clone(),
                request: request.clone(),
                deadline,
                answer,
                undone: 0,
            };
            lane.waiting.push_back(waiting);
            (idle, met)
        };
        if met {
            self.inner.heat.met(&place);
        }
        if idle {
            let (dispatcher, name) = (self.clone(), name.clone());
            self.inner.mutations.spawn(async move {
                // It goes on with those that wait; what it had in hand ends unanswered.
                let never = CancellationToken::new();
                let work = || Worker::new(dispatcher.clone(), name.clone()).work();
                dispatcher.inner.supervisor.keep(Part::SerialLane, &never, work).await;
            });
        }
        let ended = match tokio::time::timeout_at(deadline, &mut answered).await {
            Ok(ended) => ended,
            Err(_elapsed) if self.inner.serial.withdraw(&name, number) => {
                return Ended::with(Attempt::Done(Err(time_is_up())));
            }
            // It is under way, and its lane answers.
            Err(_elapsed) => answered.await,
        };
        ended.unwrap_or_else(|_dropped| {
            Ended::with(Attempt::Done(Err(Failure::internal("mutation", &"its lane ended without an answer"))))
        })
    }
}

impl SerialLanes {
    /// How many calls have ended in a lane.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Takes a call out of its queue. `false`: it is under way.
    fn withdraw(&self, name: &str, number: u64) -> bool {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.get_mut(name) else { return false };
        let Some(at) = lane.waiting.iter().position(|waiting| waiting.number == number) else { return false };
        if let Some(waiting) = lane.waiting.remove(at) {
            lane.left(&waiting.place);
        }
        true
    }
}

impl Lane {
    /// Restarts the counts from the calls that still wait; the others are lost.
    fn begin_anew(&mut self) {
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
