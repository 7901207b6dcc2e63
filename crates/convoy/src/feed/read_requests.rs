//! Requests to read the change log at once, by calls that wait for it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How often the reader lets other tasks run, so that calls which arrive at the same time are
/// served by the same read.
const MAX_YIELDS: usize = 8;

/// The requests of all calls. There is one reader.
#[derive(Default)]
pub(crate) struct ReadRequests {
    made: AtomicU64,
    changed: Notify,
}

impl ReadRequests {
    /// Requests a read that begins after this.
    pub(crate) fn make(&self) {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// How many were made so far. A read that begins after this serves all of them.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Waits until more than `served` were made, and lets those be made that are about to. Cancel-safe.
    pub(super) async fn wait(&self, served: u64) {
        while self.made() == served {
            self.changed.notified().await;
        }
        for _ in 0..MAX_YIELDS {
            let made = self.made();
            tokio::task::yield_now().await;
            if self.made() == made {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_request_before_the_wait_is_noticed_and_one_that_was_served_is_not() {
        let requests = ReadRequests::default();
        requests.make();
        requests.make();
        requests.wait(0).await;
        let served = requests.made();
        assert_eq!(served, 2);
        let waiting = requests.wait(served);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        requests.make();
        waiting.await;
    }

    #[tokio::test]
    async fn requests_of_tasks_that_are_ready_share_a_read() {
        let requests = Arc::new(ReadRequests::default());
        for _ in 0..4 {
            let requests = requests.clone();
            tokio::spawn(async move { requests.make() });
        }
        requests.wait(0).await;
        assert_eq!(requests.made(), 4);
    }

    #[tokio::test]
    async fn requests_without_end_do_not_hold_up_the_read() {
        let requests = Arc::new(ReadRequests::default());
        let endless = {
            let requests = requests.clone();
            tokio::spawn(async move {
                loop {
                    requests.make();
                    tokio::task::yield_now().await;
                }
            })
        };
        requests.wait(0).await;
        endless.abort();
    }
}
