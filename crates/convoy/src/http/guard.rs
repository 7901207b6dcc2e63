//! Who may ask at all: same-origin by default, and who it is that asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use super::Request;
use crate::error::{Code, Failure};

/// Refuses what another site's page sends on behalf of its visitor, and, in
/// development, what reaches us under a name that is not ours (DNS rebinding).
pub fn check(request: &Request, dev: bool) -> Result<(), Failure> {
    let headers = request.headers();
    let host = text(headers, HOST).unwrap_or_default();
    if dev && !is_loopback(host) {
        return Err(Failure::new(
            Code::Forbidden,
            "in development only localhost is served; this request named another host",
        ));
    }
    if request.method() == Method::POST {
        let foreign = match text(headers, ORIGIN) {
            Some(origin) => origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host)),
            None => text(headers, HeaderName::from_static("sec-fetch-site")) == Some("cross-site"),
        };
        if foreign {
            return Err(Failure::new(Code::Forbidden, "this request comes from another origin"));
        }
    }
    Ok(())
}

/// A POST from a page must be JSON: other types are sent by plain forms, which
/// browsers do not ask permission for.
pub fn check_content_type(request: &Request) -> Result<(), Failure> {
    if text(request.headers(), ORIGIN).is_none() {
        return Ok(());
    }
    let is_json = text(request.headers(), CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"));
    if is_json {
        return Ok(());
    }
    Err(Failure::new(Code::InvalidArgs, "the request's Content-Type must be application/json"))
}

/// Who asks, as JSON text for the user's context: method, URL, headers, peer.
pub fn caller(request: &Request, peer: SocketAddr) -> Arc<str> {
    let mut headers: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, value) in request.headers() {
        let value = Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned());
        match headers.get_mut(name.as_str()) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None => {
                headers.insert(name.as_str(), value);
            }
        }
    }
    let caller = json!({
        "method": request.method().as_str(),
        "url": request.uri().to_string(),
        "headers": headers,
        "ip": peer.ip().to_string(),
    });
    caller.to_string().into()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a `Host` header, with or without a port, names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_many_names_and_no_lookalikes() {
        for host in ["localhost", "LOCALHOST:3000", "127.0.0.1:3000", "127.1.2.3", "[::1]:3000", "app.localhost:1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1", "evil.test:3000", "[::2]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
