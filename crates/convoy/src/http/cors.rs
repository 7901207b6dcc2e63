//! The headers by which pages of other origins are told what they may do: those
//! that `cors.origins` lists, exactly, and no others.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method, StatusCode};

use super::cross_origin;
use super::respond::{self, HttpAnswer};
use crate::config::Config;
use crate::error::{Code, Failure};

/// What a page may read of an answer besides its body.
const EXPOSED: &str = "Convoy-Position, Idempotency-Replayed, Retry-After";
/// Seconds for which a browser may remember a preflight: what Chromium takes at most.
const REMEMBERED: &str = "7200";

/// What a request's origin is granted. Goes onto every answer, refusals included,
/// so that the page can read why.
pub(super) struct Grant {
    /// As the request spelled it.
    origin: Option<HeaderValue>,
    credentials: bool,
    /// Answers differ by origin, so caches must keep them apart.
    varies: bool,
}

impl Grant {
    /// The grant for a request with these headers.
    pub(super) fn of(headers: &HeaderMap, config: &Config) -> Grant {
        let once = headers.get_all(ORIGIN).iter().count() == 1;
        let listed = once
            && cross_origin::origin_in(headers).is_ok_and(|origin| cross_origin::is_listed(origin.as_ref(), config));
        Grant {
            origin: headers.get(ORIGIN).filter(|_| listed).cloned(),
            credentials: config.cors.credentials,
            varies: !config.cors.origins.is_empty(),
        }
    }

    /// Says so.
    pub(super) fn mark(&self, answer: &mut HttpAnswer) {
        let headers = answer.headers_mut();
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = &self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The answer to a preflight of a path that takes `allowed`; `None` where the
    /// request is no preflight.
    pub(super) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
        allowed: &'static str,
    ) -> Option<Result<HttpAnswer, Failure>> {
        let asks = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let origin = headers.get(ORIGIN).filter(|_| asks)?;
        if self.origin.is_none() {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            let message = format!(
                "pages of {origin} may not call this server; if they are yours, name that origin in createConvoy's \
                 cors: {{ origins: [\u{2026}] }}"
            );
            return Some(Err(Failure::new(Code::Forbidden, message)));
        }
        let mut answer = respond::empty(StatusCode::NO_CONTENT);
        let granted = answer.headers_mut();
        granted.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allowed));
        granted.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
        // A client may be given headers of its own, which only the program knows.
        if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            granted.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        for name in [ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS] {
            granted.append(VARY, varied(&name));
        }
        Some(Ok(answer))
    }
}

fn varied(name: &HeaderName) -> HeaderValue {
    // A header's name is a header's value, too.
    HeaderValue::from_str(name.as_str()).unwrap_or(HeaderValue::from_static("*"))
}
