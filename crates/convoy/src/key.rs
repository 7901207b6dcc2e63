//! Turns indexed values into bytes that order as Postgres orders the index.
//!
//! Invariant: if row A comes before row B in the index, A's key is not greater
//! than B's; where bytes cannot say which is first, the key becomes a span that
//! covers both. So a comparison of spans may claim a row lies in a range when it
//! does not; it never claims that it lies outside when it does not.
//!
//! A key is its components end to end (each field, then creation time, then id).
//! A component is a tag (value, or null, which sorts last) and bytes that are no
//! prefix of another component's.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::schema::{FieldPath, Index, IndexField, KeyKind};

const VALUE: u8 = 1;
const NULL: u8 = 2;

/// A half-open interval of keys: `lo <= key < hi`; no `hi` means no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first key inside.
    pub lo: Vec<u8>,
    /// The first key past it.
    pub hi: Option<Vec<u8>>,
}

impl Span {
    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: Vec<u8>) -> Span {
        let hi = successor(&prefix);
        Span { lo: prefix, hi }
    }

    /// Every key.
    pub fn everything() -> Span {
        Span { lo: Vec::new(), hi: None }
    }

    /// Whether the two have a key in common.
    pub fn overlaps(&self, other: &Span) -> bool {
        let before = |lo: &[u8], hi: &Option<Vec<u8>>| hi.as_deref().is_none_or(|hi| lo < hi);
        before(&self.lo, &other.hi) && before(&other.lo, &self.hi)
    }
}

/// What index keys are made of: a row's id, creation time and indexed fields.
#[derive(Debug, Clone)]
pub struct RowKeys {
    /// The row's id.
    pub id: Uuid,
    /// `created_at`, in microseconds since 1970.
    pub created: i64,
    /// The stored values of indexed fields, by dotted path, as JSON text.
    pub fields: KeyFields,
}

/// Indexed values by dotted path. A path that is absent here is *unknown* (the
/// record was written by another version of the schema), not null.
#[derive(Debug, Clone, Default)]
pub struct KeyFields(HashMap<String, Box<RawValue>>);

impl KeyFields {
    /// Parses the object a change record carries.
    pub fn parse(json: &str) -> Result<KeyFields, serde_json::Error> {
        serde_json::from_str(json).map(KeyFields)
    }

    /// Takes the indexed fields out of a stored document.
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

/// Follows `parts` through objects; anything else on the way means absent.
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

/// A value someone compares an indexed field with.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyValue {
    /// Absent or `null`.
    Null,
    /// A string.
    Text(String),
    /// A number, as its JSON text.
    Number(String),
    /// A boolean.
    Boolean(bool),
    /// Any JSON, for fields without an order of their own.
    Json(String),
    /// A creation time, in microseconds since 1970.
    Time(i64),
    /// An id.
    Id(Uuid),
}

