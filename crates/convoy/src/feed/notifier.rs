//! Sends what this node has committed, and its heartbeat, as notifications.
//!
//! On a connection of its own: a NOTIFY inside of a writer's transaction would
//! make all commits of the database server queue up behind one lock. Nothing is
//! lost when one cannot be sent: the log has it, and the next that can be sent
//! says so.

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
use super::peers::{BEAT, PeerTable};
use crate::failpoints::Failpoints;
use crate::postgres::{DbError, Postgres, Sender};
use crate::sql;
use crate::supervise::Part;

/// The shortest pause between two sendings; what is committed meanwhile shares
/// the next.
const PACE: Duration = Duration::from_millis(2);
/// The most payloads of one sending; where it takes more, the log says it.
const MOST_PAYLOADS: usize = 8;
/// How often Postgres is asked how full its queue is.
const GAUGE: Duration = Duration::from_secs(15);
/// From how full a queue on nothing is added to it, and from where on again, in
/// per cent. A full queue makes every commit fail that notifies, also those of other programs.
const TOO_FULL: i64 = 50;
const EMPTIED: i64 = 25;

/// What a notifier is made of, and what outlives it.
pub(super) struct Voice {
    postgres: Postgres,
    node: Uuid,
    peers: Arc<PeerQueue>,
    nodes: Arc<Mutex<PeerTable>>,
    /// Someone wants a heartbeat now.
    beat: Arc<Notify>,
    watched: watch::Receiver<bool>,
    failpoints: Failpoints,
}

impl Voice {
    /// The voice of a node.
    pub(super) fn new(parts: &Parts, nodes: Arc<Mutex<PeerTable>>, beat: Arc<Notify>, failpoints: Failpoints) -> Voice {
        Voice {
            postgres: parts.postgres.clone(),
            node: parts.node,
            peers: parts.peers.clone(),
            nodes,
            beat,
            watched: parts.watched.clone(),
            failpoints,
        }
    }
}

/// The notifying side of a node.
pub(super) struct Notifier {
    voice: Arc<Voice>,
    sender: Option<Sender>,
    sequence: u64,
    sent: time::Instant,
    gauged: Option<time::Instant>,
    queue_full: bool,
}

impl Notifier {
    /// Not connected yet.
    pub(super) fn new(voice: Arc<Voice>) -> Notifier {
        Notifier { voice, sender: None, sequence: 0, sent: time::Instant::now(), gauged: None, queue_full: false }
    }

    /// Sends until it is told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let voice = self.voice.clone();
        let mut watched = voice.watched.clone();
        let mut next_beat = time::Instant::now() + BEAT;
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => break,
                changed = watched.changed() => match changed {
                    Ok(()) => true,
                    Err(_closed) => break,
                },
                () = voice.beat.notified() => true,
                () = time::sleep_until(next_beat) => self.heartbeat_matters(),
                () = voice.peers.filled() => false,
            };
            if due || next_beat <= time::Instant::now() {
                next_beat = time::Instant::now() + BEAT;
            }
            time::sleep_until(self.sent + PACE).await;
            if let Err(error) = self.turn(due).await {
                // That the database is away is said by its pools.
                tracing::debug!(cause = %error.cause(), "other nodes could not be notified; they read the log");
                self.sender = None;
            }
        }
        if let Some(sender) = self.sender {
            sender.close().await;
        }
    }

    /// Whether somebody depends on a sign of life: our own listener, for what is
    /// live here, or another node.
    fn heartbeat_matters(&self) -> bool {
        let listened_to = self.voice.nodes.lock().others_listen();
        self.voice.peers.want(listened_to);
        listened_to || *self.voice.watched.borrow()
    }

    async fn turn(&mut self, beat: bool) -> Result<(), DbError> {
        let voice = self.voice.clone();
        let sending = voice.peers.take();
        if !beat && sending.pending.is_empty() {
            return Ok(());
        }
        self.gauge().await?;
        let payloads = self.payloads(&sending.pending);
        voice.failpoints.reach(Part::Notifier);
        if self.queue_full {
            return Ok(());
        }
        self.sent = time::Instant::now();
        // Every notice is a sign of life.
        voice.nodes.lock().beat_begun(Instant::now());
        self.sender().await?.send(sql::notify::notify(&payloads)).await?;
        sending.sent();
        voice.nodes.lock().beat_sent();
        Ok(())
    }

    /// The notices that say it; each one with news has the next number, sent or
    /// not, so that one left out is missed.
    fn payloads(&mut self, pending: &PendingNotifications) -> Vec<String> {
        let changes = pending.commits.iter().flat_map(|commit| commit.iter());
        let filled = if pending.read_log { None } else { peer_message::fill(changes, MOST_PAYLOADS) };
        match filled {
            Some(payloads) if payloads.is_empty() => vec![self.payload(Payload::None, &[])],
            Some(payloads) => {
                payloads.iter().map(|changes| self.payload(Payload::Changes(Vec::new()), changes)).collect()
            }
            None => vec![self.payload(Payload::ReadLog, &[])],
        }
    }

    fn payload(&mut self, news: Payload, changes: &[Box<RawValue>]) -> String {
        if !matches!(news, Payload::None) {
            self.sequence += 1;
        }
        let live = *self.voice.watched.borrow();
        let notice = PeerMessage { node: self.voice.node, sequence: self.sequence, live, news };
        notice.encode(changes).expect("a notice is made of JSON and numbers")
    }

    async fn sender(&mut self) -> Result<&mut Sender, DbError> {
        if self.sender.is_none() {
            self.sender = Some(self.voice.postgres.sender().await?);
        }
        Ok(self.sender.as_mut().expect("it was just connected"))
    }

    async fn gauge(&mut self) -> Result<(), DbError> {
        if self.gauged.is_some_and(|at| at.elapsed() < GAUGE) {
            return Ok(());
        }
        let rows = self.sender().await?.ask(sql::notify::queue_usage()).await?;
        let usage = rows.first().map_or(Ok(0), |row| row.int8(0))?;
        self.gauged = Some(time::Instant::now());
        let full = is_too_full(self.queue_full, usage);
        if full && !self.queue_full {
            tracing::warn!(
                "Postgres' queue of notifications is {usage} % full, because some session LISTENs and does not read; \
                 other nodes are not notified until it is below {EMPTIED} %, and read the log instead"
            );
        }
        if !full && self.queue_full {
            self.voice.peers.failed();
            tracing::info!("Postgres' queue of notifications has room again; other nodes are notified");
        }
        self.queue_full = full;
        Ok(())
    }
}

/// Whether nothing is to be added to a queue, given whether it was so before.
fn is_too_full(before: bool, usage: i64) -> bool {
    usage >= if before { EMPTIED } else { TOO_FULL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_left_alone_from_half_full_until_it_is_well_emptied() {
        let mut full = false;
        let verdicts = [0, 49, 50, 100, 49, 25, 24, 49].map(|usage| {
            full = is_too_full(full, usage);
            full
        });
        assert_eq!(verdicts, [false, false, true, true, true, true, false, false]);
    }
}
