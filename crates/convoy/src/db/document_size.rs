//! The size of a document as Postgres stores it: the bytes of `data::text`, computed from any
//! JSON text of the document.
//!
//! Postgres writes a space after each comma and colon and no other ones, numbers without an
//! exponent, and an escape only where JSON needs one.

/// The most bytes in Postgres for a byte of JSON that a host sends: 1e308 has 309 digits.
const MAX_GROWTH: usize = 64;

/// The size of a document in Postgres, if it is above `limit`.
pub(super) fn size_above(json: &str, limit: usize) -> Option<usize> {
    // Of most documents, the length suffices.
    if json.len().saturating_mul(MAX_GROWTH) <= limit {
        return None;
    }
    Some(size(json)).filter(|size| *size > limit)
}

fn size(json: &str) -> usize {
    let mut size = 0;
    let mut rest = json.as_bytes();
    while let [first, after @ ..] = rest {
        let (bytes, left) = match first {
            b'"' => string(after),
            b',' | b':' => (2, after),
            b' ' | b'\t' | b'\n' | b'\r' => (0, after),
            b'-' | b'0'..=b'9' => {
                let end = rest.iter().position(|byte| !is_of_number(*byte)).unwrap_or(rest.len());
                (number(&json[json.len() - rest.len()..][..end]), &rest[end..])
            }
            _ => (1, after),
        };
        size += bytes;
        rest = left;
    }
    size
}

/// The size of a string whose first quote was read, and the text after it.
fn string(mut rest: &[u8]) -> (usize, &[u8]) {
    let mut size = 1;
    loop {
        match rest {
            [] => return (size, rest),
            [b'"', after @ ..] => return (size + 1, after),
            [b'\\', b'u', after @ ..] => {
                let (bytes, left) = escaped(after);
                size += bytes;
                rest = left;
            }
            [b'\\', b'/', after @ ..] => {
                size += 1;
                rest = after;
            }
            [b'\\', _, after @ ..] => {
                size += 2;
                rest = after;
            }
            [_, after @ ..] => {
                size += 1;
                rest = after;
            }
        }
    }
}

/// The size of the character of an escape whose `\u` was read, and the text after it.
fn escaped(rest: &[u8]) -> (usize, &[u8]) {
    let Some((digits, after)) = rest.split_at_checked(4) else { return (0, &[]) };
    let code = digits.iter().fold(0, |code, digit| code * 16 + char::from(*digit).to_digit(16).unwrap_or(0));
    match code {
        // \b, \t, \n, \f, \r, and a quote or a backslash.
        0x08 | 0x09 | 0x0a | 0x0c | 0x0d | 0x22 | 0x5c => (2, after),
        0x00..0x20 => (6, after),
        0x20..0x80 => (1, after),
        0x80..0x800 => (2, after),
        // A pair of surrogates is one character.
        0xd800..0xdc00 => (4, after.get(6..).unwrap_or_default()),
        _ => (3, after),
    }
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// The length of a number without an exponent. It keeps the digits behind the point.
fn number(text: &str) -> usize {
    let (sign, digits) = text.strip_prefix('-').map_or((0, text), |digits| (1, digits));
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let zeros = whole.bytes().chain(fraction.bytes()).take_while(|digit| *digit == b'0').count();
    let is_zero = zeros == whole.len() + fraction.len();
    let before_point = match is_zero {
        true => 1,
        false => length(whole).saturating_add(exponent).saturating_sub_unsigned(zeros as u64).max(1),
    };
    let scale = length(fraction).saturating_sub(exponent).max(0);
    let behind_point = if scale > 0 { scale.saturating_add(1) } else { 0 };
    let bytes = before_point.saturating_add(behind_point);
    usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(if is_zero { 0 } else { sign })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_text_of_postgres() {
        for (json, stored) in [
            ("{}", "{}"),
            (r#"{ "a" : [ ] }"#, r#"{"a": []}"#),
            (r#"{"a":1,"b":[true,null,"x , : y"]}"#, r#"{"a": 1, "b": [true, null, "x , : y"]}"#),
            (r#"["\u0041\/\n\u000a\u0001\u00e9\u20ac\ud83d\ude00é€😀\"\\"]"#, r#"["A/\n\n\u0001é€😀é€😀\"\\"]"#),
            ("[1e3,1E+3,1.50,-0,-0.0,0e5,0e-2]", "[1000, 1000, 1.50, 0, 0.0, 0, 0.00]"),
            ("[1.5e-7,-1e-7,1.25e1,0.005e3,12.34e1]", "[0.00000015, -0.0000001, 12.5, 5, 123.4]"),
            ("[1e21,-1.5e+22,5e-1]", "[1000000000000000000000, -15000000000000000000000, 0.5]"),
        ] {
            assert_eq!(size(json), stored.len(), "{json}");
            assert_eq!(size(stored), stored.len(), "{stored}");
        }
    }

    #[test]
    fn a_size_is_compared_with_the_limit_itself() {
        let json = format!("[{}1e308]", "1e308,".repeat(99));
        let stored = 309 * 100 + 2 * 99 + 2;
        assert_eq!((size_above(&json, stored), size_above(&json, stored - 1)), (None, Some(stored)));
        assert_eq!(size_above("[1e308]", 64 * 7), None);
    }
}
