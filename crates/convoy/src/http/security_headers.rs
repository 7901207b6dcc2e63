//! The headers by which browsers protect an answer: that it is not taken for another type,
//! framed by another site, or embedded by one.
//!
//! Invariant: a header that an answer already has stays, so a route decides about its own.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, LAST_MODIFIED,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, StatusCode};

use super::respond::HttpAnswer;
use crate::config::{HeaderChanges, SecurityHeaderOptions};

const NOSNIFF: (HeaderName, HeaderValue) = (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// What an answer is, as far as its headers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON or a stream of the API.
    Api,
    /// A static file.
    File,
    /// The response of a route.
    Route,
}

/// The headers of all answers.
pub(crate) struct SecurityHeaders {
    /// `Strict-Transport-Security`, if browsers reach the server by HTTPS.
    hsts: Option<HeaderValue>,
    /// The headers of the API: no page shows, frames or embeds its answers.
    api: Headers,
    /// The headers of static files, and of HTML that a route returns. Only the application knows
    /// what its pages load, so the policy only says who may frame them.
    pages: Headers,
}

type Headers = Vec<(HeaderName, HeaderValue)>;

impl SecurityHeaders {
    /// The defaults, with the changes of the options.
    pub(crate) fn of(options: &SecurityHeaderOptions) -> SecurityHeaders {
        let api = vec![
            NOSNIFF,
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // Fetches by listed origins are not subject to it.
            (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        ];
        let pages = vec![
            NOSNIFF,
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'self'")),
            (REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
        ];
        SecurityHeaders {
            hsts: options.hsts.as_ref().and_then(|hsts| HeaderValue::try_from(&hsts.0).ok()),
            api: changed(api, &options.api),
            pages: changed(pages, &options.pages),
        }
    }

    /// Adds the headers to an answer. `scheme`: that of the request, if it is known.
    pub(super) fn apply(&self, answer: &mut HttpAnswer, content: Content, scheme: Option<&str>) {
        // No content: the connection changes its protocol.
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = answer.headers_mut();
        match content {
            Content::Api => add(headers, &self.api),
            Content::File => add(headers, &self.pages),
            Content::Route => self.apply_to_route(headers),
        }
        // Over plain HTTP, browsers ignore it, and the standard forbids it.
        if let Some(hsts) = &self.hsts
            && !headers.contains_key(STRICT_TRANSPORT_SECURITY)
            && scheme.is_none_or(|scheme| scheme == "https")
        {
            headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }

    fn apply_to_route(&self, headers: &mut HeaderMap) {
        let is = |kind: &[u8]| {
            let given = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
            given.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
        };
        let (is_html, is_json) = (is(b"text/html"), is(b"application/json"));
        let decides_caching =
            [CACHE_CONTROL, EXPIRES, ETAG, LAST_MODIFIED].iter().any(|name| headers.contains_key(name));
        if is_html && headers.contains_key(X_FRAME_OPTIONS) {
            // The route decides who may frame it; `frame-ancestors` would take precedence.
            let rest: Vec<_> = self.pages.iter().filter(|(name, _)| name != CONTENT_SECURITY_POLICY).cloned().collect();
            add(headers, &rest);
        } else if is_html {
            add(headers, &self.pages);
        } else {
            add(headers, &[NOSNIFF]);
        }
        if is_json && !decides_caching {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
}

fn add(headers: &mut HeaderMap, added: &[(HeaderName, HeaderValue)]) {
    for (name, value) in added {
        if !headers.contains_key(name) {
            headers.insert(name, value.clone());
        }
    }
}

/// The defaults with the given changes.
fn changed(defaults: Headers, changes: &HeaderChanges) -> Headers {
    let mut headers = defaults;
    for (name, value) in &changes.0 {
        // Checked when the options were parsed.
        let Ok(name) = HeaderName::try_from(name) else { continue };
        headers.retain(|(other, _)| *other != name);
        let value = value.as_ref().and_then(|value| HeaderValue::try_from(value).ok());
        headers.extend(value.map(|value| (name, value)));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::super::respond;
    use super::*;
    use serde_json::{Value, json};

    fn options(options: Value) -> SecurityHeaders {
        SecurityHeaders::of(&serde_json::from_value(options).expect("options"))
    }

    fn defaults() -> SecurityHeaders {
        options(json!({}))
    }

    fn of(options: &SecurityHeaders, content: Content, own: &[(&'static str, &str)], scheme: Option<&str>) -> Value {
        let mut answer = respond::empty(StatusCode::OK);
        for (name, value) in own {
            answer.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        options.apply(&mut answer, content, scheme);
        let text = |value: &HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
        answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    #[test]
    fn answers_of_the_api_can_be_neither_framed_nor_embedded() {
        let given = of(&defaults(), Content::Api, &[], None);
        assert_eq!(
            given,
            json!({
                "x-content-type-options": "nosniff",
                "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
                "referrer-policy": "no-referrer",
                "cross-origin-resource-policy": "same-origin",
            })
        );
    }

    #[test]
    fn a_value_replaces_a_default_and_null_removes_it() {
        let options = options(json!({
            "pages": { "Content-Security-Policy": "default-src 'self'", "referrer-policy": null, "x-own": "1" },
        }));
        let given = of(&options, Content::File, &[], None);
        assert_eq!(
            given,
            json!({ "x-content-type-options": "nosniff", "content-security-policy": "default-src 'self'", "x-own": "1" })
        );
    }

    #[test]
    fn headers_of_a_route_stay_and_only_its_html_gets_those_of_pages() {
        let defaults = defaults();
        let html = ("content-type", "TEXT/HTML; charset=utf-8");
        let page = of(&defaults, Content::Route, &[html], None);
        assert_eq!(page["content-security-policy"], "frame-ancestors 'self'");
        let own = of(&defaults, Content::Route, &[html, ("content-security-policy", "default-src *")], None);
        assert_eq!(own["content-security-policy"], "default-src *");
        let framed = of(&defaults, Content::Route, &[html, ("x-frame-options", "SAMEORIGIN")], None);
        assert_eq!(framed.get("content-security-policy"), None);
        let image = of(&defaults, Content::Route, &[("content-type", "image/png")], None);
        assert_eq!(image, json!({ "content-type": "image/png", "x-content-type-options": "nosniff" }));
    }

    #[test]
    fn json_of_a_route_is_not_stored_unless_the_route_says_how() {
        let defaults = defaults();
        let json = ("content-type", "application/json");
        assert_eq!(of(&defaults, Content::Route, &[json], None)["cache-control"], "no-store");
        for own in
            [("cache-control", "public, max-age=60"), ("etag", "\"1\""), ("expires", "0"), ("last-modified", "x")]
        {
            let given = of(&defaults, Content::Route, &[json, own], None);
            assert_ne!(given.get("cache-control"), Some(&json!("no-store")), "{own:?}");
        }
    }

    #[test]
    fn hsts_is_sent_if_it_is_set_and_no_proxy_tells_of_plain_http() {
        let name = "strict-transport-security";
        let options = options(json!({ "hsts": "max-age=31536000; includeSubDomains" }));
        for content in [Content::Api, Content::File, Content::Route] {
            assert_eq!(of(&defaults(), content, &[], Some("https")).get(name), None);
            for scheme in [None, Some("https")] {
                assert_eq!(of(&options, content, &[], scheme)[name], "max-age=31536000; includeSubDomains");
            }
            assert_eq!(of(&options, content, &[], Some("http")).get(name), None);
        }
    }
}
