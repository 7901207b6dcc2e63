//! Converts indexed values to bytes that sort like the index in Postgres.
//!
//! Invariant: if row A comes before row B in the index, the key of A is not greater than the
//! key of B. Where bytes cannot decide the order, the key becomes a span that covers both. So
//! spans may overlap although the row is outside of the range; if the row is inside, they
//! always overlap.
//!
//! A key is the concatenation of its components: each field, then creation time, then id. A
//! component is a tag (value, or null, which sorts last) and bytes that are no prefix of
//! another component.

mod bytes;

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::op::{Cursor, Scan};
use crate::schema::{FieldPath, Index, IndexField, KeyKind};
use crate::time::Time;
use bytes::{Component, KeyBuilder, VALUE, id_bytes, ordered_component, stored_component, time_bytes, value_component};

/// A half-open interval of keys: `lo <= key < hi`; no `hi` means no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first key inside.
    pub lo: Vec<u8>,
    /// The first key after it.
    pub hi: Option<Vec<u8>>,
}

impl Span {
    /// Every key that begins with `prefix`.
    pub(crate) fn prefix(prefix: Vec<u8>) -> Span {
        let hi = successor(&prefix);
        Span { lo: prefix, hi }
    }

    /// Every key.
    pub(crate) fn everything() -> Span {
        Span { lo: Vec::new(), hi: None }
    }

    /// Whether the spans have a key in common.
    pub(crate) fn overlaps(&self, other: &Span) -> bool {
        let before = |lo: &[u8], hi: &Option<Vec<u8>>| hi.as_deref().is_none_or(|hi| lo < hi);
        before(&self.lo, &other.hi) && before(&other.lo, &self.hi)
    }
}

/// The values of a row in its indexes: id, creation time and indexed fields.
#[derive(Debug, Clone)]
pub struct RowKeys {
    /// The row's id.
    pub id: Uuid,
    /// `created_at`.
    pub created: Time,
    /// The stored values of indexed fields, by dotted path, as JSON text.
    pub fields: KeyFields,
}

/// Indexed values by dotted path. A missing path is *unknown*, not null: another version of the
/// schema wrote the record.
#[derive(Debug, Clone, Default)]
pub struct KeyFields(HashMap<String, Box<RawValue>>);

impl KeyFields {
    /// Parses the object in a change record.
    pub fn parse(json: &str) -> Result<KeyFields, serde_json::Error> {
        serde_json::from_str(json).map(KeyFields)
    }

    /// The object for a change record.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.0)
    }

    /// Extracts the indexed fields of a stored document.
    pub fn of_document(paths: &[FieldPath], data: &str) -> Result<KeyFields, serde_json::Error> {
        let mut fields = HashMap::with_capacity(paths.len());
        for path in paths {
            if let FieldPath::Stored(parts) = path {
                let value = descend(data, parts)?;
                let value = value.map_or_else(|| RawValue::NULL.to_owned(), RawValue::to_owned);
                fields.insert(path.dotted(), value);
            }
        }
        Ok(KeyFields(fields))
    }
}

/// Follows `parts` through objects; `None` if a value on the way is missing or no object.
fn descend<'a>(json: &'a str, parts: &[String]) -> Result<Option<&'a RawValue>, serde_json::Error> {
    let Some((first, rest)) = parts.split_first() else {
        return serde_json::from_str(json).map(Some);
    };
    if !json.trim_start().starts_with('{') {
        return Ok(None);
    }
    let object: HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(json)?;
    match object.get(first.as_str()) {
        None => Ok(None),
        Some(value) if rest.is_empty() => Ok(Some(value)),
        Some(value) => descend(value.get(), rest),
    }
}

/// A value that an indexed field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum KeyValue {
    /// Absent or `null`.
    Null,
    /// A string.
    Text(String),
    /// A number, as its JSON text.
    Number(String),
    /// A boolean.
    Boolean(bool),
    /// Any JSON, for fields of several types.
    Json(String),
    /// A creation time.
    Time(Time),
    /// An id.
    Id(Uuid),
}

