//! What a request's headers must be like, and who it is that asks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, UPGRADE};
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::cross_origin::{self, TableState};
use super::socket::CallerWith;
use crate::config::Config;
use crate::dispatch::Key;
use crate::error::{Code, Failure};
use crate::live::SessionId;

/// Bytes all headers of a request may have together.
pub(super) const MOST_HEADERS: usize = 64 << 10;

/// Headers that mean one thing. A proxy in front may have looked at the
/// other one of two, so a request with two is refused.
const READ_ONCE: [&str; 12] = [
    "authorization",
    "content-length",
    "content-type",
    "convoy-position",
    "convoy-session",
    "host",
    "idempotency-key",
    "last-event-id",
    "origin",
    "sec-fetch-site",
    "sec-websocket-key",
    "transfer-encoding",
];

/// Refuses what is ambiguous, what another site's page sends on behalf of its
/// visitor, and, in development, what reaches us under a name that is not ours
/// (DNS rebinding). Takes from a request what it may not carry.
pub(super) fn check(head: &mut Parts, peer: IpAddr, config: &Config) -> Result<(), Failure> {
    check_size(&head.headers)?;
    check_once(&head.headers)?;
    let host = text(&head.headers, HOST).unwrap_or_default();
    if config.dev && !is_safe_in_development(host) {
        return Err(Failure::new(
            Code::Forbidden,
            "in development only localhost and plain IP addresses are served; this request named another host",
        ));
    }
    let standing = cross_origin::judge(&head.method, &head.headers, peer, config)?;
    // Of a POST, the preflight has made sure. Nothing asks before a WebSocket, and a
    // page cannot keep its browser from adding these.
    if standing == TableState::Listed && !config.cors.credentials && head.headers.contains_key(UPGRADE) {
        head.headers.remove(COOKIE);
        head.headers.remove(AUTHORIZATION);
    }
    Ok(())
}

fn check_size(headers: &HeaderMap) -> Result<(), Failure> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MOST_HEADERS {
        let message = format!("the request's headers have {size} bytes; the limit is {MOST_HEADERS}");
        return Err(Failure { status: Some(431), ..Failure::new(Code::PayloadTooLarge, message) });
    }
    Ok(())
}

fn check_once(headers: &HeaderMap) -> Result<(), Failure> {
    if let Some(name) = READ_ONCE.into_iter().find(|name| headers.get_all(*name).iter().count() > 1) {
        let code = if matches!(name, "origin" | "sec-fetch-site") { Code::Forbidden } else { Code::InvalidArgs };
        return Err(Failure::new(code, format!("this request has more than one {name} header; send one")));
    }
    Ok(())
}

/// A POST from a page must be JSON: other types are sent by plain forms, which
/// browsers do not ask permission for.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let is_json = text(headers, CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"));
    if is_json {
        return Ok(());
    }
    Err(Failure::new(Code::InvalidArgs, "the request's Content-Type must be application/json"))
}

/// Who asks, as JSON text for the user's context: method, URL, headers as
/// Node's own server would give them, and the peer's address.
///
/// A call with a key says so, for its context then has to tell identities apart.
pub(super) fn caller(head: &Parts, address: IpAddr, keyed: bool) -> Arc<str> {
    let mut headers: BTreeMap<&str, Value> = BTreeMap::new();
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter().map(as_node_reads);
        let value = match name.as_str() {
            "set-cookie" => values.map(Value::from).collect::<Vec<_>>().into(),
            "cookie" => values.collect::<Vec<_>>().join("; ").into(),
            once if SENT_ONCE.contains(&once) => values.take(1).collect::<String>().into(),
            _ => values.collect::<Vec<_>>().join(", ").into(),
        };
        headers.insert(name.as_str(), value);
    }
    let mut caller = json!({
        "method": head.method.as_str(),
        "url": head.uri.to_string(),
        "headers": headers,
        "ip": address.to_string(),
    });
    if keyed && let Some(caller) = caller.as_object_mut() {
        caller.insert("keyed".to_owned(), Value::from(true));
    }
    caller.to_string().into()
}

/// The same for who brings a token that is in no header, as a page's WebSocket must.
pub(super) fn caller_with_token(head: Parts, address: IpAddr) -> CallerWith {
    Box::new(move |token| {
        let Some(token) = token else { return caller(&head, address, false) };
        let mut bringing = head.clone();
        // A token that fits into no header is treated as unknown.
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap_or(HeaderValue::from_static("Bearer"));
        bringing.headers.insert(AUTHORIZATION, value);
        caller(&bringing, address, false)
    })
}

/// Where a request comes from. What a proxy says of that counts only if it is
/// ours: anyone can send such a header.
pub(super) fn address(headers: &HeaderMap, peer: IpAddr, trust_proxy: bool) -> IpAddr {
    if !trust_proxy {
        return peer;
    }
    let said = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    said.and_then(|said| said.rsplit(',').next()?.trim().parse().ok()).unwrap_or(peer)
}

/// The address whose streams are counted: none where it is not known to be the
/// client's, or is this machine's.
pub(super) fn counted(address: IpAddr, trust_proxy: bool) -> Option<IpAddr> {
    (trust_proxy && !address.is_loopback()).then_some(address)
}

/// What the client has seen, as it says.
pub(super) fn position(headers: &HeaderMap) -> Option<&str> {
    headers.get("convoy-position")?.to_str().ok()
}

/// The session a mutation belongs to, if it says one.
pub(super) fn session(headers: &HeaderMap) -> Option<SessionId> {
    SessionId::parse(headers.get("convoy-session")?.to_str().ok()?)
}

/// The call's key, if it has one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Key>, Failure> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    // What is no ASCII is refused with the rest.
    Key::parse(value.to_str().unwrap_or_default()).map(Some)
}

/// Headers of which Node keeps the first and ignores the rest.
const SENT_ONCE: [&str; 18] = [
    "age",
    "authorization",
    "content-length",
    "content-type",
    "etag",
    "expires",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "proxy-authorization",
    "referer",
    "retry-after",
    "server",
    "user-agent",
];

/// A byte is a character, so that no two values become the same text.
fn as_node_reads(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a `Host` header, with or without a port, is one that no stranger's
/// page can send: rebinding needs a name, so addresses are safe.
fn is_safe_in_development(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_unless_they_are_this_machines() {
        for host in [
            "localhost",
            "LOCALHOST:3000",
            "127.0.0.1:3000",
            "127.1.2.3",
            "[::1]:3000",
            "app.localhost:1",
            "10.0.0.7:3000",
        ] {
            assert!(is_safe_in_development(host), "{host}");
        }
        for host in ["", "localhost.evil.test", "127.0.0.1.evil.test", "evil.test:3000", "localhost."] {
            assert!(!is_safe_in_development(host), "{host}");
        }
    }
}
