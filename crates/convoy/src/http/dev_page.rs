//! The page of `convoy dev` at `/_convoy`: decides which requests may reach it, and passes
//! these to its [`DevPage`]. In development only.
//!
//! The page can call every function, so only programs and pages of this machine are
//! answered: the peer, the `Host` and the `Origin` must be this machine, and the request
//! must not have been forwarded. The page itself also asks for a token.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::body::RequestBody;
use super::respond::{self, HttpAnswer};
use super::this_machine::{self, Foreign};
use super::{body, cross_origin};
use crate::config::Limits;
use crate::error::{Code, Failure};

/// The page, which is not part of the engine.
pub trait DevPage: Send + Sync {
    /// Answers a request.
    fn answer(&self, request: DevRequest) -> BoxFuture<'static, Result<DevAnswer, Failure>>;
}

/// A request to the page that has passed the checks.
#[derive(Debug)]
pub struct DevRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// The path after `/_convoy`, with the query.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The body, as text.
    pub body: String,
}

/// Its answer.
#[derive(Debug)]
pub struct DevAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type` header.
    pub content_type: String,
    /// The body.
    pub body: String,
}

const PATH: &str = "/_convoy";

/// No other page may embed or read it, and it loads nothing from elsewhere.
const PROTECTION: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// The rest of the path of a request to the page.
pub(super) fn path_of(head: &Parts) -> Option<String> {
    let path = head.uri.path().strip_prefix(PATH)?;
    if !path.is_empty() && !path.starts_with('/') {
        return None;
    }
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{path}{query}"))
}

/// Answers a request to the page.
pub(super) async fn answer(
    page: &Arc<dyn DevPage>,
    path: String,
    (head, incoming): (&Parts, &mut RequestBody),
    (peer, limits): (IpAddr, &Limits),
) -> Result<HttpAnswer, Failure> {
    check(head, peer)?;
    let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = body::read(incoming, limits).await?;
    let answer = page.answer(DevRequest { method: head.method.to_string(), path, authorization, body }).await?;
    let mut response = Response::new(respond::full(answer.body.into()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_str(&answer.content_type);
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8")));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in PROTECTION {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Ok(response)
}

fn check(head: &Parts, peer: IpAddr) -> Result<(), Failure> {
    let refused = |message: &str| Err(Failure::new(Code::Forbidden, message));
    if head.method != hyper::Method::GET && head.method != hyper::Method::POST {
        return Err(Failure::new(Code::MethodNotAllowed, "The page of convoy dev takes GET and POST."));
    }
    match this_machine::check(&head.headers, peer) {
        Ok(()) => {}
        Err(Foreign::Peer) => {
            return refused("The page of convoy dev is served to this machine only, and not through a proxy.");
        }
        Err(Foreign::Host) => {
            return refused(
                "The page of convoy dev is served at localhost and 127.0.0.1 only; this request has another Host.",
            );
        }
    }
    if !cross_origin::is_own(&head.headers)? {
        return refused("The page of convoy dev answers its own requests only; open its link directly.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::this_machine::FORWARDED;
    use super::*;

    const LOCAL: &str = "127.0.0.1";

    fn code(peer: &str, method: &str, headers: &[(&str, &str)]) -> Option<Code> {
        let request = hyper::Request::builder().method(method).uri("/_convoy/state");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (head, ()) = request.body(()).expect("a request").into_parts();
        check(&head, peer.parse().expect("an address")).err().map(|failure| failure.code)
    }

    #[test]
    fn only_requests_of_this_machine_pass() {
        let host = ("host", "localhost:3000");
        assert_eq!(code(LOCAL, "GET", &[host]), None);
        assert_eq!(code("::1", "POST", &[("host", "[::1]:3000")]), None);
        assert_eq!(code("10.0.0.7", "GET", &[host]), Some(Code::Forbidden));
        assert_eq!(code(LOCAL, "GET", &[("host", "10.0.0.7:3000")]), Some(Code::Forbidden));
        assert_eq!(code(LOCAL, "GET", &[("host", "localhost.evil.test")]), Some(Code::Forbidden));
        assert_eq!(code(LOCAL, "GET", &[]), Some(Code::Forbidden));
        for name in FORWARDED {
            assert_eq!(code(LOCAL, "GET", &[host, (name, "10.0.0.7")]), Some(Code::Forbidden), "{name}");
        }
        assert_eq!(code(LOCAL, "OPTIONS", &[host]), Some(Code::MethodNotAllowed));
    }

    #[test]
    fn a_foreign_page_gets_nothing_by_any_method() {
        let host = ("host", "localhost:3000");
        for method in ["GET", "POST"] {
            for (name, value) in [
                ("origin", "https://evil.test"),
                ("origin", "http://localhost:5173"),
                ("origin", "null"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                assert_eq!(
                    code(LOCAL, method, &[host, (name, value)]),
                    Some(Code::Forbidden),
                    "{method} {name} {value}"
                );
            }
            assert_eq!(code(LOCAL, method, &[host, ("origin", "http://localhost:3000")]), None);
            assert_eq!(code(LOCAL, method, &[host, ("sec-fetch-site", "same-origin")]), None);
            assert_eq!(code(LOCAL, method, &[host, ("sec-fetch-site", "none")]), None);
        }
    }

    #[test]
    fn only_its_own_paths_belong_to_it() {
        let path = |uri: &str| {
            let (head, ()) = hyper::Request::builder().uri(uri).body(()).expect("a request").into_parts();
            path_of(&head)
        };
        assert_eq!(path("/_convoy").as_deref(), Some(""));
        assert_eq!(path("/_convoy/state?after=3").as_deref(), Some("/state?after=3"));
        assert_eq!(path("/_convoys"), None);
        assert_eq!(path("/api/_convoy"), None);
    }
}
