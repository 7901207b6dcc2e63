//! The state of this process's heartbeats, and of the other processes over this database, as
//! far as their messages show it. Pure: callers pass the time.
//!
//! ```text
//! own heartbeat:  sent ──returned──▶ the listener works
//!                   └──not returned for two intervals──▶ silent: connect again
//! peer:           next sequence number ──▶ apply      another number ──▶ read the log
//!                 no message for two intervals ──▶ read the log, drop the peer
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::peer_message::{Payload, PeerMessage};
use crate::change::Change;
use crate::telemetry::RemoteSpan;

/// How often a process sends a heartbeat.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The time after a heartbeat in which two more should have arrived.
pub(super) const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(2_200);

/// The state of this process's heartbeats, and of its peers.
pub(super) struct PeerTable {
    own_id: Uuid,
    peers: HashMap<Uuid, Peer>,
    /// When the first own heartbeat was started that has not returned.
    unreturned_since: Option<Instant>,
    /// Whether one of those was sent for certain.
    sent: bool,
    /// Whether a heartbeat has returned on the listener's current connection.
    delivers: bool,
}

/// The state of a peer.
#[derive(Debug)]
pub(super) struct Peer {
    sequence: u64,
    live: bool,
    last_received: Instant,
}

/// The consequences of a message.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Changes to apply.
    pub changes: Vec<Change>,
    /// The span of one of their commits.
    pub span: Option<RemoteSpan>,
    /// Messages may have been missed.
    pub read_log: bool,
    /// The new state of the sender, for [`PeerTable::record_sender`].
    pub sender: Option<(Uuid, Peer)>,
}

impl PeerTable {
    /// Creates an empty table.
    pub(super) fn new(own_id: Uuid) -> PeerTable {
        PeerTable { own_id, peers: HashMap::new(), unreturned_since: None, sent: false, delivers: false }
    }

    /// Resets the state for a new connection of the listener, which has delivered nothing yet.
    pub(super) fn connected(&mut self) {
        (self.unreturned_since, self.sent, self.delivers) = (None, false, false);
    }

    /// Records that an own heartbeat is about to be sent.
    pub(super) fn heartbeat_started(&mut self, now: Instant) {
        self.unreturned_since.get_or_insert(now);
    }

    /// Records that it was sent.
    pub(super) fn heartbeat_sent(&mut self) {
        self.sent = true;
    }

