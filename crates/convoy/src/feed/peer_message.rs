//! What one node tells the others in a notification.
//!
//! Invariant: what is decoded is what was encoded, or it is [`Payload::ReadLog`]: a
//! payload that cannot be read says that something happened, and the log says what.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::change::{Change, ChangeKind};
use crate::key::{KeyFields, RowKeys};
use crate::time::Time;

/// The longest payload we send, in bytes; Postgres refuses 8,000.
pub(super) const MOST_BYTES: usize = 7_800;
/// Room for all of a payload but its changes.
const ENVELOPE: usize = 160;

/// One notification.
#[derive(Debug)]
pub(super) struct PeerMessage {
    /// Who sends it.
    pub node: Uuid,
    /// How many notices with news it has sent, this one included.
    pub sequence: u64,
    /// Whether it wants to hear of changes itself.
    pub live: bool,
    /// What it has to say.
    pub news: Payload,
}

/// What a notice says.
#[derive(Debug)]
pub(super) enum Payload {
    /// The sender is there: a heartbeat.
    None,
    /// This has been committed.
    Changes(Vec<Change>),
    /// More has been committed than fits: the log has it.
    ReadLog,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    node: Uuid,
    sequence: u64,
    live: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    log: bool,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<&'a RawValue>,
}

/// `[table]`, or `[table, id, old, new]`.
#[derive(Serialize, Deserialize)]
struct WireRow<'a>(#[serde(borrow)] Cow<'a, str>, Uuid, Option<WireKeys>, Option<WireKeys>);

/// Creation time and indexed values.
#[derive(Serialize, Deserialize)]
struct WireKeys(Time, Box<RawValue>);

impl PeerMessage {
    /// The payload. `changes` are the encoded ones, as [`fill`] has put them together.
    pub(super) fn encode(&self, changes: &[Box<RawValue>]) -> Result<String, serde_json::Error> {
        let PeerMessage { node, sequence, live, ref news } = *self;
        let log = matches!(news, Payload::ReadLog);
        serde_json::to_string(&Wire { node, sequence, live, log, changes: changes.iter().map(AsRef::as_ref).collect() })
    }

    /// Reads a payload; `None` where not even its sender can be read.
    pub(super) fn decode(payload: &str) -> Option<PeerMessage> {
        let Wire { node, sequence, live, log, changes } = serde_json::from_str(payload).ok()?;
        let news = match changes.iter().map(|change| decode_change(change)).collect::<Option<Vec<Change>>>() {
            Some(changes) if !log && changes.is_empty() => Payload::None,
            Some(changes) if !log => Payload::Changes(changes),
            _ => Payload::ReadLog,
        };
        Some(PeerMessage { node, sequence, live, news })
    }
}

/// Encodes changes into payloads' worth of them; `None` where that takes more than
/// `most` payloads, or where one change fits into none.
pub(super) fn fill<'a>(changes: impl Iterator<Item = &'a Change>, most: usize) -> Option<Vec<Vec<Box<RawValue>>>> {
    let mut payloads = Vec::new();
    let (mut payload, mut bytes): (Vec<Box<RawValue>>, usize) = (Vec::new(), ENVELOPE);
    for change in changes {
        let encoded = encode_change(change).ok()?;
        let length = encoded.get().len() + 1;
        if bytes + length > MOST_BYTES {
            payloads.push(std::mem::take(&mut payload));
            bytes = ENVELOPE;
        }
        bytes += length;
        if bytes > MOST_BYTES || payloads.len() >= most {
            return None;
        }
        payload.push(encoded);
    }
    if !payload.is_empty() {
        payloads.push(payload);
    }
    Some(payloads)
}

fn encode_change(change: &Change) -> Result<Box<RawValue>, serde_json::Error> {
    let keys = |keys: &Option<RowKeys>| -> Result<Option<WireKeys>, serde_json::Error> {
        let Some(keys) = keys else { return Ok(None) };
        Ok(Some(WireKeys(keys.created, RawValue::from_string(keys.fields.to_json()?)?)))
    };
    match &change.kind {
        ChangeKind::Whole => serde_json::value::to_raw_value(&[&*change.table]),
        ChangeKind::Row { id, old, new } => {
            serde_json::value::to_raw_value(&WireRow(Cow::Borrowed(&*change.table), *id, keys(old)?, keys(new)?))
        }
    }
}

