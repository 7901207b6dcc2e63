//! A bounded queue of the commits of this process, for the notifier to send while another
//! process has live queries.
//!
//! Invariant: adding a commit never waits. Beyond its limit, the queue is replaced by one
//! request to read the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::change::{Change, ChangeSource, Changes, CommitNumber, CommitReader};
use crate::telemetry::{RemoteSpan, Scope};

/// The most changes that the queue holds.
const MAX_PENDING_CHANGES: usize = 1_000;

/// The queue of commits to be sent to other processes.
#[derive(Default)]
pub(crate) struct PeerQueue {
    enabled: AtomicBool,
    pending: Mutex<PendingNotifications>,
    added: Notify,
}

/// The content of the next notifications.
#[derive(Default)]
pub(crate) struct PendingNotifications {
    /// The changes of each commit.
    pub commits: Vec<Arc<[Change]>>,
    /// There were more changes, which must be read from the log.
    pub read_log: bool,
    /// The span of the first commit whose trace is exported in any case.
    pub span: Option<RemoteSpan>,
    changes: usize,
}

impl PendingNotifications {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty() && !self.read_log
    }
}

impl PeerQueue {
    /// Sets whether another process has live queries; until one has, commits are dropped.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Whether commits are queued.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Replaces the queue by a request to read the log, because changes may have been missed.
    pub(crate) fn request_log_read(&self) {
        *self.pending.lock() = PendingNotifications { read_log: true, ..PendingNotifications::default() };
    }

    /// How many commits wait.
    pub(crate) fn len(&self) -> usize {
        self.pending.lock().commits.len()
    }

    /// Waits until a commit is added. Cancel safe.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes the content of the queue; empty while disabled.
    pub(crate) fn take(&self) -> InFlight<'_> {
        let pending =
            if self.is_enabled() { std::mem::take(&mut *self.pending.lock()) } else { PendingNotifications::default() };
        InFlight { queue: self, pending }
    }
}

impl CommitReader for PeerQueue {
    fn committed(&self, changes: Changes, _by: &ChangeSource) -> Option<CommitNumber> {
        if !self.is_enabled() {
            return None;
        }
        let mut pending = self.pending.lock();
        match changes {
            Changes::Some(changes) if pending.changes + changes.len() <= MAX_PENDING_CHANGES => {
                pending.changes += changes.len();
                let of_commit = || Scope::current().span.remote().filter(|span| span.is_sampled());
                pending.span = pending.span.or_else(of_commit);
                pending.commits.push(changes);
            }
            _ => *pending = PendingNotifications { read_log: true, ..PendingNotifications::default() },
        }
        drop(pending);
        self.added.notify_one();
        None
    }
}

/// Notifications that are being sent. Dropped before [`InFlight::sent`], they are replaced by
/// a request to read the log.
pub(crate) struct InFlight<'a> {
    queue: &'a PeerQueue,
    /// The content to send.
    pub pending: PendingNotifications,
}

impl InFlight<'_> {
    /// Marks the content as sent.
    pub(crate) fn sent(mut self) {
        self.pending = PendingNotifications::default();
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.queue.request_log_read();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ChangeKind;

    fn changes(count: usize) -> Changes {
        let change = Change { table: "t".into(), kind: ChangeKind::Whole };
        Changes::Some(vec![change; count].into())
    }

    fn put(queue: &PeerQueue, changes: Changes) {
        queue.committed(changes, &ChangeSource::Outside);
    }

    #[test]
    fn without_listening_peers_the_queue_stays_empty() {
        let queue = PeerQueue::default();
        put(&queue, changes(1));
        assert!(queue.take().pending.is_empty());
        queue.set_enabled(true);
        assert!(queue.take().pending.is_empty());
        put(&queue, changes(1));
        let sending = queue.take();
        assert_eq!(sending.pending.commits.len(), 1);
        sending.sent();
        assert!(queue.take().pending.is_empty());
    }

    #[test]
    fn an_overfull_queue_becomes_a_request_to_read_the_log() {
        let queue = PeerQueue::default();
        queue.set_enabled(true);
        for _ in 0..MAX_PENDING_CHANGES {
            put(&queue, changes(2));
        }
        let sending = queue.take();
        assert!(sending.pending.read_log && sending.pending.changes <= MAX_PENDING_CHANGES);
        sending.sent();
        put(&queue, changes(1));
        put(&queue, Changes::Everything);
        let sending = queue.take();
        assert!(sending.pending.read_log && sending.pending.commits.is_empty());
    }

    #[test]
    fn an_unsent_notification_leaves_a_request_to_read_the_log() {
        let queue = PeerQueue::default();
        queue.set_enabled(true);
        put(&queue, changes(1));
        drop(queue.take());
        put(&queue, changes(1));
        let sending = queue.take();
        assert!(sending.pending.read_log);
        sending.sent();
        drop(queue.take());
        assert!(!queue.take().pending.read_log, "an empty send needs no read of the log");
    }
}
