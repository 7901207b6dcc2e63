//! What is known of the nodes over this database, from what was heard of them.
//! Pure: told the time.
//!
//! ```text
//! own beat:   sent ──heard──▶ the listener works
//!               └──not heard for two beats──▶ it is silent: connect again
//! another's:  its next number ──▶ apply      another number ──▶ read the log
//!             nothing for two beats ──▶ read the log, forget the node
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::peer_message::{Payload, PeerMessage};
use crate::change::Change;

/// How often a node says that it is there.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// How long after a beat two more have been missed.
pub(super) const SILENCE: Duration = Duration::from_millis(2_200);

/// What is known of this node's own voice and of the others.
pub(super) struct PeerTable {
    me: Uuid,
    others: HashMap<Uuid, Other>,
    /// When the first of those beats was begun that have not come back.
    unheard: Option<Instant>,
    /// One of them was sent for certain.
    sent: bool,
    /// A beat has come back on the listener's present connection.
    delivers: bool,
}

/// What is known of another node.
#[derive(Debug)]
pub(super) struct Other {
    sequence: u64,
    live: bool,
    heard: Instant,
}

/// What to do about a notice.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Changes to apply.
    pub changes: Vec<Change>,
    /// Something may have been missed.
    pub read_log: bool,
    /// What is known of its sender from then on: see [`PeerTable::told`].
    pub sender: Option<(Uuid, Other)>,
}

impl PeerTable {
    /// Nothing is known yet.
    pub(super) fn new(me: Uuid) -> PeerTable {
        PeerTable { me, others: HashMap::new(), unheard: None, sent: false, delivers: false }
    }

    /// The listener has a new connection, which has shown nothing yet.
    pub(super) fn connected(&mut self) {
        (self.unheard, self.sent, self.delivers) = (None, false, false);
    }

    /// A beat of ours is about to be sent.
    pub(super) fn beat_begun(&mut self, now: Instant) {
        self.unheard.get_or_insert(now);
    }

    /// It was.
    pub(super) fn beat_sent(&mut self) {
        self.sent = true;
    }

    /// Whether our own beats do not come back. Where they have come back before, it
    /// is of no matter why: both ways may be cut at once.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        (self.delivers || self.sent) && self.unheard.is_some_and(|since| now.duration_since(since) >= SILENCE)
    }

    /// Whether the listener's present connection has ever delivered.
    pub(super) fn delivers(&self) -> bool {
        self.delivers
    }

    /// Reads what was heard. Of another node it counts once it was told.
    pub(super) fn hear(&mut self, notice: PeerMessage, now: Instant) -> Heard {
        let PeerMessage { node, sequence, live, news } = notice;
        if node == self.me {
            (self.unheard, self.sent, self.delivers) = (None, false, true);
            return Heard::default();
        }
        let before = self.others.get(&node);
        let expected =
            before.map(|other| if matches!(news, Payload::None) { other.sequence } else { other.sequence + 1 });
        let missed = expected != Some(sequence);
        let sender = Some((node, Other { sequence, live, heard: now }));
        match news {
            Payload::None => Heard { changes: Vec::new(), read_log: missed, sender },
            Payload::Changes(changes) => Heard { changes, read_log: missed, sender },
            Payload::ReadLog => Heard { changes: Vec::new(), read_log: true, sender },
        }
    }

    /// What was heard has been told: its number is the last.
    pub(super) fn told(&mut self, sender: Option<(Uuid, Other)>) {
        self.others.extend(sender);
    }

    /// Forgets who has missed two beats; whether there was anyone.
    pub(super) fn forget_silent(&mut self, now: Instant) -> bool {
        let before = self.others.len();
        self.others.retain(|_, other| now.duration_since(other.heard) < BEAT + SILENCE);
        self.others.len() < before
    }

    /// Whether another node has live queries.
    pub(super) fn others_listen(&self) -> bool {
        self.others.values().any(|other| other.live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ChangeKind;

    const ME: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn from(node: Uuid, sequence: u64, news: Payload) -> PeerMessage {
        PeerMessage { node, sequence, live: true, news }
    }

    /// Hears a notice, and tells of it.
    fn hear(nodes: &mut PeerTable, notice: PeerMessage, now: Instant) -> Heard {
        let mut heard = nodes.hear(notice, now);
        nodes.told(heard.sender.take());
        heard
    }

    fn changed() -> Payload {
        Payload::Changes(vec![Change { table: "t".into(), kind: ChangeKind::Whole }])
    }

    #[test]
    fn a_gap_in_sequence_numbers_causes_a_log_read_and_keeps_the_payload() {
        let (mut nodes, now) = (PeerTable::new(ME), Instant::now());
        assert!(hear(&mut nodes, from(OTHER, 4, Payload::None), now).read_log, "the entries before it are not known");
        let next = hear(&mut nodes, from(OTHER, 5, changed()), now);
        assert_eq!((next.changes.len(), next.read_log), (1, false));
        assert!(!hear(&mut nodes, from(OTHER, 5, Payload::None), now).read_log);
        let later = hear(&mut nodes, from(OTHER, 7, changed()), now);
        assert_eq!((later.changes.len(), later.read_log), (1, true));
        assert!(
            hear(&mut nodes, from(OTHER, 8, Payload::None), now).read_log,
            "the beat knows of one that did not come"
        );
        assert!(hear(&mut nodes, from(OTHER, 1, changed()), now).read_log);
    }

    #[test]
    fn an_unreported_change_is_detected() {
        let (mut nodes, now) = (PeerTable::new(ME), Instant::now());
        hear(&mut nodes, from(OTHER, 4, Payload::None), now);
        drop(nodes.hear(from(OTHER, 5, changed()), now));
        assert!(hear(&mut nodes, from(OTHER, 6, changed()), now).read_log);
        assert!(!hear(&mut nodes, from(OTHER, 7, changed()), now).read_log);
    }

    #[test]
    fn our_own_news_is_no_news_and_shows_that_the_listener_works() {
        let (mut nodes, now) = (PeerTable::new(ME), Instant::now());
        nodes.beat_begun(now);
        assert!(!nodes.is_silent(now + SILENCE), "it may not even have been sent");
        nodes.beat_sent();
        assert!(!nodes.is_silent(now + BEAT) && nodes.is_silent(now + SILENCE));
        let heard = hear(&mut nodes, from(ME, 1, changed()), now + SILENCE);
        assert!(heard.changes.is_empty() && !heard.read_log);
        assert!(!nodes.is_silent(now + SILENCE) && nodes.delivers() && !nodes.others_listen());
        nodes.beat_begun(now);
        assert!(nodes.is_silent(now + SILENCE), "what has worked needs no proof that it was sent");
        nodes.connected();
        assert!(!nodes.delivers());
        nodes.beat_begun(now);
        nodes.beat_sent();
        nodes.beat_begun(now + BEAT);
        assert!(nodes.is_silent(now + SILENCE), "the first beat counts");
    }

    #[test]
    fn peer_is_dropped_after_two_missed_heartbeats() {
        let (mut nodes, now) = (PeerTable::new(ME), Instant::now());
        hear(&mut nodes, from(OTHER, 0, Payload::None), now);
        assert!(nodes.others_listen());
        assert!(!nodes.forget_silent(now + BEAT * 2));
        assert!(nodes.forget_silent(now + BEAT + SILENCE));
        assert!(!nodes.others_listen());
    }
}
