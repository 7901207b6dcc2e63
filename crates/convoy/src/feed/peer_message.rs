//! The message that one process sends to the others in a notification.
//!
//! Invariant: decoding returns what was encoded, or [`Payload::ReadLog`]. A payload that
//! cannot be decoded shows that something has changed, and the log has the change.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::change::{Change, ChangeKind};
use crate::key::{KeyFields, RowKeys};
use crate::telemetry::RemoteSpan;
use crate::time::Time;

/// The longest text sent, in bytes; Postgres refuses 8,000.
pub(super) const MAX_PAYLOAD_BYTES: usize = 7_800;
/// Space reserved for everything but the changes.
const ENVELOPE_BYTES: usize = 230;

/// One notification.
#[derive(Debug)]
pub(super) struct PeerMessage {
    /// The sender.
    pub node: Uuid,
    /// How many messages with a payload it has sent, this one included.
    pub sequence: u64,
    /// Whether it has live queries, and so needs the changes of others.
    pub live: bool,
    /// The span of one of the commits, if its trace is exported in any case.
    pub span: Option<RemoteSpan>,
    /// The content.
    pub payload: Payload,
}

/// The content of a message.
#[derive(Debug)]
pub(super) enum Payload {
    /// None: a heartbeat.
    None,
    /// These changes were committed.
    Changes(Vec<Change>),
    /// More was committed than fits; the log has it.
    ReadLog,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    node: Uuid,
    sequence: u64,
    live: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    log: bool,
    /// A `traceparent`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    trace: Option<Cow<'a, str>>,
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
    /// Encodes the message. `changes` are those that [`encode_changes`] returned.
    pub(super) fn encode(&self, changes: &[Box<RawValue>]) -> Result<String, serde_json::Error> {
        let PeerMessage { node, sequence, live, span, ref payload } = *self;
        let trace = span.map(|span| span.to_traceparent().into());
        let log = matches!(payload, Payload::ReadLog);
        let changes = changes.iter().map(AsRef::as_ref).collect();
        serde_json::to_string(&Wire { node, sequence, live, log, trace, changes })
    }

    /// Decodes a message; `None` if not even its sender can be decoded.
    pub(super) fn decode(payload: &str) -> Option<PeerMessage> {
        let Wire { node, sequence, live, log, trace, changes } = serde_json::from_str(payload).ok()?;
        let payload = match changes.iter().map(|change| decode_change(change)).collect::<Option<Vec<Change>>>() {
            Some(changes) if !log && changes.is_empty() => Payload::None,
            Some(changes) if !log => Payload::Changes(changes),
            _ => Payload::ReadLog,
        };
        let span = trace.and_then(|trace| RemoteSpan::parse(&trace));
        Some(PeerMessage { node, sequence, live, span, payload })
    }
}

/// Encodes changes and splits them into payloads; `None` if that takes more than
/// `max_payloads`, or if one change does not fit into a payload.
pub(super) fn encode_changes<'a>(
    changes: impl Iterator<Item = &'a Change>,
    max_payloads: usize,
) -> Option<Vec<Vec<Box<RawValue>>>> {
    let mut payloads = Vec::new();
    let (mut payload, mut bytes): (Vec<Box<RawValue>>, usize) = (Vec::new(), ENVELOPE_BYTES);
    for change in changes {
        let encoded = encode_change(change).ok()?;
        let length = encoded.get().len() + 1;
        if bytes + length > MAX_PAYLOAD_BYTES {
            payloads.push(std::mem::take(&mut payload));
            bytes = ENVELOPE_BYTES;
        }
        bytes += length;
        if bytes > MAX_PAYLOAD_BYTES || payloads.len() >= max_payloads {
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
        ChangeKind::Row { id, old, new, .. } => {
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
    Some(Change { table: table.into(), kind: ChangeKind::Row { id, old: keys(old)?, new: keys(new)?, fields: None } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn message(payload: Payload) -> PeerMessage {
        PeerMessage { node: Uuid::from_u128(7), sequence: 3, live: true, span: RemoteSpan::parse(TRACE), payload }
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
            let kind = if whole {
                ChangeKind::Whole
            } else {
                ChangeKind::Row { id, old: keys(old), new: keys(new), fields: None }
            };
            Change { table: table.into(), kind }
        })
    }

    /// The change as text, with the keys of its maps in order.
    fn to_text(change: &Change) -> String {
        let keys = |keys: &Option<RowKeys>| {
            keys.as_ref().map(|keys| {
                let fields: serde_json::Value =
                    serde_json::from_str(&keys.fields.to_json().expect("JSON")).expect("JSON");
                (keys.created, fields.to_string())
            })
        };
        match &change.kind {
            ChangeKind::Whole => format!("{:?}", change.table),
            ChangeKind::Row { id, old, new, .. } => format!("{:?} {id} {:?} {:?}", change.table, keys(old), keys(new)),
        }
    }

    proptest! {
        #[test]
        fn decoded_changes_equal_the_encoded_ones_and_fit(changes in proptest::collection::vec(some_change(), 0..40)) {
            let Some(payloads) = encode_changes(changes.iter(), 8) else { return Ok(()) };
            let mut arrived = Vec::new();
            for payload in payloads {
                let text = message(Payload::Changes(Vec::new())).encode(&payload).expect("JSON");
                prop_assert!(text.len() <= MAX_PAYLOAD_BYTES, "{} bytes", text.len());
                let Payload::Changes(changes) = PeerMessage::decode(&text).expect("ours").payload else { panic!("{text}") };
                arrived.extend(changes);
            }
            let to_text = |changes: &[Change]| changes.iter().map(to_text).collect::<Vec<_>>();
            prop_assert_eq!(to_text(&arrived), to_text(&changes));
        }

        #[test]
        fn foreign_payloads_are_not_decoded(payload in any::<String>()) {
            prop_assert!(PeerMessage::decode(&payload).is_none());
        }
    }

    #[test]
    fn oversized_changes_are_left_to_the_log() {
        let json = serde_json::json!({ "text": "x".repeat(MAX_PAYLOAD_BYTES) }).to_string();
        let new = Some(RowKeys {
            id: Uuid::nil(),
            created: Time::of_postgres(1),
            fields: KeyFields::parse(&json).expect("an object"),
        });
        let large =
            Change { table: "t".into(), kind: ChangeKind::Row { id: Uuid::nil(), old: None, new, fields: None } };
        assert!(encode_changes([&large].into_iter(), 8).is_none());
        let small = Change { table: "t".into(), kind: ChangeKind::Whole };
        assert!(encode_changes(std::iter::repeat_n(&small, 100_000), 8).is_none());
        assert_eq!(encode_changes(std::iter::empty(), 8).map(|payloads| payloads.len()), Some(0));
    }

    #[test]
    fn heartbeats_log_requests_and_unknown_formats_are_decoded() {
        let decoded = |text: &str| PeerMessage::decode(text).expect("a message").payload;
        let heartbeat = message(Payload::None).encode(&[]).expect("JSON");
        assert!(matches!(decoded(&heartbeat), Payload::None));
        let log = message(Payload::ReadLog).encode(&[]).expect("JSON");
        assert!(matches!(decoded(&log), Payload::ReadLog));
        let unknown = heartbeat.replace('}', r#","changes":[["t",1,2,3,4]],"more":1}"#);
        assert!(matches!(decoded(&unknown), Payload::ReadLog), "{unknown}");
    }
}
