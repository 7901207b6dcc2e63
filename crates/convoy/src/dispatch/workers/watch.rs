//! Detects unresponsive workers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pool::SPARE_AFTER;
use super::{Worker, WorkerEvent, Workers};
use crate::supervise::Part;

/// The interval between pings of a busy worker, and how long a worker may take to respond
/// before others are preferred.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(100);

/// How long code that belongs to no call, such as that of a timer, may block a worker.
pub(super) const MAX_BLOCKED_WITHOUT_CALL: Duration = Duration::from_secs(60);

/// Pings a worker while it is busy, until it has left.
pub(super) async fn watch(workers: Weak<Workers>, worker: Arc<Worker>, unresponsive_time: Duration) {
    loop {
        while worker.is_watched() {
            tokio::time::sleep(PING_INTERVAL).await;
            if let Some(workers) = workers.upgrade() {
                workers.supervisor.reach(Part::WorkerWatch);
            }
            // Cleared before the ping: the response proves nothing about calls that time
            // out after it.
            let call_timed_out = worker.call_timed_out.swap(false, Ordering::Relaxed);
            worker.check_requested.store(false, Ordering::Relaxed);
            let (answered, mut response) = oneshot::channel();
            let since = Instant::now();
            worker.host.ping(answered);
            if worker.responds(&mut response).await {
                // A watch that panicked may have marked it as unresponsive.
                recovered(&workers, &worker);
                continue;
            }
            if call_timed_out {
                worker.call_timed_out.store(true, Ordering::Relaxed);
            }
            let unresponsive = UnresponsiveWorker { workers: &workers, worker: &worker, since, unresponsive_time };
            unresponsive.until_response(&mut response).await;
            worker.call_timed_out.store(false, Ordering::Relaxed);
        }
        worker.busy.notified().await;
    }
}

/// Marks a worker as responsive, and gives it waiting calls if it was unresponsive.
fn recovered(workers: &Weak<Workers>, worker: &Worker) {
    let Some(workers) = workers.upgrade() else { return };
    let was_unresponsive = workers.pool.lock().recovered(worker.id);
    if was_unresponsive {
        workers.place_waiting();
    }
}

impl Worker {
    fn is_watched(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
            || self.call_timed_out.load(Ordering::Relaxed)
            || self.check_requested.load(Ordering::Relaxed)
    }

    /// Whether it responds within a ping interval, or has begun something meanwhile.
    async fn responds(&self, response: &mut oneshot::Receiver<()>) -> bool {
        let before = self.host.activity().begun;
        match tokio::time::timeout(PING_INTERVAL, response).await {
            Ok(Ok(())) => true,
            // The sender was dropped: the worker ends, which aborts this task.
            Ok(Err(_gone)) => std::future::pending().await,
            Err(_elapsed) => self.host.activity().begun != before,
        }
    }
}

/// A worker that has not responded to a ping.
struct UnresponsiveWorker<'a> {
    workers: &'a Weak<Workers>,
    worker: &'a Worker,
    since: Instant,
    unresponsive_time: Duration,
}

impl UnresponsiveWorker<'_> {
    /// Waits for the response. Meanwhile moves its calls to other workers, and reports it
    /// once it has been unresponsive for too long.
    async fn until_response(&self, response: &mut oneshot::Receiver<()>) {
        self.mark();
        let (mut unresponsive, mut since_timeout, mut without_call) = (PING_INTERVAL, Duration::ZERO, Duration::ZERO);
        let mut logged = false;
        while !self.worker.responds(response).await {
            unresponsive += PING_INTERVAL;
            let Some(workers) = self.workers.upgrade() else { return };
            workers.relieve_unresponsive();
            if unresponsive >= SPARE_AFTER {
                self.report(&workers, &mut logged);
            }
            let call_timed_out = self.worker.call_timed_out.load(Ordering::Relaxed);
            if call_timed_out {
                since_timeout += PING_INTERVAL;
            }
            // It has no call that could time out, and gets none while it is unresponsive.
            let has_no_call = !call_timed_out && self.worker.calls.load(Ordering::Relaxed) == 0;
            without_call = if has_no_call { without_call + PING_INTERVAL } else { Duration::ZERO };
            if since_timeout >= self.unresponsive_time || without_call >= MAX_BLOCKED_WITHOUT_CALL {
                // Reported again after the same time if the owner does not replace it.
                (since_timeout, without_call) = (Duration::ZERO, Duration::ZERO);
                let when = if call_timed_out {
                    "since a call took too long there"
                } else {
                    "for a minute, with no call there"
                };
                let why = format!("{when}: {}", self.why(&workers));
                tracing::error!(worker = self.worker.id.0, "a thread has not answered {why}");
                (workers.on_event)(WorkerEvent::Stuck { worker: self.worker.id, why });
            }
        }
        recovered(self.workers, self.worker);
        if logged && let Some(workers) = self.workers.upgrade() {
            (workers.on_event)(WorkerEvent::Recovered(self.worker.id));
        }
    }

    fn mark(&self) {
        if let Some(workers) = self.workers.upgrade() {
            workers.pool.lock().mark_unresponsive(self.worker.id, self.since);
        }
    }

    /// Logs once which function blocks the worker, and requests a spare if no worker is
    /// responsive.
    fn report(&self, workers: &Workers, logged: &mut bool) {
        if !std::mem::replace(logged, true) {
            self.mark();
            tracing::warn!(worker = self.worker.id.0, "a worker thread is blocked: {}", self.why(workers));
        }
        let needed = workers.pool.lock().needs_spare();
        if needed {
            (workers.on_event)(WorkerEvent::AllUnresponsive { why: self.why(workers) });
        }
    }

    fn why(&self, workers: &Workers) -> String {
        let pool = workers.pool.lock();
        let unresponsive = pool.slot(self.worker.id).and_then(|slot| slot.unresponsive.as_ref());
        unresponsive.map(|unresponsive| unresponsive.why.clone()).unwrap_or_default()
    }
}
