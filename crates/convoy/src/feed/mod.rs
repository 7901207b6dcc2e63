//! Turns commits made elsewhere (psql, another service, another node) into
//! [`Changes`], by reading `_convoy.changes` ([`log`]), and sooner where another
//! node says by a notification what it has committed ([`listener`]).
//!
//! Our own commits do not come this way: [`Telling`] tells of them at once, and
//! gives them to the [`notifier`], which tells other nodes.
//!
//! Notifications only make it faster. What is lost of them, the log has; and what
//! the log cannot have, because no trigger of ours wrote it, [`tables`] asks for
//! at intervals.

mod listener;
mod log;
mod nodes;
mod notice;
mod notifier;
mod position;
mod tables;
mod telling;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use telling::{Outbox, Telling};

use crate::change::{ChangeSink, Doubts};
use crate::config::Config;
use crate::postgres::{DbError, Postgres, Sessions};
use crate::schema::Table;
use listener::Ear;
use log::Log;
use nodes::Nodes;
use notifier::Notifier;
use tables::Tables;

/// What a feed is made of.
pub struct Parts {
    /// The database.
    pub postgres: Postgres,
    /// What our rows in the log are signed with.
    pub node: Uuid,
    /// Who is told of others' commits.
    pub sink: Arc<dyn ChangeSink>,
    /// Commits of ours that may yet happen.
    pub doubts: Doubts,
    /// Where our own commits wait to be told to other nodes.
    pub outbox: Arc<Outbox>,
    /// Whether anything is live.
    pub watched: watch::Receiver<bool>,
    /// Somebody wants the log to be read now.
    pub read_now: Arc<Notify>,
}

/// Follows what others commit until it is told to stop.
pub struct Feed {
    schema: watch::Sender<Arc<[Arc<Table>]>>,
}

impl Feed {
    /// Takes the first position: whatever commits after this returns will be told.
    /// Its tasks belong to `tasks`, and end when `stop` says so.
    pub async fn open(
        parts: Parts,
        config: &Config,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Feed, DbError> {
        let log = Log::new(&parts, config);
        let first = log.begin().await?;
        let Parts { postgres, node, sink, doubts: _, outbox, watched, read_now } = parts;
        let log_stop = stop.clone();
        own(tasks, "reading the change log", async move { log.run(Some(first), log_stop).await });
        // What a session that is lent LISTENs for, whoever has it next would hear.
        // So we hear nobody there, and not whether anybody hears us.
        if postgres.sessions == Sessions::Ours {
            let nodes = Arc::new(Mutex::new(Nodes::new(node)));
            let beat = Arc::new(Notify::new());
            let notifier =
                Notifier::new(postgres.clone(), node, outbox.clone(), nodes.clone(), beat.clone(), watched.clone());
            own(tasks, "notifying other nodes", notifier.run(stop.clone()));
            let ear = Ear {
                postgres: postgres.clone(),
                nodes,
                outbox,
                beat,
                read_log: read_now,
                sink: sink.clone(),
                mistakes: config.mistakes.clone(),
            };
            own(tasks, "listening to other nodes", ear.run(stop.clone()));
        }
        let (schema, tables) = watch::channel(Arc::from([]));
        let poll_every = Duration::from_millis(config.limits.poll_every_ms.max(1));
        let look_every = Duration::from_millis(config.limits.triggers_ms.max(1));
        let tables = Tables { postgres, sink, schema: tables, live: watched, poll_every, look_every };
        own(tasks, "looking at tables", tables.run(stop.clone()));
        Ok(Feed { schema })
    }

    /// The tables of the code that was loaded.
    pub fn follow(&self, tables: impl Iterator<Item = Arc<Table>>) {
        self.schema.send_replace(tables.collect());
    }
}

/// Runs a part of the feed on a task of its own.
fn own(tasks: &TaskTracker, what: &'static str, part: impl Future<Output = ()> + Send + 'static) {
    let part = AssertUnwindSafe(part).catch_unwind();
    tasks.spawn(async move {
        if part.await.is_err() {
            tracing::error!("{what} panicked; writes made elsewhere may not be seen until a restart");
        }
    });
}
