//! Finds the parts of a JSON text that JavaScript cannot represent: numbers without an
//! equal double, and nesting beyond the engine's limits.
//!
//! Only other writers than Convoy can store such documents, and reads return them. The
//! text itself is not changed; the findings are reported beside it, so that the host can
//! pass a number on as text, and tools can report it.

use std::fmt::Write;

use crate::value::MAX_DEPTH;

/// The depth from which nesting is reported. Results and documents of Convoy nest to
/// [`MAX_DEPTH`] at most; a list of documents is deeper than they are.
const DEEP: usize = MAX_DEPTH / 2;

/// Numbers with at most this many digits are always preserved by a double.
const SAFE_DIGITS: usize = 15;

/// How many characters [`may_be_lossy`] checks on either side.
const MAX_SCAN: usize = 32;

/// A number without an equal double.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LossyNumber<'a> {
    /// Its path: a JSON array of keys and indexes.
    pub path: String,
    /// Its text.
    pub text: &'a str,
}

/// The parts of a JSON text that JavaScript cannot represent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lossy<'a> {
    /// In the order of the text.
    pub numbers: Vec<LossyNumber<'a>>,
    /// How deep arrays and objects nest.
    pub depth: usize,
}

/// The members `,"numbers":[[path,text],…],"deep":true` of an answer; `None` if neither is
/// needed. Numbers may have exponents.
pub(crate) fn members(json: &str) -> Option<String> {
    let Lossy { numbers, depth } = find(json);
    let mut out = String::new();
    for (at, number) in numbers.iter().enumerate() {
        out.push_str(if at == 0 { r#","numbers":["# } else { "," });
        // Writing to a string cannot fail. The text of a number needs no escapes.
        let _ = write!(out, r#"[{},"{}"]"#, number.path, number.text);
    }
    if !numbers.is_empty() {
        out.push(']');
    }
    if depth > DEEP {
        out.push_str(r#","deep":true"#);
    }
    (!out.is_empty()).then_some(out)
}

/// A cheap check of Postgres' text of a `jsonb`, which has no exponents. Has no false
/// negatives: a number with more digits than are safe covers a checked position, since
/// these are sixteen apart.
pub(crate) fn may_be_lossy(data: &str) -> bool {
    let json = data.as_bytes();
    let of_number = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let long = |at: usize| {
        let before = json[..at].iter().rev().take(MAX_SCAN).take_while(of_number).count();
        let after = json[at..].iter().take(MAX_SCAN).take_while(of_number).count();
        may_round(&json[at - before..at + after])
    };
    (SAFE_DIGITS..json.len()).step_by(SAFE_DIGITS + 1).any(|at| of_number(&&json[at]) && long(at))
        || (json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > DEEP && find(data).depth > DEEP)
}

/// Whether a double may round a number of these digits and points.
fn may_round(number: &[u8]) -> bool {
    let digits = number.iter().filter(|byte| byte.is_ascii_digit());
    let mut whole = 0u64;
    for (at, digit) in digits.enumerate() {
        if at > SAFE_DIGITS {
            return true;
        }
        whole = whole * 10 + u64::from(digit - b'0');
    }
    // Below this, doubles are closer together than numbers of so many digits.
    whole >= 1 << 52
}

/// Checks the whole text, which must be valid JSON.
pub(crate) fn find(json: &str) -> Lossy<'_> {
    let bytes = json.as_bytes();
    let mut found = Lossy::default();
    // The path of the next value.
    let mut path: Vec<Step<'_>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        at += 1;
        match bytes[start] {
            b'"' => {
                at = past_string(bytes, at);
                if let Some(Step::Key(key @ None)) = path.last_mut() {
                    *key = Some(&json[start..at]);
                }
            }
            b'{' => path.push(Step::Key(None)),
            b'[' => path.push(Step::Index(0)),
            b'}' | b']' => drop(path.pop()),
            b',' => match path.last_mut() {
                Some(Step::Key(key)) => *key = None,
                Some(Step::Index(index)) => *index += 1,
                None => {}
            },
            b'-' | b'0'..=b'9' => {
                let of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                at += bytes[at..].iter().take_while(of_number).count();
                if is_lossy(&json[start..at]) {
                    found.numbers.push(LossyNumber { path: encode_path(&path), text: &json[start..at] });
                }
            }
            _ => {}
        }
        found.depth = found.depth.max(path.len());
    }
    found
}

enum Step<'a> {
    /// A key with its quotes; `None` before it was read.
    Key(Option<&'a str>),
    Index(usize),
}

fn encode_path(path: &[Step<'_>]) -> String {
    let mut out = String::from("[");
    for (at, step) in path.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { "," });
        let _ = match step {
            Step::Key(key) => write!(out, "{}", key.unwrap_or("\"\"")),
            Step::Index(index) => write!(out, "{index}"),
        };
    }
    out.push(']');
    out
}

/// The position after a string whose first quote is before `at`.
fn past_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether conversion to a double changes this number.
pub(crate) fn is_lossy(text: &str) -> bool {
    if text.len() <= SAFE_DIGITS && !text.contains(['e', 'E']) {
        return false;
    }
    match text.parse::<f64>() {
        Ok(double) if double.is_finite() => Decimal::of(text) != Decimal::of(&format!("{double:e}")),
        _ => true,
    }
}

/// A number in normal form: equal numbers have equal fields.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Without zeros at either end.
    digits: String,
    /// The power of ten, relative to the first digit.
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Decimal {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        if digits.is_empty() {
            return Decimal { negative: false, digits: String::new(), exponent: 0 };
        }
        let leading = (all.len() - digits.len()) as i64;
        // Numbers with an exponent too long to parse differ in their doubles.
        let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX / 2);
        let exponent = exponent.saturating_add(whole.len() as i64 - leading);
        Decimal { negative, digits: digits.trim_end_matches('0').to_owned(), exponent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lossy(json: &str) -> Vec<(String, String)> {
        find(json).numbers.into_iter().map(|number| (number.path, number.text.to_owned())).collect()
    }

    #[test]
    fn lossy_numbers_are_found_with_their_paths() {
        let json =
            r#"[{"a": "9007199254740993", "b\"": {"c": [1, 9007199254740993, -0.12345678901234567890]}}, 1e400]"#;
        assert_eq!(
            lossy(json),
            [
                (r#"[0,"b\"","c",1]"#.to_owned(), "9007199254740993".to_owned()),
                (r#"[0,"b\"","c",2]"#.to_owned(), "-0.12345678901234567890".to_owned()),
                ("[1]".to_owned(), "1e400".to_owned())
            ]
        );
        assert_eq!(
            members(r#"{"n": 9007199254740993}"#).as_deref(),
            Some(r#","numbers":[[["n"],"9007199254740993"]]"#)
        );
        assert_eq!(members(r#"{"n": 9007199254740992, "t": 1764300000000.123, "s": "12345678901234567890"}"#), None);
        assert!(!may_be_lossy(r#"{"n": 123456789012345, "t": 1764300000000.123}"#));
    }

    #[test]
    fn numbers_a_double_represents_exactly_are_not_lossy() {
        for text in
            ["0", "-0", "0.1", "1.50", "1764300000000.123000", "9007199254740992", "1e21", "100000000000000000000000"]
        {
            assert!(!is_lossy(text), "{text}");
        }
        let huge = format!("1{}", "0".repeat(400));
        let tiny = format!("0.{}1", "0".repeat(400));
        for text in ["9007199254740993", "0.1000000000000000055", "1e400", "-1e400", "1e-400", &huge, &tiny] {
            assert!(is_lossy(text), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_found_without_recursion() {
        let nested = |depth: usize| format!(r#"{{"a": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(members(&nested(10)), None);
        assert_eq!(members(&nested(300)).as_deref(), Some(r#","deep":true"#));
        assert_eq!(find(&nested(100_000)).depth, 100_001);
        assert!(may_be_lossy(&nested(300)) && !may_be_lossy(&nested(10)));
        // Siblings do not count as depth.
        assert_eq!(members(&format!("[{}{{}}]", "{},".repeat(100))), None);
    }

    proptest! {
        #[test]
        fn a_double_is_never_lossy(double in any::<f64>().prop_filter("finite", |double| double.is_finite())) {
            prop_assert!(!is_lossy(&double.to_string()));
            let exponent = format!("{double:e}");
            prop_assert!(!is_lossy(&exponent));
        }

        /// Postgres' numerics of up to 51 digits.
        #[test]
        fn the_cheap_check_has_no_false_negatives(digits in "(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?", before in "[a-z ]{0,40}") {
            let json = format!(r#"{{"x": "{before}", "n": {digits}}}"#);
            prop_assert!(find(&json).numbers.is_empty() || may_be_lossy(&json));
        }
    }
}
