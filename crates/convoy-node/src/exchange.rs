//! The JavaScript class of a request that another HTTP server of this process has received.

use std::sync::Arc;

use convoy::{Exchange, ExchangeBody, Pushed};
use napi::bindgen_prelude::{Buffer, Object};
use napi::{Env, Result};
use napi_derive::napi;

use crate::panic_point::{self, At};
use crate::promise::{malformed, promise, rejection};
use crate::shared::Shared;

/// A request, and its response.
#[napi]
pub struct NativeExchange {
    exchange: Arc<Exchange>,
}

/// The start of a response.
#[napi(object)]
pub struct NativeResponse {
    /// Status and headers, as JSON.
    pub head: String,
    /// The body, if it is not a stream.
    pub body: Buffer,
}

/// Begins an exchange: `head` is JSON, `body` is `whole`, `pushed` or `upgrade`.
pub fn begin(shared: &Shared, head: &str, body: &str, whole: Option<Buffer>) -> Result<Option<NativeExchange>> {
    let head = serde_json::from_str(head).map_err(|error| rejection(&malformed("request", &error)))?;
    let body = match body {
        "pushed" => ExchangeBody::Pushed,
        "upgrade" => ExchangeBody::Upgrade,
        _ => ExchangeBody::Whole(whole.map(|bytes| Vec::from(bytes.as_ref()).into()).unwrap_or_default()),
    };
    let exchange = Exchange::begin(&shared.engine, head, body);
    Ok(exchange.map(|exchange| NativeExchange { exchange: Arc::new(exchange) }))
}

#[napi]
impl NativeExchange {
    /// Adds a chunk: `accepted`, `full` or `closed`.
    #[napi(catch_unwind)]
    pub fn push(&self, chunk: Buffer) -> &'static str {
        panic_point::reach(At::Call);
        match self.exchange.push(Vec::from(chunk.as_ref()).into()) {
            Pushed::Accepted => "accepted",
            Pushed::Full => "full",
            Pushed::Closed => "closed",
        }
    }

    /// Resolves when a chunk can be pushed again, or none can any more.
    #[napi(catch_unwind)]
    pub fn room<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let exchange = self.exchange.clone();
        promise(env, async move {
            exchange.room().await;
            Ok(())
        })
    }

    /// Ends the chunks.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        panic_point::reach(At::Call);
        self.exchange.end();
    }

    /// Ends the chunks, with the reason that the rest is missing.
    #[napi(catch_unwind)]
    pub fn fail(&self, reason: String) {
        panic_point::reach(At::Call);
        self.exchange.fail(reason);
    }

    /// Answers. Resolves to a `NativeResponse`, or to `null` once closed.
    #[napi(catch_unwind)]
    pub fn respond<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let exchange = self.exchange.clone();
        promise(env, async move {
            let Some((head, body)) = exchange.respond().await else { return Ok(None) };
            let head = serde_json::to_string(&head).map_err(|error| malformed("response", &error))?;
            Ok(Some(NativeResponse { head, body: Vec::from(body).into() }))
        })
    }

    /// The next chunk of a stream. Resolves to a `Buffer`, or to `null` at the end; rejects if
    /// the connection must be broken off.
    #[napi(catch_unwind)]
    pub fn pull<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let exchange = self.exchange.clone();
        promise(env, async move { Ok(exchange.pull().await?.map(|chunk| Buffer::from(Vec::from(chunk)))) })
    }

    /// Ends the exchange as if the client had closed its connection.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        panic_point::reach(At::Call);
        self.exchange.close();
    }
}

impl Drop for NativeExchange {
    fn drop(&mut self) {
        // Garbage-collected: nothing reads the response any more.
        self.exchange.close();
    }
}
