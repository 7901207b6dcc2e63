//! Checks the headers of a request, and describes its caller to the host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, PRAGMA, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use super::cross_origin::{self, RequestOrigin};
use super::socket::CallerOf;
use crate::config::Config;
use crate::dispatch::{Key, RouteOptions};
use crate::error::{Code, Failure};
use crate::live::SessionId;
use crate::trusted_proxies::ClientNetwork;

/// The path and query of a request's URL. Beyond, the listener stops reading.
pub(super) const MAX_URL_BYTES: usize = 32 << 10;

/// Headers that may occur only once. Of two, a proxy may have checked the other one, so a
/// request with two is refused.
const SINGLETONS: [&str; 14] = [
    "authorization",
    "content-length",
    "content-type",
    "convoy-attempt",
    "convoy-position",
    "convoy-preload",
    "convoy-session",
    "host",
    "idempotency-key",
    "last-event-id",
    "origin",
    "sec-fetch-site",
    "sec-websocket-key",
    "transfer-encoding",
];

/// Refuses ambiguous headers, cross-origin requests, and in development hosts other than
/// this machine (DNS rebinding). Removes credentials that the request may not carry.
pub(super) fn check(head: &mut Parts, peer: Option<IpAddr>, config: &Config) -> Result<(), Failure> {
    check_headers(head, config)?;
    let origin = cross_origin::check(&head.method, &head.headers, (peer, config), &config.cors)?;
    // A POST has passed a preflight. A WebSocket has none, and its browser always sends
    // these headers.
    if origin == RequestOrigin::Listed && !config.cors.credentials && head.headers.contains_key(UPGRADE) {
        remove_credentials(head);
    }
    check_cookies(head, "")
}

/// The same for a route, which takes bodies of every type: a plain form needs no preflight.
pub(super) fn check_route(
    head: &mut Parts,
    peer: Option<IpAddr>,
    config: &Config,
    options: Option<&RouteOptions>,
) -> Result<(), Failure> {
    check_headers(head, config)?;
    if options.is_some_and(|options| options.cross_site) {
        return Ok(());
    }
    let cors = options.and_then(|options| options.cors.as_ref()).unwrap_or(&config.cors);
    let origin = cross_origin::check(&head.method, &head.headers, (peer, config), cors)?;
    if origin == RequestOrigin::Listed && !cors.credentials {
        remove_credentials(head);
    }
    check_cookies(head, "; or give the route crossSite: true if it does not use cookies to tell who asks")
}

/// Refuses cookies without a proof of the page that they come from: browsers that send neither
/// header send a plain form with cookies, and without a preflight.
fn check_cookies(head: &Parts, otherwise: &str) -> Result<(), Failure> {
    let is_safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let has_proof = [ORIGIN, HeaderName::from_static("sec-fetch-site")]
        .iter()
        .any(|name| head.headers.get(name).is_some_and(|value| !value.is_empty()));
    if is_safe || has_proof || !head.headers.contains_key(COOKIE) || is_json(&head.headers) {
        return Ok(());
    }
    let message = format!(
        "This request has a Cookie header, and neither Origin nor Sec-Fetch-Site show which page it comes from. Send it \
         with Content-Type: application/json or without cookies{otherwise}."
    );
    Err(Failure::new(Code::Forbidden, message))
}

fn remove_credentials(head: &mut Parts) {
    head.headers.remove(COOKIE);
    head.headers.remove(AUTHORIZATION);
}

fn check_headers(head: &Parts, config: &Config) -> Result<(), Failure> {
    check_url(head)?;
    check_size(&head.headers, config.limits.header_bytes)?;
    check_once(&head.headers)?;
    let host = text(&head.headers, HOST).unwrap_or_default();
    if config.dev && !is_safe_in_development(host) {
        return Err(Failure::new(
            Code::Forbidden,
            "In development only localhost and plain IP addresses are served; this request has another Host.",
        ));
    }
    Ok(())
}

/// Refuses a URL that is too long.
fn check_url(head: &Parts) -> Result<(), Failure> {
    let size = head.uri.path_and_query().map_or(0, |url| url.as_str().len());
    if size > MAX_URL_BYTES {
        let message = format!(
            "The request's URL has {size} bytes; at most {MAX_URL_BYTES} are read. Send long arguments by POST, in a body."
        );
        return Err(Failure { status: Some(414), ..Failure::new(Code::PayloadTooLarge, message) });
    }
    Ok(())
}

fn check_size(headers: &HeaderMap, max: usize) -> Result<(), Failure> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > max {
        let message = format!("The request's headers have {size} bytes; the limit is {max} (limits.headerBytes).");
        return Err(Failure { status: Some(431), ..Failure::new(Code::PayloadTooLarge, message) });
    }
    Ok(())
}

fn check_once(headers: &HeaderMap) -> Result<(), Failure> {
    if let Some(name) = SINGLETONS.into_iter().find(|name| headers.get_all(*name).iter().count() > 1) {
        let code = if matches!(name, "origin" | "sec-fetch-site") { Code::Forbidden } else { Code::InvalidArgs };
        return Err(Failure::new(code, format!("This request has more than one {name} header; send one.")));
    }
    Ok(())
}

