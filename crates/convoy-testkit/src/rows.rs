//! Applies deltas of lists (`rows` messages), as a client does.

use serde_json::Value;

/// The new result; `old` is the result with the hash in `from`.
pub(crate) fn apply(old: &Value, message: &Value) -> Value {
    let Some(rest) = message.get("rest") else { return new_list(old, &message["rows"]) };
    let mut result = rest.clone();
    result["page"] = new_list(&old["page"], &message["rows"]);
    result
}

/// The list made of pieces: `[start, count]` of the old list, or `{"row": …}`.
fn new_list(old: &Value, pieces: &Value) -> Value {
    let old = old.as_array().expect("a delta is of a list");
    let mut list = Vec::new();
    for piece in pieces.as_array().expect("rows are pieces") {
        match piece {
            Value::Array(range) => {
                let [start, count] = [0, 1].map(|at| range[at].as_u64().expect("a whole number") as usize);
                assert_eq!(range.len(), 2, "{piece}");
                list.extend_from_slice(old.get(start..start + count).expect("a range of the old list"));
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
    fn a_list_is_made_of_old_ranges_and_new_rows() {
        let old = json!(["a", "b", "c", "d"]);
        let message = json!({ "rows": [{ "row": "new" }, [2, 2], [0, 1]] });
        assert_eq!(apply(&old, &message), json!(["new", "c", "d", "a"]));
        assert_eq!(apply(&old, &json!({ "rows": [] })), json!([]));
    }

    #[test]
    fn a_page_keeps_its_rows_and_takes_the_rest_of_the_message() {
        let old = json!({ "page": [1, 2], "isDone": false, "continueCursor": "x" });
        let message = json!({ "rows": [[1, 1], { "row": 3 }], "rest": { "isDone": true, "continueCursor": "y" } });
        assert_eq!(apply(&old, &message), json!({ "page": [2, 3], "isDone": true, "continueCursor": "y" }));
    }
}