fn decode_change(json: &RawValue) -> Option<Change> {
    if let Ok([table]) = serde_json::from_str::<[Cow<'_, str>; 1]>(json.get()) {
        return Some(Change { table: table.into(), kind: ChangeKind::Whole });
    }
    let WireRow(table, id, old, new) = serde_json::from_str(json.get()).ok()?;
    let keys = |keys: Option<WireKeys>| match keys {
        None => Some(None),
        Some(WireKeys(created, fields)) => {
            Some(Some(RowKeys { id, created, fields: KeyFields::parse(fields.get()).ok()? }))
        }
    };
    Some(Change { table: table.into(), kind: ChangeKind::Row { id, old: keys(old)?, new: keys(new)? } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn notice(news: Payload) -> PeerMessage {
        PeerMessage { node: Uuid::from_u128(7), sequence: 3, live: true, news }
    }

    fn some_change() -> impl Strategy<Value = Change> {
        let keys = || {
            proptest::option::of((any::<i64>(), any::<String>()).prop_map(|(created, text)| {
                let created = Time::of_postgres(created);
                let json = serde_json::json!({ "a.b": text, "n": created }).to_string();
                (created, KeyFields::parse(&json).expect("an object"))
            }))
        };
        (any::<String>(), any::<u128>(), keys(), keys(), any::<bool>()).prop_map(|(table, id, old, new, whole)| {
            let id = Uuid::from_u128(id);
            let keys = |keys: Option<(Time, KeyFields)>| keys.map(|(created, fields)| RowKeys { id, created, fields });
            let kind = if whole { ChangeKind::Whole } else { ChangeKind::Row { id, old: keys(old), new: keys(new) } };
            Change { table: table.into(), kind }
        })
    }

    /// As text, whose maps have no order of their own.
    fn spelled(change: &Change) -> String {
        let keys = |keys: &Option<RowKeys>| {
            keys.as_ref().map(|keys| {
                let fields: serde_json::Value =
                    serde_json::from_str(&keys.fields.to_json().expect("JSON")).expect("JSON");
                (keys.created, fields.to_string())
            })
        };
        match &change.kind {
            ChangeKind::Whole => format!("{:?}", change.table),
            ChangeKind::Row { id, old, new } => format!("{:?} {id} {:?} {:?}", change.table, keys(old), keys(new)),
        }
    }

    proptest! {
        #[test]
        fn what_arrives_is_what_was_sent_and_fits(changes in proptest::collection::vec(some_change(), 0..40)) {
            let Some(payloads) = fill(changes.iter(), 8) else { return Ok(()) };
            let mut arrived = Vec::new();
            for payload in payloads {
                let text = notice(Payload::Changes(Vec::new())).encode(&payload).expect("JSON");
                prop_assert!(text.len() <= MOST_BYTES, "{} bytes", text.len());
                let Payload::Changes(changes) = PeerMessage::decode(&text).expect("ours").news else { panic!("{text}") };
                arrived.extend(changes);
            }
            let spelled = |changes: &[Change]| changes.iter().map(spelled).collect::<Vec<_>>();
            prop_assert_eq!(spelled(&arrived), spelled(&changes));
        }

        #[test]
        fn nothing_that_others_send_is_taken_for_changes(payload in any::<String>()) {
            prop_assert!(PeerMessage::decode(&payload).is_none());
        }
    }

    #[test]
    fn oversized_changes_are_left_to_the_log() {
        let json = serde_json::json!({ "text": "x".repeat(MOST_BYTES) }).to_string();
        let new = Some(RowKeys {
            id: Uuid::nil(),
            created: Time::of_postgres(1),
            fields: KeyFields::parse(&json).expect("an object"),
        });
        let large = Change { table: "t".into(), kind: ChangeKind::Row { id: Uuid::nil(), old: None, new } };
        assert!(fill([&large].into_iter(), 8).is_none());
        let small = Change { table: "t".into(), kind: ChangeKind::Whole };
        assert!(fill(std::iter::repeat_n(&small, 100_000), 8).is_none());
        assert_eq!(fill(std::iter::empty(), 8).map(|payloads| payloads.len()), Some(0));
    }

    #[test]
    fn beats_and_calls_to_read_the_log_and_words_of_later_versions() {
        let decoded = |text: &str| PeerMessage::decode(text).expect("a notice").news;
        let beat = notice(Payload::None).encode(&[]).expect("JSON");
        assert!(matches!(decoded(&beat), Payload::None));
        let log = notice(Payload::ReadLog).encode(&[]).expect("JSON");
        assert!(matches!(decoded(&log), Payload::ReadLog));
        let strange = beat.replace('}', r#","changes":[["t",1,2,3,4]],"more":1}"#);
        assert!(matches!(decoded(&strange), Payload::ReadLog), "{strange}");
    }
}
