//! The messages that a session receives and their encoding: one JSON object each, the
//! same over server-sent events and over WebSocket.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::{Answer, Hash, hash_to_hex};
use crate::error::Failure;
use crate::failpoints::{Failpoint, Failpoints};

/// The version of the protocol; clients send theirs when they connect.
pub(super) const PROTOCOL: u32 = 1;

/// The id that a client has given to one of its queries.
pub(super) type ClientQueryId = u64;

/// One message to a session.
#[derive(Debug)]
pub(crate) enum SessionMessage {
    /// The session is open and has this id.
    Session(SessionId),
    /// A query's answer.
    Answer {
        /// Which query.
        id: ClientQueryId,
        /// The answer.
        answer: Arc<Answer>,
        /// The hash of the result that the client has, if that is known.
        client_hash: Option<Hash>,
    },
    /// A query of this client cannot be served, or (without an id) a message of the
    /// client is malformed.
    Refused {
        /// Which query.
        id: Option<ClientQueryId>,
        /// Why.
        failure: Failure,
    },
    /// Every change of this mutation has been sent.
    Settled {
        /// The mutation.
        mutation: ReportedMutation,
    },
    /// The results that were sent for these queries have all changes of this mutation, which
    /// is not settled yet.
    Included {
        /// The mutation.
        mutation: ReportedMutation,
        /// Which queries.
        ids: Vec<ClientQueryId>,
    },
    /// Authentication was rejected. No answers follow until a new token is accepted.
    Rejected(Failure),
    /// The last message.
    End {
        /// Why.
        reason: EndReason,
        /// How long the client should wait before it reconnects, in milliseconds.
        retry_ms: u32,
    },
}

/// A mutation of the session's client, as its reports describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportedMutation {
    /// Its idempotency key.
    pub key: String,
    /// Its result, JSON text, if that is short: the client knows the ids of new documents
    /// when they appear, which may be before the response.
    pub result: Option<Bytes>,
}

impl ReportedMutation {
    /// How long a result may be, in bytes.
    const MAX_RESULT: usize = 1 << 10;

    /// A mutation with this result.
    pub(crate) fn new(key: &str, result: &Bytes) -> ReportedMutation {
        let result =
            Some(result).filter(|result| result.len() <= Self::MAX_RESULT && !result.contains(&b'\n')).cloned();
        ReportedMutation { key: key.to_owned(), result }
    }

