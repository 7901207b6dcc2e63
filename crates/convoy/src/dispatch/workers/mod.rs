//! A pool of worker threads behind one [`FunctionHost`]: a call goes to the least loaded
//! responsive worker.
//!
//! Workers join and leave. When a worker leaves, the calls it has not started move to another
//! worker, and the links of the others are dropped, which ends these calls; while the pool is
//! empty, new calls wait for a worker. Busy workers are
//! pinged. An unresponsive worker gets no more calls, the calls it has not started move to
//! another worker, and calls of the function that blocks it are not given to the last
//! responsive worker. If no worker is responsive, the owner of the threads is asked for a
//! spare; a worker that stays unresponsive after a call on it timed out is reported as stuck.

mod pool;
mod quarantine;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{CallId, CallLink, FunctionHost, HostInvocation, HostTurn, Unresponsive, UnstartedCall, WorkerId};
use crate::error::{Code, Failure};
use crate::supervise::{Part, Supervisor};
use pool::{Pool, Running, WorkerSlot};

/// An event that the owner of the threads acts on.
#[derive(Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// No worker has responded for a second: a spare should be started. Sent once, until
    /// a worker recovers or leaves.
    AllUnresponsive {
        /// The calls that block the workers, for the log.
        why: String,
    },
    /// A worker has ended that was still given calls.
    Lost,
    /// The worker responds again after it was reported as unresponsive.
    Recovered(WorkerId),
    /// The worker is unresponsive after a call on it timed out, or has been for a minute
    /// without a call.
    Stuck {
        /// The worker.
        worker: WorkerId,
        /// Since when, and what blocks it, for the log.
        why: String,
    },
    /// The drained worker has finished its calls.
    Drained(WorkerId),
    /// The program was replaced, and its last call has ended.
    Retired,
}

/// The workers of one program.
pub struct Workers {
    this: Weak<Workers>,
    pool: Mutex<Pool>,
    /// Calls that have lost their worker, and the task that runs them one by one. Bounded
    /// by the limit on concurrent calls.
    lost: Mutex<VecDeque<UnstartedCall>>,
    _quarantine: AbortOnDropHandle<()>,
    /// Wakes that task when a call or a worker arrives.
    arrived: Arc<Notify>,
    supervisor: Supervisor,
    /// How long a worker may be unresponsive after a call on it timed out.
    unresponsive_time: Duration,
    on_event: Box<dyn Fn(WorkerEvent) + Send + Sync>,
}

struct Worker {
    id: WorkerId,
    host: Arc<dyn FunctionHost>,
    calls: AtomicUsize,
    /// It runs a quarantined call, which may end the worker.
    quarantined: AtomicBool,
    /// A call on it timed out, and it has not responded since.
    call_timed_out: AtomicBool,
    /// Makes the watch ping it although it is idle.
    check_requested: AtomicBool,
    /// Wakes the watch.
    busy: Notify,
}

impl Workers {
    /// An empty pool. `on_event` must not block. `unresponsive_time` is how long a worker
    /// may be unresponsive after a call on it timed out. Must be called within a tokio
    /// runtime, as must [`Workers::join`].
    pub fn new(
        unresponsive_time: Duration,
        supervisor: Supervisor,
        on_event: impl Fn(WorkerEvent) + Send + Sync + 'static,
    ) -> Arc<Workers> {
        let arrived = Arc::new(Notify::new());
        Arc::new_cyclic(|this: &Weak<Workers>| {
            let (workers, wake) = (this.clone(), arrived.clone());
            let run = move || quarantine::run_one_by_one(workers.clone(), wake.clone());
            Workers {
                this: this.clone(),
                pool: Mutex::default(),
                lost: Mutex::default(),
                _quarantine: spawn_supervised(Part::LostCalls, supervisor.clone(), run),
                arrived,
                supervisor,
                unresponsive_time,
                on_event: Box::new(on_event),
            }
        })
    }

