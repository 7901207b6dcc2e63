//! The delta between two results of one query that are lists, or pages of a list:
//! the ranges of elements that the new one copies from the old one, and the
//! elements that are new.
//!
//! Elements are compared as text, so a copied element is the same in every byte.
//! If the whole result is shorter, there is no delta.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Hash;

/// Shorter results are sent whole: a delta would cost more to compute than it
/// saves.
const MIN_BYTES: usize = 256;

/// The instructions that turn an earlier result into a newer one.
#[derive(Debug)]
pub(crate) struct Delta {
    /// The hash of the earlier result.
    pub from: Hash,
    /// The members of a `rows` message, each with a comma before it.
    pub members: String,
}

/// The delta between two results, JSON texts on one line each, if it is shorter than
/// the new result.
pub(super) fn between(from: Hash, old: &[u8], new: &[u8]) -> Option<Delta> {
    if new.len() < MIN_BYTES {
        return None;
    }
    let members = match (old.first(), new.first()) {
        (Some(b'['), Some(b'[')) => format!(r#","rows":{}"#, rows(&parse(old)?, &parse(new)?)),
        (Some(b'{'), Some(b'{')) => {
            let (old, mut new): (Members<'_>, Members<'_>) = (parse(old)?, parse(new)?);
            let (old, page) = (old.get("page")?, new.remove("page")?);
            let rows = rows(&parse(old.get().as_bytes())?, &parse(page.get().as_bytes())?);
            format!(r#","rest":{},"rows":{rows}"#, serde_json::to_string(&new).ok()?)
        }
        _ => return None,
    };
    (members.len() < new.len()).then_some(Delta { from, members })
}

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

/// The new list in terms of the old one: `[start,count]` copies elements,
/// `{"row":…}` adds one.
fn rows(old: &Vec<&RawValue>, new: &Vec<&RawValue>) -> String {
    // Equal elements are copied in their order.
    let mut positions: HashMap<&str, VecDeque<usize>> = HashMap::with_capacity(old.len());
    for (position, row) in old.iter().enumerate() {
        positions.entry(row.get()).or_default().push_back(position);
    }
    let mut out = String::from("[");
    let mut copied: Option<(usize, usize)> = None;
    let flush = |out: &mut String, copied: &mut Option<(usize, usize)>| {
        if let Some((start, count)) = copied.take() {
            // Writing to a string cannot fail.
            let _ = write!(out, "[{start},{count}],");
        }
    };
    for row in new {
        let position = positions.get_mut(row.get()).and_then(VecDeque::pop_front);
        match (position, &mut copied) {
            (Some(position), Some((start, count))) if *start + *count == position => *count += 1,
            (Some(position), _) => {
                flush(&mut out, &mut copied);
                copied = Some((position, 1));
            }
            (None, _) => {
                flush(&mut out, &mut copied);
                out.push_str(r#"{"row":"#);
                out.push_str(row.get());
                out.push_str("},");
            }
        }
    }
    flush(&mut out, &mut copied);
    if out.ends_with(',') {
        out.pop();
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Applies a delta as a client does.
    fn apply(old: &Value, members: &str) -> Value {
        let message: Value = serde_json::from_str(&format!("{{{}}}", &members[1..])).expect("members");
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let base = list(if message.get("rest").is_some() { &old["page"] } else { old });
        let mut made = Vec::new();
        for step in list(&message["rows"]) {
            match step {
                Value::Array(take) => {
                    let (start, count) = (take[0].as_u64().expect("n") as usize, take[1].as_u64().expect("n") as usize);
                    made.extend_from_slice(&base[start..start + count]);
                }
                added => made.push(added["row"].clone()),
            }
        }
        match message.get("rest") {
            None => Value::from(made),
            Some(rest) => {
                let mut whole = rest.clone();
                whole["page"] = Value::from(made);
                whole
            }
        }
    }

    fn row() -> impl Strategy<Value = Value> {
        prop_oneof![
            (0u8..6, 0u8..3).prop_map(
                |(id, n)| json!({ "id": id, "text": format!("row {n} of a list that is worth it, {}", "x".repeat(60)) })
            ),
            Just(json!(null)),
            Just(json!([1, 2])),
            Just(json!({ "row": [0, 1] })),
        ]
    }

    proptest! {
        #[test]
        fn applying_a_delta_to_the_old_list_gives_the_new_list(
            old in proptest::collection::vec(row(), 0..8),
            new in proptest::collection::vec(row(), 0..8),
            page in any::<bool>(),
        ) {
            let result = |rows: &[Value], cursor: &str| match page {
                true => json!({ "page": rows, "isDone": false, "continueCursor": cursor }),
                false => json!(rows),
            };
            let (old, new) = (result(&old, "a"), result(&new, "b"));
            if let Some(delta) = between(1, old.to_string().as_bytes(), new.to_string().as_bytes()) {
                prop_assert_eq!(apply(&old, &delta.members), new.clone());
                prop_assert!(delta.members.len() < new.to_string().len());
            }
        }
    }

    #[test]
    fn a_delta_of_one_changed_row_contains_only_that_row() {
        let row = |n: usize, text: &str| json!({ "id": n, "text": text.repeat(48) });
        let old: Vec<Value> = (0..1_000).map(|n| row(n, "some text ")).collect();
        let mut new = old.clone();
        new[500] = row(500, "more text ");
        let texts = (Value::from(old).to_string(), Value::from(new).to_string());
        let delta = between(1, texts.0.as_bytes(), texts.1.as_bytes()).expect("a delta");
        assert_eq!(delta.members, format!(r#","rows":[[0,500],{{"row":{}}},[501,499]]"#, row(500, "more text ")));
    }

    #[test]
    fn only_lists_have_deltas() {
        let text = |value: Value| value.to_string().into_bytes();
        let long = "x".repeat(300);
        assert!(between(1, &text(json!({ "a": 1 })), &text(json!({ "a": long }))).is_none());
        assert!(between(1, &text(json!([1])), &text(json!({ "page": [long] }))).is_none());
        assert!(between(1, &text(json!("a")), &text(json!(long))).is_none());
    }
}
