//! Encodes results and failures as HTTP answers.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;

use crate::error::{Code, Failure};
use crate::live::SessionId;

/// An HTTP answer.
pub(super) type HttpAnswer = Response<ResponseBody>;

/// Its body. Only that of a route can fail.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, BrokenOff>;

/// A response that has begun cannot be finished.
#[derive(Debug, thiserror::Error)]
#[error("The route has failed while it wrote the response.")]
pub(crate) struct BrokenOff;

/// A body that is known.
pub(super) fn full(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// `200 {"ok":true,"data":…}`; `data` is JSON text.
pub(super) fn success(data: Bytes) -> HttpAnswer {
    json(StatusCode::OK, envelope(&data))
}

/// Marks an answer as the replay of an earlier call.
pub(super) fn mark_replayed(answer: &mut HttpAnswer) {
    answer.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
}

/// Adds the client's consistency token.
pub(super) fn mark_position(answer: &mut HttpAnswer, position: &str) {
    // Tokens are plain ASCII.
    if let Ok(position) = HeaderValue::from_str(position) {
        answer.headers_mut().insert("convoy-position", position);
    }
}

/// Names the trace of the request, for those who look for it.
pub(super) fn mark_trace(answer: &mut HttpAnswer, traceparent: &str) {
    // Hexadecimal digits and hyphens.
    if let Ok(traceparent) = HeaderValue::from_str(traceparent) {
        answer.headers_mut().insert("traceresponse", traceparent);
    }
}

/// Adds the hash of a query's result.
pub(super) fn mark_hash(answer: &mut HttpAnswer, hash: &str) {
    // Hashes are hexadecimal.
    if let Ok(hash) = HeaderValue::from_str(hash) {
        answer.headers_mut().insert("convoy-hash", hash);
    }
}

/// Names the session on which a mutation is acknowledged.
pub(super) fn mark_session(answer: &mut HttpAnswer, session: SessionId) {
    // Ids are hexadecimal.
    if let Ok(session) = HeaderValue::from_str(&session.to_string()) {
        answer.headers_mut().insert("convoy-session", session);
    }
}

/// Closes the connection after this answer.
pub(super) fn mark_last(answer: &mut HttpAnswer) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// An answer with this body, whose headers are the caller's.
pub(super) fn with_body(body: Bytes) -> HttpAnswer {
    Response::new(full(body))
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> HttpAnswer {
    let mut answer = with_body(Bytes::new());
    *answer.status_mut() = status;
    answer
}

/// The envelope around a result.
pub(super) fn envelope(data: &[u8]) -> Bytes {
    const BEFORE: &[u8] = br#"{"ok":true,"data":"#;
    let mut body = BytesMut::with_capacity(BEFORE.len() + data.len() + 1);
    body.put_slice(BEFORE);
    body.put_slice(data);
    body.put_u8(b'}');
    body.freeze()
}

/// The envelope around an error, with the error's status.
pub(super) fn failure(failure: &Failure) -> HttpAnswer {
    let body = failure.to_envelope();
    let status = StatusCode::from_u16(failure.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json(status, body.into());
    if let Some(seconds) = retry_after(failure) {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// After how many seconds the client may try again, if that is known.
fn retry_after(failure: &Failure) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RetryDetails {
        retry_after_ms: u64,
    }
    match failure.code {
        Code::Unavailable => Some(1),
        Code::RateLimited => {
            // A function may refuse a call, too, with other details.
            let details = serde_json::from_str::<RetryDetails>(failure.details.as_ref()?.get()).ok()?;
            Some(details.retry_after_ms.div_ceil(1_000))
        }
        _ => None,
    }
}

/// The answer to a known path with another method.
pub(super) fn method_not_allowed(method: &Method, allowed: &str) -> HttpAnswer {
    let message = format!("This path takes {allowed}, not {method}.");
    let mut answer = failure(&Failure::new(Code::MethodNotAllowed, message));
    allow(&mut answer, allowed);
    answer
}

/// Names the methods of a path.
pub(super) fn allow(answer: &mut HttpAnswer, methods: &str) {
    // Methods are tokens of ASCII.
    if let Ok(methods) = HeaderValue::from_str(methods) {
        answer.headers_mut().insert(ALLOW, methods);
    }
}

fn json(status: StatusCode, body: Bytes) -> HttpAnswer {
    let mut answer = with_body(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
