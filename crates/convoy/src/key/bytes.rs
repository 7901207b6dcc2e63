//! The components of keys: one per field.
//!
//! A component is a tag (value, or null, which sorts last) and bytes that sort like the values
//! and are no prefix of another component.

use std::borrow::Cow;

use uuid::Uuid;

use super::{KeyValue, Span};
use crate::schema::KeyKind;
use crate::time::Time;

/// The tag of a value.
pub(crate) const VALUE: u8 = 1;
const NULL: u8 = 2;

/// A key being built; once widened, it is complete.
pub(crate) struct KeyBuilder {
    /// The components so far.
    pub bytes: Vec<u8>,
    /// Whether the last component left the order of further ones open.
    pub widened: bool,
}

impl KeyBuilder {
    /// Creates an empty key.
    pub(crate) fn new() -> KeyBuilder {
        KeyBuilder { bytes: Vec::with_capacity(64), widened: false }
    }

    /// Appends a component, unless the key is widened.
    pub(crate) fn push(&mut self, component: Component) {
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

    /// The span of the key.
    pub(crate) fn finish(self) -> Span {
        if self.widened {
            return Span::prefix(self.bytes);
        }
        let mut past = self.bytes.clone();
        past.push(0);
        Span { lo: self.bytes, hi: Some(past) }
    }
}

/// The part of a key for one field.
pub(crate) enum Component {
    /// The bytes identify the value.
    Exact(Vec<u8>),
    /// Several values share the bytes, so later fields have no order within them.
    Near(Vec<u8>),
    /// The value has no order-preserving bytes.
    Unknown,
}

/// The component of a value that a field is compared with.
pub(crate) fn value_component(value: &KeyValue) -> Component {
    match value {
        KeyValue::Null => Component::Exact(vec![NULL]),
        KeyValue::Text(text) => text_component(text),
        // Callers send doubles, but stored numbers may be more precise: a bound also covers the
        // numbers that round to it.
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

/// The component of a stored value of any type. Like in the index expression for the kind,
/// values of other types are null.
pub(super) fn stored_component(kind: KeyKind, json: &str) -> Component {
    let json = json.trim();
    match kind {
        KeyKind::Text => match serde_json::from_str::<Cow<'_, str>>(json) {
            Ok(text) => text_component(&text),
            // A value that is no string is null in the index.
            Err(_) => Component::Exact(vec![NULL]),
        },
        // The index may treat a number with so many digits as null, so both are possible.
        KeyKind::Number if json.len() > 300 => Component::Unknown,
        KeyKind::Number if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => number_component(json),
        KeyKind::Boolean if json == "true" => Component::Exact(vec![VALUE, 1]),
        KeyKind::Boolean if json == "false" => Component::Exact(vec![VALUE, 0]),
        KeyKind::Number | KeyKind::Boolean => Component::Exact(vec![NULL]),
        KeyKind::Json => Component::Unknown,
    }
}

/// The component of a value that a cursor holds, in Postgres' text form.
pub(crate) fn ordered_component(kind: KeyKind, key: Option<&str>) -> Component {
    match (kind, key) {
        (KeyKind::Json, _) => Component::Unknown,
        (_, None) => Component::Exact(vec![NULL]),
        (KeyKind::Text, Some(text)) => text_component(text),
        (KeyKind::Number, Some(text)) => number_component(text),
        (KeyKind::Boolean, Some(text)) => Component::Exact(vec![VALUE, u8::from(text == "true")]),
    }
}

/// The number of leading characters of a text that every index sorts by. An index may replace
/// the rest by a hash.
const SORTED_CHARS: usize = 64;

fn text_component(text: &str) -> Component {
    let Some((past, _)) = text.char_indices().nth(SORTED_CHARS) else {
        return Component::Exact(text_bytes(text));
    };
    // Without its end, it covers all texts with this beginning.
    let mut bytes = text_bytes(&text[..past]);
    bytes.truncate(bytes.len() - TEXT_END.len());
    Component::Near(bytes)
}

/// Ends a text; sorts before any character that could follow instead.
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

/// Postgres compares numerics of any precision; their doubles sort the same, except that
/// several numerics may share one. Exact if the text is the shortest one of its double.
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

/// The bytes of a creation time.
pub(crate) fn time_bytes(time: Time) -> Vec<u8> {
    let mut bytes = vec![VALUE];
    bytes.extend_from_slice(&((time.to_postgres() as u64) ^ (1 << 63)).to_be_bytes());
    bytes
}

/// The bytes of an id.
pub(crate) fn id_bytes(id: Uuid) -> Vec<u8> {
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