impl KeyValue {
    /// Reads the JSON value a caller compares `field` with; `None` when it is
    /// of another type than the field.
    pub fn parse(field: &IndexField, json: &RawValue) -> Option<KeyValue> {
        let text = json.get();
        if text == "null" {
            return Some(KeyValue::Null);
        }
        match (&field.path, field.kind) {
            (FieldPath::CreationTime, _) => {
                let ms: f64 = serde_json::from_str(text).ok()?;
                Some(KeyValue::Time((ms * 1_000.0).round() as i64))
            }
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
}

/// A key under construction; once widened it is complete.
struct KeyBuilder {
    bytes: Vec<u8>,
    widened: bool,
}

impl KeyBuilder {
    fn new() -> KeyBuilder {
        KeyBuilder { bytes: Vec::with_capacity(64), widened: false }
    }

    fn push(&mut self, component: Component) {
        if self.widened {
            return;
        }
        match component {
            Component::Exact(bytes) => self.bytes.extend_from_slice(&bytes),
            Component::Near(bytes) => {
                self.bytes.extend_from_slice(&bytes);
                self.widened = true;
            }
            Component::Unknown => self.widened = true,
        }
    }

    fn finish(self) -> Span {
        if self.widened {
            return Span::prefix(self.bytes);
        }
        let mut past = self.bytes.clone();
        past.push(0);
        Span { lo: self.bytes, hi: Some(past) }
    }
}

enum Component {
    /// These bytes and no others.
    Exact(Vec<u8>),
    /// Different values may share these bytes, so what follows has no order.
    Near(Vec<u8>),
    /// No order-preserving bytes at all.
    Unknown,
}

/// Where a row lies in an index.
pub fn row_span(index: &Index, row: &RowKeys) -> Span {
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

/// Which side of a range a bound is.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The value compared with.
    pub value: KeyValue,
    /// Whether the value itself is inside.
    pub inclusive: bool,
}

/// What a scan with this equality prefix and these bounds on the next field can
/// see of an index.
pub fn scan_span(eq: &[KeyValue], lower: Option<&Bound>, upper: Option<&Bound>) -> Span {
    let mut key = KeyBuilder::new();
    for value in eq {
        key.push(value_component(value));
    }
    if key.widened || (lower.is_none() && upper.is_none()) {
        return Span::prefix(key.bytes);
    }
    let prefix = key.bytes;
    // A comparison never holds for null, so a range covers values only.
    let values = Span::prefix([prefix.as_slice(), &[VALUE]].concat());
    let edge = |bound: &Bound| -> Option<(Span, bool)> {
        let (bytes, exact) = match value_component(&bound.value) {
            Component::Exact(bytes) => (bytes, true),
            Component::Near(bytes) => (bytes, false),
            Component::Unknown => return None,
        };
        Some((Span::prefix([prefix.as_slice(), &bytes].concat()), exact))
    };
    let lo = match lower.map(|bound| (bound.inclusive, edge(bound))) {
        Some((inclusive, Some((at, exact)))) => match at.hi {
            Some(past) if exact && !inclusive => past,
            _ => at.lo,
        },
        _ => values.lo,
    };
    let hi = match upper.map(|bound| (bound.inclusive, edge(bound))) {
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

fn value_component(value: &KeyValue) -> Component {
    match value {
        KeyValue::Null => Component::Exact(vec![NULL]),
        KeyValue::Text(text) => Component::Exact(text_bytes(text)),
        // Callers send doubles, but stored numbers may be finer: a bound on a
        // number also covers what rounds to it.
        KeyValue::Number(text) => match number_component(text) {
            Component::Exact(bytes) => Component::Near(bytes),
            other => other,
        },
        KeyValue::Boolean(value) => Component::Exact(vec![VALUE, u8::from(*value)]),
        KeyValue::Json(_) => Component::Unknown,
        KeyValue::Time(micros) => Component::Exact(time_bytes(*micros)),
        KeyValue::Id(id) => Component::Exact(id_bytes(*id)),
    }
}

/// The component of a stored value, which may be of any type: the index
/// expression of the field's kind says what Postgres makes of it.
fn stored_component(kind: KeyKind, json: &str) -> Component {
    let json = json.trim();
    match kind {
        KeyKind::Text if json == "null" => Component::Exact(vec![NULL]),
        KeyKind::Text => match serde_json::from_str::<Cow<'_, str>>(json) {
            Ok(text) => Component::Exact(text_bytes(&text)),
            // `->>` gives the JSON text of anything that is no string.
            Err(_) => Component::Exact(text_bytes(json)),
        },
        KeyKind::Number if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => number_component(json),
        KeyKind::Boolean if json == "true" => Component::Exact(vec![VALUE, 1]),
        KeyKind::Boolean if json == "false" => Component::Exact(vec![VALUE, 0]),
        KeyKind::Number | KeyKind::Boolean => Component::Exact(vec![NULL]),
        KeyKind::Json => Component::Unknown,
    }
}

fn text_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 3);
    bytes.push(VALUE);
    for byte in text.bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

/// Postgres compares numerics of any precision; a double is a non-decreasing
/// image of them. Exact where the text is the shortest one for its double.
fn number_component(text: &str) -> Component {
    let Ok(number) = text.parse::<f64>() else {
        return Component::Unknown;
    };
    // Adding zero turns -0 into 0.
    let number = number + 0.0;
    let bits = number.to_bits();
    let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
    let mut bytes = vec![VALUE];
    bytes.extend_from_slice(&ordered.to_be_bytes());
    let plain = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if number.to_string() == plain { Component::Exact(bytes) } else { Component::Near(bytes) }
}

fn time_bytes(micros: i64) -> Vec<u8> {
    let mut bytes = vec![VALUE];
    bytes.extend_from_slice(&((micros as u64) ^ (1 << 63)).to_be_bytes());
    bytes
}

fn id_bytes(id: Uuid) -> Vec<u8> {
    let mut bytes = vec![VALUE];
    bytes.extend_from_slice(id.as_bytes());
    bytes
}

/// The first byte string past all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(component: Component) -> Vec<u8> {
        match component {
            Component::Exact(bytes) | Component::Near(bytes) => bytes,
            Component::Unknown => panic!("no bytes"),
        }
    }

    proptest! {
        #[test]
        fn text_orders_by_code_point(a in ".*", b in ".*") {
            prop_assert_eq!(a.as_bytes().cmp(b.as_bytes()), text_bytes(&a).cmp(&text_bytes(&b)));
        }

        #[test]
        fn numbers_order_by_value(a in -1e300f64..1e300, b in -1e300f64..1e300) {
            let bytes = |n: f64| exact(number_component(&n.to_string()));
            prop_assert_eq!(a.partial_cmp(&b), Some(bytes(a).cmp(&bytes(b))));
        }

        #[test]
        fn times_order(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(a.cmp(&b), time_bytes(a).cmp(&time_bytes(b)));
        }
    }

    #[test]
    fn numbers_finer_than_a_double_are_only_near() {
        assert!(matches!(number_component("0.1"), Component::Exact(_)));
        assert!(matches!(number_component("1.50"), Component::Exact(_)));
        assert!(matches!(number_component("1000000000000000000000"), Component::Exact(_)));
        assert!(matches!(number_component("1.00000000000000001"), Component::Near(_)));
        assert!(matches!(number_component("9007199254740993"), Component::Near(_)));
    }

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
        RowKeys { id: crate::id::mint(), created: 5, fields: KeyFields::of_document(&paths, data).expect("json") }
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
    fn null_is_in_no_range_but_in_its_equality() {
        let index = by_channel_and_n();
        let none = row_span(&index, &row(r#"{"channel":"a"}"#));
        let a = KeyValue::Text("a".into());
        let low = Bound { value: KeyValue::Number("-1e300".into()), inclusive: true };
        assert!(!scan_span(std::slice::from_ref(&a), Some(&low), None).overlaps(&none));
        assert!(scan_span(&[a, KeyValue::Null], None, None).overlaps(&none));
    }

    #[test]
    fn an_unknown_field_could_be_anything() {
        let index = by_channel_and_n();
        let unknown = RowKeys { id: crate::id::mint(), created: 5, fields: KeyFields::default() };
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
