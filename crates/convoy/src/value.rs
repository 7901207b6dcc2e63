//! JSON text at the door: valid, not too deep, and in one canonical spelling.
//!
//! The engine passes JSON around as text and parses it only where it must. Two
//! inputs that mean the same (key order, white space) have the same canonical
//! text, which is what live queries are keyed by.

use serde::de::IgnoredAny;

/// How deep arrays and objects may nest, in levels.
pub const MAX_DEPTH: usize = 64;

/// Why a text was not accepted as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON at all.
    #[error("the body is not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the JSON nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Checks that `text` is one JSON value, nested at most [`MAX_DEPTH`] deep.
pub fn check(text: &str) -> Result<(), JsonError> {
    if too_deep(text) {
        return Err(JsonError::TooDeep);
    }
    serde_json::from_str::<IgnoredAny>(text)?;
    Ok(())
}

/// The canonical spelling: keys sorted, no white space, numbers in their
/// shortest form.
pub fn canonical(text: &str) -> Result<String, JsonError> {
    if too_deep(text) {
        return Err(JsonError::TooDeep);
    }
    let value: serde_json::Value = serde_json::from_str(text)?;
    Ok(value.to_string())
}

/// Counts brackets outside of strings. Runs before the parser, whose own stack
/// it protects, so it must not rely on the text being valid.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_order_and_white_space_do_not_matter() {
        let a = canonical(r#"{"b": 1, "a": [true, null]}"#).expect("valid");
        let b = canonical(r#"{"a":[true,null],"b":1}"#).expect("valid");
        assert_eq!(a, b);
    }

    #[test]
    fn neighbouring_numbers_stay_apart() {
        let a = canonical("0.1").expect("valid");
        let b = canonical("0.10000000000000002").expect("valid");
        assert_ne!(a, b);
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