    /// Adds a worker.
    pub fn join(&self, id: WorkerId, host: Arc<dyn FunctionHost>) {
        let worker = Arc::new(Worker {
            id,
            host,
            calls: AtomicUsize::new(0),
            quarantined: AtomicBool::new(false),
            call_timed_out: AtomicBool::new(false),
            check_requested: AtomicBool::new(false),
            busy: Notify::new(),
        });
        let (workers, watched, unresponsive_time) = (self.this.clone(), worker.clone(), self.unresponsive_time);
        let run = move || watch::watch(workers.clone(), watched.clone(), unresponsive_time);
        let watch = spawn_supervised(Part::WorkerWatch, self.supervisor.clone(), run);
        self.pool.lock().add(WorkerSlot::new(worker, watch));
        self.arrived.notify_one();
        self.place_waiting();
        self.relieve_unresponsive();
    }

    /// Removes a worker that has ended, and moves the calls it has not started. Its owner
    /// drops the links of the others.
    pub fn leave(&self, id: WorkerId) {
        let (gone, functions, movable) = self.pool.lock().remove(id);
        if !functions.is_empty() {
            tracing::warn!("a worker ended while it ran {}", functions.join(", "));
        }
        for slot in &gone {
            self.place_again(slot.worker.host.take_back(&movable));
        }
        for _lost in gone.iter().filter(|slot| !slot.is_draining()) {
            (self.on_event)(WorkerEvent::Lost);
        }
        // Dropped outside of the lock, because dropping a host may take the lock.
        drop(gone);
        self.place_waiting();
    }

    /// Gives a worker no more calls; when its calls have ended, [`WorkerEvent::Drained`] is
    /// sent.
    pub fn drain(&self, id: WorkerId) {
        if self.pool.lock().drain(id) {
            (self.on_event)(WorkerEvent::Drained(id));
        }
    }

    /// The number of workers.
    pub fn count(&self) -> usize {
        self.pool.lock().slots.len()
    }

    /// The workers that are unresponsive now.
    pub fn unresponsive_workers(&self) -> Vec<WorkerId> {
        self.pool.lock().slots.iter().filter(|slot| slot.unresponsive.is_some()).map(|slot| slot.worker.id).collect()
    }

    /// Assigns a call to a worker, or queues it until a worker can take it.
    fn place(&self, invocation: HostInvocation, link: CallLink) {
        if link.is_over() {
            return;
        }
        let mut pool = self.pool.lock();
        let chosen = pool.choose().filter(|_| pool.retired || !pool.would_block_last_responsive(&invocation.function));
        match chosen {
            Some(worker) => {
                pool.assign(&invocation, Running::of(&invocation, &worker));
                drop(pool);
                self.start_at(&worker, invocation, link);
            }
            None if pool.retired => drop(pool),
            None => pool.waiting.push_back((invocation, link)),
        }
    }

    /// Starts an assigned call. A worker that refuses it has exited, though its owner does not
    /// know it yet: it leaves the pool, and the call is placed again.
    fn start_at(&self, worker: &Worker, invocation: HostInvocation, link: CallLink) {
        if let Some(refused) = worker.start(invocation, link) {
            self.leave(worker.id);
            self.place_again(vec![refused]);
        }
    }

    /// Places calls that their worker has not started.
    fn place_again(&self, calls: Vec<UnstartedCall>) {
        for (invocation, link) in calls {
            let running = self.pool.lock().unassign(invocation.call);
            if running.is_some_and(|running| running.quarantine.is_some()) {
                self.lost.lock().push_front((invocation, link));
                self.arrived.notify_one();
            } else {
                self.place(invocation, link);
            }
        }
    }

    /// Assigns the waiting calls that a worker can take now.
    fn place_waiting(&self) {
        let waiting = std::mem::take(&mut self.pool.lock().waiting);
        for (invocation, link) in waiting {
            self.place(invocation, link);
        }
    }

    /// Moves calls that unresponsive workers have not started to responsive workers.
    fn relieve_unresponsive(&self) {
        let movable = self.pool.lock().calls_to_move();
        for (worker, calls) in movable {
            self.place_again(worker.host.take_back(&calls));
        }
    }

    /// The link of a call; dropping it removes the call from the pool.
    fn counted(&self, call: CallId, link: CallLink) -> CallLink {
        let this = self.this.clone();
        link.at_end(move || {
            if let Some(workers) = this.upgrade() {
                workers.ended(call);
            }
        })
    }

