//! Whether a host still answers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pool::SPARE_AFTER;
use super::{Notice, Worker, Workers};
use crate::supervise::Part;

/// Between two questions to a busy host, and how long it may take to answer
/// before others are preferred.
pub(super) const PULSE: Duration = Duration::from_millis(100);

/// How long code that no call waits for, such as that of a timer, may keep a host.
pub(super) const CALLLESS: Duration = Duration::from_secs(60);

/// Asks a host for signs of life while it is busy, until it has gone.
pub(super) async fn until_gone(workers: Weak<Workers>, worker: Arc<Worker>, patience: Duration) {
    loop {
        while worker.is_watched() {
            tokio::time::sleep(PULSE).await;
            if let Some(workers) = workers.upgrade() {
                workers.supervisor.reach(Part::WorkerWatch);
            }
            // What is given up from now on, an answer to this says nothing of.
            let gave_up = worker.gave_up.swap(false, Ordering::Relaxed);
            worker.asked.store(false, Ordering::Relaxed);
            let (answered, mut sign) = oneshot::channel();
            let asked = Instant::now();
            worker.host.ping(answered);
            if worker.gives_sign(&mut sign).await {
                // Where a watch that panicked had called it silent.
                recovered(&workers, &worker);
                continue;
            }
            if gave_up {
                worker.gave_up.store(true, Ordering::Relaxed);
            }
            let silence = Silent { workers: &workers, worker: &worker, since: asked, patience };
            silence.until_sign(&mut sign).await;
            worker.gave_up.store(false, Ordering::Relaxed);
        }
        worker.busy.notified().await;
    }
}

/// It answers again, if it was silent.
fn recovered(workers: &Weak<Workers>, worker: &Worker) {
    let Some(workers) = workers.upgrade() else { return };
    let was_silent = workers.pool.lock().recovered(worker.id);
    if was_silent {
        workers.place_waiting();
    }
}

impl Worker {
    fn is_watched(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
            || self.gave_up.load(Ordering::Relaxed)
            || self.asked.load(Ordering::Relaxed)
    }

    /// Whether it answers within a pulse, or has begun something meanwhile.
    async fn gives_sign(&self, sign: &mut oneshot::Receiver<()>) -> bool {
        let before = self.host.activity().begun;
        match tokio::time::timeout(PULSE, sign).await {
            Ok(Ok(())) => true,
            // Dropped unanswered: the host goes, and with it this task.
            Ok(Err(_gone)) => std::future::pending().await,
            Err(_elapsed) => self.host.activity().begun != before,
        }
    }
}

/// A host that gives no sign.
struct Silent<'a> {
    workers: &'a Weak<Workers>,
    worker: &'a Worker,
    since: Instant,
    patience: Duration,
}

impl Silent<'_> {
    /// Waits for the sign; relieves the host of its calls, and says what is due.
    async fn until_sign(&self, sign: &mut oneshot::Receiver<()>) {
        self.note();
        let (mut silent, mut owed, mut alone, mut named) = (PULSE, Duration::ZERO, Duration::ZERO, false);
        while !self.worker.gives_sign(sign).await {
            silent += PULSE;
            let Some(workers) = self.workers.upgrade() else { return };
            workers.relieve_silent();
            if silent >= SPARE_AFTER {
                self.name(&workers, &mut named);
            }
            let gave_up = self.worker.gave_up.load(Ordering::Relaxed);
            if gave_up {
                owed += PULSE;
            }
            // No call will take too long there, and none is given to it any more.
            let callless = !gave_up && self.worker.calls.load(Ordering::Relaxed) == 0;
            alone = if callless { alone + PULSE } else { Duration::ZERO };
            if owed >= self.patience || alone >= CALLLESS {
                // Where its owner lets it be, it is told of again.
                (owed, alone) = (Duration::ZERO, Duration::ZERO);
                let when =
                    if gave_up { "since a call took too long there" } else { "for a minute, with no call there" };
                let why = format!("{when}: {}", self.why(&workers));
                tracing::error!(worker = self.worker.id.0, "a thread has not answered {why}");
                (workers.tell)(Notice::Stuck { worker: self.worker.id, why });
            }
        }
        recovered(self.workers, self.worker);
        if named && let Some(workers) = self.workers.upgrade() {
            (workers.tell)(Notice::Recovered(self.worker.id));
        }
    }

    fn note(&self) {
        if let Some(workers) = self.workers.upgrade() {
            workers.pool.lock().silent(self.worker.id, self.since);
        }
    }

    /// Names once what keeps the host, and asks for a spare where none answers.
    fn name(&self, workers: &Workers, named: &mut bool) {
        if !std::mem::replace(named, true) {
            self.note();
            tracing::warn!(worker = self.worker.id.0, "nothing else runs on a thread meanwhile: {}", self.why(workers));
        }
        let wanted = workers.pool.lock().wants_spare();
        if wanted {
            (workers.tell)(Notice::AllSilent { why: self.why(workers) });
        }
    }

    fn why(&self, workers: &Workers) -> String {
        let pool = workers.pool.lock();
        let silence = pool.slot(self.worker.id).and_then(|slot| slot.silence.as_ref());
        silence.map(|silence| silence.why.clone()).unwrap_or_default()
    }
}
