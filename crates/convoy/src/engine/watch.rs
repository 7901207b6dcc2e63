//! A live query of this process itself, without a connection.

use std::sync::Arc;

use super::Engine;
use crate::error::Failure;
use crate::live::{Answer, OpenSession, Payer, QueryRequest, Stream, StreamFormat};

/// The results of a live query of this process. Dropping it ends the subscription.
pub struct Watch {
    stream: Stream,
    ended: bool,
}

impl Engine {
    /// Subscribes to a query. `request` describes the caller, as JSON for the host; without
    /// it the context is made for a request without headers, which is marked as trusted.
    pub async fn watch(&self, name: &str, input: String, request: Option<Arc<str>>) -> Result<Watch, Failure> {
        let queries = vec![QueryRequest { id: 0, name: name.to_owned(), input, client_hash: None }];
        let open =
            OpenSession { format: StreamFormat::Plain, queries, position: None, payer: Payer::Free, counted: None };
        let anonymous = || {
            let url = format!("/api/query/{name}");
            serde_json::json!({ "method": "POST", "url": url, "headers": {}, "trusted": true }).to_string().into()
        };
        let stream = self.live.open(open, || request.unwrap_or_else(anonymous)).await?;
        Ok(Watch { stream, ended: false })
    }
}

impl Watch {
    /// Waits for the next result or error, as an envelope of JSON; results that a slow reader
    /// has missed are skipped. `None` when the engine closes.
    pub async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let next = self.stream.next_answer().await;
        self.ended = next.as_ref().is_none_or(|next| next.is_last);
        next.map(|next| next.answer.map_or_else(|failure| failure.to_envelope(), |answer| envelope_of(&answer)))
    }
}

fn envelope_of(answer: &Answer) -> String {
    if let Some(failure) = answer.failure() {
        return failure.to_envelope();
    }
    let data = answer.data().map_or("null".into(), |data| String::from_utf8_lossy(data));
    format!(r#"{{"ok":true,"data":{data}}}"#)
}
