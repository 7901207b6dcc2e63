//! One answer of a live query, encoded once and shared by all its receivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::delta::{self, Delta};
use crate::error::{Code, Failure};
use crate::telemetry::RemoteSpan;

/// The hash of an answer; equal answers have equal hashes.
pub(super) type Hash = u128;

/// The hash of a result that is JSON text on one line, as calls return it.
pub(crate) fn hash_of_result(data: &[u8]) -> String {
    hash_to_hex(xxh3_128(data))
}

/// Formats a hash as 32 hexadecimal digits.
pub(super) fn hash_to_hex(hash: Hash) -> String {
    format!("{hash:032x}")
}

/// Parses the format of [`hash_to_hex`].
pub(crate) fn hash_from_hex(text: &str) -> Option<Hash> {
    (text.len() == 32).then(|| Hash::from_str_radix(text, 16).ok()).flatten()
}

/// A result, or the failure in its place.
#[derive(Debug)]
pub(crate) struct Answer {
    hash: Hash,
    /// The whole answer as a server-sent event.
    event: Bytes,
    /// JSON text on one line, a part of the event.
    result: Result<Bytes, Failure>,
    stamp: AnswerStamp,
    delta: Option<Delta>,
    /// What it was made for, for telemetry.
    origin: AnswerOrigin,
}

/// What an answer was made for.
#[derive(Debug, Default)]
pub(crate) struct AnswerOrigin {
    /// When the commit became known that its run was made for.
    pub committed_at: Option<Instant>,
    /// The run, if it is traced.
    pub run: Option<TracedRun>,
    /// How many frames with it have a span.
    frames: AtomicU32,
}

/// A run, for the spans of frames with its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TracedRun {
    /// Its span.
    pub span: RemoteSpan,
    /// The id of the run in its host, which log lines have, too; `None` if nothing ran.
    pub id: Option<u64>,
}

/// The most frames with one answer that have a span: one answer may have thousands of receivers.
const MAX_FRAME_SPANS: u32 = 16;

impl AnswerOrigin {
    /// An origin without frames.
    pub(crate) fn new(committed_at: Option<Instant>, run: Option<TracedRun>) -> AnswerOrigin {
        AnswerOrigin { committed_at, run, frames: AtomicU32::new(0) }
    }

    /// The run that a frame with the answer belongs to; `None` if the frame has no span.
    pub(crate) fn of_frame(&self) -> Option<TracedRun> {
        let run = self.run.filter(|run| run.span.is_sampled())?;
        (self.frames.fetch_add(1, Ordering::Relaxed) < MAX_FRAME_SPANS).then_some(run)
    }
}

/// The time and the consistency token of an answer.
#[derive(Debug, Clone)]
pub(crate) struct AnswerStamp {
    /// Milliseconds since 1970.
    pub ts: u64,
    /// The token of a client that has received it.
    pub position: Arc<str>,
    /// In development: why its run was made, a JSON string.
    pub cause: Option<String>,
}

impl AnswerStamp {
    /// Appends the cause as a member, if there is one.
    fn write_cause(&self, out: &mut Vec<u8>) {
        if let Some(cause) = &self.cause {
            out.extend_from_slice(b",\"cause\":");
            out.extend_from_slice(cause.as_bytes());
        }
    }
}

