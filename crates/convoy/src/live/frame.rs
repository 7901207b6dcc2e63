//! One answer of a live query, as it goes to everyone who watches it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use crate::error::Failure;

/// A result or an error, encoded once and shared by all its receivers.
#[derive(Debug)]
pub struct Frame {
    hash: u128,
    failure: Option<Failure>,
    event: Bytes,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Message<'a> {
    Result { name: &'a str, ts: u64, data: &'a RawValue },
    Error { name: &'a str, ts: u64, error: &'a Failure },
}

impl Frame {
    /// The answer of the function `name` at `ts`, milliseconds since 1970.
    pub fn new(name: &str, result: Result<Bytes, Failure>, ts: u64) -> Frame {
        let checked = result.and_then(|data| {
            // The host promises JSON text; what is not would break the stream.
            serde_json::from_slice::<&RawValue>(&data)
                .map(ToOwned::to_owned)
                .map_err(|error| Failure::internal(name, &error))
        });
        match checked {
            Ok(data) => {
                let event = Message::Result { name, ts, data: &data };
                Frame { hash: xxh3_128(data.get().as_bytes()), failure: None, event: encode(&event, data.get()) }
            }
            Err(failure) => {
                // Not the whole error: its `errorId` differs each time.
                let details = failure.details.as_ref().map_or("", |details| details.get());
                let same = format!("{}\0{}\0{details}", failure.code.as_str(), failure.message);
                let event = encode(&Message::Error { name, ts, error: &failure }, &same);
                Frame { hash: xxh3_128(same.as_bytes()), failure: Some(failure), event }
            }
        }
    }

    /// Names the answer; equal answers have equal hashes.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Why there is no result, if there is none.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The answer as a server-sent event.
    pub fn event(&self) -> &Bytes {
        &self.event
    }
}

/// `id: <hash>`, then the message on one `data:` line; JSON text has no line
/// breaks of its own outside of what a formatter adds, so those are taken out.
fn encode(message: &Message<'_>, hashed: &str) -> Bytes {
    // Strings and already valid JSON always serialize.
    let json = serde_json::to_string(message).unwrap_or_default();
    let hash = xxh3_128(hashed.as_bytes());
    let mut event = format!("id: {hash:032x}\ndata: ");
    if json.contains(['\n', '\r']) {
        event.extend(json.chars().filter(|c| !matches!(c, '\n' | '\r')));
    } else {
        event.push_str(&json);
    }
    event.push_str("\n\n");
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn text(frame: &Frame) -> String {
        String::from_utf8(frame.event().to_vec()).expect("text")
    }

    #[test]
    fn a_result_is_one_event_named_by_its_hash() {
        let frame = Frame::new("a.b", Ok("[1,\n2]".into()), 7);
        let expected = format!(
            "id: {:032x}\ndata: {{\"type\":\"result\",\"name\":\"a.b\",\"ts\":7,\"data\":[1,2]}}\n\n",
            frame.hash()
        );
        assert_eq!(text(&frame), expected);
    }

    #[test]
    fn the_same_error_twice_is_one_answer() {
        let fail = || Err(Failure::internal("x", &"boom"));
        assert_eq!(Frame::new("f", fail(), 1).hash(), Frame::new("f", fail(), 2).hash());
        let other = Err(Failure::new(Code::NotFound, "gone"));
        assert_ne!(Frame::new("f", other, 1).hash(), Frame::new("f", fail(), 2).hash());
    }

    #[test]
    fn what_is_not_json_becomes_an_error() {
        let frame = Frame::new("f", Ok("undefined".into()), 1);
        assert!(frame.failure().is_some() && text(&frame).contains("INTERNAL"));
    }
}
