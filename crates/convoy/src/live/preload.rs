//! Preloading: a call of a query whose page will subscribe to it. The result is retained
//! like that of a live query without subscribers, so that the subscription needs no run.

use std::sync::Arc;

use super::result_cache::CachedResult;
use super::stream::{OpenSession, Payer, QueryRequest};
use super::{Live, StreamFormat};
use crate::error::{Code, Failure};

impl Live {
    /// Subscribes to a query for as long as its first answer takes, which is not older than the
    /// position, or than the call if there is none. Cancel-safe.
    pub(crate) async fn preload(
        self: &Arc<Self>,
        name: &str,
        input: String,
        position: Option<&str>,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<CachedResult, Failure> {
        let arrival = self.position();
        let position = Some(position.unwrap_or(&arrival));
        let queries = vec![QueryRequest { id: 0, name: name.to_owned(), input, client_hash: None }];
        let open = OpenSession { format: StreamFormat::Plain, queries, position, payer: Payer::Free, counted: None };
        let mut stream = self.open(open, caller).await?;
        let answer = stream.next_answer().await.ok_or_else(ended)?.answer?;
        match answer.failure() {
            Some(failure) => Err(failure.clone()),
            None => CachedResult::of(&answer, answer.position().to_owned()).ok_or_else(ended),
        }
    }
}

fn ended() -> Failure {
    Failure::new(Code::Unavailable, "The query was ended before it had a result; try again shortly.")
}
