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
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::schema::{FieldPath, Index, IndexField, KeyKind};
use crate::time::Time;
use bytes::stored_component;
pub(crate) use bytes::{Component, KeyBuilder, VALUE, id_bytes, ordered_component, time_bytes, value_component};

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

/// One end of a range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    /// The value to compare with.
    pub value: KeyValue,
    /// Whether the value itself is included.
    pub inclusive: bool,
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

    #[test]
    fn nested_fields_are_found() {
        let path = FieldPath::parse("address.city").expect("a path");
        let of = |data: &str| KeyFields::of_document(std::slice::from_ref(&path), data).expect("json");
        assert_eq!(of(r#"{"address": {"city": "Ulm"}}"#).0["address.city"].get(), r#""Ulm""#);
        assert_eq!(of(r#"{"address": 3}"#).0["address.city"].get(), "null");
    }
}
