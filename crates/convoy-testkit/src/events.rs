//! Server-sent events, read one by one.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::PATIENCE;

/// An open stream of events.
pub struct Events {
    body: Incoming,
    buffer: String,
    /// Where in the buffer the next event begins.
    at: usize,
}

impl Events {
    pub(crate) fn new(body: Incoming) -> Events {
        Events { body, buffer: String::new(), at: 0 }
    }

    /// The next event as it came, comments included; `None` when the stream has
    /// ended. Given up half-way, it loses nothing.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(length) = self.buffer[self.at..].find("\n\n") {
                let event = self.buffer[self.at..self.at + length].to_owned();
                self.at += length + 2;
                if self.at == self.buffer.len() {
                    self.buffer.clear();
                    self.at = 0;
                }
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("the next event comes");
            self.take(&frame?.ok()?.into_data().ok()?);
        }
    }

    /// Whether nothing more has arrived. Ask only once the server is at rest.
    pub fn is_quiet(&mut self) -> bool {
        use futures_util::FutureExt;
        while let Some(Some(Ok(frame))) = self.body.frame().now_or_never() {
            if let Ok(data) = frame.into_data() {
                self.take(&data);
            }
        }
        self.buffer.is_empty()
    }

    fn take(&mut self, data: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.at));
        self.buffer.push_str(std::str::from_utf8(data).expect("frames end between characters"));
    }
}

/// The `data:` lines of an event.
pub fn data_of(event: &str) -> impl Iterator<Item = &str> {
    event.lines().filter_map(|line| line.strip_prefix("data:").map(|data| data.strip_prefix(' ').unwrap_or(data)))
}

/// Whether an event says only that the stream is alive.
pub fn is_heartbeat(event: &str) -> bool {
    !event.is_empty() && event.lines().all(|line| line.starts_with(':'))
}