    fn write(&self, out: &mut Vec<u8>) {
        // A string always serializes.
        let key = serde_json::to_string(&self.key).unwrap_or_default();
        out.extend(format!(r#","key":{key}"#).bytes());
        if let Some(result) = &self.result {
            out.extend_from_slice(br#","result":"#);
            out.extend_from_slice(result);
        }
    }
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The server is shutting down.
    Shutdown,
    /// No valid token arrived in time.
    Auth,
    /// New code was loaded that has a context where the old had none, or the other way
    /// round.
    Reload,
    /// The client reads more slowly than messages are added.
    Overloaded,
}

/// How long a client that is disconnected should wait before it reconnects, in
/// milliseconds; random, so that clients do not reconnect all at once.
pub(super) fn retry_ms(failpoints: &Failpoints) -> u32 {
    if failpoints.has(Failpoint::NoJitter) { 1_000 } else { rand::random_range(500..2_000) }
}

/// The id of a session; it is unguessable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

impl SessionId {
    /// 128 random bits.
    pub fn random() -> SessionId {
        SessionId(rand::random())
    }

    /// Parses an id from its wire format.
    pub fn parse(text: &str) -> Option<SessionId> {
        super::answer::hash_from_hex(text).map(SessionId)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Redacted: the id gives control of a session without a context, so it is never logged.
impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(…)")
    }
}

impl EndReason {
    fn as_str(self) -> &'static str {
        match self {
            EndReason::Shutdown => "shutdown",
            EndReason::Auth => "auth",
            EndReason::Reload => "reload",
            EndReason::Overloaded => "overloaded",
        }
    }
}

impl SessionMessage {
    /// Appends the message as JSON on one line; `seq` is its sequence number in
    /// the session.
    pub(crate) fn write(&self, seq: u64, out: &mut Vec<u8>) {
        match self {
            SessionMessage::Session(session) => {
                push(out, "session", seq);
                out.extend(format!(r#","session":"{session}","protocol":{PROTOCOL}}}"#).bytes());
            }
            SessionMessage::Answer { id, answer, client_hash } => write_answer(*id, answer, *client_hash, seq, out),
            SessionMessage::Refused { id, failure } => {
                push(out, "error", seq);
                if let Some(id) = id {
                    push_id(out, *id);
                }
                out.extend(format!(r#","error":{}}}"#, failure.to_json()).bytes());
            }
            SessionMessage::Settled { mutation } => {
                push(out, "settled", seq);
                mutation.write(out);
                out.push(b'}');
            }
            SessionMessage::Included { mutation, ids } => {
                push(out, "included", seq);
                mutation.write(out);
                // A list of numbers always serializes.
                let ids = serde_json::to_string(ids).unwrap_or_default();
                out.extend(format!(r#","ids":{ids}}}"#).bytes());
            }
            SessionMessage::Rejected(failure) => {
                push(out, "auth", seq);
                out.extend(format!(r#","error":{}}}"#, failure.to_json()).bytes());
            }
            SessionMessage::End { reason, retry_ms } => {
                push(out, "end", seq);
                out.extend(format!(r#","reason":"{}","retryMs":{retry_ms}}}"#, reason.as_str()).bytes());
            }
        }
    }
}

fn write_answer(id: ClientQueryId, answer: &Answer, client_hash: Option<Hash>, seq: u64, out: &mut Vec<u8>) {
    let delta = client_hash.and_then(|base| answer.delta_from(base));
    let is_current = client_hash == Some(answer.hash());
    let kind = match (is_current, delta, answer.failure()) {
        (true, ..) => "same",
        (false, Some(_), _) => "rows",
        (false, None, Some(_)) => "error",
        (false, None, None) => "result",
    };
    push(out, kind, seq);
    push_id(out, id);
    match delta {
        _ if is_current => {
            let (hash, position) = (hash_to_hex(answer.hash()), answer.position());
            out.extend(format!(r#","hash":"{hash}","position":"{position}"}}"#).bytes());
        }
        Some(delta) => answer.write_delta(delta, out),
        None => answer.write(out),
    }
}

/// `{"type":"…","seq":…`
fn push(out: &mut Vec<u8>, kind: &str, seq: u64) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"seq\":");
    push_number(out, seq);
}

fn push_id(out: &mut Vec<u8>, id: ClientQueryId) {
    out.extend_from_slice(b",\"id\":");
    push_number(out, id);
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    // Writing to memory cannot fail.
    let _ = std::io::Write::write_fmt(out, format_args!("{number}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::live::answer::tests::answer;

    fn encode(message: &SessionMessage) -> String {
        let mut out = Vec::new();
        message.write(3, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn messages_serialize_as_the_protocol_specifies() {
        let ok = Arc::new(answer(Ok("[1]")));
        let hash = hash_to_hex(ok.hash());
        let answered = |client_hash| SessionMessage::Answer { id: 9, answer: ok.clone(), client_hash };
        let failed = Arc::new(answer(Err(Failure::new(Code::NotFound, "gone"))));
        let refused = || Failure::new(Code::Unauthorized, "who?");
        let all = [
            (
                SessionMessage::Session(SessionId(255)),
                r#"{"type":"session","seq":3,"session":"000000000000000000000000000000ff","protocol":1}"#.to_owned(),
            ),
            (
                answered(None),
                format!(r#"{{"type":"result","seq":3,"id":9,"hash":"{hash}","ts":7,"position":"p.1","data":[1]}}"#),
            ),
            (answered(Some(ok.hash())), format!(r#"{{"type":"same","seq":3,"id":9,"hash":"{hash}","position":"p.1"}}"#)),
            (
                SessionMessage::Answer { id: 9, answer: failed, client_hash: Some(1) },
                r#"{"type":"error","seq":3,"id":9,"ts":7,"position":"p.1","error":{"code":"NOT_FOUND","message":"gone"}}"#
                    .to_owned(),
            ),
            (
                SessionMessage::Refused { id: None, failure: refused() },
                r#"{"type":"error","seq":3,"error":{"code":"UNAUTHORIZED","message":"who?"}}"#.to_owned(),
            ),
            (
                SessionMessage::Settled { mutation: ReportedMutation::new("a\"b", &Bytes::from(vec![b' '; 1_025])) },
                r#"{"type":"settled","seq":3,"key":"a\"b"}"#.to_owned(),
            ),
            (
                SessionMessage::Included {
                    mutation: ReportedMutation::new("a", &Bytes::from_static(b"[null]")),
                    ids: vec![1, 9],
                },
                r#"{"type":"included","seq":3,"key":"a","result":[null],"ids":[1,9]}"#.to_owned(),
            ),
            (
                SessionMessage::Rejected(refused()),
                r#"{"type":"auth","seq":3,"error":{"code":"UNAUTHORIZED","message":"who?"}}"#.to_owned(),
            ),
            (
                SessionMessage::End { reason: EndReason::Shutdown, retry_ms: 70 },
                r#"{"type":"end","seq":3,"reason":"shutdown","retryMs":70}"#.to_owned(),
            ),
        ];
        for (message, expected) in all {
            assert_eq!(encode(&message), expected);
        }
    }
}
