//! Several hosts as one, each a thread of its own: a call goes to the least
//! loaded of those that answer.
//!
//! Hosts come and go. One that goes takes its calls with it, which is told by
//! their links being dropped; where there is none, calls wait for one to come.
//! One that is busy is asked for signs of life. While it gives none it gets no
//! more calls, those it has not begun go to another, and calls of the function
//! that keeps its thread are kept from the last host that answers. Where none
//! answers, the owner of the threads is asked for a spare; and one that gives no
//! sign after a call was given up there for its time limit is reported as stuck.

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

use super::{CallId, CallLink, FunctionHost, HostInvocation, Silence, WorkerId};
use crate::error::{Code, Failure};
use crate::supervise::{Part, Supervisor};
use pool::{Pool, Running, WorkerSlot};

/// What the owner of the threads is told of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// None of them has given a sign for a second: one more should come. Told
    /// once, until one answers again or goes.
    AllSilent {
        /// What keeps them, in words.
        why: String,
    },
    /// It answers again after it had been silent for long.
    Recovered(WorkerId),
    /// It gives no sign after a call took too long there, or for long without a call.
    Stuck {
        /// Which one.
        worker: WorkerId,
        /// Since when, and what keeps it, in words.
        why: String,
    },
    /// It was drained, and its calls are over.
    Drained(WorkerId),
    /// Other code is in place, and no call runs on this any more.
    Over,
}

/// The hosts of one program.
pub struct Workers {
    this: Weak<Workers>,
    pool: Mutex<Pool>,
    /// Calls that have lost their host, and the task that runs them one by one. Bounded by
    /// the calls that may run at once.
    lost: Mutex<VecDeque<(HostInvocation, CallLink)>>,
    _quarantine: AbortOnDropHandle<()>,
    /// Wakes that task, where it waits for a call or for a host.
    arrived: Arc<Notify>,
    supervisor: Supervisor,
    /// How long a host may give no sign once a call was given up on it.
    patience: Duration,
    tell: Box<dyn Fn(Notice) + Send + Sync>,
}

struct Worker {
    id: WorkerId,
    host: Arc<dyn FunctionHost>,
    calls: AtomicUsize,
    /// A call runs there that may end it.
    quarantined: AtomicBool,
    /// A call was given up on it, and it has given no sign since.
    gave_up: AtomicBool,
    /// Somebody wants to know whether it answers, busy or not.
    asked: AtomicBool,
    /// Wakes its watch.
    busy: Notify,
}

