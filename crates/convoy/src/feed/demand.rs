//! Who needs the change log to be read.

use parking_lot::Mutex;
use tokio::sync::watch;

/// A part of the engine that depends on the feed while it is in use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FeedUser {
    /// The live queries.
    LiveQueries,
    /// The reads kept in memory.
    ReadCache,
}

/// Whether any part depends on the feed: only then the log is read at each interval.
#[derive(Debug, Default)]
pub(crate) struct FeedDemand {
    users: Mutex<[bool; 2]>,
    any: watch::Sender<bool>,
}

impl FeedDemand {
    /// Records whether `user` depends on the feed.
    pub(crate) fn set(&self, user: FeedUser, depends: bool) {
        let mut users = self.users.lock();
        users[user as usize] = depends;
        let any = users.contains(&true);
        // Sent under the lock, so that the feed receives two events in their order.
        self.any.send_if_modified(|before| std::mem::replace(before, any) != any);
    }

    /// Whether any part depends on the feed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.any.subscribe()
    }
}
