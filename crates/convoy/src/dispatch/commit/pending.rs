//! The pending commits of this process. A commit is visible to others as soon as Postgres
//! has made it, a moment before the answer arrives and live queries are notified. While
//! commits are pending, visible changes may not have reached live queries yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::change::InDoubtCommits;
use crate::failpoints::{Failpoint, Failpoints};

/// The pending commits.
pub(crate) struct PendingCommits {
    pending: Mutex<Sent>,
    /// One has ended.
    ended: Notify,
    in_doubt: InDoubtCommits,
    failpoints: Failpoints,
}

#[derive(Default)]
struct Sent {
    next: u64,
    /// The send times, by number and so in order.
    since: BTreeMap<u64, Instant>,
}

impl PendingCommits {
    /// An empty set. Commits that are dropped before their end are counted in `in_doubt`.
    pub(crate) fn new(in_doubt: InDoubtCommits, failpoints: Failpoints) -> PendingCommits {
        PendingCommits { pending: Mutex::default(), ended: Notify::new(), in_doubt, failpoints }
    }

    /// Adds a commit that is sent now.
    #[must_use]
    pub(super) fn begin(self: &Arc<Self>) -> Pending {
        let mut pending = self.pending.lock();
        let number = pending.next;
        pending.next += 1;
        pending.since.insert(number, Instant::now());
        Pending { commits: self.clone(), number, ended: false }
    }

    /// When the oldest pending commit was sent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.pending.lock().since.first_key_value().map(|(_, since)| *since)
    }

    /// Waits until all that were sent before this moment have ended.
    pub(crate) async fn ended_before(&self, moment: Instant) {
        loop {
            let ended = self.ended.notified();
            if self.oldest().is_none_or(|oldest| oldest >= moment) {
                return;
            }
            ended.await;
        }
    }

    /// How many were dropped before their end.
    pub(crate) fn lost_count(&self) -> u64 {
        self.in_doubt.lost_count()
    }
}

/// A pending commit. If it is dropped before its end, by a panic or a cancelled call, it may
/// have been made although the write log does not have it.
pub(super) struct Pending {
    commits: Arc<PendingCommits>,
    number: u64,
    ended: bool,
}

impl Pending {
    /// Removes a commit that is in the write log, or that Postgres has rejected.
    pub(super) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.ended && !self.commits.failpoints.has(Failpoint::Unsupervised) {
            self.commits.in_doubt.add_lost();
        }
        self.commits.pending.lock().since.remove(&self.number);
        self.commits.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn commits() -> (Arc<PendingCommits>, InDoubtCommits) {
        let in_doubt = InDoubtCommits::new(Duration::ZERO);
        (Arc::new(PendingCommits::new(in_doubt.clone(), Failpoints::default())), in_doubt)
    }

    #[test]
    fn the_oldest_is_the_first_that_has_not_ended() {
        let (commits, in_doubt) = commits();
        assert!(commits.oldest().is_none());
        let (first, second) = (commits.begin(), commits.begin());
        let oldest = commits.oldest().expect("one");
        first.end();
        assert!(commits.oldest().is_some_and(|next| next >= oldest));
        second.end();
        assert!(commits.oldest().is_none());
        assert_eq!(in_doubt.lost_count(), 0);
    }

    #[test]
    fn a_commit_that_is_dropped_before_its_end_is_in_doubt() {
        let (commits, in_doubt) = commits();
        drop(commits.begin());
        assert_eq!(in_doubt.lost_count(), 1);
        let cloned = commits.clone();
        let panicking = std::thread::spawn(move || {
            let _pending = cloned.begin();
            panic!("before its end");
        });
        assert!(panicking.join().is_err());
        assert_eq!(in_doubt.lost_count(), 2);
        assert!(commits.oldest().is_none());
    }
}
