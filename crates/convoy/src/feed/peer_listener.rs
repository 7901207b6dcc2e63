//! Receives the commits of other processes.
//!
//! Invariant: a commit made after a connection began to LISTEN is received on it or read
//! from the log. The log is read after every new connection, when a sequence number of a
//! sender is missing, and when a sender falls silent. The heartbeats of this process, which
//! come back to it, show that notifications arrive at all.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{self, Duration};
use tokio_util::sync::CancellationToken;

use super::peer_message::PeerMessage;
use super::peer_queue::PeerQueue;
use super::peers::{HEARTBEAT_INTERVAL, PeerTable, Received};
use super::read_requests::ReadRequests;
use crate::change::{ChangeSink, ChangeSource, Changes};
use crate::failpoints::{Failpoint, Failpoints, Point};
use crate::postgres::{ListenConnection, Postgres};
use crate::sql::notify::CHANNEL;
use crate::supervise::Part;
use crate::telemetry::{Scope, SpanKind, Tracer};

/// The pauses between two attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// The pauses after connections that never delivered a notification.
const REPROBE_MIN: Duration = Duration::from_secs(5);
const REPROBE_MAX: Duration = Duration::from_secs(60);

/// The listening task of a process.
pub(super) struct PeerListener {
    pub postgres: Postgres,
    pub peer_table: Arc<Mutex<PeerTable>>,
    pub queue: Arc<PeerQueue>,
    /// Requests a heartbeat from the notifier.
    pub heartbeat: Arc<Notify>,
    /// Requests a read of the log.
    pub read_requests: Arc<ReadRequests>,
    pub sink: Arc<dyn ChangeSink>,
    pub tracer: Tracer,
    pub failpoints: Failpoints,
}

/// Why a connection is no longer used.
enum Disconnect {
    Stopped,
    Lost,
    /// It delivered before: the other end is gone without closing it.
    WentSilent,
    /// It never delivered: something between Convoy and Postgres drops the notifications.
    NeverDelivered,
}

/// The pauses between connections, and whether the log says that notifications are dropped.
struct Backoff {
    retry: Duration,
    reprobe: Duration,
    warned: bool,
}

impl Backoff {
    /// The pause after a connection that ended.
    fn after(&mut self, disconnect: &Disconnect) -> Duration {
        match disconnect {
            Disconnect::Stopped => Duration::ZERO,
            Disconnect::Lost => RETRY_MIN,
            Disconnect::WentSilent => {
                tracing::debug!("the listening connection went silent; opening another one");
                Duration::ZERO
            }
            Disconnect::NeverDelivered => {
                if !std::mem::replace(&mut self.warned, true) {
                    self.reprobe = REPROBE_MIN;
                    tracing::warn!(
                        "notifications do not arrive: something between Convoy and Postgres, such as a pooler in \
                         transaction mode, drops them; changes of other processes are read from the log instead"
                    );
                }
                grow(&mut self.reprobe, REPROBE_MAX)
            }
        }
    }
}

impl PeerListener {
    /// Listens until `stop` is cancelled, and connects again after each disconnect.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff { retry: RETRY_MIN, reprobe: REPROBE_MIN, warned: false };
        let mut connections = 0u64;
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                connected = self.postgres.listen(CHANNEL) => connected,
            };
            let pause = match connected {
                Ok(listener) => {
                    connections += 1;
                    self.failpoints.pass(Point::ListenerReady).await;
                    self.connected(connections);
                    backoff.retry = RETRY_MIN;
                    self.listen(listener, &stop, &mut backoff).await
                }
                Err(error) => {
                    tracing::debug!(cause = %error.cause(), "cannot connect to listen");
                    grow(&mut backoff.retry, RETRY_MAX)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(pause) => {}
            }
        }
    }

    /// Uses a connection to its end; returns the pause before the next one.
    async fn listen(
        &self,
        mut listener: ListenConnection,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Duration {
        let disconnect = self.receive(&mut listener, stop, &mut backoff.warned).await;
        if matches!(disconnect, Disconnect::Stopped | Disconnect::NeverDelivered) {
            listener.close().await;
        }
        backoff.after(&disconnect)
    }

    /// Handles a new connection: it has missed everything sent before.
    fn connected(&self, connections: u64) {
        self.peer_table.lock().connected();
        self.heartbeat.notify_one();
        if connections == 1 {
            self.read_requests.make();
        } else {
            self.request_log_read();
        }
    }

    async fn receive(
        &self,
        listener: &mut ListenConnection,
        stop: &CancellationToken,
        warned: &mut bool,
    ) -> Disconnect {
        let mut check = time::interval(HEARTBEAT_INTERVAL / 2);
        loop {
            let payload = tokio::select! {
                () = stop.cancelled() => return Disconnect::Stopped,
                _ = check.tick() => {
                    let now = Instant::now();
                    let mut peer_table = self.peer_table.lock();
                    if peer_table.drop_silent(now) {
                        self.request_log_read();
                    }
                    if peer_table.is_silent(now) {
                        return if peer_table.delivers() { Disconnect::WentSilent } else { Disconnect::NeverDelivered };
                    }
                    continue;
                }
                payload = listener.next() => payload,
            };
            let Some(payload) = payload else { return Disconnect::Lost };
            self.handle(&payload);
            if *warned && self.peer_table.lock().delivers() {
                *warned = false;
                tracing::info!("notifications arrive again");
            }
        }
    }

    fn handle(&self, payload: &str) {
        let Some(message) = PeerMessage::decode(payload) else {
            // Sent by another program or version; the log has the change if there is one.
            tracing::debug!("received a notification that is not Convoy's");
            self.read_requests.make();
            return;
        };
        let Received { changes, span, read_log, sender } = self.peer_table.lock().on_message(message, Instant::now());
        self.failpoints.reach(Part::Listener);
        if !changes.is_empty() {
            // What follows belongs to the trace of the commit.
            let received = self.tracer.caused(SpanKind::Internal, "notification", span);
            let publish = || self.sink.committed(Changes::Some(changes.into()), &ChangeSource::Outside);
            Scope::default().within(&received).run_sync(publish);
        }
        if read_log {
            self.request_log_read();
        }
        // The sequence number counts as received only after the changes were published.
        let any_live = {
            let mut peer_table = self.peer_table.lock();
            peer_table.record_sender(sender);
            peer_table.any_live()
        };
        if any_live {
            self.queue.set_enabled(true);
        }
    }

    /// Requests a read of the log, because notifications may have been missed.
    fn request_log_read(&self) {
        if !self.failpoints.has(Failpoint::ListenerSkipsCatchUp) {
            self.read_requests.make();
        }
    }
}

/// Returns the pause and doubles it, up to `max`.
fn grow(pause: &mut Duration, max: Duration) -> Duration {
    std::mem::replace(pause, (*pause * 2).min(max))
}
