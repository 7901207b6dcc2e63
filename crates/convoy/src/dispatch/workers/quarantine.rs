//! Runs again what has lost its host, one call after another: one of them may have
//! ended it, and would end the next. So it shares its worker with no other call.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::pool::Running;
use super::{CallId, CallLink, FunctionHost, HostInvocation, Worker, Workers};
use crate::error::Failure;
use crate::supervise::Part;

/// A call that has lived for so long has nothing to do with it, most likely, and
/// the next one starts.
const HARMLESS: Duration = Duration::from_millis(200);

/// The hosts, for calls that have lost one.
pub(super) struct Quarantine(pub Arc<Workers>);

impl FunctionHost for Quarantine {
    fn start(&self, invocation: HostInvocation, link: CallLink) {
        // What had to be ended would keep the next host, too.
        if !self.0.pool.lock().blockers.contains(&invocation.function) {
            self.0.lost.lock().push_back((invocation, link));
            self.0.arrived.notify_one();
        }
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        self.0.results(call, batch, results);
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.0.abandon(call, why);
    }
}

/// Runs lost calls as they come. `arrived` wakes it when there is one, and when there is a
/// host again, or none will be.
pub(super) async fn one_by_one(workers: Weak<Workers>, arrived: Arc<Notify>) {
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
            let running = Running { _quarantine: Some(running), ..Running::of(&invocation, &worker) };
            workers.pool.lock().assign(&invocation, running);
            let link = workers.counted(invocation.call, link);
            worker.start(invocation, link);
        }
        // Answered by being dropped, when the call ends.
        tokio::time::timeout(HARMLESS, ended).await.ok();
        worker.quarantined.store(false, Ordering::Relaxed);
    }
}

enum Placement {
    At(Arc<Worker>),
    NotYet,
    /// And never again.
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
