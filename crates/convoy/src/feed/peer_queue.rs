//! Commits of this process on their way to others: the notifier takes them from here,
//! if another process listens.
//!
//! Invariant: adding one never waits, and the queue is bounded. Where more waits than a
//! few notifications could say, it becomes one word: read the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::change::{Change, ChangeSource, Changes, CommitReader};

/// The most changes that wait to be sent.
const MOST_WAITING: usize = 1_000;

/// What waits to be sent to other nodes.
#[derive(Default)]
pub(crate) struct PeerQueue {
    wanted: AtomicBool,
    waiting: Mutex<PendingNotifications>,
    filled: Notify,
}

/// What one round of notifications is to say.
#[derive(Default)]
pub(crate) struct PendingNotifications {
    /// Changes, commit by commit.
    pub commits: Vec<Arc<[Change]>>,
    /// There were more; the log has them.
    pub read_log: bool,
    changes: usize,
}

impl PendingNotifications {
    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty() && !self.read_log
    }
}

impl PeerQueue {
    /// Sets whether a peer listens; while none does, nothing is kept.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Whether anyone wants to hear.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Something was perhaps not heard: the next word is to read the log.
    pub(crate) fn failed(&self) {
        *self.waiting.lock() = PendingNotifications { read_log: true, ..PendingNotifications::default() };
    }

    /// Waits until something was put in. May be dropped while it waits.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes what waits; nothing while no other node listens.
    pub(crate) fn take(&self) -> Sending<'_> {
        let pending =
            if self.is_wanted() { std::mem::take(&mut *self.waiting.lock()) } else { PendingNotifications::default() };
        Sending { queue: self, pending }
    }
}

impl CommitReader for PeerQueue {
    fn committed(&self, changes: Changes, _by: &ChangeSource) {
        if !self.is_wanted() {
            return;
        }
        let mut waiting = self.waiting.lock();
        match changes {
            Changes::Some(changes) if waiting.changes + changes.len() <= MOST_WAITING => {
                waiting.changes += changes.len();
                waiting.commits.push(changes);
            }
            _ => *waiting = PendingNotifications { read_log: true, ..PendingNotifications::default() },
        }
        drop(waiting);
        self.filled.notify_one();
    }
}

/// Notifications on their way. They count as sent when that is said; dropped before, this
/// leaves the word to read the log.
pub(crate) struct Sending<'a> {
    queue: &'a PeerQueue,
    /// What is to be said.
    pub pending: PendingNotifications,
}

impl Sending<'_> {
    /// It was sent.
    pub(crate) fn sent(mut self) {
        self.pending = PendingNotifications::default();
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.queue.failed();
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
        queue.want(true);
        assert!(queue.take().pending.is_empty());
        put(&queue, changes(1));
        let sending = queue.take();
        assert_eq!(sending.pending.commits.len(), 1);
        sending.sent();
        assert!(queue.take().pending.is_empty());
    }

    #[test]
    fn a_full_box_becomes_one_word_and_stays_bounded() {
        let queue = PeerQueue::default();
        queue.want(true);
        for _ in 0..MOST_WAITING {
            put(&queue, changes(2));
        }
        let sending = queue.take();
        assert!(sending.pending.read_log && sending.pending.changes <= MOST_WAITING);
        sending.sent();
        put(&queue, changes(1));
        put(&queue, Changes::Everything);
        let sending = queue.take();
        assert!(sending.pending.read_log && sending.pending.commits.is_empty());
    }

    #[test]
    fn an_unsent_notification_leaves_a_request_to_read_the_log() {
        let queue = PeerQueue::default();
        queue.want(true);
        put(&queue, changes(1));
        drop(queue.take());
        put(&queue, changes(1));
        let sending = queue.take();
        assert!(sending.pending.read_log);
        sending.sent();
        drop(queue.take());
        assert!(!queue.take().pending.read_log, "nothing was on its way");
    }
}
