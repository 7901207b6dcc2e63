//! Refuses cross-origin requests. Pure: a function of method, headers and peer.
//!
//! The order: a malformed or repeated `Origin` is refused; an origin listed in
//! `cors.origins` passes; else `Sec-Fetch-Site`, which no page can forge, decides;
//! only if a browser did not send it (plain HTTP beyond localhost, old browsers),
//! `Origin` is compared with the host. A request without either header does not come
//! from a page. After Go's `http.CrossOriginProtection`.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderValue, ORIGIN, UPGRADE};
use hyper::{HeaderMap, Method};

use crate::config::{Config, Cors};
use crate::error::{Code, Failure};
use crate::origin::Origin;

/// The origin of a request, as far as it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestOrigin {
    /// A page of this server, or not a page.
    Own,
    /// A page of another origin, which `cors.origins` lists.
    Listed,
}

/// Checks one request. Safe methods pass, because a page of another origin cannot read
/// their answers; except for a WebSocket upgrade, which needs no preflight.
pub(super) fn check(
    method: &Method,
    headers: &HeaderMap,
    (peer, config): (Option<IpAddr>, &Config),
    cors: &Cors,
) -> Result<RequestOrigin, Failure> {
    let origin = origin_in(headers)?;
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe && !headers.contains_key(UPGRADE) {
        return Ok(RequestOrigin::Own);
    }
    match compare(headers, origin.as_ref(), peer, config) {
        Ok(()) => Ok(RequestOrigin::Own),
        Err(_) if is_listed(origin.as_ref(), cors) => Ok(RequestOrigin::Listed),
        Err(refused) => Err(refused),
    }
}

/// Whether a request, by any method, comes from a page of the origin that it is sent to, or
/// not from a page. Both headers must agree.
pub(super) fn is_own(headers: &HeaderMap) -> Result<bool, Failure> {
    let host = headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes())).unwrap_or_default();
    let own_site = headers.get("sec-fetch-site").is_none_or(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    Ok(own_site && origin_in(headers)?.is_none_or(|origin| origin.is_of_host(&host)))
}

/// Whether `cors.origins` lists an origin.
pub(super) fn is_listed(origin: Option<&Origin>, cors: &Cors) -> bool {
    origin.is_some_and(|origin| cors.origins.contains(origin))
}

/// The request's origin, if it has an `Origin` header.
pub(super) fn origin_in(headers: &HeaderMap) -> Result<Option<Origin>, Failure> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
    let parsed = origin.to_str().ok().and_then(Origin::parse);
    parsed.map(Some).ok_or_else(|| Failure::new(Code::Forbidden, "This request's Origin header is malformed."))
}

fn compare(headers: &HeaderMap, origin: Option<&Origin>, peer: Option<IpAddr>, config: &Config) -> Result<(), Failure> {
    let site = headers.get("sec-fetch-site").map(|site| String::from_utf8_lossy(site.as_bytes()));
    match (site.as_deref(), origin) {
        (Some("same-origin" | "none"), _) => Ok(()),
        (Some(site), _) if !site.is_empty() => Err(other_site(site, origin, &host_of(headers, peer, config))),
        (_, None) => Ok(()),
        (_, Some(origin)) => {
            let host = host_of(headers, peer, config);
            match scheme_of(headers, peer, config) {
                _ if !origin.is_of_host(&host) => Err(other_host(origin, &host)),
                Some(scheme) if origin.scheme() != Some(&scheme) => Err(other_scheme(origin, &scheme)),
                _ => Ok(()),
            }
        }
    }
}

/// The host that the browser requested.
pub(super) fn host_of(headers: &HeaderMap, peer: Option<IpAddr>, config: &Config) -> String {
    let host = || headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    forwarded("x-forwarded-host", headers, peer, config).or_else(host).unwrap_or_default()
}

/// The scheme that the browser requested, in lower case, if a trusted proxy tells it.
pub(super) fn scheme_of(headers: &HeaderMap, peer: Option<IpAddr>, config: &Config) -> Option<String> {
    let scheme = forwarded("x-forwarded-proto", headers, peer, config)?.to_ascii_lowercase();
    Some(scheme).filter(|scheme| scheme == "http" || scheme == "https")
}

