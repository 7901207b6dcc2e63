//! The fuzz targets of what arrives from other processes and from the change log.

use uuid::Uuid;

use super::log_cursor::Snapshot;
use super::peer_message::{Payload, PeerMessage, encode_changes};
use crate::change::{Change, ChangeKind};
use crate::key::{KeyFields, RowKeys, Span, row_span};
use crate::schema::{FieldPath, Index, IndexField, KeyKind};
use crate::time::Time;

/// The columns of a row of the change log: a snapshot, and the indexed values of a document.
pub fn log_rows(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(Snapshot { xmin, xmax, xip }) = Snapshot::parse(text) {
        let xip: Vec<String> = xip.iter().map(u64::to_string).collect();
        let printed = format!("{xmin}:{xmax}:{}", xip.join(","));
        assert_eq!(Snapshot::parse(&printed), Snapshot::parse(text));
    }
    let Ok(fields) = KeyFields::parse(text) else { return };
    let json = fields.to_json().expect("what was parsed can be written");
    assert!(KeyFields::parse(&json).is_ok(), "{json}");
    let row = RowKeys { id: Uuid::nil(), created: Time::of_postgres(1), fields };
    for kind in [KeyKind::Text, KeyKind::Number, KeyKind::Boolean, KeyKind::Json] {
        let paths = ["a", "b"].map(|path| FieldPath::parse(path).expect("a path"));
        let fields = paths.map(|path| IndexField { path, kind }).to_vec();
        let span = row_span(&Index { name: "by".to_owned(), fields, unique: false }, &row);
        assert!(span.hi.as_ref().is_none_or(|hi| *hi > span.lo), "an empty span is never found: {span:?}");
        assert!(span.overlaps(&Span::everything()) && span.overlaps(&span));
    }
}

/// A notification of another process.
pub fn peer_messages(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(PeerMessage { payload: Payload::Changes(changes), node, sequence, live, span }) =
        PeerMessage::decode(text)
    else {
        return;
    };
    let Some(payloads) = encode_changes(changes.iter(), 1 << 10) else { return };
    let mut arrived = Vec::new();
    for payload in payloads {
        let message = PeerMessage { node, sequence, live, span, payload: Payload::Changes(Vec::new()) };
        let text = message.encode(&payload).expect("what was decoded can be encoded");
        let decoded = PeerMessage::decode(&text).expect("a message of this program");
        assert_eq!(decoded.span, span);
        let Payload::Changes(changes) = decoded.payload else { panic!("{text}") };
        arrived.extend(changes);
    }
    let printed = |changes: &[Change]| changes.iter().map(print).collect::<Vec<_>>();
    assert_eq!(printed(&arrived), printed(&changes));
}

/// The change as text, with the keys of its maps in order.
fn print(change: &Change) -> String {
    let keys = |keys: &Option<RowKeys>| {
        let keys = keys.as_ref()?;
        let json = keys.fields.to_json().expect("what was parsed can be written");
        let fields: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        Some(format!("{:?} {fields}", keys.created))
    };
    match &change.kind {
        ChangeKind::Whole => format!("{:?}", change.table),
        ChangeKind::Row { id, old, new, .. } => format!("{:?} {id} {:?} {:?}", change.table, keys(old), keys(new)),
    }
}