impl Workers {
    /// None yet. `tell` hears of what their owner has to do; it must not block.
    /// `patience` is how long one may give no sign after a call has passed its time
    /// limit there. Needs a runtime around it, as does [`Workers::join`].
    pub fn new(
        patience: Duration,
        supervisor: Supervisor,
        tell: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Arc<Workers> {
        let arrived = Arc::new(Notify::new());
        Arc::new_cyclic(|this: &Weak<Workers>| {
            let (these, came, keeper) = (this.clone(), arrived.clone(), supervisor.clone());
            let apart = keep(Part::LostCalls, keeper, move || quarantine::one_by_one(these.clone(), came.clone()));
            Workers {
                this: this.clone(),
                pool: Mutex::default(),
                lost: Mutex::default(),
                _quarantine: apart,
                arrived,
                supervisor,
                patience,
                tell: Box::new(tell),
            }
        })
    }

    /// A host has come.
    pub fn join(&self, id: WorkerId, host: Arc<dyn FunctionHost>) {
        let worker = Arc::new(Worker {
            id,
            host,
            calls: AtomicUsize::new(0),
            quarantined: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            busy: Notify::new(),
        });
        let (these, watched, patience) = (self.this.clone(), worker.clone(), self.patience);
        let watching = move || watch::until_gone(these.clone(), watched.clone(), patience);
        let watch = keep(Part::WorkerWatch, self.supervisor.clone(), watching);
        self.pool.lock().add(WorkerSlot::new(worker, watch));
        self.arrived.notify_one();
        self.place_waiting();
        self.relieve_silent();
    }

    /// A host has gone. Its owner has dropped, or drops, the links of its calls.
    pub fn leave(&self, id: WorkerId) {
        let (gone, functions) = self.pool.lock().remove(id);
        if !functions.is_empty() {
            tracing::warn!("a worker ended while it ran {}", functions.join(", "));
        }
        // Dropped outside of the lock: a host may hold what needs it.
        drop(gone);
        self.place_waiting();
    }

    /// This host gets no more calls; once those it has are over, that is told.
    pub fn drain(&self, id: WorkerId) {
        if self.pool.lock().drain(id) {
            (self.tell)(Notice::Drained(id));
        }
    }

    /// How many hosts there are.
    pub fn count(&self) -> usize {
        self.pool.lock().slots.len()
    }

    /// Those that give no sign now.
    pub fn silent(&self) -> Vec<WorkerId> {
        self.pool.lock().slots.iter().filter(|slot| slot.silence.is_some()).map(|slot| slot.worker.id).collect()
    }

    /// Gives a call to a host, or keeps it until one can have it.
    fn place(&self, invocation: HostInvocation, link: CallLink) {
        if link.is_over() {
            return;
        }
        let mut pool = self.pool.lock();
        let chosen = pool.choose().filter(|_| pool.retired || !pool.would_silence_the_last(&invocation.function));
        match chosen {
            Some(worker) => {
                pool.assign(&invocation, Running::of(&invocation, &worker));
                drop(pool);
                worker.start(invocation, link);
            }
            None if pool.retired => drop(pool),
            None => pool.waiting.push_back((invocation, link)),
        }
    }

    /// Has another look at the calls that wait.
    fn place_waiting(&self) {
        let waiting = std::mem::take(&mut self.pool.lock().waiting);
        for (invocation, link) in waiting {
            self.place(invocation, link);
        }
    }

    /// Gives calls that silent hosts have not begun to those that answer.
    fn relieve_silent(&self) {
        let relieved = self.pool.lock().relievable();
        for (worker, calls) in relieved {
            for (invocation, link) in worker.host.take_back(&calls) {
                self.pool.lock().unassign(invocation.call);
                self.place(invocation, link);
            }
        }
    }

    /// The link of a call, which says here when the call is over for its host.
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
            (self.tell)(Notice::Drained(id));
        }
    }

    fn of(&self, call: CallId) -> Option<Arc<Worker>> {
        self.pool.lock().calls.get(&call).map(|running| running.worker.clone())
    }
}

/// Runs a task that is restarted after a panic, until its handle is dropped.
fn keep<F>(part: Part, supervisor: Supervisor, start: impl FnMut() -> F + Send + 'static) -> AbortOnDropHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let never = CancellationToken::new();
    AbortOnDropHandle::new(tokio::spawn(async move { supervisor.keep(part, &never, start).await }))
}

impl Drop for Workers {
    fn drop(&mut self) {
        (self.tell)(Notice::Over);
    }
}

impl Worker {
    fn start(&self, invocation: HostInvocation, link: CallLink) {
        self.busy.notify_one();
        self.host.start(invocation, link);
    }
}

impl FunctionHost for Workers {
    fn start(&self, invocation: HostInvocation, link: CallLink) {
        let link = self.counted(invocation.call, link);
        self.place(invocation, link);
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        if let Some(worker) = self.of(call) {
            worker.host.results(call, batch, results);
        }
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
                worker.gave_up.store(true, Ordering::Relaxed);
                worker.busy.notify_one();
            }
            worker.host.abandon(call, why);
        }
    }

    fn ping(&self, answered: oneshot::Sender<()>) {
        // Dropped unanswered where there is none.
        let chosen = self.pool.lock().choose();
        if let Some(worker) = chosen {
            worker.host.ping(answered);
        }
    }

    fn silence(&self) -> Option<Silence> {
        let pool = self.pool.lock();
        for slot in &pool.slots {
            // One that is idle was not asked for long.
            slot.worker.asked.store(true, Ordering::Relaxed);
            slot.worker.busy.notify_one();
        }
        pool.silence()
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

/// One of the hosts, for calls that have to run there.
struct OneWorker {
    workers: Arc<Workers>,
    worker: Arc<Worker>,
}

impl FunctionHost for OneWorker {
    fn start(&self, invocation: HostInvocation, link: CallLink) {
        let running = Running { movable: false, ..Running::of(&invocation, &self.worker) };
        self.workers.pool.lock().assign(&invocation, running);
        let link = self.workers.counted(invocation.call, link);
        self.worker.start(invocation, link);
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        self.worker.host.results(call, batch, results);
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.workers.abandon(call, why);
    }
}