/// The first value of a header by a trusted proxy: with `trustProxy`, or in development from
/// this machine. Of several values, the first is that of the browser's request.
pub(super) fn forwarded(name: &str, headers: &HeaderMap, peer: Option<IpAddr>, config: &Config) -> Option<String> {
    let values = headers.get(name).filter(|_| is_proxy(peer, config))?;
    let values = String::from_utf8_lossy(values.as_bytes());
    let first = values.split(',').next().unwrap_or_default().trim();
    (!first.is_empty()).then(|| first.to_owned())
}

/// The header that has the host that the browser requested, for telemetry.
pub(super) fn host_header<'a>(
    headers: &'a HeaderMap,
    peer: Option<IpAddr>,
    config: &Config,
) -> Option<&'a HeaderValue> {
    let forwarded = headers.get("x-forwarded-host").filter(|value| !value.is_empty() && is_proxy(peer, config));
    forwarded.or_else(|| headers.get(HOST))
}

/// Whether a peer is a trusted proxy.
fn is_proxy(peer: Option<IpAddr>, config: &Config) -> bool {
    config.trust_proxy.trusts(peer) || (config.dev && peer.is_some_and(|peer| peer.to_canonical().is_loopback()))
}

fn other_site(site: &str, origin: Option<&Origin>, host: &str) -> Failure {
    let page = origin.map_or("it has no Origin".to_owned(), |origin| format!("its Origin is {origin}"));
    let message = format!(
        "This request comes from a page of another origin: Sec-Fetch-Site is {site}, {page}, and the host it \
         requested is {host}. If that page is yours, name its origin in createConvoy's cors: {{ origins: [\u{2026}] }}."
    );
    Failure::new(Code::Forbidden, message)
}

fn other_host(origin: &Origin, host: &str) -> Failure {
    let message = format!(
        "This request comes from a page of another origin: its Origin is {origin}, and the host it requested is {host}. \
         If a proxy in front changes the Host header, let it pass Host on unchanged, or send X-Forwarded-Host and set \
         createConvoy's trustProxy: true (in development, a proxy on this machine is trusted). If the page is another \
         one of yours, name its origin in cors: {{ origins: [\u{2026}] }}."
    );
    Failure::new(Code::Forbidden, message)
}