impl Answer {
    /// The answer of a run of `name`. `before` is the answer that it replaces, where a
    /// subscriber may receive the delta.
    pub(crate) fn new(
        name: &str,
        result: Result<Bytes, Failure>,
        stamp: AnswerStamp,
        before: Option<&Answer>,
    ) -> Answer {
        let result = result.and_then(|data| {
            // The host promises JSON text; anything else would break the stream.
            if let Err(error) = serde_json::from_slice::<&RawValue>(&data) {
                return Err(Failure::internal(name, &error));
            }
            Ok(on_one_line(data))
        });
        let hash = match &result {
            Ok(data) => xxh3_128(data),
            Err(failure) => {
                // Not the whole error: its `errorId` differs each time.
                let details = failure.details.as_ref().map_or("", |details| details.get());
                xxh3_128(format!("{}\0{}\0{details}", failure.code.as_str(), failure.message).as_bytes())
            }
        };
        let (event, data) = event_of(name, hash, &result, &stamp);
        let result = result.map(|_| data);
        let delta = match (&result, before.map(|before| (before.hash, &before.result))) {
            (Ok(new), Some((from, Ok(old)))) if from != hash => delta::between(from, old, new),
            _ => None,
        };
        Answer { hash, event, result, stamp, delta, origin: AnswerOrigin::default() }
    }

    /// The same, of a run that was made for a commit.
    #[must_use]
    pub(crate) fn made_for(self, origin: AnswerOrigin) -> Answer {
        Answer { origin, ..self }
    }

    /// What it was made for.
    pub(crate) fn origin(&self) -> &AnswerOrigin {
        &self.origin
    }

    /// The answer's hash.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// The result, JSON text.
    pub(crate) fn data(&self) -> Option<&Bytes> {
        self.result.as_ref().ok()
    }

