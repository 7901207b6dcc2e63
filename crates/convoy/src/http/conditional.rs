//! Conditional requests (RFC 9110, section 13): entity tags, and what a client has of them.

use hyper::HeaderMap;
use hyper::header::{ETAG, HeaderValue, IF_NONE_MATCH};

use super::respond::HttpAnswer;

/// The strong entity tag of a body with this hash, in visible ASCII without quotes.
pub(super) fn entity_tag(hash: &str) -> HeaderValue {
    // Hashes are hexadecimal.
    HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client already has the body with this tag.
pub(super) fn is_current(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    // Weak comparison: a cache may have weakened the tag. Our tags contain no comma.
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given).as_bytes() == tag.as_bytes())
}

/// Adds an entity tag.
pub(super) fn mark_tag(answer: &mut HttpAnswer, tag: HeaderValue) {
    answer.headers_mut().insert(ETAG, tag);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_body_if_one_of_its_tags_is_that_of_the_body() {
        let current = |lists: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append(IF_NONE_MATCH, HeaderValue::from_static(list));
            }
            is_current(&headers, &entity_tag("ab"))
        };
        for lists in [&["\"ab\""][..], &["W/\"ab\""], &["*"], &["\"x\" , \"ab\""], &["\"x\"", "W/\"y\",W/\"ab\""]] {
            assert!(current(lists), "{lists:?}");
        }
        for lists in [&[][..], &["ab"], &["\"x\""], &["\"abc\""], &["w/\"ab\""], &[""]] {
            assert!(!current(lists), "{lists:?}");
        }
    }
}
