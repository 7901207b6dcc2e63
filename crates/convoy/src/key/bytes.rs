//! The bytes keys are made of: one component per field.
//!
//! A component is a tag (value, or null, which sorts last) and bytes that order
//! as the values do and are no prefix of another component's.

use std::borrow::Cow;

use uuid::Uuid;

use super::{KeyValue, Span};
use crate::schema::KeyKind;
use crate::time::Time;

/// The tag of a value.
pub(super) const VALUE: u8 = 1;
const NULL: u8 = 2;

/// A key under construction; once widened it is complete.
pub(super) struct KeyBuilder {
    pub bytes: Vec<u8>,
    pub widened: bool,
}

impl KeyBuilder {
    pub(super) fn new() -> KeyBuilder {
        KeyBuilder { bytes: Vec::with_capacity(64), widened: false }
    }

    pub(super) fn push(&mut self, component: Component) {
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

    pub(super) fn finish(self) -> Span {
        if self.widened {
            return Span::prefix(self.bytes);
        }
        let mut past = self.bytes.clone();
        past.push(0);
        Span { lo: self.bytes, hi: Some(past) }
    }
}

/// One field's part of a key.
pub(super) enum Component {
    /// These bytes and no others.
    Exact(Vec<u8>),
    /// Different values may share these bytes, so what follows has no order.
    Near(Vec<u8>),
    /// No order-preserving bytes at all.
    Unknown,
}

pub(super) fn value_component(value: &KeyValue) -> Component {
    match value {
        KeyValue::Null => Component::Exact(vec![NULL]),
        KeyValue::Text(text) => text_component(text),
        // Callers send doubles, but stored numbers may be finer: a bound on a
        // number also covers what rounds to it.
        KeyValue::Number(text) => match number_component(text) {
            Component::Exact(bytes) => Component::Near(bytes),
            other => other,
        },
        KeyValue::Boolean(value) => Component::Exact(vec![VALUE, u8::from(*value)]),
        KeyValue::Json(_) => Component::Unknown,
        KeyValue::Time(time) => Component::Exact(time_bytes(*time)),
        KeyValue::Id(id) => Component::Exact(id_bytes(*id)),
    }
}

/// The component of a stored value, which may be of any type: the index
/// expression of the field's kind says what Postgres makes of it.
pub(super) fn stored_component(kind: KeyKind, json: &str) -> Component {
    let json = json.trim();
    match kind {
        KeyKind::Text => match serde_json::from_str::<Cow<'_, str>>(json) {
            Ok(text) => text_component(&text),
            // No string, so nothing to the index.
            Err(_) => Component::Exact(vec![NULL]),
        },
        // Digits beyond measure count as no number; both are possible here.
        KeyKind::Number if json.len() > 300 => Component::Unknown,
        KeyKind::Number if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => number_component(json),
        KeyKind::Boolean if json == "true" => Component::Exact(vec![VALUE, 1]),
        KeyKind::Boolean if json == "false" => Component::Exact(vec![VALUE, 0]),
        KeyKind::Number | KeyKind::Boolean => Component::Exact(vec![NULL]),
        KeyKind::Json => Component::Unknown,
    }
}

/// The component of an index's own value for a field, in Postgres' spelling.
pub(super) fn ordered_component(kind: KeyKind, key: Option<&str>) -> Component {
    match (kind, key) {
        (KeyKind::Json, _) => Component::Unknown,
        (_, None) => Component::Exact(vec![NULL]),
        (KeyKind::Text, Some(text)) => text_component(text),
        (KeyKind::Number, Some(text)) => number_component(text),
        (KeyKind::Boolean, Some(text)) => Component::Exact(vec![VALUE, u8::from(text == "true")]),
    }
}

/// Characters of a text that every index orders by. What comes after them, an
/// index may have replaced by a hash.
const ORDERED: usize = 64;

fn text_component(text: &str) -> Component {
    let Some((past, _)) = text.char_indices().nth(ORDERED) else {
        return Component::Exact(text_bytes(text));
    };
    // Without its end, it covers all that begin so.
    let mut bytes = text_bytes(&text[..past]);
    bytes.truncate(bytes.len() - TEXT_END.len());
    Component::Near(bytes)
}

/// Ends a text; less than any character that could come instead.
const TEXT_END: [u8; 2] = [0, 1];

fn text_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 3);
    bytes.push(VALUE);
    for byte in text.bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend_from_slice(&TEXT_END);
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

pub(super) fn time_bytes(time: Time) -> Vec<u8> {
    let mut bytes = vec![VALUE];
    bytes.extend_from_slice(&((time.to_postgres() as u64) ^ (1 << 63)).to_be_bytes());
    bytes
}

pub(super) fn id_bytes(id: Uuid) -> Vec<u8> {
    let mut bytes = vec![VALUE];
    bytes.extend_from_slice(id.as_bytes());
    bytes
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
            let bytes = |micros| time_bytes(Time::of_postgres(micros));
            prop_assert_eq!(a.cmp(&b), bytes(a).cmp(&bytes(b)));
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
}