    /// The failure in place of a result.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.result.as_ref().err()
    }

    /// Whether it is a transient failure: the query is retried until it has a result.
    pub(crate) fn is_transient(&self) -> bool {
        self.failure().is_some_and(|failure| matches!(failure.code, Code::Unavailable | Code::Timeout))
    }

    /// The consistency token of a client that has received it.
    pub(crate) fn position(&self) -> &str {
        &self.stamp.position
    }

    /// The whole answer as one server-sent event, for streams of only this query.
    pub(crate) fn event(&self) -> Bytes {
        self.event.clone()
    }

    /// Appends the whole answer as the members of a session's message, from after the
    /// query's id to the end of the message.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let AnswerStamp { ts, position, .. } = &self.stamp;
        match &self.result {
            Ok(data) => {
                let hash = hash_to_hex(self.hash);
                out.reserve(data.len() + 160);
                out.extend(format!(r#","hash":"{hash}","ts":{ts},"position":"{position}""#).bytes());
                self.stamp.write_cause(out);
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(data);
                out.push(b'}');
            }
            Err(error) => {
                out.extend(format!(r#","ts":{ts},"position":"{position}","error":{}}}"#, error.to_json()).bytes());
            }
        }
    }

    /// The delta from the answer with this hash, if there is one.
    pub(crate) fn delta_from(&self, base: Hash) -> Option<&Delta> {
        self.delta.as_ref().filter(|delta| delta.from == base)
    }

    /// Appends a delta to this answer in the same way as [`Answer::write`].
    pub(crate) fn write_delta(&self, delta: &Delta, out: &mut Vec<u8>) {
        let (AnswerStamp { ts, position, .. }, from, hash) =
            (&self.stamp, hash_to_hex(delta.from), hash_to_hex(self.hash));
        out.reserve(delta.members.len() + 200);
        out.extend(format!(r#","from":"{from}","hash":"{hash}","ts":{ts},"position":"{position}""#).bytes());
        self.stamp.write_cause(out);
        out.extend_from_slice(delta.members.as_bytes());
        out.push(b'}');
    }
}

/// The server-sent event of an answer, and the part of it that is the result.
fn event_of(name: &str, hash: Hash, result: &Result<Bytes, Failure>, stamp: &AnswerStamp) -> (Bytes, Bytes) {
    let AnswerStamp { ts, position, .. } = stamp;
    let (kind, member, value) = match result {
        Ok(data) => ("result", "data", data.clone()),
        Err(failure) => ("error", "error", Bytes::from(failure.to_json())),
    };
    let (id, name) = (hash_to_hex(hash), serde_json::Value::from(name));
    let start = format!(
        "id: {id}\ndata: {{\"type\":\"{kind}\",\"name\":{name},\"ts\":{ts},\"position\":\"{position}\",\"{member}\":"
    );
    let event = Bytes::from([start.as_bytes(), &value, b"}\n\n"].concat());
    let data = event.slice(start.len()..start.len() + value.len());
    (event, data)
}

/// Removes line breaks: JSON text has them only between its tokens.
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
        let stamp = AnswerStamp { ts: 7, position: "p.1".into(), cause: None };
        Answer::new("a.b", result.map(Bytes::from), stamp, None)
    }

    fn encoded(answer: &Answer) -> String {
        let mut out = Vec::new();
        answer.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_result_is_one_event_with_its_hash_as_id() {
        let answer = answer(Ok("[1,\n2]"));
        let hash = hash_to_hex(answer.hash());
        let expected = format!(
            "id: {hash}\ndata: {{\"type\":\"result\",\"name\":\"a.b\",\"ts\":7,\"position\":\"p.1\",\"data\":[1,2]}}\n\n"
        );
        assert_eq!(answer.event(), expected);
        assert_eq!(hash_from_hex(&hash), Some(answer.hash()));
        assert_eq!(encoded(&answer), format!(r#","hash":"{hash}","ts":7,"position":"p.1","data":[1,2]}}"#));
    }

    #[test]
    fn only_the_first_frames_with_an_answer_have_spans() {
        let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let run = TracedRun { span: RemoteSpan::parse(traced).expect("a span"), id: None };
        let origin = AnswerOrigin::new(None, Some(run));
        let with_span = (0..MAX_FRAME_SPANS + 5).filter(|_| origin.of_frame().is_some()).count();
        assert_eq!(with_span as u32, MAX_FRAME_SPANS);
    }

    #[test]
    fn a_call_and_a_live_query_give_a_result_the_same_hash() {
        assert_eq!(hash_of_result(b"[1,2]"), hash_to_hex(answer(Ok("[1,\n2]")).hash()));
    }

    #[test]
    fn in_development_a_result_says_why_its_run_was_made() {
        let stamp = AnswerStamp { ts: 7, position: "p.1".into(), cause: Some("\"a\"".to_owned()) };
        let answer = Answer::new("a.b", Ok(Bytes::from("1")), stamp, None);
        assert!(encoded(&answer).ends_with(r#""position":"p.1","cause":"a","data":1}"#), "{}", encoded(&answer));
    }

    #[test]
    fn equal_errors_have_equal_hashes() {
        let fail = || Err(Failure::internal("x", &"boom"));
        assert_eq!(answer(fail()).hash(), answer(fail()).hash());
        let other = Err(Failure::new(Code::NotFound, "gone"));
        assert_ne!(answer(other).hash(), answer(fail()).hash());
    }

    #[test]
    fn invalid_json_is_an_error() {
        let answer = answer(Ok("undefined"));
        assert!(answer.failure().is_some() && encoded(&answer).starts_with(r#","ts":7"#));
    }

    #[test]
    fn a_delta_is_sent_only_to_holders_of_its_base() {
        let rows = format!(r#"{{"id":"a","text":"{0}"}},{{"id":"b","text":"{0}"}}"#, "a row ".repeat(30));
        let stamp = |ts, position: &str| AnswerStamp { ts, position: position.into(), cause: None };
        let before = Answer::new("a.b", Ok(format!("[{rows}]").into()), stamp(7, "p.1"), None);
        let data = format!(r#"[{rows},{{"id":"c"}}]"#);
        let after = Answer::new("a.b", Ok(data.into()), stamp(8, "p.2"), Some(&before));
        let expected = format!(
            r#","from":"{}","hash":"{}","ts":8,"position":"p.2","rows":[[0,2],{{"row":{{"id":"c"}}}}]}}"#,
            hash_to_hex(before.hash()),
            hash_to_hex(after.hash())
        );
        let mut out = Vec::new();
        after.write_delta(after.delta_from(before.hash()).expect("a delta"), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert!(after.delta_from(1).is_none());
    }
}
