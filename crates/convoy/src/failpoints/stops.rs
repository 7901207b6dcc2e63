//! Stops of the engine that a test chooses: a panic, the end of the process, or a pause, at a
//! point of the code or wherever a supervised task happens to be.
//!
//! A stop is armed for one pass. Others pass the same point meanwhile, so a test can have
//! calls overtake the one that waits.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Point;
use crate::supervise::Part;

/// Where the engine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a point of the code.
    Point(Point),
    /// In a supervised task, at the await that it has reached.
    Task(Part),
}

/// What happens at a place, once.
#[derive(Debug, Clone)]
pub enum Stop {
    /// The task that is there panics.
    Panic,
    /// The process ends at once, as by SIGKILL.
    Abort,
    /// The task that is there waits until the gate is released.
    Pause(Gate),
}

/// Where a paused task waits. Released when the last clone of the test is dropped.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Handle>);

#[derive(Debug, Default)]
struct Handle(Arc<watch::Sender<GateState>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum GateState {
    #[default]
    Armed,
    Reached,
    Released,
}

impl Gate {
    /// Waits until a task has reached the gate.
    pub async fn reached(&self) {
        let reached = self.0.0.subscribe().wait_for(|state| *state != GateState::Armed).await.map(drop);
        reached.expect("the gate keeps the sender");
    }

    /// Lets the task go on.
    pub fn release(&self) {
        self.0.0.send_replace(GateState::Released);
    }

    /// Waits as the stopped task.
    fn wait(self) -> impl Future<Output = ()> + Send + use<> {
        let state = self.0.0.clone();
        // Its clone of the handle must not keep the gate closed.
        drop(self);
        async move {
            state.send_if_modified(|state| {
                let is_armed = *state == GateState::Armed;
                if is_armed {
                    *state = GateState::Reached;
                }
                is_armed
            });
            // The state outlives its receiver.
            drop(state.subscribe().wait_for(|state| *state == GateState::Released).await);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.send_replace(GateState::Released);
    }
}

/// The armed stops of an engine, and the wakers of its supervised tasks.
#[derive(Debug, Default)]
pub(super) struct Stops {
    armed: Mutex<Vec<(Place, Stop)>>,
    /// By the number of their run.
    tasks: Mutex<HashMap<u64, (Part, Waker)>>,
    next_run: AtomicU64,
}

impl Stops {
    pub(super) fn arm(&self, place: Place, stop: Stop) {
        self.armed.lock().push((place, stop));
        if let Place::Task(part) = place {
            let tasks = self.tasks.lock();
            tasks.values().filter(|(of, _)| *of == part).for_each(|(_, waker)| waker.wake_by_ref());
        }
    }

    pub(super) fn is_armed(&self, place: Place) -> bool {
        self.armed.lock().iter().any(|(armed, _)| *armed == place)
    }

    pub(super) fn disarm(&self) {
        self.armed.lock().clear();
    }

    fn take(&self, place: Place) -> Option<Stop> {
        let mut armed = self.armed.lock();
        let at = armed.iter().position(|(armed, _)| *armed == place)?;
        Some(armed.swap_remove(at).1)
    }

    /// Boxed, because it is in the future of every call, whose size a build without optimisation
    /// needs several times on the stack.
    pub(super) fn pass(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if let Some(gate) = self.take(Place::Point(point)).and_then(|stop| stop.happen(Place::Point(point))) {
                gate.wait().await;
            }
        })
    }

    /// Runs a supervised task, whose polls are the places where it can be stopped.
    pub(super) async fn run(&self, part: Part, task: impl Future<Output = ()>) {
        let run = Registered { stops: self, number: self.next_run.fetch_add(1, Ordering::Relaxed), part };
        let mut task = Box::pin(task);
        let mut pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        poll_fn(|context| {
            loop {
                if let Some(paused) = &mut pause {
                    ready!(paused.as_mut().poll(context));
                    pause = None;
                }
                // Registered before it is looked for, so that no stop is missed.
                self.register(&run, context);
                match self.take(Place::Task(part)) {
                    Some(stop) => match stop.happen(Place::Task(part)) {
                        Some(gate) => pause = Some(Box::pin(gate.wait())),
                        None => return Poll::Ready(()),
                    },
                    None => return task.as_mut().poll(context),
                }
            }
        })
        .await;
    }

    /// Has [`Stops::arm`] wake this run of a task.
    fn register(&self, run: &Registered<'_>, context: &Context<'_>) {
        let mut tasks = self.tasks.lock();
        let (_, waker) = tasks.entry(run.number).or_insert_with(|| (run.part, context.waker().clone()));
        waker.clone_from(context.waker());
    }
}

/// A run of a task among those of [`Stops`], until it ends: a waker keeps the memory of its task.
struct Registered<'a> {
    stops: &'a Stops,
    number: u64,
    part: Part,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.stops.tasks.lock().remove(&self.number);
    }
}

impl Stop {
    /// Panics or ends the process; returns the gate of a pause.
    fn happen(self, place: Place) -> Option<Gate> {
        match self {
            Stop::Panic => panic!("armed to panic at {place:?}"),
            Stop::Abort => std::process::abort(),
            Stop::Pause(gate) => Some(gate),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_pass_waits_and_the_next_ones_do_not() {
        let stops = Arc::new(Stops::default());
        let gate = Gate::default();
        stops.arm(Place::Point(Point::BeforeBegin), Stop::Pause(gate.clone()));
        let passing = tokio::spawn({
            let stops = stops.clone();
            async move { stops.pass(Point::BeforeBegin).await }
        });
        gate.reached().await;
        stops.pass(Point::BeforeBegin).await;
        assert!(!passing.is_finished());
        gate.release();
        passing.await.expect("it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_the_test_drops_is_released() {
        let stops = Stops::default();
        let gate = Gate::default();
        stops.arm(Place::Point(Point::BeforeBegin), Stop::Pause(gate.clone()));
        let drop_later = async {
            gate.reached().await;
            drop(gate);
        };
        tokio::join!(stops.pass(Point::BeforeBegin), drop_later);
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_task_that_has_ended() {
        let stops = Stops::default();
        for _ in 0..3 {
            stops.run(Part::Log, tokio::task::yield_now()).await;
        }
        assert!(stops.tasks.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_only_waits_is_stopped_where_it_waits() {
        let stops = Arc::new(Stops::default());
        let running = tokio::spawn({
            let stops = stops.clone();
            async move { stops.run(Part::Log, std::future::pending()).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        let gate = Gate::default();
        stops.arm(Place::Task(Part::Log), Stop::Pause(gate.clone()));
        gate.reached().await;
        gate.release();
        stops.arm(Place::Task(Part::Log), Stop::Panic);
        assert!(running.await.is_err_and(|error| error.is_panic()));
    }
}
