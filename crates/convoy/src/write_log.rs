//! The write log: what this process has committed, in the order in which it became known.
//! Live queries have read an entry before it counts as appended, so a caller is answered
//! only after them; the queue to other processes takes it along.

use std::sync::Arc;

use crate::change::{By, Change, ChangeSink, Changes};
use crate::feed::PeerQueue;

/// What all commits of this process are appended to.
pub struct WriteLog {
    live: Arc<dyn ChangeSink>,
    peers: Arc<PeerQueue>,
}

impl WriteLog {
    /// A log that live queries and the notifier of other processes read.
    pub fn new(live: Arc<dyn ChangeSink>, peers: Arc<PeerQueue>) -> WriteLog {
        WriteLog { live, peers }
    }

    /// Appends what one transaction has changed, made by these functions.
    pub fn append(&self, changes: Arc<[Change]>, by: &By) {
        if changes.is_empty() {
            return;
        }
        let changes = Changes::Some(changes);
        self.live.committed(changes.clone(), by);
        self.peers.put(&changes);
    }
}
