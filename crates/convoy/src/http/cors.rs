//! The CORS headers of answers: granted to the origins that `cors.origins` lists, and to
//! no others.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method, StatusCode};

use super::cross_origin;
use super::respond::{self, HttpAnswer};
use crate::config::Cors;
use crate::error::{Code, Failure};

/// The headers of an answer that a page may read.
const EXPOSED: &str =
    "Convoy-Hash, Convoy-Position, Convoy-Session, ETag, Idempotency-Replayed, Retry-After, traceresponse";
/// Seconds for which a browser may cache a preflight; Chromium's maximum.
const MAX_AGE: &str = "7200";

/// The grant for a request's origin. Its headers are added to every answer, errors
/// included, so that the page can read the error.
pub(super) struct Grant {
    /// The origin as the request has it; `None` if it is not listed.
    origin: Option<HeaderValue>,
    credentials: bool,
    /// Answers differ by origin, so caches must key them by it.
    varies: bool,
}

impl Grant {
    /// The grant for a request with these headers.
    pub(super) fn of(headers: &HeaderMap, cors: &Cors) -> Grant {
        let once = headers.get_all(ORIGIN).iter().count() == 1;
        let listed =
            once && cross_origin::origin_in(headers).is_ok_and(|origin| cross_origin::is_listed(origin.as_ref(), cors));
        Grant {
            origin: headers.get(ORIGIN).filter(|_| listed).cloned(),
            credentials: cors.credentials,
            varies: !cors.origins.is_empty(),
        }
    }

    /// Adds the headers to an answer.
    pub(super) fn apply(&self, answer: &mut HttpAnswer) {
        let headers = answer.headers_mut();
        if self.varies && !names_origin(headers) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = &self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The answer to a preflight of a path that takes the method `allowed`; `None` if the
    /// request is not a preflight.
    pub(super) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
        allowed: &str,
    ) -> Option<Result<HttpAnswer, Failure>> {
        let is_preflight = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let origin = headers.get(ORIGIN).filter(|_| is_preflight)?;
        if self.origin.is_none() {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            let message = format!(
                "Pages of {origin} may not call this server; if they are yours, name that origin in createConvoy's \
                 cors: {{ origins: [\u{2026}] }}."
            );
            return Some(Err(Failure::new(Code::Forbidden, message)));
        }
        let mut answer = respond::empty(StatusCode::NO_CONTENT);
        let granted = answer.headers_mut();
        // Methods are tokens of ASCII.
        if let Ok(allowed) = HeaderValue::from_str(allowed) {
            granted.insert(ACCESS_CONTROL_ALLOW_METHODS, allowed);
        }
        granted.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        // Clients may send headers of the application, so every requested one is allowed.
        if let Some(requested) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            granted.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
        }
        for name in [ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS] {
            granted.append(VARY, header_value(&name));
        }
        Some(Ok(answer))
    }
}

/// Whether `Vary` names `Origin` already.
fn names_origin(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(VARY).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|name| name.trim().eq_ignore_ascii_case("origin"))
}

fn header_value(name: &HeaderName) -> HeaderValue {
    // A header name is a valid header value.
    HeaderValue::from_str(name.as_str()).unwrap_or(HeaderValue::from_static("*"))
}
