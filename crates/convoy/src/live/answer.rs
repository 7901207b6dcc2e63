//! One answer of a live query, shared by all who are sent it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::delta::{self, Delta};
use crate::error::{Code, Failure};

/// Names an answer; equal answers have equal hashes.
pub(super) type Hash = u128;

/// How a hash is spelled.
pub(super) fn spelled(hash: Hash) -> String {
    format!("{hash:032x}")
}

/// Reads what [`spelled`] has written.
pub(crate) fn hash_in(text: &str) -> Option<Hash> {
    (text.len() == 32).then(|| Hash::from_str_radix(text, 16).ok()).flatten()
}

/// A result, or why there is none.
#[derive(Debug)]
pub(crate) struct Answer {
    hash: Hash,
    /// JSON text on one line.
    outcome: Result<Bytes, Failure>,
    made: Made,
    delta: Option<Delta>,
    /// Streams that carry nothing else are all sent the same bytes.
    event: OnceLock<Bytes>,
}

/// When an answer was made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Milliseconds since 1970.
    pub ts: u64,
    /// The position of who has seen it.
    pub position: Arc<str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Message<'a> {
    Result { name: &'a str, ts: u64, position: &'a str, data: &'a RawValue },
    Error { name: &'a str, ts: u64, position: &'a str, error: &'a Failure },
}

impl Answer {
    /// What a run of `name` gave. `before` is the answer it takes the place of,
    /// where someone may be served the difference.
    pub(crate) fn new(name: &str, result: Result<Bytes, Failure>, made: Made, before: Option<&Answer>) -> Answer {
        let outcome = result.and_then(|data| {
            // The host promises JSON text; what is not would break the stream.
            if let Err(error) = serde_json::from_slice::<&RawValue>(&data) {
                return Err(Failure::internal(name, &error));
            }
            Ok(on_one_line(data))
        });
        let hash = match &outcome {
            Ok(data) => xxh3_128(data),
            Err(failure) => {
                // Not the whole error: its `errorId` differs each time.
                let details = failure.details.as_ref().map_or("", |details| details.get());
                xxh3_128(format!("{}\0{}\0{details}", failure.code.as_str(), failure.message).as_bytes())
            }
        };
        let delta = match (&outcome, before.map(|before| (before.hash, &before.outcome))) {
            (Ok(new), Some((from, Ok(old)))) if from != hash => delta::between(from, old, new),
            _ => None,
        };
        Answer { hash, outcome, made, delta, event: OnceLock::new() }
    }

    /// Its name.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// The result, JSON text.
    pub(crate) fn data(&self) -> Option<&Bytes> {
        self.outcome.as_ref().ok()
    }

    /// Why there is no result, if there is none.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.outcome.as_ref().err()
    }

    /// Whether it will pass by itself: the query runs again until it does.
    pub(crate) fn is_passing(&self) -> bool {
        self.failure().is_some_and(|failure| matches!(failure.code, Code::Unavailable | Code::Timeout))
    }

    /// The position of who has seen it.
    pub(crate) fn position(&self) -> &str {
        &self.made.position
    }

    /// The whole answer of the function `name` as one server-sent event of a
    /// stream that carries nothing else.
    pub(crate) fn event(&self, name: &str) -> Bytes {
        let encode = || {
            let Made { ts, position } = &self.made;
            let message = match &self.outcome {
                Ok(data) => serde_json::from_slice(data)
                    .and_then(|data| serde_json::to_string(&Message::Result { name, ts: *ts, position, data })),
                Err(error) => serde_json::to_string(&Message::Error { name, ts: *ts, position, error }),
            };
            // What was checked to be JSON always serializes.
            format!("id: {}\ndata: {}\n\n", spelled(self.hash), message.unwrap_or_default()).into()
        };
        self.event.get_or_init(encode).clone()
    }

    /// Appends the whole answer as the members of a session's message, from behind
    /// the query's id to its end.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let Made { ts, position } = &self.made;
        match &self.outcome {
            Ok(data) => {
                let hash = spelled(self.hash);
                out.reserve(data.len() + 160);
                out.extend(format!(r#","hash":"{hash}","ts":{ts},"position":"{position}","data":"#).bytes());
                out.extend_from_slice(data);
                out.push(b'}');
            }
            Err(error) => {
                out.extend(format!(r#","ts":{ts},"position":"{position}","error":{}}}"#, error.to_json()).bytes());
            }
        }
    }

    /// The difference to an answer that someone holds, if that is known.
    pub(crate) fn delta_to(&self, held: Hash) -> Option<&Delta> {
        self.delta.as_ref().filter(|delta| delta.from == held)
    }

    /// Appends a difference to this answer in the same way.
    pub(crate) fn write_delta(&self, delta: &Delta, out: &mut Vec<u8>) {
        let (Made { ts, position }, from, hash) = (&self.made, spelled(delta.from), spelled(self.hash));
        out.reserve(delta.members.len() + 200);
        out.extend(format!(r#","from":"{from}","hash":"{hash}","ts":{ts},"position":"{position}""#).bytes());
        out.extend_from_slice(delta.members.as_bytes());
        out.push(b'}');
    }
}

/// JSON text has no line breaks but those a formatter adds between its parts.
fn on_one_line(data: Bytes) -> Bytes {
    if data.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        data.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect::<Vec<_>>().into()
    } else {
        data
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn answer(result: Result<&'static str, Failure>) -> Answer {
        let made = Made { ts: 7, position: "p.1".into() };
        Answer::new("a.b", result.map(Bytes::from), made, None)
    }

    fn written(answer: &Answer) -> String {
        let mut out = Vec::new();
        answer.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_result_is_one_event_named_by_its_hash() {
        let answer = answer(Ok("[1,\n2]"));
        let hash = spelled(answer.hash());
        let expected = format!(
            "id: {hash}\ndata: {{\"type\":\"result\",\"name\":\"a.b\",\"ts\":7,\"position\":\"p.1\",\"data\":[1,2]}}\n\n"
        );
        assert_eq!(answer.event("a.b"), expected);
        assert_eq!(hash_in(&hash), Some(answer.hash()));
        assert_eq!(written(&answer), format!(r#","hash":"{hash}","ts":7,"position":"p.1","data":[1,2]}}"#));
    }

    #[test]
    fn the_same_error_twice_is_one_answer() {
        let fail = || Err(Failure::internal("x", &"boom"));
        assert_eq!(answer(fail()).hash(), answer(fail()).hash());
        let other = Err(Failure::new(Code::NotFound, "gone"));
        assert_ne!(answer(other).hash(), answer(fail()).hash());
    }

    #[test]
    fn invalid_json_is_an_error() {
        let answer = answer(Ok("undefined"));
        assert!(answer.failure().is_some() && written(&answer).starts_with(r#","ts":7"#));
    }

    #[test]
    fn a_delta_is_sent_only_to_holders_of_its_base() {
        let rows = format!(r#"{{"id":"a","text":"{0}"}},{{"id":"b","text":"{0}"}}"#, "a row ".repeat(30));
        let made = |ts, position: &str| Made { ts, position: position.into() };
        let before = Answer::new("a.b", Ok(format!("[{rows}]").into()), made(7, "p.1"), None);
        let data = format!(r#"[{rows},{{"id":"c"}}]"#);
        let after = Answer::new("a.b", Ok(data.into()), made(8, "p.2"), Some(&before));
        let expected = format!(
            r#","from":"{}","hash":"{}","ts":8,"position":"p.2","rows":[[0,2],{{"row":{{"id":"c"}}}}]}}"#,
            spelled(before.hash()),
            spelled(after.hash())
        );
        let mut out = Vec::new();
        after.write_delta(after.delta_to(before.hash()).expect("a difference"), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert!(after.delta_to(1).is_none());
    }
}
