//! Several hosts as one, each a thread of its own: a call goes to the least
//! loaded of those that answer.
//!
//! Hosts come and go. One that goes takes its calls with it, which is told by
//! their links being dropped; where there is none, calls wait for one to come.
//! One that is busy is asked for signs of life: it gets no more calls while it
//! gives none, and when a call was given up there for its time limit and even
//! then none comes, it is reported as stuck. A loop that never ends holds up
//! nobody else, and whoever owns the thread can replace it.

mod apart;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::{CallId, CallLink, FunctionHost, Invocation, WorkerId};
use crate::error::{Code, Failure};

/// The hosts of one program.
pub struct Workers {
    this: Weak<Workers>,
    pool: Mutex<Pool>,
    /// Calls that have lost their host, and the task that runs them one by one.
    lost: mpsc::UnboundedSender<(Invocation, CallLink)>,
    _apart: AbortOnDropHandle<()>,
    /// Wakes that task, where it waits for a host.
    arrived: Arc<Notify>,
    /// How long a host may give no sign once a call was given up on it.
    patience: Duration,
    stuck: Box<dyn Fn(WorkerId) + Send + Sync>,
}

#[derive(Default)]
struct Pool {
    workers: Vec<Seat>,
    /// The calls that are not over.
    calls: HashMap<CallId, Running>,
    /// Calls for which no host was there. The dispatcher bounds how many calls
    /// there are at all.
    waiting: VecDeque<(Invocation, CallLink)>,
    /// No host comes any more.
    retired: bool,
}

/// Where a call runs.
struct Running {
    worker: Arc<Worker>,
    /// Dropped when it ends; only of one that runs apart.
    _apart: Option<oneshot::Sender<()>>,
}

/// A host's place, and the task that watches it.
struct Seat {
    worker: Arc<Worker>,
    _watch: AbortOnDropHandle<()>,
}

struct Worker {
    id: WorkerId,
    host: Arc<dyn FunctionHost>,
    calls: AtomicUsize,
    /// It owes a sign of life.
    silent: AtomicBool,
    /// A call runs there that may end it.
    at_risk: AtomicBool,
    /// A call was given up on it, and it has given no sign since.
    gave_up: AtomicBool,
    /// Wakes its watch.
    busy: Notify,
}

impl Workers {
    /// None yet. `stuck` is told of hosts that give no sign for `patience` after
    /// a call has passed its time limit there; it must not block. Needs a runtime
    /// around it, as does [`Workers::join`].
    pub fn new(patience: Duration, stuck: impl Fn(WorkerId) + Send + Sync + 'static) -> Arc<Workers> {
        let (lost, runs) = mpsc::unbounded_channel();
        let arrived = Arc::new(Notify::new());
        Arc::new_cyclic(|this| Workers {
            this: this.clone(),
            pool: Mutex::default(),
            lost,
            _apart: AbortOnDropHandle::new(tokio::spawn(apart::one_by_one(this.clone(), runs, arrived.clone()))),
            arrived,
            patience,
            stuck: Box::new(stuck),
        })
    }

    /// A host has come.
    pub fn join(&self, id: WorkerId, host: Arc<dyn FunctionHost>) {
        let worker = Arc::new(Worker {
            id,
            host,
            calls: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            at_risk: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            busy: Notify::new(),
        });
        let watch = tokio::spawn(watch::until_gone(self.this.clone(), worker.clone(), self.patience));
        let waiting = {
            let mut pool = self.pool.lock();
            pool.workers.push(Seat { worker, _watch: AbortOnDropHandle::new(watch) });
            std::mem::take(&mut pool.waiting)
        };
        self.arrived.notify_one();
        for (invocation, link) in waiting {
            self.start(invocation, link);
        }
    }

    /// A host has gone. Whoever owned it has dropped, or drops, the links of its
    /// calls.
    pub fn leave(&self, id: WorkerId) {
        let gone = {
            let mut pool = self.pool.lock();
            let (gone, stay) = std::mem::take(&mut pool.workers).into_iter().partition(|seat| seat.worker.id == id);
            pool.workers = stay;
            let gone: Vec<Seat> = gone;
            gone
        };
        // Dropped outside of the lock: a host may hold what needs it.
        drop(gone);
    }

    /// How many hosts there are.
    pub fn count(&self) -> usize {
        self.pool.lock().workers.len()
    }

    fn start_on(&self, worker: Arc<Worker>, invocation: Invocation, link: CallLink) {
        let (this, call) = (self.this.clone(), invocation.call);
        let link = link.at_end(move || {
            if let Some(workers) = this.upgrade() {
                workers.ended(call);
            }
        });
        worker.busy.notify_one();
        worker.host.start(invocation, link);
    }

    fn ended(&self, call: CallId) {
        let ended = self.pool.lock().calls.remove(&call);
        if let Some(Running { worker, _apart }) = ended {
            worker.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn of(&self, call: CallId) -> Option<Arc<Worker>> {
        self.pool.lock().calls.get(&call).map(|running| running.worker.clone())
    }
}

impl Pool {
    fn choose(&self) -> Option<Arc<Worker>> {
        let load = |seat: &&Seat| {
            let Worker { silent, at_risk, calls, .. } = &*seat.worker;
            (silent.load(Ordering::Relaxed), at_risk.load(Ordering::Relaxed), calls.load(Ordering::Relaxed))
        };
        self.workers.iter().min_by_key(load).map(|seat| seat.worker.clone())
    }

    fn assign(&mut self, call: CallId, worker: &Arc<Worker>, apart: Option<oneshot::Sender<()>>) {
        worker.calls.fetch_add(1, Ordering::Relaxed);
        self.calls.insert(call, Running { worker: worker.clone(), _apart: apart });
    }
}

impl FunctionHost for Workers {
    fn start(&self, invocation: Invocation, link: CallLink) {
        let mut pool = self.pool.lock();
        let Some(worker) = pool.choose() else {
            if !pool.retired {
                pool.waiting.push_back((invocation, link));
            }
            return;
        };
        pool.assign(invocation.call, &worker, None);
        drop(pool);
        self.start_on(worker, invocation, link);
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

    fn at(self: Arc<Self>, id: WorkerId) -> Option<Arc<dyn FunctionHost>> {
        let worker = self.pool.lock().workers.iter().find(|seat| seat.worker.id == id)?.worker.clone();
        Some(Arc::new(OneWorker { workers: self, worker }))
    }

    fn apart(self: Arc<Self>) -> Option<Arc<dyn FunctionHost>> {
        Some(Arc::new(apart::Apart(self)))
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
    fn start(&self, invocation: Invocation, link: CallLink) {
        self.workers.pool.lock().assign(invocation.call, &self.worker, None);
        self.workers.start_on(self.worker.clone(), invocation, link);
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        self.worker.host.results(call, batch, results);
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.workers.abandon(call, why);
    }
}