fn other_scheme(origin: &Origin, scheme: &str) -> Failure {
    let message = format!(
        "This request comes from a page of another scheme: its Origin is {origin}, and it was sent by {scheme}, as the \
         proxy's X-Forwarded-Proto says. If browsers use another scheme than that, correct the header in the proxy."
    );
    Failure::new(Code::Forbidden, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://app.example";
    const LISTED: &str = "https://partner.example";
    const OTHER: &str = "https://evil.test";

    /// The inputs of one check.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        method: &'static str,
        upgrade: bool,
        site: Option<&'static str>,
        origin: Option<&'static str>,
        host: &'static str,
        forwarded: Option<&'static str>,
        loopback: bool,
        cors: bool,
        dev: bool,
        trust_proxy: bool,
    }

    fn checked(case: Case) -> Result<RequestOrigin, Failure> {
        let mut headers = HeaderMap::new();
        let pairs = [
            ("sec-fetch-site", case.site),
            ("origin", case.origin),
            ("host", Some(case.host)),
            ("x-forwarded-host", case.forwarded),
            ("upgrade", case.upgrade.then_some("websocket")),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                headers.insert(name, hyper::header::HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
            }
        }
        let origins = if case.cors { vec![LISTED] } else { vec![] };
        let config = serde_json::json!({
            "databaseUrl": "", "dev": case.dev, "trustProxy": case.trust_proxy, "cors": { "origins": origins },
        });
        let config = serde_json::from_value(config).expect("a configuration");
        let peer = if case.loopback { [127, 0, 0, 1] } else { [10, 0, 0, 7] };
        let config: Config = config;
        check(&case.method.parse().expect("a method"), &headers, (Some(peer.into()), &config), &config.cors)
    }

    /// A second implementation of the rule, to compare every combination with.
    fn expected(case: Case) -> Option<RequestOrigin> {
        let malformed = case.origin.is_some_and(|origin| origin.contains('\u{fc}') || origin.ends_with('/'));
        if malformed {
            return None;
        }
        if case.method != "POST" && !case.upgrade {
            return Some(RequestOrigin::Own);
        }
        let is_trusted = case.trust_proxy || (case.dev && case.loopback);
        let host = case.forwarded.filter(|_| is_trusted).unwrap_or(case.host);
        let own = match (case.site, case.origin) {
            (Some(site), _) => site == "same-origin" || site == "none",
            (None, None) => true,
            (None, Some(origin)) => origin == format!("https://{host}"),
        };
        match own {
            true => Some(RequestOrigin::Own),
            false if case.cors && case.origin == Some(LISTED) => Some(RequestOrigin::Listed),
            false => None,
        }
    }

    /// Every combination of the values.
    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        let both = [false, true];
        let sites = [None, Some("same-origin"), Some("same-site"), Some("cross-site"), Some("none"), Some("odd")];
        let origins = [
            None,
            Some(OWN),
            Some(LISTED),
            Some(OTHER),
            Some("null"),
            Some("https://b\u{fc}cher.example"),
            Some("https://app.example/"),
        ];
        for (method, upgrade) in [("POST", false), ("GET", true), ("GET", false), ("OPTIONS", false)] {
            for site in sites {
                for origin in origins {
                    for host in ["app.example", "127.0.0.1:3000"] {
                        for forwarded in [None, Some("app.example"), Some("evil.test")] {
                            for flags in 0..16 {
                                let flag = |bit: usize| both[flags >> bit & 1];
                                let (loopback, cors, dev, trust_proxy) = (flag(0), flag(1), flag(2), flag(3));
                                cases.push(Case {
                                    method,
                                    upgrade,
                                    site,
                                    origin,
                                    host,
                                    forwarded,
                                    loopback,
                                    cors,
                                    dev,
                                    trust_proxy,
                                });
                            }
                        }
                    }
                }
            }
        }
        cases
    }

    #[test]
    fn every_combination_is_judged_by_the_rule() {
        let cases = all();
        assert_eq!(cases.len(), 4 * 6 * 7 * 2 * 3 * 16);
        for case in cases {
            assert_eq!(checked(case).ok(), expected(case), "{case:?}");
        }
    }

    const PAGE: Case = Case {
        method: "POST",
        upgrade: false,
        site: None,
        origin: Some(OWN),
        host: "app.example",
        forwarded: None,
        loopback: false,
        cors: false,
        dev: false,
        trust_proxy: false,
    };

    #[test]
    fn sec_fetch_site_same_origin_passes_behind_a_proxy_that_rewrites_host() {
        let behind = Case { host: "127.0.0.1:3000", ..PAGE };
        assert!(checked(Case { site: Some("same-origin"), ..behind }).is_ok());
        let refused = checked(behind).expect_err("it looks like another site").message;
        for part in ["https://app.example", "127.0.0.1:3000", "X-Forwarded-Host", "trustProxy", "cors"] {
            assert!(refused.contains(part), "{refused}");
        }
        let forwarding = Case { forwarded: Some("app.example"), ..behind };
        assert!(checked(forwarding).is_err(), "any client can send that header");
        assert!(checked(Case { trust_proxy: true, ..forwarding }).is_ok());
        assert!(checked(Case { dev: true, loopback: true, ..forwarding }).is_ok());
        assert!(checked(Case { dev: true, ..forwarding }).is_err());
        let chain = Case { forwarded: Some("app.example:443, inner:8080"), trust_proxy: true, ..behind };
        assert!(checked(chain).is_ok());
    }

    #[test]
    fn a_refusal_names_both_values_and_the_remedy() {
        let refused = checked(Case { site: Some("same-site"), origin: Some("https://blog.app.example"), ..PAGE });
        let message = refused.expect_err("it is another origin").message;
        for part in ["same-site", "https://blog.app.example", "app.example", "cors: { origins"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
