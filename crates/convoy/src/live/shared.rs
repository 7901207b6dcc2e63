//! The registry behind its lock, shared by commits, the change feed and the tasks that
//! run live queries.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::QueryId;
use super::registry::{Registry, Retention};
use crate::change::{ChangeSink, ChangeSource, Changes, Commit, CommitNumber, CommitReader, TablesRead};
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
    /// Every change of others that was visible in the database at this moment has been applied.
    read_at: watch::Sender<Option<FeedRead>>,
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
            read_at: watch::Sender::new(None),
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

    /// Waits until every change that was visible in the database at `moment` has been applied: the
    /// change log has been read since, and the commits of this process from before have ended.
    /// Cancel-safe.
    pub(super) async fn caught_up_with(&self, moment: Instant) {
        let mut read_at = self.read_at.subscribe();
        // It cannot fail: the sender lives as long as this.
        drop(read_at.wait_for(|read| read.is_some_and(|read| read.at >= moment)).await);
        self.pending.ended_before(moment).await;
        let read = *read_at.borrow();
        if let Some(read) = read {
            self.apply_read(read);
        }
    }

    /// Notes how far the registry has all changes. A commit of this process may be visible in
    /// Postgres before it is applied here; one that was lost is found by the next read.
    fn apply_read(&self, FeedRead { at, lost_commits }: FeedRead) {
        // In this order: a commit is counted as lost before it is no longer pending.
        let at = self.pending.oldest().map_or(at, |oldest| oldest.min(at));
        if self.pending.lost_count() == lost_commits {
            self.with(|registry| registry.caught_up(at));
        }
    }
}

/// A read of the change log.
#[derive(Debug, Clone, Copy)]
struct FeedRead {
    /// When it began.
    at: Instant,
    /// How many commits of this process had been dropped before their end.
    lost_commits: u64,
}

impl CommitReader for SharedRegistry {
    fn committed(&self, changes: Changes, by: &ChangeSource) -> Option<CommitNumber> {
        let commit = Arc::new(Commit::new(changes, by.clone()));
        Some(self.with(|registry| registry.changed(&commit)))
    }
}

impl ChangeSink for SharedRegistry {
    fn caught_up(&self, at: Instant, lost_commits: u64) {
        let read = FeedRead { at, lost_commits };
        self.apply_read(read);
        self.read_at.send_replace(Some(read));
    }

    fn set_tracked_tables(&self, tables: HashSet<Arc<str>>) {
        self.with(|registry| registry.set_tracked_tables(tables));
    }

    fn tables_read(&self) -> TablesRead {
        self.lock().tables_read()
    }
}