/// A POST from a page must be JSON: plain forms send other types without a preflight.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    if is_json(headers) {
        return Ok(());
    }
    Err(Failure::new(Code::InvalidArgs, "The request's Content-Type must be application/json."))
}

fn is_json(headers: &HeaderMap) -> bool {
    text(headers, CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"))
}

/// The caller of a request, as JSON for `createContext`: method, URL, headers in the form
/// of Node's server, and the client's address if it is known.
///
/// `keyed`: the call has an idempotency key, so the host must return a fingerprint.
pub(super) fn caller(head: &Parts, address: Option<IpAddr>, keyed: bool) -> Arc<str> {
    let mut headers: BTreeMap<&str, Value> = BTreeMap::new();
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter().map(latin1);
        let value = match name.as_str() {
            "set-cookie" => values.map(Value::from).collect::<Vec<_>>().into(),
            "cookie" => values.collect::<Vec<_>>().join("; ").into(),
            name if FIRST_ONLY.contains(&name) => values.take(1).collect::<String>().into(),
            _ => values.collect::<Vec<_>>().join(", ").into(),
        };
        headers.insert(name.as_str(), value);
    }
    let mut caller = json!({
        "method": head.method.as_str(),
        "url": head.uri.to_string(),
        "headers": headers,
    });
    if let Some(caller) = caller.as_object_mut() {
        caller.extend(address.map(|address| ("ip".to_owned(), Value::from(address.to_string()))));
        caller.extend(keyed.then(|| ("keyed".to_owned(), Value::from(true))));
    }
    caller.to_string().into()
}

/// The same request without anything that tells who sends it: no address, and of the headers
/// only `Host`.
pub(super) fn anonymous_caller(head: &Parts) -> Arc<str> {
    let mut anonymous = head.clone();
    anonymous.headers = head.headers.get(HOST).cloned().map(|host| (HOST, host)).into_iter().collect();
    caller(&anonymous, None, false)
}

/// Builds the caller of a WebSocket, whose token is in a message instead of a header.
pub(super) fn caller_with_token(head: Parts, address: Option<IpAddr>) -> CallerOf {
    Box::new(move |token| {
        let Some(token) = token else { return caller(&head, address, false) };
        let mut with_token = head.clone();
        // A token that is not a valid header value is treated as an unknown one.
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap_or(HeaderValue::from_static("Bearer"));
        with_token.headers.insert(AUTHORIZATION, value);
        caller(&with_token, address, false)
    })
}

/// The address of the client. `None` if the server that received the request does not tell
/// its peer, and no trusted proxy tells the address.
pub(super) fn address(headers: &HeaderMap, peer: Option<IpAddr>, config: &Config) -> Option<IpAddr> {
    // Text that is not ASCII is no address.
    let forwarded = headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or_default());
    config.trust_proxy.client(peer, forwarded)
}

/// The client by which streams and routes are counted: `None` if the address may not be its own, or
/// is this machine's.
pub(super) fn counted(address: Option<IpAddr>, peer: Option<IpAddr>, config: &Config) -> Option<ClientNetwork> {
    let is_counted = |address: &IpAddr| config.trust_proxy.trusts(peer) && !address.is_loopback();
    address.filter(is_counted).map(ClientNetwork::from)
}

/// The client's consistency token.
pub(super) fn position(headers: &HeaderMap) -> Option<&str> {
    headers.get("convoy-position")?.to_str().ok()
}

/// The session of a mutation, if the client sent one.
pub(super) fn session(headers: &HeaderMap) -> Option<SessionId> {
    SessionId::parse(headers.get("convoy-session")?.to_str().ok()?)
}

/// Whether an earlier attempt of this call got no response.
pub(super) fn is_repeated(headers: &HeaderMap) -> bool {
    headers.get("convoy-attempt").is_some_and(|attempt| attempt != "1")
}

/// Whether the caller renders a page that will subscribe to the query it calls.
pub(super) fn is_preload(headers: &HeaderMap) -> bool {
    headers.get("convoy-preload").is_some_and(|preload| preload == "true")
}

/// Whether the answer must come from a run, not from the result cache. `fetch` with `cache: 'no-store'`
/// sends `Pragma` as well; it is about caches of the client, so it does not count.
pub(super) fn is_no_cache(headers: &HeaderMap) -> bool {
    if headers.contains_key(PRAGMA) {
        return false;
    }
    let directives = |value: &str| value.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"));
    headers.get_all(CACHE_CONTROL).iter().any(|value| value.to_str().is_ok_and(directives))
}

/// The call's idempotency key, if it has one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Key>, Failure> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    // Text that is not ASCII is refused like other invalid keys.
    Key::parse(value.to_str().unwrap_or_default()).map(Some)
}

/// Headers of which Node keeps only the first value.
const FIRST_ONLY: [&str; 18] = [
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

/// Decodes a header as Latin-1, like Node: distinct values stay distinct.
fn latin1(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a `Host` header, with or without a port, is safe from DNS rebinding, which
/// needs a name: so addresses are safe.
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
    fn hosts_other_than_this_machine_are_refused_in_development() {
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
