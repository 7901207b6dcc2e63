//! What a stream of either kind tells its reader, and when it has nothing more
//! to tell.

use serde_json::Value;

/// What a stream said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Something about its queries, by now to be read from [`Subscriber::latest`].
    News,
    /// Only that it is alive.
    Heartbeat,
    /// Its end.
    End,
}

/// Someone who watches queries.
pub trait Subscriber: Send {
    /// Waits for what the stream says next. Given up half-way, it loses nothing.
    fn hear(&mut self) -> impl Future<Output = Heard> + Send;

    /// The newest result of a query by the client's number for it; streams of one
    /// query have it under 0.
    fn latest(&self, query: u64) -> Option<&Value>;

    /// Whether the newest result is as `wanted`, or becomes so.
    ///
    /// Ask when the engine is at rest: then what the stream does not say before
    /// its second heartbeat from now, it never will.
    fn comes_to(&mut self, query: u64, wanted: impl Fn(&Value) -> bool + Send) -> impl Future<Output = bool> + Send {
        async move {
            let mut heartbeats = 0;
            while heartbeats < 2 {
                if self.latest(query).is_some_and(&wanted) {
                    return true;
                }
                match self.hear().await {
                    Heard::News => {}
                    Heard::Heartbeat => heartbeats += 1,
                    Heard::End => return false,
                }
            }
            false
        }
    }
}
