//! Records requests.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::cross_origin;
use crate::Engine;
use crate::origin::split_authority;
use crate::telemetry::{Metrics, Route, Scope, Span, known_method};

/// One request, until the head of its response. It is recorded also if its client disconnects
/// first.
pub(super) struct RequestRecord<'a> {
    metrics: &'a Metrics,
    span: Span,
    method: Method,
    /// The header with the host that the client requested; `None` without a span. It is no label of
    /// metrics, because a client can send any number of hosts.
    host: Option<HeaderValue>,
    began: Instant,
    /// The number of a [`Route`].
    route: AtomicU8,
    /// Its status code, once there is one.
    status: u16,
}

/// The longest name of a host.
const MAX_HOST_BYTES: usize = 253;

/// The status of a request whose client has disconnected before it had an answer, as nginx
/// logs it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl<'a> RequestRecord<'a> {
    /// A request that has arrived now.
    pub(super) fn begin(engine: &'a Engine, head: &Parts, peer: Option<IpAddr>) -> RequestRecord<'a> {
        let is_traced = engine.tracer().is_on();
        let given = is_traced.then(|| head.headers.get("traceparent")).flatten();
        let traceparent = given.and_then(|value| value.to_str().ok());
        RequestRecord {
            metrics: engine.metrics(),
            span: engine.tracer().request("request", traceparent),
            method: head.method.clone(),
            host: if is_traced {
                cross_origin::host_header(&head.headers, peer, engine.config()).cloned()
            } else {
                None
            },
            began: Instant::now(),
            route: AtomicU8::new(Route::Other as u8),
            status: CLIENT_CLOSED_REQUEST,
        }
    }

    /// What the work for it belongs to.
    pub(super) fn scope(&self) -> Scope {
        Scope::default().within(&self.span)
    }

    /// Its identity for the client, as a `traceparent`.
    pub(super) fn trace_response(&self) -> Option<String> {
        Some(self.span.remote()?.to_traceparent())
    }

    /// Its path has this template.
    pub(super) fn found(&self, route: Route) {
        self.route.store(route as u8, Ordering::Relaxed);
    }

    /// It is answered.
    pub(super) fn end(mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for RequestRecord<'_> {
    fn drop(&mut self) {
        let route = Route::of_number(*self.route.get_mut());
        self.metrics.request(self.method.as_str(), route, self.status, self.began.elapsed());
        if self.status >= 500 {
            self.span.fail(self.status.to_string());
        }
        std::mem::take(&mut self.span).end(|span| {
            // The path itself may hold names and arguments, so its template stands for it.
            let method = known_method(self.method.as_str());
            span.name(method, route.template().into());
            span.set("http.request.method", method);
            span.set("http.route", route.template());
            span.set("url.path", route.template());
            span.set("url.scheme", "http");
            if let Some((address, port)) = self.host.as_ref().and_then(server_of) {
                span.set("server.address", address.to_owned());
                port.into_iter().for_each(|port| span.set("server.port", i64::from(port)));
            }
            span.set("http.response.status_code", i64::from(self.status));
        });
    }
}

/// The host and the port in a header; `None` if it has none. Of several hosts, the first is that of
/// the client's request.
fn server_of(host: &HeaderValue) -> Option<(&str, Option<u16>)> {
    let first = host.to_str().ok()?.split(',').next()?;
    split_authority(first.trim()).filter(|(address, _)| address.len() <= MAX_HOST_BYTES)
}
