//! The fuzz targets of requests: paths, and headers.

use std::net::IpAddr;
use std::sync::LazyLock;

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Uri};

use super::cors::Grant;
use super::router::Routes;
use super::static_files::fuzzing as static_files;
use super::{conditional, cross_origin, dev_page, forwarded, guard, request_url, respond, route, socket};
use crate::config::Config;
use crate::dispatch::route_of;
use crate::origin::Origin;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

static CONFIGS: LazyLock<[Config; 2]> = LazyLock::new(|| {
    [false, true].map(|trusts| {
        let config = serde_json::json!({
            "databaseUrl": "",
            "trustProxy": trusts,
            "cors": { "origins": ["https://partner.example"], "credentials": trusts },
        });
        serde_json::from_value(config).expect("a configuration")
    })
});

static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let routes = [("GET", "/"), ("POST", "/hooks/:id"), ("ALL", "/files/*rest"), ("GET", "/api/auth/*rest")];
    let routes: Vec<_> =
        routes.iter().zip(0..).map(|((method, path), n)| route_of(&format!("r{n}"), method, path)).collect();
    Routes::build(&routes, "/api").expect("routes")
});

/// A request: its URL, its headers, and the URL that a route gets; in that a line before the URL is
/// the `Host`.
pub fn requests(data: &[u8]) {
    paths(data);
    headers(data);
    let (host, url) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let Ok(host) = std::str::from_utf8(host) else { return };
    let Some((url, path)) = url_of(url.strip_prefix(b"\n").unwrap_or(url), host) else { return };
    // The parser of JavaScript's `Request` is of the same standard. An address may be written otherwise there.
    let parsed = url::Url::parse(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
    let same = |path: &str| percent_encoded(path) == percent_encoded(parsed.path());
    assert!(same(&path), "{url} has the path {} and not {path}", parsed.path());
}

/// The path, with each character that may be escaped so.
fn percent_encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"%/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The URL of a request.
fn paths(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let _parsed = route::Route::parse(&method, &uri, "/api");
    }
    let is_own = ["/api/query", "/api/live", "/_convoy"].iter().any(|own| uri.path() == *own);
    assert!(!(ROUTES.has(uri.path(), "/api") && is_own), "a route has taken {uri}");
    static_files::lookup(uri.path());
}

/// The absolute URL that a route gets for this URL and `Host`, with the path that it was found by.
fn url_of(url: &[u8], host: &str) -> Option<(String, String)> {
    let uri = Uri::try_from(url).ok()?;
    let mut head = hyper::Request::new(()).into_parts().0;
    head.headers.insert("host", HeaderValue::from_str(host).ok()?);
    head.uri = uri;
    // Of `CONNECT` and `OPTIONS *`, which no route matches.
    if !head.uri.path().starts_with('/') {
        return None;
    }
    let url = request_url::of(&head, Some(PEER), &CONFIGS[0]).ok()?;
    Some((url, head.uri.path().to_owned()))
}

/// The lines of a request's head: the method, then `name: value` on each line.
fn headers(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(method) = lines.next().and_then(|method| Method::from_bytes(method).ok()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for config in CONFIGS.iter() {
        let mut head = hyper::Request::new(()).into_parts().0;
        (head.method, head.headers) = (method.clone(), headers.clone());
        check(&mut head, config);
    }
}

fn check(head: &mut Parts, config: &Config) {
    let grant = Grant::of(&head.headers, &config.cors);
    if let Some(Ok(answer)) = grant.preflight(&head.method, &head.headers, "POST") {
        let granted = answer.headers().get("access-control-allow-methods");
        assert!(granted.is_some(), "a preflight without methods");
    }
    let passes = guard::check(head, Some(PEER), config).is_ok();
    let origin = head.headers.get("origin").and_then(|origin| origin.to_str().ok()).and_then(Origin::parse);
    let is_listed = cross_origin::is_listed(origin.as_ref(), &config.cors);
    let is_cross_site = head.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if passes && is_cross_site && head.method == Method::POST {
        assert!(is_listed, "a page of another site may call");
    }
    let mut answer = respond::empty(hyper::StatusCode::OK);
    grant.apply(&mut answer);
    let is_granted = answer.headers().contains_key("access-control-allow-origin");
    assert_eq!(is_granted, is_listed && head.headers.get_all("origin").iter().count() == 1);
    if let Some(origin) = origin {
        assert_eq!(Origin::parse(&origin.to_string()), Some(origin.clone()), "an origin is printed as another one");
    }
    let caller = guard::caller(head, Some(PEER), true);
    assert!(serde_json::from_str::<serde_json::Value>(&caller).is_ok(), "the caller is no JSON: {caller}");
    let tag = conditional::entity_tag("ab");
    let _is_current = conditional::is_current(&head.headers, &tag);
    let _accepted = socket::accept(&head.headers);
    let _own = cross_origin::is_own(&head.headers);
    let _page = dev_page::path_of(head);
    let mut options = head.clone();
    let _route = guard::check_route(&mut options, Some(PEER), config, None);
    static_files::negotiate(&head.headers);
    forwarded::restrict(&mut head.headers, Some(PEER), config);
    if !config.trust_proxy.trusts(Some(PEER)) {
        let left = head.headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).count();
        assert_eq!(left, 1, "a header that the client chose is passed on");
    }
}
