//! The registry behind its lock, shared by commits, the change feed and the tasks that
//! run live queries.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::QueryId;
use super::registry::{Registry, Retention};
use crate::change::{ChangeSink, ChangeSource, Changes, Commit, CommitReader, TablesRead};
use crate::dispatch::PendingCommits;
use crate::failpoints::Failpoints;
use crate::feed::{FeedDemand, FeedUser};

/// The state of all live queries, with a queue from which their runner takes the queries
/// to run.
pub(crate) struct SharedRegistry {
    /// Never locked across an await or a call into the host.
    registry: Mutex<Registry>,
    /// Queries to run, each at most once.
    to_run: Mutex<VecDeque<QueryId>>,
    runnable: Notify,
    /// The feed is read while the registry has any query.
    demand: Arc<FeedDemand>,
    /// Every change that was visible in the database at this moment has been applied.
    caught_up_at: watch::Sender<Option<Instant>>,
    /// Commits of this process that are sent to Postgres and not applied yet.
    pending: Arc<PendingCommits>,
}

impl SharedRegistry {
    /// An empty registry.
    pub(crate) fn new(
        retention: Retention,
        pending: Arc<PendingCommits>,
        demand: Arc<FeedDemand>,
        failpoints: Failpoints,
    ) -> SharedRegistry {
        SharedRegistry {
            registry: Mutex::new(Registry::new(retention, failpoints)),
            to_run: Mutex::default(),
            runnable: Notify::new(),
            demand,
            caught_up_at: watch::Sender::new(None),
            pending,
        }
    }

    /// Locks the registry, and resets it first if an event panicked half-way.
    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        let mut registry = self.registry.lock();
        if registry.is_poisoned() {
            tracing::error!("a panic left the state of live queries inconsistent; it is reset, and streams reconnect");
            registry.restart();
        }
        registry
    }

    /// Applies an event, then wakes the sessions and queues the queries that it concerns.
    pub(super) fn with<T>(&self, event: impl FnOnce(&mut Registry) -> T) -> T {
        let (result, effects) = {
            let mut registry = self.lock();
            let result = registry.apply(event);
            // Under the lock, so that the feed receives two events in their order.
            self.demand.set(FeedUser::LiveQueries, !registry.is_empty());
            (result, registry.effects())
        };
        effects.wake.iter().for_each(|wake| wake.notify_one());
        if !effects.run.is_empty() {
            self.to_run.lock().extend(effects.run);
            self.runnable.notify_one();
        }
        result
    }

    /// Waits for the next query to run. Cancel-safe.
    pub(super) async fn next_to_run(&self) -> QueryId {
        loop {
            let next = self.to_run.lock().pop_front();
            match next {
                Some(id) => return id,
                None => self.runnable.notified().await,
            }
        }
    }

    /// The moment up to which every change visible in the database has been applied.
    pub(super) fn caught_up_at(&self) -> watch::Receiver<Option<Instant>> {
        self.caught_up_at.subscribe()
    }
}

impl CommitReader for SharedRegistry {
    fn committed(&self, changes: Changes, by: &ChangeSource) {
        let commit = Arc::new(Commit::new(changes, by.clone()));
        self.with(|registry| registry.changed(&commit));
    }
}

impl ChangeSink for SharedRegistry {
    fn caught_up(&self, at: Instant) {
        // A commit of this process may be visible in Postgres before it is applied here.
        let at = self.pending.oldest().map_or(at, |oldest| oldest.min(at));
        self.with(|registry| registry.caught_up(at));
        self.caught_up_at.send_replace(Some(at));
    }

    fn set_tracked_tables(&self, tables: HashSet<Arc<str>>) {
        self.with(|registry| registry.set_tracked_tables(tables));
    }

    fn tables_read(&self) -> TablesRead {
        self.lock().tables_read()
    }
}
