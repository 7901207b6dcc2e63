//! The fuzz target of index keys: the order of the bytes is the order of the values.

use std::cmp::Ordering;

use serde_json::value::RawValue;

use super::bytes::stored_component;
use super::{Component, KeyBuilder, KeyValue, Span, ordered_component, value_component};
use crate::schema::{FieldPath, IndexField, KeyKind};

/// Two JSON values, one on each line, as stored values and as bounds of a query.
pub fn key_bytes(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((first, second)) = text.split_once('\n') else { return };
    for kind in [KeyKind::Text, KeyKind::Number, KeyKind::Boolean, KeyKind::Json] {
        let spans = [first, second].map(|json| {
            let value = serde_json::from_str::<&RawValue>(json).ok()?;
            let row = span(stored_component(kind, value.get()));
            check_bounds(kind, value, &row);
            Some(row)
        });
        if let [Some(a), Some(b)] = &spans {
            check_order((kind, first, a), (second, b));
        }
    }
}

fn span(component: Component) -> Span {
    let mut key = KeyBuilder::new();
    key.push(component);
    key.finish()
}

/// A query for exactly this value finds the row that has it.
fn check_bounds(kind: KeyKind, value: &RawValue, row: &Span) {
    let field = IndexField { path: FieldPath::parse("a").expect("a path"), kind };
    let Some(bound) = KeyValue::parse(&field, value) else { return };
    let mut key = KeyBuilder::new();
    key.push(value_component(&bound));
    let wanted = Span::prefix(key.bytes);
    assert!(row.overlaps(&wanted), "{kind:?} {value}: {row:?} is outside of {wanted:?}");
    // A cursor has the value in the text form of Postgres.
    let text = match &bound {
        KeyValue::Text(text) | KeyValue::Number(text) => text.clone(),
        KeyValue::Boolean(value) => value.to_string(),
        _ => return,
    };
    let resumed = span(ordered_component(kind, Some(&text)));
    assert!(row.overlaps(&resumed), "{kind:?} {value}: {row:?} is outside of {resumed:?}");
}

/// Of two rows, the one that comes first in the index has no greater key.
fn check_order((kind, first, a): (KeyKind, &str, &Span), (second, b): (&str, &Span)) {
    let order = match kind {
        KeyKind::Text => {
            let texts = [first, second].map(|json| serde_json::from_str::<String>(json).ok());
            let [Some(a), Some(b)] = texts else { return };
            a.cmp(&b)
        }
        KeyKind::Number => {
            // Doubles decide, except for numbers that share one; longer ones may be null in the index.
            let numbers = [first, second].map(|json| {
                let is_number = json.trim().starts_with(|c: char| c == '-' || c.is_ascii_digit());
                if is_number && json.len() <= 300 { json.trim().parse::<f64>().ok() } else { None }
            });
            let [Some(a), Some(b)] = numbers else { return };
            a.partial_cmp(&b).expect("JSON has no NaN")
        }
        KeyKind::Boolean | KeyKind::Json => return,
    };
    match order {
        Ordering::Less => assert!(a.lo <= b.lo || a.overlaps(b), "{kind:?} {first} < {second}: {a:?} {b:?}"),
        Ordering::Greater => assert!(a.lo >= b.lo || a.overlaps(b), "{kind:?} {first} > {second}: {a:?} {b:?}"),
        Ordering::Equal => assert!(a.overlaps(b), "{kind:?} {first} = {second}: {a:?} {b:?}"),
    }
}
