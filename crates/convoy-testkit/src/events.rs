//! Server-sent events, read one by one.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::EVENT_TIMEOUT;

/// An open stream of events.
pub(crate) struct Events {
    body: Incoming,
    /// Bytes, since a character may arrive in two parts.
    buffer: Vec<u8>,
    /// The position of the next event in the buffer, and how far its end was searched for.
    at: usize,
    searched: usize,
}

impl Events {
    pub(crate) fn new(body: Incoming) -> Events {
        Events { body, buffer: Vec::new(), at: 0, searched: 0 }
    }

    /// The next raw event, comments included; `None` when the stream has ended. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(length) = self.buffer[self.searched..].windows(2).position(|two| two == b"\n\n") {
                let end = self.searched + length;
                let event = self.buffer[self.at..end].to_vec();
                (self.at, self.searched) = (end + 2, end + 2);
                return Some(String::from_utf8(event).expect("events are text"));
            }
            self.searched = self.buffer.len().saturating_sub(1).max(self.at);
            let frame = tokio::time::timeout(EVENT_TIMEOUT, self.body.frame()).await.expect("the next event comes");
            self.append(&frame?.ok()?.into_data().ok()?);
        }
    }

    /// Whether no more events have arrived. Call it only while the server is idle.
    pub(crate) fn is_quiet(&mut self) -> bool {
        use futures_util::FutureExt;
        while let Some(Some(Ok(frame))) = self.body.frame().now_or_never() {
            if let Ok(data) = frame.into_data() {
                self.append(&data);
            }
        }
        self.at == self.buffer.len()
    }

    fn append(&mut self, data: &[u8]) {
        self.buffer.drain(..self.at);
        self.searched -= std::mem::take(&mut self.at);
        self.buffer.extend_from_slice(data);
    }
}

/// The `data:` lines of an event.
pub(crate) fn data_of(event: &str) -> impl Iterator<Item = &str> {
    event.lines().filter_map(|line| line.strip_prefix("data:").map(|data| data.strip_prefix(' ').unwrap_or(data)))
}

/// Whether an event is a heartbeat: only comments.
pub(crate) fn is_heartbeat(event: &str) -> bool {
    !event.is_empty() && event.lines().all(|line| line.starts_with(':'))
}
