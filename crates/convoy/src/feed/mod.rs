//! Reads commits made elsewhere (psql, another service, another process) as [`Changes`]:
//! from `_convoy.changes` ([`log`]), and sooner from the notifications of other processes
//! ([`peer_listener`]).
//!
//! Commits of this process do not come this way. `write_log` publishes them at once, also
//! to the queue of the [`notifier`], which sends them to other processes.
//!
//! Each task is supervised ([`Supervisor`]) and restarts from shared state that outlives
//! it.
//!
//! Notifications only reduce latency: a lost one is in the log as well. Tables whose
//! writes the log lacks, because they have no triggers, are polled ([`untracked_tables`]).

mod demand;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod log;
mod log_cursor;
mod notifier;
mod peer_listener;
mod peer_message;
mod peer_queue;
mod peers;
mod read_requests;
mod untracked_tables;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use demand::{FeedDemand, FeedUser};
pub(crate) use peer_queue::PeerQueue;
pub(crate) use read_requests::ReadRequests;

use crate::change::{ChangeSink, InDoubtCommits};
use crate::config::Config;
use crate::health::Health;
use crate::postgres::{ConnectionMode, DbError, Postgres, RowSecurity};
use crate::schema::Schema;
use crate::supervise::{Part, Supervisor};
use crate::telemetry::{Metrics, Tracer};
use log::LogReader;
use notifier::{Notifier, NotifierContext};
use peer_listener::PeerListener;
use peers::PeerTable;
use untracked_tables::{TableTracker, TrackerState};

/// The dependencies of a feed.
pub(crate) struct Parts {
    /// The connection pools.
    pub postgres: Postgres,
    /// The id that this process signs its log rows with.
    pub node: Uuid,
    /// The schema without user tables: syncing it creates only `_convoy`.
    pub empty_schema: Arc<Schema>,
    /// Receives the commits of others.
    pub sink: Arc<dyn ChangeSink>,
    /// Commits of this process that may still happen.
    pub in_doubt: InDoubtCommits,
    /// Commits of this process that wait to be sent to others.
    pub peer_queue: Arc<PeerQueue>,
    /// Whether any part of the engine depends on the feed.
    pub has_subscribers: watch::Receiver<bool>,
    /// Requests a read of the log now.
    pub read_requests: Arc<ReadRequests>,
    /// Requests a check of the `_convoy` schema.
    pub check_schema: Arc<Notify>,
    /// Receives a condition while the log cannot be read.
    pub health: Health,
    /// Restarts its tasks after panics.
    pub supervisor: Supervisor,
    /// Records how late it is.
    pub metrics: Metrics,
    pub tracer: Tracer,
}

/// The schema of the loaded code.
#[derive(Debug, Clone)]
pub(crate) struct LoadedSchema {
    /// Its tables.
    pub schema: Arc<Schema>,
    /// Whether the engine may change the database to match it.
    pub sync: bool,
    /// The role that the calls of clients run under, if there is one.
    pub row_security: Option<Arc<RowSecurity>>,
}

/// The tasks that follow the commits of others, until `stop` is cancelled.
pub(crate) struct Feed {
    schema: watch::Sender<LoadedSchema>,
}

impl Feed {
    /// Reads the first position: every commit after this returns is published. Spawns the
    /// tasks on `tasks`; they end when `stop` is cancelled.
    pub(crate) async fn open(
        parts: Parts,
        config: &Config,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Feed, DbError> {
        let log = Arc::new(LogReader::new(&parts, config));
        let mut first = Some(log.first_cursor().await?);
        let tasks = Tasks { supervisor: &parts.supervisor, tasks, stop };
        // After a restart it begins at the end of the log, and everything counts as changed.
        tasks.spawn(Part::Log, move |stop| {
            let (log, cursor) = (log.clone(), first.take());
            async move { log.run(cursor, stop).await }
        });
        // LISTEN on a session of a transaction pooler would deliver to later users of the
        // session. So no notifications are received there, nor are any sent, because whether
        // others would receive them is unknown.
        if parts.postgres.server.mode == ConnectionMode::Direct {
            let peer_table = Arc::new(Mutex::new(PeerTable::new(parts.node)));
            let heartbeat = Arc::new(Notify::new());
            let failpoints = config.failpoints.clone();
            let context =
                Arc::new(NotifierContext::new(&parts, peer_table.clone(), heartbeat.clone(), failpoints.clone()));
            tasks.spawn(Part::Notifier, move |stop| Notifier::new(context.clone()).run(stop));
            let listener = Arc::new(PeerListener {
                postgres: parts.postgres.clone(),
                peer_table,
                queue: parts.peer_queue.clone(),
                heartbeat,
                read_requests: parts.read_requests.clone(),
                sink: parts.sink.clone(),
                tracer: parts.tracer.clone(),
                failpoints,
            });
            tasks.spawn(Part::Listener, move |stop| {
                let listener = listener.clone();
                async move { listener.run(stop).await }
            });
        }
        let (schema, loaded) =
            watch::channel(LoadedSchema { schema: parts.empty_schema.clone(), sync: true, row_security: None });
        let tables = Arc::new(TableTracker::new(&parts, loaded, config));
        let mut restarted = false;
        tasks.spawn(Part::Tables, move |stop| {
            let (tables, state) = (tables.clone(), TrackerState::new(std::mem::replace(&mut restarted, true)));
            async move { tables.run(state, stop).await }
        });
        Ok(Feed { schema })
    }

    /// Replaces the schema whose tables are checked.
    pub(crate) fn set_schema(&self, schema: LoadedSchema) {
        self.schema.send_replace(schema);
    }
}

/// Spawns the supervised tasks of a feed.
struct Tasks<'a> {
    supervisor: &'a Supervisor,
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Tasks<'_> {
    /// Spawns a supervised task that runs until the feed stops.
    fn spawn<F>(&self, part: Part, mut start: impl FnMut(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, stop) = (self.supervisor.clone(), self.stop.clone());
        self.tasks.spawn(async move { supervisor.keep(part, &stop, || start(stop.clone())).await });
    }
}
