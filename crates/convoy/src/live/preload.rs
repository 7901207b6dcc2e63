//! Preloading: a call of a query whose page will subscribe to it. The result is retained
//! like that of a live query without subscribers, so that the subscription needs no run.

use std::sync::Arc;

use super::result_cache::CachedResult;
use super::stream::{OpenSession, QueryRequest};
use super::{Live, SessionMessage, StreamFormat};
use crate::error::{Code, Failure};

impl Live {
    /// Subscribes to a query for as long as its first answer takes. Cancel-safe.
    pub(crate) async fn preload(
        self: &Arc<Self>,
        name: &str,
        input: String,
        position: Option<&str>,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<CachedResult, Failure> {
        let queries = vec![QueryRequest { id: 0, name: name.to_owned(), input, client_hash: None }];
        let open = OpenSession { format: StreamFormat::Plain, queries, position, address: None };
        let mut stream = self.open(open, caller).await?;
        while let Some(messages) = stream.next().await {
            for message in messages {
                match message {
                    SessionMessage::Answer { answer, .. } => match (answer.failure(), answer.data()) {
                        (None, Some(data)) => {
                            return Ok(CachedResult { data: data.clone(), position: answer.position().to_owned() });
                        }
                        (failure, _) => return Err(failure.cloned().unwrap_or_else(ended)),
                    },
                    SessionMessage::Rejected(failure) | SessionMessage::Refused { failure, .. } => return Err(failure),
                    SessionMessage::End { .. } => return Err(ended()),
                    SessionMessage::Session(_) | SessionMessage::Settled { .. } | SessionMessage::Included { .. } => {}
                }
            }
        }
        Err(ended())
    }
}

fn ended() -> Failure {
    Failure::new(Code::Unavailable, "The query was ended before it had a result; try again shortly.")
}