    /// Whether own heartbeats do not return. On a connection that has delivered before, they
    /// need not even have been sent for certain: sending and receiving may fail together.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        (self.delivers || self.sent)
            && self.unreturned_since.is_some_and(|since| now.duration_since(since) >= HEARTBEAT_TIMEOUT)
    }

    /// Whether the listener's current connection has delivered a notification.
    pub(super) fn delivers(&self) -> bool {
        self.delivers
    }

    /// Handles a message. The state of its sender changes only once its changes were
    /// published, by [`PeerTable::record_sender`].
    pub(super) fn on_message(&mut self, message: PeerMessage, now: Instant) -> Received {
        let PeerMessage { node, sequence, live, span, payload } = message;
        if node == self.own_id {
            (self.unreturned_since, self.sent, self.delivers) = (None, false, true);
            return Received::default();
        }
        let before = self.peers.get(&node);
        let expected =
            before.map(|peer| if matches!(payload, Payload::None) { peer.sequence } else { peer.sequence + 1 });
        let missed = expected != Some(sequence);
        let sender = Some((node, Peer { sequence, live, last_received: now }));
        match payload {
            Payload::None => Received { changes: Vec::new(), span, read_log: missed, sender },
            Payload::Changes(changes) => Received { changes, span, read_log: missed, sender },
            Payload::ReadLog => Received { changes: Vec::new(), span, read_log: true, sender },
        }
    }

    /// Records the new state of a sender, after its changes were published.
    pub(super) fn record_sender(&mut self, sender: Option<(Uuid, Peer)>) {
        self.peers.extend(sender);
    }

    /// Drops peers that have missed two heartbeats; returns whether there were any.
    pub(super) fn drop_silent(&mut self, now: Instant) -> bool {
        let before = self.peers.len();
        self.peers.retain(|_, peer| now.duration_since(peer.last_received) < HEARTBEAT_INTERVAL + HEARTBEAT_TIMEOUT);
        self.peers.len() < before
    }

    /// Whether a peer has live queries.
    pub(super) fn any_live(&self) -> bool {
        self.peers.values().any(|peer| peer.live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ChangeKind;

    const OWN: Uuid = Uuid::from_u128(1);
    const PEER: Uuid = Uuid::from_u128(2);

    fn from(node: Uuid, sequence: u64, payload: Payload) -> PeerMessage {
        PeerMessage { node, sequence, live: true, span: None, payload }
    }

    /// Handles a message and records its sender.
    fn on_message(table: &mut PeerTable, message: PeerMessage, now: Instant) -> Received {
        let mut last_received = table.on_message(message, now);
        table.record_sender(last_received.sender.take());
        last_received
    }

    fn changed() -> Payload {
        Payload::Changes(vec![Change { table: "t".into(), kind: ChangeKind::Whole }])
    }

    #[test]
    fn a_gap_in_sequence_numbers_causes_a_log_read_and_keeps_the_payload() {
        let (mut table, now) = (PeerTable::new(OWN), Instant::now());
        assert!(on_message(&mut table, from(PEER, 4, Payload::None), now).read_log, "earlier messages were missed");
        let next = on_message(&mut table, from(PEER, 5, changed()), now);
        assert_eq!((next.changes.len(), next.read_log), (1, false));
        assert!(!on_message(&mut table, from(PEER, 5, Payload::None), now).read_log);
        let later = on_message(&mut table, from(PEER, 7, changed()), now);
        assert_eq!((later.changes.len(), later.read_log), (1, true));
        assert!(
            on_message(&mut table, from(PEER, 8, Payload::None), now).read_log,
            "the heartbeat shows that a message is missing"
        );
        assert!(on_message(&mut table, from(PEER, 1, changed()), now).read_log);
    }

    #[test]
    fn an_unreported_change_is_detected() {
        let (mut table, now) = (PeerTable::new(OWN), Instant::now());
        on_message(&mut table, from(PEER, 4, Payload::None), now);
        drop(table.on_message(from(PEER, 5, changed()), now));
        assert!(on_message(&mut table, from(PEER, 6, changed()), now).read_log);
        assert!(!on_message(&mut table, from(PEER, 7, changed()), now).read_log);
    }

    #[test]
    fn own_messages_carry_no_changes_and_show_that_the_listener_works() {
        let (mut table, now) = (PeerTable::new(OWN), Instant::now());
        table.heartbeat_started(now);
        assert!(!table.is_silent(now + HEARTBEAT_TIMEOUT), "it may not have been sent");
        table.heartbeat_sent();
        assert!(!table.is_silent(now + HEARTBEAT_INTERVAL) && table.is_silent(now + HEARTBEAT_TIMEOUT));
        let last_received = on_message(&mut table, from(OWN, 1, changed()), now + HEARTBEAT_TIMEOUT);
        assert!(last_received.changes.is_empty() && !last_received.read_log);
        assert!(!table.is_silent(now + HEARTBEAT_TIMEOUT) && table.delivers() && !table.any_live());
        table.heartbeat_started(now);
        assert!(table.is_silent(now + HEARTBEAT_TIMEOUT), "a connection that has delivered needs no proof of sending");
        table.connected();
        assert!(!table.delivers());
        table.heartbeat_started(now);
        table.heartbeat_sent();
        table.heartbeat_started(now + HEARTBEAT_INTERVAL);
        assert!(table.is_silent(now + HEARTBEAT_TIMEOUT), "the first heartbeat counts");
    }

    #[test]
    fn peer_is_dropped_after_two_missed_heartbeats() {
        let (mut table, now) = (PeerTable::new(OWN), Instant::now());
        on_message(&mut table, from(PEER, 0, Payload::None), now);
        assert!(table.any_live());
        assert!(!table.drop_silent(now + HEARTBEAT_INTERVAL * 2));
        assert!(table.drop_silent(now + HEARTBEAT_INTERVAL + HEARTBEAT_TIMEOUT));
        assert!(!table.any_live());
    }
}
