//! Whether a host still answers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Worker, Workers};

/// Between two questions to a busy host, and how long it may take to answer
/// before others are preferred.
pub(super) const PULSE: Duration = Duration::from_millis(100);

/// Asks a host for signs of life while it is busy, until it has gone.
pub(super) async fn until_gone(workers: Weak<Workers>, worker: Arc<Worker>, patience: Duration) {
    loop {
        worker.busy.notified().await;
        while worker.calls.load(Ordering::Relaxed) > 0 || worker.gave_up.load(Ordering::Relaxed) {
            tokio::time::sleep(PULSE).await;
            // What is given up from now on, an answer to this says nothing of.
            let gave_up = worker.gave_up.swap(false, Ordering::Relaxed);
            let (answered, mut sign) = oneshot::channel();
            worker.host.ping(answered);
            if tokio::time::timeout(PULSE, &mut sign).await.is_ok() {
                continue;
            }
            worker.silent.store(true, Ordering::Relaxed);
            if gave_up {
                worker.gave_up.store(true, Ordering::Relaxed);
            }
            if owes_too_long(&worker, &mut sign, patience).await {
                tracing::error!(worker = worker.id.0, "a worker has not answered since a call took too long there");
                if let Some(workers) = workers.upgrade() {
                    (workers.stuck)(worker.id);
                }
                return;
            }
            worker.silent.store(false, Ordering::Relaxed);
            worker.gave_up.store(false, Ordering::Relaxed);
        }
    }
}

/// Waits for the sign. True where none has come for `patience` since a call was
/// given up.
async fn owes_too_long(worker: &Worker, sign: &mut oneshot::Receiver<()>, patience: Duration) -> bool {
    let mut owed = Duration::ZERO;
    while owed < patience {
        tokio::select! {
            // Where it is dropped unanswered the host has gone, as its owner tells.
            _ = &mut *sign => return false,
            () = tokio::time::sleep(PULSE) => {}
        }
        if worker.gave_up.load(Ordering::Relaxed) {
            owed += PULSE;
        }
    }
    true
}
