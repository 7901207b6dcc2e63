//! Our own commits on their way: at once to our live queries, and from there to
//! the notifier, if another node listens.
//!
//! Invariant: handing over never waits and is bounded. Where more waits than a
//! few notifications could say, it becomes one word: read the log.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::change::{By, Change, ChangeSink, Changes, TablesRead};

/// The most changes that wait to be sent.
const MOST_WAITING: usize = 1_000;

/// What waits to be sent to other nodes.
#[derive(Default)]
pub struct Outbox {
    wanted: AtomicBool,
    waiting: Mutex<Parcel>,
    filled: Notify,
}

/// What one round of notifications is to say.
#[derive(Default)]
pub struct Parcel {
    /// Changes, commit by commit.
    pub commits: Vec<Arc<[Change]>>,
    /// There were more; the log has them.
    pub read_log: bool,
    changes: usize,
}

impl Parcel {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && !self.read_log
    }
}

impl Outbox {
    /// Says whether anyone wants to hear; while nobody does, nothing is kept.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Whether anyone wants to hear.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Adds what was committed.
    fn put(&self, changes: &Changes) {
        if !self.is_wanted() {
            return;
        }
        let mut waiting = self.waiting.lock();
        match changes {
            Changes::Some(changes) if waiting.changes + changes.len() <= MOST_WAITING => {
                waiting.changes += changes.len();
                waiting.commits.push(changes.clone());
            }
            _ => *waiting = Parcel { read_log: true, ..Parcel::default() },
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Something was perhaps not heard: the next word is to read the log.
    pub fn failed(&self) {
        *self.waiting.lock() = Parcel { read_log: true, ..Parcel::default() };
    }

    /// Waits until something was put in. May be dropped while it waits.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes what waits; nothing while no other node listens.
    pub fn take(&self) -> Sending<'_> {
        let parcel = if self.is_wanted() { std::mem::take(&mut *self.waiting.lock()) } else { Parcel::default() };
        Sending { outbox: self, parcel }
    }
}

/// A parcel on its way. It counts as sent when that is said; dropped before, it
/// leaves the word to read the log.
pub struct Sending<'a> {
    outbox: &'a Outbox,
    /// What is to be said.
    pub parcel: Parcel,
}

impl Sending<'_> {
    /// It was sent.
    pub fn sent(mut self) {
        self.parcel = Parcel::default();
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.parcel.is_empty() {
            self.outbox.failed();
        }
    }
}

/// Tells the live queries of this node and then the others.
pub struct Telling {
    live: Weak<dyn ChangeSink>,
    outbox: Arc<Outbox>,
}

impl Telling {
    /// In front of the live queries.
    pub fn new(live: Weak<dyn ChangeSink>, outbox: Arc<Outbox>) -> Telling {
        Telling { live, outbox }
    }
}

impl ChangeSink for Telling {
    fn committed(&self, changes: Changes, by: &By) {
        if let Some(live) = self.live.upgrade() {
            live.committed(changes.clone(), by);
        }
        self.outbox.put(&changes);
    }

    fn caught_up(&self, at: Instant) {
        if let Some(live) = self.live.upgrade() {
            live.caught_up(at);
        }
    }

    fn watched(&self, tables: HashSet<Arc<str>>) {
        if let Some(live) = self.live.upgrade() {
            live.watched(tables);
        }
    }

    fn tables_read(&self) -> TablesRead {
        self.live.upgrade().map_or_else(TablesRead::default, |live| live.tables_read())
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

    #[test]
    fn nothing_is_kept_for_nobody() {
        let outbox = Outbox::default();
        outbox.put(&changes(1));
        assert!(outbox.take().parcel.is_empty());
        outbox.want(true);
        assert!(outbox.take().parcel.is_empty());
        outbox.put(&changes(1));
        let sending = outbox.take();
        assert_eq!(sending.parcel.commits.len(), 1);
        sending.sent();
        assert!(outbox.take().parcel.is_empty());
    }

    #[test]
    fn a_full_box_becomes_one_word_and_stays_bounded() {
        let outbox = Outbox::default();
        outbox.want(true);
        for _ in 0..MOST_WAITING {
            outbox.put(&changes(2));
        }
        let sending = outbox.take();
        assert!(sending.parcel.read_log && sending.parcel.changes <= MOST_WAITING);
        sending.sent();
        outbox.put(&changes(1));
        outbox.put(&Changes::Everything);
        let sending = outbox.take();
        assert!(sending.parcel.read_log && sending.parcel.commits.is_empty());
    }

    #[test]
    fn what_was_not_sent_leaves_the_word_to_read_the_log() {
        let outbox = Outbox::default();
        outbox.want(true);
        outbox.put(&changes(1));
        drop(outbox.take());
        outbox.put(&changes(1));
        let sending = outbox.take();
        assert!(sending.parcel.read_log);
        sending.sent();
        drop(outbox.take());
        assert!(!outbox.take().parcel.read_log, "nothing was on its way");
    }
}
