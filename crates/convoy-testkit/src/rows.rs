//! Deltas of results that are lists: what a client makes of a `rows` message.

use serde_json::Value;

/// The new result; `held` is the one the message's `from` names.
pub(crate) fn apply(held: &Value, message: &Value) -> Value {
    let Some(rest) = message.get("rest") else { return new_list(held, &message["rows"]) };
    let mut result = rest.clone();
    result["page"] = new_list(&held["page"], &message["rows"]);
    result
}

/// The list made of pieces: `[start, count]` of the held one, or `{"row": …}`.
fn new_list(held: &Value, pieces: &Value) -> Value {
    let held = held.as_array().expect("a delta is of a list");
    let mut list = Vec::new();
    for piece in pieces.as_array().expect("rows are pieces") {
        match piece {
            Value::Array(range) => {
                let [start, count] = [0, 1].map(|at| range[at].as_u64().expect("a whole number") as usize);
                assert_eq!(range.len(), 2, "{piece}");
                list.extend_from_slice(held.get(start..start + count).expect("a range of the held list"));
            }
            Value::Object(new) => {
                assert_eq!(new.len(), 1, "{piece}");
                list.push(new["row"].clone());
            }
            _ => panic!("{piece} is no piece of a list"),
        }
    }
    Value::Array(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_is_made_of_what_was_held_and_what_is_new() {
        let held = json!(["a", "b", "c", "d"]);
        let message = json!({ "rows": [{ "row": "new" }, [2, 2], [0, 1]] });
        assert_eq!(apply(&held, &message), json!(["new", "c", "d", "a"]));
        assert_eq!(apply(&held, &json!({ "rows": [] })), json!([]));
    }

    #[test]
    fn a_page_keeps_its_rows_and_takes_the_rest_as_said() {
        let held = json!({ "page": [1, 2], "isDone": false, "continueCursor": "x" });
        let message = json!({ "rows": [[1, 1], { "row": 3 }], "rest": { "isDone": true, "continueCursor": "y" } });
        assert_eq!(apply(&held, &message), json!({ "page": [2, 3], "isDone": true, "continueCursor": "y" }));
    }
}