impl KeyValue {
    /// Parses the JSON value that a caller compares `field` with; `None` if the type is
    /// another one.
    pub(crate) fn parse(field: &IndexField, json: &RawValue) -> Option<KeyValue> {
        let text = json.get();
        if text == "null" {
            return Some(KeyValue::Null);
        }
        match (&field.path, field.kind) {
            (FieldPath::CreationTime, _) => serde_json::from_str(text).ok().map(|ms| KeyValue::Time(Time::of_ms(ms))),
            (FieldPath::Id, _) => {
                let id: String = serde_json::from_str(text).ok()?;
                let bare = id.rsplit(':').next().unwrap_or(&id);
                crate::id::parse(bare).map(KeyValue::Id)
            }
            (_, KeyKind::Text) => serde_json::from_str(text).ok().map(KeyValue::Text),
            (_, KeyKind::Number) => {
                let _: f64 = serde_json::from_str(text).ok()?;
                Some(KeyValue::Number(text.to_owned()))
            }
            (_, KeyKind::Boolean) => serde_json::from_str(text).ok().map(KeyValue::Boolean),
            (_, KeyKind::Json) => Some(KeyValue::Json(text.to_owned())),
        }
    }

    /// The value of a stored field as JSON text.
    pub(crate) fn to_json(&self) -> String {
        match self {
            KeyValue::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            KeyValue::Number(text) | KeyValue::Json(text) => text.clone(),
            KeyValue::Boolean(value) => value.to_string(),
            // Stored fields hold neither of the last two.
            KeyValue::Null | KeyValue::Time(_) | KeyValue::Id(_) => "null".to_owned(),
        }
    }
}

/// The span of a row in an index.
pub(crate) fn row_span(index: &Index, row: &RowKeys) -> Span {
    let mut key = KeyBuilder::new();
    for field in &index.fields {
        key.push(match &field.path {
            FieldPath::CreationTime => Component::Exact(time_bytes(row.created)),
            FieldPath::Id => Component::Exact(id_bytes(row.id)),
            FieldPath::Stored(_) => match row.fields.0.get(&field.path.dotted()) {
                Some(value) => stored_component(field.kind, value.get()),
                None => Component::Unknown,
            },
        });
    }
    key.push(Component::Exact(time_bytes(row.created)));
    key.push(Component::Exact(id_bytes(row.id)));
    key.finish()
}

/// The span of a cursor in the index of its scan; `None` if the scan has another order than
/// the index.
pub(crate) fn cursor_span(scan: &Scan, cursor: &Cursor) -> Option<Span> {
    if scan.by.is_some() {
        return None;
    }
    let mut key = KeyBuilder::new();
    let mut keys = cursor.keys.iter();
    for (at, field) in scan.index().fields.iter().enumerate() {
        key.push(match (&field.path, scan.eq.get(at)) {
            (_, Some(value)) => value_component(value),
            (FieldPath::CreationTime, None) => Component::Exact(time_bytes(cursor.created)),
            (FieldPath::Id, None) => Component::Exact(id_bytes(cursor.id)),
            (FieldPath::Stored(_), None) => ordered_component(field.kind, keys.next()?.as_deref()),
        });
    }
    key.push(Component::Exact(time_bytes(cursor.created)));
    key.push(Component::Exact(id_bytes(cursor.id)));
    Some(key.finish())
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    /// The value to compare with.
    pub value: KeyValue,
    /// Whether the value itself is included.
    pub inclusive: bool,
}

