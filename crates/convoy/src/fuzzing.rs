//! What each fuzz target does with its input: parses it, and checks what must hold of the
//! result. Behind a cargo feature that no release has; `crates/convoy/fuzz/` has the targets.
//!
//! Invariant: no function here panics, on any bytes. A test runs all kept inputs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::live::client_messages;
use crate::op::Position;
use crate::{lossy, value};

pub use crate::feed::fuzzing::{log_rows, peer_messages};
pub use crate::http::fuzzing::requests;
pub use crate::key::fuzzing::key_bytes;

/// The arguments of a call: JSON text.
pub fn arguments(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let checked = value::check(text);
    let Ok(canonical) = value::canonical(text) else {
        // The check lets half a surrogate pair through, which JavaScript can represent.
        assert!(checked.is_err() || text.contains("\\u"), "accepted, and not canonical");
        return;
    };
    assert!(checked.is_ok(), "canonical, and not accepted");
    assert_eq!(value::canonical(&canonical).ok().as_ref(), Some(&canonical), "the canonical text is not its own");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    assert_eq!(parse(text), parse(&canonical), "the canonical text has another value");
    let found = lossy::find(text);
    let has_exponents = found.numbers.iter().any(|number| number.text.contains(['e', 'E']));
    if !has_exponents && !found.numbers.is_empty() {
        assert!(lossy::may_be_lossy(text), "the quick check misses a number that JavaScript rounds");
    }
    if let Some(members) = lossy::members(text) {
        assert!(parse(&format!("{{\"ok\":true{members}}}")).is_some(), "the members are no JSON");
    }
}

/// A pagination cursor, as a client returns it.
pub fn cursors(data: &[u8]) {
    const FINGERPRINT: u64 = 7;
    let as_sent = std::str::from_utf8(data).ok().map(str::to_owned);
    // The decoded form too, which a fuzzer finds sooner.
    for text in as_sent.into_iter().chain([URL_SAFE_NO_PAD.encode(data)]) {
        let Some(position) = Position::decode(&text, FINGERPRINT) else { continue };
        assert_eq!(Position::decode(&position.encode(FINGERPRINT), FINGERPRINT), Some(position.clone()));
        assert_eq!(Position::decode(&position.encode(FINGERPRINT), FINGERPRINT + 1), None, "another query's cursor");
    }
}

/// A message about live queries: the body of a POST, or a message of a WebSocket.
pub fn messages(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let opened = client_messages::parse_queries(text);
    if let Ok(hello) = client_messages::parse_hello(text) {
        assert_eq!(opened.as_ref().map(Vec::len).ok(), Some(hello.queries.len()));
    }
    let changed = client_messages::parse_session_update(text);
    if let Ok(change) = client_messages::parse_update(text) {
        assert_eq!(changed.as_ref().map(|update| update.remove.clone()).ok(), Some(change.update.remove));
    }
    for query in opened.unwrap_or_default().into_iter().chain(changed.map(|update| update.add).unwrap_or_default()) {
        // The input of a message is JSON, which may still be too deep or have too large numbers.
        let refused = value::check(&query.input).err();
        assert!(!matches!(refused, Some(value::JsonError::Syntax(_))), "{refused:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn kept_inputs_of_the_fuzz_targets_pass() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 7] = [
            ("arguments", arguments),
            ("cursors", cursors),
            ("messages", messages),
            ("log_rows", log_rows),
            ("peer_messages", peer_messages),
            ("key_bytes", key_bytes),
            ("requests", requests),
        ];
        for (name, target) in targets {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
            let files = std::fs::read_dir(&folder).expect("the folder of kept inputs");
            let mut count = 0;
            for file in files {
                let path = file.expect("a file").path();
                target(&std::fs::read(&path).expect("it can be read"));
                count += 1;
            }
            assert!(count > 0, "{name} has no inputs");
        }
    }
}
