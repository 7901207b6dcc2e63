//! Turns commits made elsewhere (psql, another service, another node) into
//! [`Changes`], by reading `_convoy.changes` ([`log`]), and sooner where another
//! node says by a notification what it has committed ([`listener`]).
//!
//! Our own commits do not come this way: `write_log` tells of them at once, and
//! gives them to the [`notifier`], which tells other nodes.
//!
//! Each part is supervised ([`Supervisor`]) and restarts from shared state that outlives
//! it.
//!
//! Notifications only make it faster. What is lost of them, the log has; and what
//! the log cannot have, because no trigger of ours wrote it, [`tables`] asks for
//! at intervals.

mod log;
mod log_cursor;
mod notifier;
mod peer_listener;
mod peer_message;
mod peer_queue;
mod peers;
mod untracked_tables;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use peer_queue::PeerQueue;

use crate::change::{ChangeSink, InDoubtCommits};
use crate::config::Config;
use crate::health::Health;
use crate::postgres::{DbError, Postgres, Sessions};
use crate::schema::{Followed, Schema};
use crate::supervise::{Part, Supervisor};
use log::Log;
use notifier::{Notifier, Voice};
use peer_listener::PeerListener;
use peers::PeerTable;
use untracked_tables::{Known, Tables};

/// What a feed is made of.
pub(crate) struct Parts {
    /// The database.
    pub postgres: Postgres,
    /// What our rows in the log are signed with.
    pub node: Uuid,
    /// The empty user schema: lays out `_convoy` alone.
    pub ours: Arc<Schema>,
    /// Who is told of others' commits.
    pub sink: Arc<dyn ChangeSink>,
    /// Commits of ours that may yet happen.
    pub in_doubt: InDoubtCommits,
    /// Where our own commits wait to be told to other nodes.
    pub peers: Arc<PeerQueue>,
    /// Whether anything is live.
    pub watched: watch::Receiver<bool>,
    /// Somebody wants the log to be read now.
    pub read_now: Arc<Notify>,
    /// Requests a check of the `_convoy` schema.
    pub look_now: Arc<Notify>,
    /// Receives a condition while the log cannot be read.
    pub health: Health,
    /// Restarts its tasks after panics.
    pub supervisor: Supervisor,
}

/// Follows what others commit until it is told to stop.
pub(crate) struct Feed {
    schema: watch::Sender<Followed>,
}

impl Feed {
    /// Takes the first position: whatever commits after this returns will be told.
    /// Its tasks belong to `tasks`, and end when `stop` says so.
    pub(crate) async fn open(
        parts: Parts,
        config: &Config,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Feed, DbError> {
        let log = Arc::new(Log::new(&parts, config));
        let mut first = Some(log.begin().await?);
        let part = Kept { supervisor: &parts.supervisor, tasks, stop };
        // Started again, it begins where the log ends then, and everything runs again.
        part.keep(Part::Log, move |stop| {
            let (log, cursor) = (log.clone(), first.take());
            async move { log.run(cursor, stop).await }
        });
        // What a session that is lent LISTENs for, whoever has it next would hear.
        // So no notifications arrive there, and it is not known whether ours arrive.
        if parts.postgres.sessions == Sessions::Ours {
            let nodes = Arc::new(Mutex::new(PeerTable::new(parts.node)));
            let beat = Arc::new(Notify::new());
            let failpoints = config.failpoints.clone();
            let voice = Arc::new(Voice::new(&parts, nodes.clone(), beat.clone(), failpoints.clone()));
            part.keep(Part::Notifier, move |stop| Notifier::new(voice.clone()).run(stop));
            let ear = Arc::new(PeerListener {
                postgres: parts.postgres.clone(),
                nodes,
                peers: parts.peers.clone(),
                beat,
                read_log: parts.read_now.clone(),
                sink: parts.sink.clone(),
                failpoints,
            });
            part.keep(Part::Listener, move |stop| {
                let ear = ear.clone();
                async move { ear.run(stop).await }
            });
        }
        let (schema, followed) = watch::channel(Followed { schema: parts.ours.clone(), sync: true });
        let tables = Arc::new(Tables::new(&parts, followed, config));
        let mut restarted = false;
        part.keep(Part::Tables, move |stop| {
            let (tables, known) = (tables.clone(), Known::new(std::mem::replace(&mut restarted, true)));
            async move { tables.run(known, stop).await }
        });
        Ok(Feed { schema })
    }

    /// The schema of the code that was loaded.
    pub(crate) fn follow(&self, schema: Followed) {
        self.schema.send_replace(schema);
    }
}

/// Spawns the supervised tasks of a feed.
struct Kept<'a> {
    supervisor: &'a Supervisor,
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Kept<'_> {
    /// Spawns a supervised task that runs until the feed stops.
    fn keep<F>(&self, part: Part, mut start: impl FnMut(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, stop) = (self.supervisor.clone(), self.stop.clone());
        self.tasks.spawn(async move { supervisor.keep(part, &stop, || start(stop.clone())).await });
    }
}