/// The span of an index that a scan can see, with this equality prefix and these bounds on the
/// next field.
pub(crate) fn scan_span(eq: &[KeyValue], lower: Option<&Bound>, upper: Option<&Bound>) -> Span {
    let mut key = KeyBuilder::new();
    for value in eq {
        key.push(value_component(value));
    }
    if key.widened || (lower.is_none() && upper.is_none()) {
        return Span::prefix(key.bytes);
    }
    let prefix = key.bytes;
    // A comparison with null is never true, so a range covers values only.
    let values = Span::prefix([prefix.as_slice(), &[VALUE]].concat());
    let bound_span = |bound: &Bound| -> Option<(Span, bool)> {
        let (bytes, exact) = match value_component(&bound.value) {
            Component::Exact(bytes) => (bytes, true),
            Component::Near(bytes) => (bytes, false),
            Component::Unknown => return None,
        };
        Some((Span::prefix([prefix.as_slice(), &bytes].concat()), exact))
    };
    let lo = match lower.map(|bound| (bound.inclusive, bound_span(bound))) {
        Some((inclusive, Some((at, exact)))) => match at.hi {
            Some(past) if exact && !inclusive => past,
            _ => at.lo,
        },
        _ => values.lo,
    };
    let hi = match upper.map(|bound| (bound.inclusive, bound_span(bound))) {
        Some((inclusive, Some((at, exact)))) => {
            if exact && !inclusive {
                Some(at.lo)
            } else {
                at.hi
            }
        }
        _ => values.hi,
    };
    Span { lo, hi }
}

/// The first byte string after all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_channel_and_n() -> Index {
        let field = |path: &str, kind| IndexField { path: FieldPath::parse(path).expect("a path"), kind };
        Index {
            name: "by_channel".into(),
            fields: vec![field("channel", KeyKind::Text), field("n", KeyKind::Number)],
            unique: false,
        }
    }

    fn row(data: &str) -> RowKeys {
        let index = by_channel_and_n();
        let paths: Vec<FieldPath> = index.fields.into_iter().map(|field| field.path).collect();
        RowKeys {
            id: crate::id::mint(),
            created: Time::of_ms(5.0),
            fields: KeyFields::of_document(&paths, data).expect("json"),
        }
    }

    #[test]
    fn a_row_lies_in_the_scans_that_would_return_it() {
        let index = by_channel_and_n();
        let seven = row_span(&index, &row(r#"{"channel":"a","n":7}"#));
        let text = |s: &str| KeyValue::Text(s.into());
        let bound = |n: &str, inclusive| Bound { value: KeyValue::Number(n.into()), inclusive };
        assert!(scan_span(&[text("a")], None, None).overlaps(&seven));
        assert!(!scan_span(&[text("b")], None, None).overlaps(&seven));
        assert!(!scan_span(&[text("")], None, None).overlaps(&seven));
        assert!(scan_span(&[text("a")], Some(&bound("7", true)), None).overlaps(&seven));
        assert!(!scan_span(&[text("a")], Some(&bound("8", true)), None).overlaps(&seven));
        assert!(!scan_span(&[text("a")], None, Some(&bound("6.5", false))).overlaps(&seven));
        assert!(scan_span(&[], None, None).overlaps(&seven));
    }

    #[test]
    fn null_is_outside_of_ranges_and_inside_of_its_equality() {
        let index = by_channel_and_n();
        let none = row_span(&index, &row(r#"{"channel":"a"}"#));
        let a = KeyValue::Text("a".into());
        let low = Bound { value: KeyValue::Number("-1e300".into()), inclusive: true };
        assert!(!scan_span(std::slice::from_ref(&a), Some(&low), None).overlaps(&none));
        assert!(scan_span(&[a, KeyValue::Null], None, None).overlaps(&none));
    }

    #[test]
    fn an_unknown_field_overlaps_every_scan() {
        let index = by_channel_and_n();
        let unknown = RowKeys { id: crate::id::mint(), created: Time::of_ms(5.0), fields: KeyFields::default() };
        let span = row_span(&index, &unknown);
        assert_eq!(span, Span::everything());
        assert!(scan_span(&[KeyValue::Text("z".into())], None, None).overlaps(&span));
    }

    #[test]
    fn nested_fields_are_found() {
        let path = FieldPath::parse("address.city").expect("a path");
        let of = |data: &str| KeyFields::of_document(std::slice::from_ref(&path), data).expect("json");
        assert_eq!(of(r#"{"address": {"city": "Ulm"}}"#).0["address.city"].get(), r#""Ulm""#);
        assert_eq!(of(r#"{"address": 3}"#).0["address.city"].get(), "null");
    }
}
