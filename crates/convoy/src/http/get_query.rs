//! Queries by GET, for caches: `GET /api/query/<name>?args=…`, and HEAD.
//!
//! Invariant: neither a body nor a 304 is sent before the context of this caller was made
//! and the query has a result for it. Only that result decides about the 304.

use std::net::IpAddr;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::respond::{self, HttpAnswer};
use super::{conditional, guard};
use crate::Engine;
use crate::dispatch::HttpGet;
use crate::engine::{Caching, RemoteAnswer, RemoteRead};
use crate::error::Failure;

/// The methods of a query that answers GET.
pub(super) const METHODS: &str = "GET, HEAD, POST";

/// How the query answers this method; otherwise the methods that it takes. A name that
/// clients cannot call takes the same methods as a query without GET.
pub(super) fn method_of(
    engine: &Engine,
    name: &str,
    method: &Method,
) -> Result<Result<HttpGet, &'static str>, Failure> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match engine.http_get(name) {
        Ok(Some(how)) if is_read => Ok(Ok(how)),
        Ok(Some(_)) => Ok(Err(METHODS)),
        // A preflight of a POST is answered also while no functions are loaded.
        Err(failure) if is_read => Err(failure),
        Ok(None) | Err(_) => Ok(Err("POST")),
    }
}

/// Runs the query, and answers with its result or with 304.
pub(super) async fn answer(
    engine: &Engine,
    head: &Parts,
    address: Option<IpAddr>,
    (how, name, input): (HttpGet, &str, String),
) -> Result<HttpAnswer, Failure> {
    let read = RemoteRead {
        name,
        input,
        caller: &|keyed| guard::caller(head, address, keyed),
        anonymous: &|| guard::anonymous_caller(head),
        position: guard::position(&head.headers),
        no_cache: guard::is_no_cache(&head.headers),
        address,
    };
    let (RemoteAnswer { result, position, hash, .. }, caching) = engine.read(how, read).await?;
    let hash = hash.unwrap_or_default();
    let tag = conditional::entity_tag(&hash);
    let is_current = caching != Caching::Never && conditional::is_current(&head.headers, &tag);
    let mut answer = if is_current { respond::empty(StatusCode::NOT_MODIFIED) } else { respond::success(result) };
    respond::mark_position(&mut answer, &position);
    respond::mark_hash(&mut answer, &hash);
    if caching != Caching::Never {
        conditional::mark_tag(&mut answer, tag);
    }
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, cache_control(caching));
    if !matches!(caching, Caching::Public(_)) {
        headers.insert(VARY, HeaderValue::from_static("Authorization, Cookie, Origin"));
    }
    if is_current {
        headers.remove(CONTENT_TYPE);
    }
    Ok(answer)
}

fn cache_control(caching: Caching) -> HeaderValue {
    match caching {
        Caching::Revalidate => HeaderValue::from_static("private, no-cache"),
        Caching::Never => HeaderValue::from_static("private, no-store"),
        // Digits.
        Caching::Public(seconds) => HeaderValue::from_str(&format!("public, max-age={seconds}"))
            .unwrap_or(HeaderValue::from_static("private, no-store")),
    }
}
