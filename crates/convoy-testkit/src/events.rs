//! Server-sent events, read one by one.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::PATIENCE;

/// An open stream of events.
pub(crate) struct Events {
    body: Incoming,
    /// Bytes, since a character may arrive in two parts.
    buffer: Vec<u8>,
    /// Where in the buffer the next event begins, and how far it has no end.
    at: usize,
    searched: usize,
}

impl Events {
    pub(crate) fn new(body: Incoming) -> Events {
        Events { body, buffer: Vec::new(), at: 0, searched: 0 }
    }

    /// The next event as it came, comments included; `None` when the stream has
    /// ended. Given up half-way, it loses nothing.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(length) = self.buffer[self.searched..].windows(2).position(|two| two == b"\n\n") {
                let end = self.searched + length;
                let event = self.buffer[self.at..end].to_vec();
                (self.at, self.searched) = (end + 2, end + 2);
                return Some(String::from_utf8(event).expect("events are text"));
            }
            self.searched = self.buffer.len().saturating_sub(1).max(self.at);
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("the next event comes");
            self.take(&frame?.ok()?.into_data().ok()?);
        }
    }

    /// Whether nothing more has arrived. Ask only once the server is at rest.
    pub(crate) fn is_quiet(&mut self) -> bool {
        use futures_util::FutureExt;
        while let Some(Some(Ok(frame))) = self.body.frame().now_or_never() {
            if let Ok(data) = frame.into_data() {
                self.take(&data);
            }
        }
        self.at == self.buffer.len()
    }

    fn take(&mut self, data: &[u8]) {
        self.buffer.drain(..self.at);
        self.searched -= std::mem::take(&mut self.at);
        self.buffer.extend_from_slice(data);
    }
}

/// The `data:` lines of an event.
pub(crate) fn data_of(event: &str) -> impl Iterator<Item = &str> {
    event.lines().filter_map(|line| line.strip_prefix("data:").map(|data| data.strip_prefix(' ').unwrap_or(data)))
}

/// Whether an event says only that the stream is alive.
pub(crate) fn is_heartbeat(event: &str) -> bool {
    !event.is_empty() && event.lines().all(|line| line.starts_with(':'))
}
