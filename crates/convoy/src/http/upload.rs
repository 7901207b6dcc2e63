//! The body of a request as its route reads it: of limited size, and no slower than a minimum rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::body::{self, RequestBody};
use crate::dispatch::RequestChunks;
use crate::error::{Code, Failure};

/// A client that sends this many bytes per second may send for any time.
const MIN_BYTES_PER_SECOND: u32 = 1 << 10;

/// A request body as its route pulls it. When it is dropped, the rest is discarded.
pub(super) struct Upload {
    body: Option<RequestBody>,
    /// How many bytes it may still have, and had at first.
    left: u64,
    max: u64,
    patience: Patience,
    /// Set at the end of the body.
    is_read: Arc<AtomicBool>,
    discards: bool,
    tasks: TaskTracker,
}

/// What a body may be, and how its rest is discarded.
pub(super) struct UploadLimits {
    /// The size in bytes.
    pub max: u64,
    /// How long the client may be too slow.
    pub idle: Duration,
    /// Whether the client sends the rest of a body that is not read.
    pub discards: bool,
}

impl Upload {
    /// `is_read` is set when the body has been read to its end.
    pub(super) fn new(
        body: RequestBody,
        UploadLimits { max, idle, discards }: UploadLimits,
        is_read: Arc<AtomicBool>,
        tasks: TaskTracker,
    ) -> Upload {
        Upload { body: Some(body), left: max, max, patience: Patience::new(idle), is_read, discards, tasks }
    }

    /// The chunks for the route.
    pub(super) fn into_chunks(self) -> RequestChunks {
        Box::pin(stream::unfold(self, |mut upload| async move { Some((upload.next().await?, upload)) }))
    }

    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let body = self.body.as_mut()?;
            let began = Instant::now();
            let frame = match tokio::time::timeout(self.patience.left, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => {
                    self.is_read.store(true, Ordering::Relaxed);
                    return None;
                }
                Ok(Some(Err(error))) => {
                    self.body = None;
                    return Some(Err(error.to_failure()));
                }
                Err(_elapsed) => return Some(Err(too_slow())),
            };
            // There is no use for trailers.
            let bytes = frame.into_data().unwrap_or_default();
            self.patience.spend(began.elapsed(), bytes.len());
            if bytes.is_empty() {
                continue;
            }
            if body.is_end_stream() {
                self.is_read.store(true, Ordering::Relaxed);
            }
            let Some(left) = self.left.checked_sub(bytes.len() as u64) else { return Some(Err(too_large(self.max))) };
            self.left = left;
            return Some(Ok(bytes));
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| self.discards && !body.is_end_stream());
        // Without a runtime, the process ends.
        if let (Some(rest), Ok(_runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            self.tasks.spawn(body::discard(rest));
        }
    }
}

/// How long a client may still be waited for. Waiting spends it, and bytes restore it, each
/// for the time that it takes at the minimum rate. It does not grow beyond its first value, so a
/// fast start buys no slow end; and only the time in which the route waits counts, so a route
/// that reads slowly harms no client.
struct Patience {
    left: Duration,
    max: Duration,
}

impl Patience {
    fn new(max: Duration) -> Patience {
        Patience { left: max, max }
    }

    fn spend(&mut self, waited: Duration, bytes: usize) {
        let restored = Duration::from_secs_f64(bytes as f64 / f64::from(MIN_BYTES_PER_SECOND));
        self.left = self.left.saturating_sub(waited).saturating_add(restored).min(self.max);
    }
}

fn too_slow() -> Failure {
    Failure::new(
        Code::Timeout,
        format!(
            "The request's body arrived too slowly: a client that is waited for longer than limits.bodyMs has to send \
             {MIN_BYTES_PER_SECOND} bytes per second."
        ),
    )
}

/// The failure for a body above the limit of its route.
pub(super) fn too_large(max: u64) -> Failure {
    Failure::new(
        Code::PayloadTooLarge,
        format!("The request's body is larger than {max} bytes, which is the limit of this route (bodyBytes)."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many chunks a client is given up that sends `bytes` every `seconds`.
    fn chunks(bytes: usize, seconds: u64) -> Option<usize> {
        let (mut patience, pause) = (Patience::new(Duration::from_secs(30)), Duration::from_secs(seconds));
        (0..100_000).find(|_| {
            let is_late = pause > patience.left;
            patience.spend(pause, bytes);
            is_late
        })
    }

    #[test]
    fn a_client_is_given_up_if_it_sends_less_than_the_minimum_rate() {
        assert_eq!(chunks(1, 10), Some(3));
        assert_eq!(chunks(1 << 10, 29), Some(1));
        assert_eq!(chunks(512, 1), Some(59));
        assert_eq!(chunks(1 << 10, 1), None);
        assert_eq!(chunks(20 << 10, 20), None);
        assert_eq!(chunks(1 << 20, 29), None);
    }

    #[test]
    fn a_fast_start_buys_no_slow_end() {
        let mut patience = Patience::new(Duration::from_secs(30));
        patience.spend(Duration::from_secs(1), 1 << 30);
        assert_eq!(patience.left, Duration::from_secs(30));
        patience.spend(Duration::from_secs(31), 0);
        assert!(patience.left.is_zero());
    }
}
