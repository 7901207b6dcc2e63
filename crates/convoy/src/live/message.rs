//! What a session is told, and its spelling: messages of one JSON object each,
//! the same over server-sent events and over WebSocket.

use std::sync::Arc;

use super::answer::{Answer, Hash, spelled};
use crate::error::Failure;
use crate::failpoints::{Failpoint, Failpoints};

/// The protocol spoken here; clients say which they speak.
pub(super) const PROTOCOL: u32 = 1;

/// The number a client knows one of its queries by.
pub(super) type ClientQueryId = u64;

/// One message to a session.
#[derive(Debug)]
pub(crate) enum Message {
    /// The session is open under this name.
    Session(SessionId),
    /// A query's answer.
    Answer {
        /// Which query.
        id: ClientQueryId,
        /// The answer.
        answer: Arc<Answer>,
        /// What the client holds, if that is known.
        held: Option<Hash>,
    },
    /// A query of this client cannot be served, or (without one) a message of the
    /// client's could not be understood.
    Refused {
        /// Which query.
        id: Option<ClientQueryId>,
        /// Why.
        failure: Failure,
    },
    /// Everything that this mutation changed has been sent.
    Settled {
        /// Its key.
        key: String,
    },
    /// Who asks may not, or not any more. Nothing follows until they may.
    Rejected(Failure),
    /// The last message.
    End {
        /// Why.
        reason: EndReason,
        /// When the client should come again, in milliseconds.
        retry_ms: u32,
    },
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The server is shutting down.
    Shutdown,
    /// No valid token came in time.
    Auth,
    /// New code was loaded under which nothing of this session holds.
    Reload,
    /// More is to be said to it than it reads.
    Overloaded,
}

/// When a client that is sent away should come again: not all at once.
pub(super) fn retry_ms(failpoints: &Failpoints) -> u32 {
    if failpoints.has(Failpoint::NoJitter) { 1_000 } else { rand::random_range(500..2_000) }
}

/// The id of a session; it cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

impl SessionId {
    /// 128 random bits.
    pub fn random() -> SessionId {
        SessionId(rand::random())
    }

    /// Reads a name as it travels.
    pub fn parse(text: &str) -> Option<SessionId> {
        super::answer::hash_in(text).map(SessionId)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Who knows it can speak for the session, so it goes into no log.
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

impl Message {
    /// Appends the message as JSON on one line; `seq` is its place among the
    /// session's messages.
    pub(crate) fn write(&self, seq: u64, out: &mut Vec<u8>) {
        match self {
            Message::Session(session) => {
                push(out, "session", seq);
                out.extend(format!(r#","session":"{session}","protocol":{PROTOCOL}}}"#).bytes());
            }
            Message::Answer { id, answer, held } => write_answer(*id, answer, *held, seq, out),
            Message::Refused { id, failure } => {
                push(out, "error", seq);
                if let Some(id) = id {
                    push_id(out, *id);
                }
                out.extend(format!(r#","error":{}}}"#, failure.to_json()).bytes());
            }
            Message::Settled { key } => {
                push(out, "settled", seq);
                // A string always serializes.
                let key = serde_json::to_string(key).unwrap_or_default();
                out.extend(format!(r#","key":{key}}}"#).bytes());
            }
            Message::Rejected(failure) => {
                push(out, "auth", seq);
                out.extend(format!(r#","error":{}}}"#, failure.to_json()).bytes());
            }
            Message::End { reason, retry_ms } => {
                push(out, "end", seq);
                out.extend(format!(r#","reason":"{}","retryMs":{retry_ms}}}"#, reason.as_str()).bytes());
            }
        }
    }
}

fn write_answer(id: ClientQueryId, answer: &Answer, held: Option<Hash>, seq: u64, out: &mut Vec<u8>) {
    let delta = held.and_then(|held| answer.delta_to(held));
    let is_held = held == Some(answer.hash());
    let kind = match (is_held, delta, answer.failure()) {
        (true, ..) => "same",
        (false, Some(_), _) => "rows",
        (false, None, Some(_)) => "error",
        (false, None, None) => "result",
    };
    push(out, kind, seq);
    push_id(out, id);
    match delta {
        _ if is_held => {
            let (hash, position) = (spelled(answer.hash()), answer.position());
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

    fn spell(message: &Message) -> String {
        let mut out = Vec::new();
        message.write(3, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn messages_serialize_as_the_protocol_specifies() {
        let ok = Arc::new(answer(Ok("[1]")));
        let hash = spelled(ok.hash());
        let of = |held| Message::Answer { id: 9, answer: ok.clone(), held };
        let failed = Arc::new(answer(Err(Failure::new(Code::NotFound, "gone"))));
        let refused = || Failure::new(Code::Unauthorized, "who?");
        let all = [
            (
                Message::Session(SessionId(255)),
                r#"{"type":"session","seq":3,"session":"000000000000000000000000000000ff","protocol":1}"#.to_owned(),
            ),
            (
                of(None),
                format!(r#"{{"type":"result","seq":3,"id":9,"hash":"{hash}","ts":7,"position":"p.1","data":[1]}}"#),
            ),
            (of(Some(ok.hash())), format!(r#"{{"type":"same","seq":3,"id":9,"hash":"{hash}","position":"p.1"}}"#)),
            (
                Message::Answer { id: 9, answer: failed, held: Some(1) },
                r#"{"type":"error","seq":3,"id":9,"ts":7,"position":"p.1","error":{"code":"NOT_FOUND","message":"gone"}}"#
                    .to_owned(),
            ),
            (
                Message::Refused { id: None, failure: refused() },
                r#"{"type":"error","seq":3,"error":{"code":"UNAUTHORIZED","message":"who?"}}"#.to_owned(),
            ),
            (Message::Settled { key: "a\"b".into() }, r#"{"type":"settled","seq":3,"key":"a\"b"}"#.to_owned()),
            (
                Message::Rejected(refused()),
                r#"{"type":"auth","seq":3,"error":{"code":"UNAUTHORIZED","message":"who?"}}"#.to_owned(),
            ),
            (
                Message::End { reason: EndReason::Shutdown, retry_ms: 70 },
                r#"{"type":"end","seq":3,"reason":"shutdown","retryMs":70}"#.to_owned(),
            ),
        ];
        for (message, expected) in all {
            assert_eq!(spell(&message), expected);
        }
    }
}
