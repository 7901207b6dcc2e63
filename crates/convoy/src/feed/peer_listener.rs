//! Hears what other nodes have committed.
//!
//! Invariant: whatever is committed after a connection began to LISTEN is heard on
//! it, or read from the log: after every connection, where a number is missing in
//! what a node sends, and where one falls silent. That notifications arrive at all
//! is shown by our own coming back.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{self, Duration};
use tokio_util::sync::CancellationToken;

use super::peer_message::PeerMessage;
use super::peer_queue::PeerQueue;
use super::peers::{BEAT, Heard, PeerTable};
use crate::change::{ChangeSink, ChangeSource, Changes};
use crate::failpoints::{Failpoint, Failpoints};
use crate::postgres::{Listener, Postgres};
use crate::sql::notify::CHANNEL;
use crate::supervise::Part;

/// The pauses between two attempts to connect.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// The pauses after connections that delivered nothing at all.
const REPROBE_FIRST: Duration = Duration::from_secs(5);
const REPROBE_MOST: Duration = Duration::from_secs(60);

/// The listening side of a node.
pub(super) struct PeerListener {
    pub postgres: Postgres,
    pub nodes: Arc<Mutex<PeerTable>>,
    pub peers: Arc<PeerQueue>,
    /// Makes the notifier send a heartbeat.
    pub beat: Arc<Notify>,
    /// Makes the log be read.
    pub read_log: Arc<Notify>,
    pub sink: Arc<dyn ChangeSink>,
    pub failpoints: Failpoints,
}

/// Why a connection is not listened to any more.
enum Ended {
    Stopped,
    Lost,
    /// It worked, and does not any more: the other end is gone without a word.
    FellSilent,
    /// It never worked: something between us and Postgres keeps what we LISTEN for.
    NeverSpoke,
}

impl PeerListener {
    /// Listens until it is told to stop.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let (mut retry, mut reprobe) = (RETRY_FIRST, REPROBE_FIRST);
        let (mut connections, mut said) = (0u64, false);
        loop {
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                connected = self.postgres.listen(CHANNEL) => connected,
            };
            let pause = match connected {
                Ok(mut listener) => {
                    connections += 1;
                    self.begin(connections);
                    retry = RETRY_FIRST;
                    match self.hear(&mut listener, &stop, &mut said).await {
                        Ended::Stopped => return listener.close().await,
                        Ended::Lost => RETRY_FIRST,
                        Ended::FellSilent => {
                            tracing::debug!("the listening connection fell silent; another one is opened");
                            Duration::ZERO
                        }
                        Ended::NeverSpoke => {
                            listener.close().await;
                            if !std::mem::replace(&mut said, true) {
                                reprobe = REPROBE_FIRST;
                                tracing::warn!(
                                    "notifications do not arrive: something between Convoy and Postgres, such as a pooler in \
                                     transaction mode, keeps them; what other nodes write is seen by reading the log"
                                );
                            }
                            grow(&mut reprobe, REPROBE_MOST)
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(cause = %error.cause(), "no connection to listen on");
                    grow(&mut retry, RETRY_MOST)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(pause) => {}
            }
        }
    }

    /// A connection listens from now on; what came before, it has missed.
    fn begin(&self, connections: u64) {
        self.nodes.lock().connected();
        self.beat.notify_one();
        if connections == 1 {
            self.read_log.notify_one();
        } else {
            self.ask_the_log();
        }
    }

    async fn hear(&self, listener: &mut Listener, stop: &CancellationToken, said: &mut bool) -> Ended {
        let mut check = time::interval(BEAT / 2);
        loop {
            let payload = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                _ = check.tick() => {
                    let now = Instant::now();
                    let mut nodes = self.nodes.lock();
                    if nodes.forget_silent(now) {
                        self.ask_the_log();
                    }
                    if nodes.is_silent(now) {
                        return if nodes.delivers() { Ended::FellSilent } else { Ended::NeverSpoke };
                    }
                    continue;
                }
                payload = listener.next() => payload,
            };
            let Some(payload) = payload else { return Ended::Lost };
            self.take(&payload);
            if *said && self.nodes.lock().delivers() {
                *said = false;
                tracing::info!("notifications arrive again");
            }
        }
    }

    fn take(&self, payload: &str) {
        let Some(notice) = PeerMessage::decode(payload) else {
            // Of another program, or another version: the log knows.
            tracing::debug!("a notification that is none of ours");
            self.read_log.notify_one();
            return;
        };
        let Heard { changes, read_log, sender } = self.nodes.lock().hear(notice, Instant::now());
        self.failpoints.reach(Part::Listener);
        if !changes.is_empty() {
            self.sink.committed(Changes::Some(changes.into()), &ChangeSource::Outside);
        }
        if read_log {
            self.ask_the_log();
        }
        // It counts as heard once it was told.
        let listened_to = {
            let mut nodes = self.nodes.lock();
            nodes.told(sender);
            nodes.others_listen()
        };
        if listened_to {
            self.peers.want(true);
        }
    }

    /// Something may have been missed.
    fn ask_the_log(&self) {
        if !self.failpoints.has(Failpoint::ListenerSkipsCatchUp) {
            self.read_log.notify_one();
        }
    }
}

/// The pause as it is, the next one longer.
fn grow(pause: &mut Duration, most: Duration) -> Duration {
    std::mem::replace(pause, (*pause * 2).min(most))
}
