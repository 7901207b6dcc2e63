//! A live query of this process itself, without a connection.

use std::sync::Arc;

use super::Engine;
use crate::error::Failure;
use crate::live::{OpenSession, QueryRequest, SessionMessage, Stream, StreamFormat};

/// The results of a live query of this process. Dropping it ends the subscription.
pub struct Watch {
    stream: Stream,
    ended: bool,
}

impl Engine {
    /// Subscribes to a query. `request` describes the caller, as JSON for the host; without
    /// it the context is made for a request without headers.
    pub async fn watch(&self, name: &str, input: String, request: Option<Arc<str>>) -> Result<Watch, Failure> {
        let queries = vec![QueryRequest { id: 0, name: name.to_owned(), input, client_hash: None }];
        let open = OpenSession { format: StreamFormat::Plain, queries, position: None, address: None };
        let anonymous = || {
            let url = format!("/api/query/{name}");
            serde_json::json!({ "method": "POST", "url": url, "headers": {} }).to_string().into()
        };
        let stream = self.live.open(open, || request.unwrap_or_else(anonymous)).await?;
        Ok(Watch { stream, ended: false })
    }
}

impl Watch {
    /// Waits for the next result or error, as an envelope of JSON; results that a slow reader
    /// has missed are skipped. `None` when the engine closes.
    pub async fn next(&mut self) -> Option<String> {
        while !self.ended {
            let messages = self.stream.next().await?;
            // One query has one answer in a frame.
            let mut envelope = None;
            for message in messages {
                match message {
                    SessionMessage::Answer { answer, .. } => {
                        envelope = Some(match answer.failure() {
                            Some(failure) => failure.to_envelope(),
                            None => {
                                let data = answer.data().map_or("null".into(), |data| String::from_utf8_lossy(data));
                                format!(r#"{{"ok":true,"data":{data}}}"#)
                            }
                        });
                    }
                    SessionMessage::Rejected(failure) | SessionMessage::Refused { failure, .. } => {
                        self.ended = true;
                        envelope = Some(failure.to_envelope());
                    }
                    SessionMessage::End { .. } => self.ended = true,
                    SessionMessage::Session(_) | SessionMessage::Settled { .. } | SessionMessage::Included { .. } => {}
                }
            }
            if envelope.is_some() {
                return envelope;
            }
        }
        None
    }
}
