//! The headers by which proxies describe a request, as a route gets them: those that Convoy
//! itself goes by, and no others.
//!
//! A route passes its headers to libraries, which cannot know whether the server is behind a
//! proxy. One that limits requests by `X-Forwarded-For` must not be told the client's own choice.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::{cross_origin, guard};
use crate::config::Config;

const FOR: &str = "x-forwarded-for";
const HOST: &str = "x-forwarded-host";
const PROTO: &str = "x-forwarded-proto";

/// Reduces the headers to what is known: the client's address, and of a trusted proxy the host
/// and the scheme.
pub(super) fn restrict(headers: &mut HeaderMap, peer: Option<IpAddr>, config: &Config) {
    let address = guard::address(headers, peer, config).map(|address| address.to_string());
    let host = cross_origin::forwarded(HOST, headers, peer, config);
    let scheme = cross_origin::scheme_of(headers, peer, config);
    let is_chosen_by_client = |name: &str| match name {
        // Convoy does not read the last two, so nothing tells whether a proxy sets them.
        FOR | HOST | PROTO | "forwarded" | "x-real-ip" => true,
        // A trusted proxy has others of its own, such as the user that it has signed in.
        _ => name.starts_with("x-forwarded-") && !config.trust_proxy.trusts(peer),
    };
    let removed: Vec<_> = headers.keys().filter(|name| is_chosen_by_client(name.as_str())).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
    for (name, value) in [(FOR, address), (HOST, host), (PROTO, scheme)] {
        // The host was checked before, and the others are ASCII.
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
}
