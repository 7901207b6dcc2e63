//! The absolute URL of a request for a route.
//!
//! Invariant: its path is the one by which the route was found. Parsers of URLs resolve dot
//! segments, take a backslash for a slash, and end the host at the first `/`, `?` or `#`; so
//! where they would change something, the request is refused.

use std::net::IpAddr;

use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use percent_encoding::percent_decode_str;
use url::Url;

use super::cross_origin;
use crate::config::Config;
use crate::error::{Code, Failure};

/// The URL of a request. Its scheme and host are those of a trusted proxy, if there is one.
pub(super) fn of(head: &Parts, peer: Option<IpAddr>, config: &Config) -> Result<String, Failure> {
    let scheme = cross_origin::scheme_of(&head.headers, peer, config).unwrap_or_else(|| "http".to_owned());
    let sent = head.headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    let host = cross_origin::host_of(&head.headers, peer, config);
    let wrong_host = || {
        let message = "The host of this request is not a name or an address, possibly with a port; send no other part of \
                       a URL there.";
        Failure::new(Code::InvalidArgs, message)
    };
    if !sent.is_none_or(|sent| is_host(&sent)) || !is_host(&host) {
        return Err(wrong_host());
    }
    check_path(head.uri.path())?;
    let host = if host.is_empty() { "localhost" } else { &host };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("{scheme}://{host}{path}");
    // Where a parser would fail: at an address of five numbers, or at invalid Punycode.
    if Url::parse(&url).is_err() {
        return Err(wrong_host());
    }
    Ok(url)
}

/// Whether a host is empty, or a name or an address, possibly with a port.
fn is_host(host: &str) -> bool {
    let is_plain = |authority: Authority| {
        let has_valid_port = authority.as_str() == authority.host() || authority.port_u16().is_some();
        has_valid_port && !host.contains(['@', '%'])
    };
    host.is_empty() || host.parse().is_ok_and(is_plain)
}

/// Refuses what a URL would not keep. A dot segment is refused behind an encoded slash, too,
/// because parameters are decoded, and a route may take one for a path of files.
fn check_path(path: &str) -> Result<(), Failure> {
    let refused = |message: &str| Err(Failure::new(Code::InvalidArgs, message));
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    if decoded.contains('\\') {
        return refused("The path of this request has a backslash; separate its segments by slashes.");
    }
    if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return refused("The path of this request has a segment `.` or `..`; send the path that they lead to.");
    }
    if path.contains("//") {
        return refused("The path of this request has an empty segment; send one slash between two segments.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> Result<String, Code> {
        let config = serde_json::from_value(serde_json::json!({ "databaseUrl": "" })).expect("a configuration");
        let request = hyper::Request::builder().uri("/hooks/a?b").header(HOST, host);
        let (head, ()) = request.body(()).expect("a request").into_parts();
        of(&head, None, &config).map_err(|failure| failure.code)
    }

    #[test]
    fn a_host_that_no_url_can_have_is_refused() {
        for host in ["a.460", "1.2.3.4.5", "127.0.0.256", "xn--a", "a b", "a@b", "a:b", "[::1", "a:99999"] {
            assert_eq!(url(host), Err(Code::InvalidArgs), "{host}");
        }
        for host in ["a.test", "a.test:80", "127.0.0.1:3000", "[::1]:3000", "a_b", "4.a"] {
            assert_eq!(url(host), Ok(format!("http://{host}/hooks/a?b")), "{host}");
        }
    }
}