    fn ended(&self, call: CallId) {
        let (running, drained) = self.pool.lock().end(call);
        drop(running);
        if let Some(id) = drained {
            (self.on_event)(WorkerEvent::Drained(id));
        }
    }

    fn of(&self, call: CallId) -> Option<Arc<Worker>> {
        self.pool.lock().calls.get(&call).map(|running| running.worker.clone())
    }
}

/// Spawns a task that is restarted after a panic, until its handle is dropped.
fn spawn_supervised<F>(
    part: Part,
    supervisor: Supervisor,
    start: impl FnMut() -> F + Send + 'static,
) -> AbortOnDropHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let never = CancellationToken::new();
    AbortOnDropHandle::new(tokio::spawn(async move { supervisor.keep(part, &never, start).await }))
}

impl Drop for Workers {
    fn drop(&mut self) {
        (self.on_event)(WorkerEvent::Retired);
    }
}

impl Worker {
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        self.busy.notify_one();
        self.host.start(invocation, link)
    }
}

impl FunctionHost for Workers {
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        let link = self.counted(invocation.call, link);
        self.place(invocation, link);
        None
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        if let Some(worker) = self.of(call) {
            worker.host.results(call, batch, results);
        }
    }

    fn results_in_turn(&self, turns: &[HostTurn]) -> usize {
        let Some(worker) = turns.first().and_then(|first| self.of(first.call)) else { return 0 };
        let together = {
            let pool = self.pool.lock();
            let is_there = |turn: &&HostTurn| {
                pool.calls.get(&turn.call).is_some_and(|running| Arc::ptr_eq(&running.worker, &worker))
            };
            turns.iter().take_while(is_there).count()
        };
        worker.host.results_in_turn(&turns[..together])
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        let unstarted = {
            let mut pool = self.pool.lock();
            let at = pool.waiting.iter().position(|(invocation, _)| invocation.call == call);
            at.and_then(|at| pool.waiting.remove(at))
        };
        drop(unstarted);
        if let Some(worker) = self.of(call) {
            if why.code == Code::Timeout {
                worker.call_timed_out.store(true, Ordering::Relaxed);
                worker.busy.notify_one();
            }
            worker.host.abandon(call, why);
        }
    }

    fn takes_prefetched(&self) -> bool {
        self.pool.lock().slots.iter().all(|slot| slot.worker.host.takes_prefetched())
    }

    fn ping(&self, answered: oneshot::Sender<()>) {
        // In an empty pool `answered` is dropped.
        let chosen = self.pool.lock().choose();
        if let Some(worker) = chosen {
            worker.host.ping(answered);
        }
    }

    fn unresponsive(&self) -> Option<Unresponsive> {
        let pool = self.pool.lock();
        for slot in &pool.slots {
            // The state of an idle worker may be old, because only busy ones are pinged.
            slot.worker.check_requested.store(true, Ordering::Relaxed);
            slot.worker.busy.notify_one();
        }
        pool.unresponsive()
    }

    fn at(self: Arc<Self>, id: WorkerId) -> Option<Arc<dyn FunctionHost>> {
        let worker = self.pool.lock().slot(id)?.worker.clone();
        Some(Arc::new(OneWorker { workers: self, worker }))
    }

    fn quarantine(self: Arc<Self>) -> Option<Arc<dyn FunctionHost>> {
        Some(Arc::new(quarantine::Quarantine(self)))
    }

    fn retire(&self) {
        let unstarted = {
            let mut pool = self.pool.lock();
            pool.retired = true;
            std::mem::take(&mut pool.waiting)
        };
        drop(unstarted);
        self.arrived.notify_one();
    }
}

/// One worker of the pool, for calls that must run there.
struct OneWorker {
    workers: Arc<Workers>,
    worker: Arc<Worker>,
}

impl FunctionHost for OneWorker {
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        let running = Running { movable: false, ..Running::of(&invocation, &self.worker) };
        self.workers.pool.lock().assign(&invocation, running);
        let link = self.workers.counted(invocation.call, link);
        self.worker.start(invocation, link)
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        self.worker.host.results(call, batch, results);
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.workers.abandon(call, why);
    }
}
