//! Records requests.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use hyper::{Method, StatusCode};

use crate::telemetry::{Metrics, Route};

/// One request, until the head of its response. It is recorded also if its client disconnects
/// first.
pub(super) struct RequestRecord<'a> {
    metrics: &'a Metrics,
    method: Method,
    began: Instant,
    /// The number of a [`Route`].
    route: AtomicU8,
    /// Its status code, once there is one.
    status: u16,
}

/// The status of a request whose client has disconnected before it had an answer, as nginx
/// logs it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl<'a> RequestRecord<'a> {
    /// A request that has arrived now.
    pub(super) fn begin(metrics: &'a Metrics, method: &Method) -> RequestRecord<'a> {
        let (route, status) = (AtomicU8::new(Route::Other as u8), CLIENT_CLOSED_REQUEST);
        RequestRecord { metrics, method: method.clone(), began: Instant::now(), route, status }
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
    }
}
