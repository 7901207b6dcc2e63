//! The request body and the response of a running HTTP route, for its JavaScript thread.
//! After the route has ended, a read fails, and there is no client to write to.

use std::sync::Arc;

use convoy::{RouteExchange, RouteHead};
use napi::bindgen_prelude::{Buffer, Object};
use napi::{Env, Result};

use crate::promise::{malformed, promise, rejection};

type Route = Option<Arc<RouteExchange>>;

/// The next chunk of the request body. Resolves to a `Buffer`, or to `null` at the end.
pub fn read_body(env: &Env, route: Route) -> Result<Object<'_>> {
    promise(env, async move {
        let chunk = route.ok_or_else(RouteExchange::over)?.read().await?;
        Ok(chunk.map(|chunk| Buffer::from(Vec::from(chunk))))
    })
}

/// Starts the response: `head` is JSON, `body` the whole body if it is known.
pub fn begin_response(route: Route, head: &str, body: Option<Buffer>) -> Result<()> {
    let head: RouteHead = serde_json::from_str(head).map_err(|error| rejection(&malformed("response", &error)))?;
    if let Some(route) = route {
        route.begin(head, body.map(|bytes| Vec::from(bytes.as_ref()).into()));
    }
    Ok(())
}

/// Sends a chunk of the response. Resolves to false if the client takes no more.
pub fn write_response(env: &Env, route: Route, chunk: Buffer) -> Result<Object<'_>> {
    let chunk = Vec::from(chunk.as_ref());
    promise(env, async move {
        match route {
            Some(route) => Ok(route.write(chunk.into()).await),
            None => Ok(false),
        }
    })
}

/// Resolves to true when the client has left, and to false when the route has ended.
pub fn client_gone(env: &Env, route: Route) -> Result<Object<'_>> {
    promise(env, async move {
        match route {
            Some(route) => Ok(route.client_gone().await),
            None => Ok(false),
        }
    })
}
