//! Sends the commits of this process, and its heartbeat, as notifications.
//!
//! Uses a connection of its own: a NOTIFY inside of a writer's transaction would make all
//! commits of the database server wait for one lock. A notification that cannot be sent
//! loses nothing: the change is in the log, and the next notification requests a read of
//! the log.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::{self, Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Parts;
use super::peer_message::{self, Payload, PeerMessage};
use super::peer_queue::{PeerQueue, PendingNotifications};
use super::peers::{HEARTBEAT_INTERVAL, PeerTable};
use crate::failpoints::Failpoints;
use crate::postgres::{DbError, NotifyConnection, Postgres};
use crate::sql;
use crate::supervise::Part;
use crate::telemetry::RemoteSpan;

/// The shortest pause between two sends. Commits made meanwhile share the next one.
const MIN_SEND_INTERVAL: Duration = Duration::from_millis(2);
/// The most payloads of one send. Larger sets of changes are replaced by a request to read
/// the log.
const MAX_PAYLOADS: usize = 8;
/// How often the usage of Postgres' notification queue is checked.
const USAGE_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// Usage of the notification queue, in per cent, at which sending pauses and below which it
/// resumes. A full queue makes every commit fail that notifies, also those of other programs.
const PAUSE_PERCENT: i64 = 50;
const RESUME_PERCENT: i64 = 25;

/// The dependencies of a notifier, which outlive a restart of it.
pub(super) struct NotifierContext {
    postgres: Postgres,
    node: Uuid,
    queue: Arc<PeerQueue>,
    peer_table: Arc<Mutex<PeerTable>>,
    /// Requests a heartbeat now.
    heartbeat: Arc<Notify>,
    has_subscribers: watch::Receiver<bool>,
    failpoints: Failpoints,
}

impl NotifierContext {
    /// Creates the context from the parts of a feed.
    pub(super) fn new(
        parts: &Parts,
        peer_table: Arc<Mutex<PeerTable>>,
        heartbeat: Arc<Notify>,
        failpoints: Failpoints,
    ) -> NotifierContext {
        NotifierContext {
            postgres: parts.postgres.clone(),
            node: parts.node,
            queue: parts.peer_queue.clone(),
            peer_table,
            heartbeat,
            has_subscribers: parts.has_subscribers.clone(),
            failpoints,
        }
    }
}

/// The notifying task of a process.
pub(super) struct Notifier {
    context: Arc<NotifierContext>,
    connection: Option<NotifyConnection>,
    sequence: u64,
    last_send: time::Instant,
    usage_checked: Option<time::Instant>,
    paused: bool,
}

impl Notifier {
    /// Creates a notifier that is not connected yet.
    pub(super) fn new(context: Arc<NotifierContext>) -> Notifier {
        Notifier {
            context,
            connection: None,
            sequence: 0,
            last_send: time::Instant::now(),
            usage_checked: None,
            paused: false,
        }
    }

