//! Runs calls that have lost their worker again, one after another: one of them may have
//! ended the worker, and would end the next, so a quarantined call shares its worker with
//! no other call.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::pool::Running;
use super::{CallId, CallLink, FunctionHost, HostInvocation, UnstartedCall, Worker, Workers};
use crate::error::Failure;
use crate::supervise::Part;

/// A call that has run for this long is unlikely to end its worker; then the next starts.
const QUARANTINE_TIME: Duration = Duration::from_millis(200);

/// The pool as the host of calls that have lost a worker.
pub(super) struct Quarantine(pub Arc<Workers>);

impl FunctionHost for Quarantine {
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        // A function whose worker had to be terminated would block the next one, too.
        if !self.0.pool.lock().blockers.contains(&invocation.function) {
            let link = self.0.counted(invocation.call, link);
            self.0.lost.lock().push_back((invocation, link));
            self.0.arrived.notify_one();
        }
        None
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        self.0.results(call, batch, results);
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.0.abandon(call, why);
    }
}

/// Runs lost calls as they come. `arrived` is notified for each lost call, when a worker
/// joins, and when the pool is retired.
pub(super) async fn run_one_by_one(workers: Weak<Workers>, arrived: Arc<Notify>) {
    loop {
        let next = workers.upgrade().and_then(|workers| workers.lost.lock().pop_front());
        let Some((invocation, link)) = next else {
            arrived.notified().await;
            continue;
        };
        if let Some(workers) = workers.upgrade() {
            workers.supervisor.reach(Part::LostCalls);
        }
        let worker = loop {
            match place(&workers) {
                Placement::At(worker) => break Some(worker),
                Placement::Nowhere => break None,
                // `notify_one` keeps a permit where no task waits yet.
                Placement::NotYet => arrived.notified().await,
            }
        };
        let (Some(worker), false) = (worker, link.is_over()) else { continue };
        let (running, ended) = oneshot::channel();
        {
            let Some(workers) = workers.upgrade() else { return };
            worker.quarantined.store(true, Ordering::Relaxed);
            let running = Running { quarantine: Some(running), ..Running::of(&invocation, &worker) };
            workers.pool.lock().assign(&invocation, running);
            workers.start_at(&worker, invocation, link);
        }
        // The sender is dropped when the call ends.
        tokio::time::timeout(QUARANTINE_TIME, ended).await.ok();
        worker.quarantined.store(false, Ordering::Relaxed);
    }
}

enum Placement {
    At(Arc<Worker>),
    NotYet,
    /// No worker will join any more.
    Nowhere,
}

fn place(workers: &Weak<Workers>) -> Placement {
    let Some(workers) = workers.upgrade() else { return Placement::Nowhere };
    let pool = workers.pool.lock();
    match pool.choose() {
        Some(worker) => Placement::At(worker),
        None if pool.retired => Placement::Nowhere,
        None => Placement::NotYet,
    }
}
