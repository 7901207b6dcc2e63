//! The registry behind its lock: what commits, the feed and the tasks of live queries share.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::QueryId;
use super::registry::Registry;
use crate::change::{ChangeSink, ChangeSource, Changes, CommitReader, TablesRead};
use crate::dispatch::PendingCommits;
use crate::failpoints::Failpoints;

/// The state of all live queries. Knows nothing of what runs them: queries to run are taken
/// from here.
pub(crate) struct SharedRegistry {
    /// Never locked across an await or a call into the host.
    registry: Mutex<Registry>,
    /// Queries to run; each is here at most once.
    to_run: Mutex<VecDeque<QueryId>>,
    runnable: Notify,
    /// Whether anything is live.
    watched: watch::Sender<bool>,
    /// Every change visible in the database then has been told.
    fed: watch::Sender<Option<Instant>>,
    /// Commits of this process that are told by itself.
    pending: Arc<PendingCommits>,
}

impl SharedRegistry {
    /// No live queries; results without subscribers are retained for `linger`.
    pub(crate) fn new(
        linger: Duration,
        dev: bool,
        pending: Arc<PendingCommits>,
        failpoints: Failpoints,
    ) -> SharedRegistry {
        SharedRegistry {
            registry: Mutex::new(Registry::new(linger, dev, failpoints)),
            to_run: Mutex::default(),
            runnable: Notify::new(),
            watched: watch::Sender::new(false),
            fed: watch::Sender::new(None),
            pending,
        }
    }

    /// The state; reset first if an event panicked while it changed it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        let mut registry = self.registry.lock();
        if registry.is_half_changed() {
            tracing::error!("a panic left the state of live queries half-changed; it is reset, and streams reconnect");
            registry.restart();
        }
        registry
    }

    /// Lets an event happen, and does what follows from it.
    pub(super) fn with<T>(&self, event: impl FnOnce(&mut Registry) -> T) -> T {
        let (result, effects) = {
            let mut registry = self.lock();
            let result = registry.event(event);
            let live = !registry.is_empty();
            // Under the lock, or the feed would hear of two events in the wrong order.
            self.watched.send_if_modified(|watched| std::mem::replace(watched, live) != live);
            (result, registry.effects())
        };
        effects.wake.iter().for_each(|wake| wake.notify_one());
        if !effects.run.is_empty() {
            self.to_run.lock().extend(effects.run);
            self.runnable.notify_one();
        }
        result
    }

    /// The next query to run, once there is one. May be dropped while it waits.
    pub(super) async fn next_to_run(&self) -> QueryId {
        loop {
            let next = self.to_run.lock().pop_front();
            match next {
                Some(id) => return id,
                None => self.runnable.notified().await,
            }
        }
    }

    /// Whether anything is live, for the feed.
    pub(crate) fn watched(&self) -> watch::Receiver<bool> {
        self.watched.subscribe()
    }

    /// The moment up to which everything visible in the database has been told.
    pub(super) fn fed(&self) -> watch::Receiver<Option<Instant>> {
        self.fed.subscribe()
    }
}

impl CommitReader for SharedRegistry {
    fn committed(&self, changes: Changes, by: &ChangeSource) {
        self.with(|registry| registry.changed(&changes, by));
    }
}

impl ChangeSink for SharedRegistry {
    fn caught_up(&self, at: Instant) {
        // What is being committed here may be visible already, and is told by us.
        let at = self.pending.oldest().map_or(at, |oldest| oldest.min(at));
        self.with(|registry| registry.caught_up(at));
        self.fed.send_replace(Some(at));
    }

    fn watched(&self, tables: HashSet<Arc<str>>) {
        self.with(|registry| registry.watched_are(tables));
    }

    fn tables_read(&self) -> TablesRead {
        self.lock().tables_read()
    }
}
