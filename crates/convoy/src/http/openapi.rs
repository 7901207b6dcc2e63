//! `GET /api/openapi.json`: the OpenAPI document of the loaded program, which the host of
//! its functions has made.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;

use super::conditional;
use super::respond::{self, HttpAnswer};
use crate::Engine;
use crate::error::Failure;

/// The methods that the path takes.
pub(super) const METHODS: &str = "GET, HEAD";

/// Answers with the document, or with 304.
pub(super) async fn answer(engine: &Engine, head: &Parts) -> Result<HttpAnswer, Failure> {
    let document = engine.openapi_document().await?;
    let tag = conditional::entity_tag(&document.hash);
    let mut answer = match conditional::is_current(&head.headers, &tag) {
        true => respond::empty(StatusCode::NOT_MODIFIED),
        false => respond::with_body(document.text),
    };
    conditional::mark_tag(&mut answer, tag);
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if answer.status() == StatusCode::OK {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    }
    Ok(answer)
}
