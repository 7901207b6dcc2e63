//! Whether a request comes from a program or a page of this machine, for what others must not
//! see: the peer and the `Host` must be this machine, and the request must not have been
//! forwarded. The `Host` keeps out pages whose name resolves to a loopback address.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::HOST;

/// Headers by which a proxy passes on the address or name of its client.
pub(super) const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Why a request is not of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Another machine or a proxy sent it.
    Peer,
    /// It was sent to another name.
    Host,
}

/// Checks where a request comes from.
pub(super) fn check(headers: &HeaderMap, peer: IpAddr) -> Result<(), Foreign> {
    if !peer.to_canonical().is_loopback() || FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err(Foreign::Peer);
    }
    match is_loopback(headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()) {
        true => Ok(()),
        false => Err(Foreign::Host),
    }
}

/// Whether a `Host`, with or without a port, is a loopback address or `localhost`.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
