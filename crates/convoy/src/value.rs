//! Validates JSON text from callers: well-formed, not too deep, and with numbers that
//! JavaScript can represent; and canonicalizes it.
//!
//! The engine passes JSON on as text and parses it only where necessary. Inputs that
//! differ only in key order and white space have the same canonical text, which is part
//! of the key of a live query.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::error::{Code, Failure};

/// How deep arrays and objects may nest, in levels.
pub(crate) const MAX_DEPTH: usize = 64;

/// The reason that a text was refused.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON.
    #[error("The arguments are not valid JSON: {0}.")]
    Syntax(#[from] serde_json::Error),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("The JSON nests deeper than {MAX_DEPTH} levels.")]
    TooDeep,
    /// A number that JavaScript would parse as `Infinity`.
    #[error("{} is a number larger than JavaScript can represent (1.8e308).", dotted(.0))]
    TooLarge(Vec<Value>),
}

impl From<JsonError> for Failure {
    fn from(error: JsonError) -> Failure {
        let failure = Failure::new(Code::InvalidArgs, error.to_string());
        match error {
            JsonError::TooLarge(path) => {
                let reason = "the number is larger than JavaScript can represent (1.8e308)";
                failure.with_details(&json!({ "issues": [{ "path": path, "message": reason }] }))
            }
            JsonError::Syntax(_) | JsonError::TooDeep => failure,
        }
    }
}

/// Checks that `text` is one JSON value, nested at most [`MAX_DEPTH`] deep, with numbers
/// that are finite in JavaScript.
pub(crate) fn check(text: &str) -> Result<(), JsonError> {
    if too_deep(text) {
        return Err(JsonError::TooDeep);
    }
    serde_json::from_str::<IgnoredAny>(text)?;
    too_large(text).map_or(Ok(()), |path| Err(JsonError::TooLarge(path)))
}

/// The canonical text: keys sorted, no white space, numbers in their shortest form.
pub(crate) fn canonical(text: &str) -> Result<String, JsonError> {
    check(text)?;
    let value: Value = serde_json::from_str(text)?;
    Ok(value.to_string())
}

/// Counts brackets outside of strings. Runs before the parser to protect its stack, so it
/// must not assume that the text is valid.
fn too_deep(text: &str) -> bool {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The path of the first number that is too large for a double. `text` is valid.
fn too_large(text: &str) -> Option<Vec<Value>> {
    /// An array or object that is open here.
    enum Open<'a> {
        Array(usize),
        /// With the text of its last key.
        Object(&'a str),
    }
    let bytes = text.as_bytes();
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let end = at + token_length(&bytes[at..]);
        match byte {
            b'[' => open.push(Open::Array(0)),
            // Replaced by the first key before any value follows.
            b'{' => open.push(Open::Object("\"\"")),
            b']' | b'}' => drop(open.pop()),
            b',' => {
                if let Some(Open::Array(index)) = open.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let is_key = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if let (true, Some(Open::Object(key))) = (is_key, open.last_mut()) {
                    *key = &text[at..end];
                }
            }
            b'-' | b'0'..=b'9' if text[at..end].parse().is_ok_and(f64::is_infinite) => {
                let step = |open: &Open<'_>| match open {
                    Open::Array(index) => json!(index),
                    Open::Object(key) => serde_json::from_str(key).unwrap_or_default(),
                };
                return Some(open.iter().map(step).collect());
            }
            _ => {}
        }
        at = end;
    }
    None
}

/// The length of the string or number at the beginning; 1 for other tokens.
fn token_length(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(b'"') => {
            let mut escaped = false;
            let end = bytes.iter().skip(1).position(|byte| {
                let ends = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                ends
            });
            end.map_or(bytes.len(), |end| end + 2)
        }
        Some(b'-' | b'0'..=b'9') => bytes
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .unwrap_or(bytes.len()),
        _ => 1,
    }
}

/// A path in the form `a.b[0]`.
fn dotted(path: &[Value]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Value::String(key) if text.is_empty() => text.push_str(key),
            Value::String(key) => text.extend([".", key]),
            index => text.push_str(&format!("[{index}]")),
        }
    }
    if text.is_empty() { "The JSON".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text_ignores_key_order_and_white_space() {
        let a = canonical(r#"{"b": 1, "a": [true, null]}"#).expect("valid");
        let b = canonical(r#"{"a":[true,null],"b":1}"#).expect("valid");
        assert_eq!(a, b);
    }

    #[test]
    fn distinct_numbers_stay_distinct() {
        let a = canonical("0.1").expect("valid");
        let b = canonical("0.10000000000000002").expect("valid");
        assert_ne!(a, b);
    }

    #[test]
    fn a_number_that_would_be_infinity_is_refused_with_its_path() {
        let long = format!("[{}]", "9".repeat(400));
        for (text, path) in [
            ("1e400", json!([])),
            ("-1e400", json!([])),
            (r#"{"n":1E+400}"#, json!(["n"])),
            (r#"[1, [2, {"a": 3, "b" : [4, -17.5e999]}]]"#, json!([1, 1, "b", 1])),
            (r#"{"x":{"y":"1e400"},"a\"]\u00e9":[{},[],"}",1e309]}"#, json!(["a\"]\u{e9}", 3])),
            (r#"{"a":[1,2],"b":1.8e308}"#, json!(["b"])),
            (long.as_str(), json!([0])),
        ] {
            for refused in [check(text).err(), canonical(text).err()] {
                let Some(JsonError::TooLarge(found)) = refused else { panic!("{text}: {refused:?}") };
                assert_eq!(Value::from(found), path, "{text}");
            }
        }
        let failure = Failure::from(check(r#"{"a":{"b":[1e400]}}"#).expect_err("refused"));
        assert!(failure.message.starts_with("a.b[0] is a number"), "{failure}");
        assert!(failure.to_json().contains(r#""issues":[{"message""#), "{}", failure.to_json());
    }

    #[test]
    fn finite_numbers_pass() {
        for text in ["1.7976931348623157e308", "-1e308", "1e-400", "0e999999", r#"{"1e400":"1e400"}"#, r#"["\\",1]"#] {
            assert!(check(text).is_ok() && canonical(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn sixty_four_levels_pass_and_one_more_does_not() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check(&nest(MAX_DEPTH)).is_ok());
        assert!(matches!(check(&nest(MAX_DEPTH + 1)), Err(JsonError::TooDeep)));
        assert!(matches!(check(&"[".repeat(100_000)), Err(JsonError::TooDeep)));
        assert!(check(&format!(r#""{}""#, "[".repeat(500))).is_ok());
    }
}
