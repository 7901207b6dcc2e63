//! The parts of an index that scans and cursors cover, as spans of keys.

use super::{Cursor, Scan};
use crate::key::{
    Bound, Component, KeyBuilder, KeyValue, Span, VALUE, id_bytes, ordered_component, time_bytes, value_component,
};
use crate::schema::FieldPath;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyFields, RowKeys, row_span};
    use crate::schema::{Index, IndexField, KeyKind};
    use crate::time::Time;

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
}