    /// Sends until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let context = self.context.clone();
        let mut has_subscribers = context.has_subscribers.clone();
        let mut next_heartbeat = time::Instant::now() + HEARTBEAT_INTERVAL;
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => break,
                changed = has_subscribers.changed() => match changed {
                    Ok(()) => true,
                    Err(_closed) => break,
                },
                () = context.heartbeat.notified() => true,
                () = time::sleep_until(next_heartbeat) => self.heartbeat_needed(),
                () = context.queue.added() => false,
            };
            if due || next_heartbeat <= time::Instant::now() {
                next_heartbeat = time::Instant::now() + HEARTBEAT_INTERVAL;
            }
            time::sleep_until(self.last_send + MIN_SEND_INTERVAL).await;
            if let Err(error) = self.send_pending(due).await {
                // The pool logs that the database is unreachable.
                tracing::debug!(cause = %error.cause(), "other processes could not be notified; they read the log instead");
                self.connection = None;
            }
        }
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    /// Whether a heartbeat is needed: by this process's own listener while there are live
    /// queries here, or by another process.
    fn heartbeat_needed(&self) -> bool {
        let peer_is_live = self.context.peer_table.lock().any_live();
        self.context.queue.set_enabled(peer_is_live);
        peer_is_live || *self.context.has_subscribers.borrow()
    }

    async fn send_pending(&mut self, heartbeat: bool) -> Result<(), DbError> {
        let context = self.context.clone();
        let in_flight = context.queue.take();
        if !heartbeat && in_flight.pending.is_empty() {
            return Ok(());
        }
        self.check_queue_usage().await?;
        let payloads = self.payloads(&in_flight.pending);
        context.failpoints.reach(Part::Notifier);
        if self.paused {
            return Ok(());
        }
        self.last_send = time::Instant::now();
        // Every message counts as a heartbeat.
        context.peer_table.lock().heartbeat_started(Instant::now());
        self.connection().await?.send(sql::notify::notify(&payloads)).await?;
        in_flight.sent();
        context.peer_table.lock().heartbeat_sent();
        Ok(())
    }

    /// The payloads that carry `pending`. Each one that is not a heartbeat takes the next
    /// sequence number, sent or not, so that receivers detect one that was left out.
    fn payloads(&mut self, pending: &PendingNotifications) -> Vec<String> {
        let changes = pending.commits.iter().flat_map(|commit| commit.iter());
        let encoded = if pending.read_log { None } else { peer_message::encode_changes(changes, MAX_PAYLOADS) };
        match encoded {
            Some(payloads) if payloads.is_empty() => vec![self.payload(Payload::None, &[], None)],
            Some(payloads) => {
                let message = |changes: &Vec<_>| self.payload(Payload::Changes(Vec::new()), changes, pending.span);
                payloads.iter().map(message).collect()
            }
            None => vec![self.payload(Payload::ReadLog, &[], pending.span)],
        }
    }

    fn payload(&mut self, payload: Payload, changes: &[Box<RawValue>], span: Option<RemoteSpan>) -> String {
        if !matches!(payload, Payload::None) {
            self.sequence += 1;
        }
        let live = *self.context.has_subscribers.borrow();
        let message = PeerMessage { node: self.context.node, sequence: self.sequence, live, span, payload };
        message.encode(changes).expect("a message consists of JSON and numbers")
    }

    async fn connection(&mut self) -> Result<&mut NotifyConnection, DbError> {
        if self.connection.is_none() {
            self.connection = Some(self.context.postgres.connect_to_notify().await?);
        }
        Ok(self.connection.as_mut().expect("it was just connected"))
    }

    async fn check_queue_usage(&mut self) -> Result<(), DbError> {
        if self.usage_checked.is_some_and(|at| at.elapsed() < USAGE_CHECK_INTERVAL) {
            return Ok(());
        }
        let rows = self.connection().await?.query(sql::notify::queue_usage()).await?;
        let usage = rows.first().map_or(Ok(0), |row| row.int8(0))?;
        self.usage_checked = Some(time::Instant::now());
        let pause = is_paused(self.paused, usage);
        if pause && !self.paused {
            tracing::warn!(
                "Postgres' notification queue is {usage} % full because a session LISTENs and does not read; \
                 other processes are not notified until it is below {RESUME_PERCENT} %, and read the log instead"
            );
        }
        if !pause && self.paused {
            self.context.queue.request_log_read();
            tracing::info!("Postgres' notification queue has room again; other processes are notified");
        }
        self.paused = pause;
        Ok(())
    }
}

/// Whether sending is paused, given whether it was `paused` before.
fn is_paused(paused: bool, usage: i64) -> bool {
    usage >= if paused { RESUME_PERCENT } else { PAUSE_PERCENT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_pauses_at_half_a_queue_and_resumes_below_a_quarter() {
        let mut paused = false;
        let states = [0, 49, 50, 100, 49, 25, 24, 49].map(|usage| {
            paused = is_paused(paused, usage);
            paused
        });
        assert_eq!(states, [false, false, true, true, true, true, false, false]);
    }
}
