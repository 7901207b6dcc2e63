//! Reads a stream in a task, and detects when no more results come.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::events::{Events, is_heartbeat};
use crate::within;

/// The results that a client has received of its queries.
pub trait StreamState: Send + Sync + 'static {
    /// Handles an event that is no heartbeat.
    fn on_event(&mut self, event: &str);

    /// The newest result of a query, by its id in the client; 0 on a stream of one query.
    fn latest(&self, query: u64) -> Option<&Value>;
}

/// Reads in a task, until it is stopped or dropped.
pub struct Reader<H> {
    state: Arc<watch::Sender<ReaderState<H>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct ReaderState<H> {
    received: H,
    heartbeats: u64,
    ended: bool,
}

impl<H: StreamState> Reader<H> {
    pub(crate) fn new(mut events: Events, received: H) -> Reader<H> {
        let state = Arc::new(watch::Sender::new(ReaderState { received, heartbeats: 0, ended: false }));
        let (stop, mut stopped) = oneshot::channel();
        let on_end = MarkEnded(state.clone());
        let task = tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    _ = &mut stopped => return,
                    event = events.next() => event,
                };
                let Some(event) = event else { return };
                on_end.0.send_modify(|state| match is_heartbeat(&event) {
                    true => state.heartbeats += 1,
                    false => state.received.on_event(&event),
                });
            }
        });
        Reader { state, stop, task }
    }

    /// Whether the newest result is `wanted`, or becomes so.
    ///
    /// Call it while the engine is idle: then a result that has not arrived by the second
    /// heartbeat from now never will.
    pub async fn reaches(&self, query: u64, wanted: impl Fn(&Value) -> bool) -> bool {
        let since = self.state.borrow().heartbeats;
        let matches = |state: &ReaderState<H>| state.received.latest(query).is_some_and(&wanted);
        let done = |state: &ReaderState<H>| matches(state) || state.ended || state.heartbeats >= since + 2;
        self.wait_for(done).await;
        matches(&self.state.borrow())
    }

    /// Waits until the received state is `wanted`.
    pub async fn until(&self, wanted: impl Fn(&H) -> bool) {
        let done = |state: &ReaderState<H>| state.ended || wanted(&state.received);
        self.wait_for(done).await;
        assert!(self.inspect(&wanted), "the stream has ended");
    }

    /// Waits until the stream has ended.
    pub async fn until_end(&self) {
        self.wait_for(|state| state.ended).await;
    }

    /// Whether the stream has ended.
    pub fn has_ended(&self) -> bool {
        self.state.borrow().ended
    }

    /// Reads the received state.
    pub fn inspect<T>(&self, at: impl FnOnce(&H) -> T) -> T {
        at(&self.state.borrow().received)
    }

    /// Changes the received state.
    pub fn change<T>(&self, change: impl FnOnce(&mut H) -> T) -> T {
        let mut result = None;
        self.state.send_modify(|state| result = Some(change(&mut state.received)));
        result.expect("it was changed")
    }

    /// Disconnects; returns the received state.
    pub async fn stop(self) -> H
    where
        H: Default,
    {
        drop(self.stop);
        self.task.await.expect("a reader follows the protocol");
        let mut received = H::default();
        self.state.send_modify(|state| std::mem::swap(&mut state.received, &mut received));
        received
    }

    async fn wait_for(&self, done: impl Fn(&ReaderState<H>) -> bool) {
        let mut state = self.state.subscribe();
        let done = within(state.wait_for(&done)).await;
        assert!(done.is_ok(), "the reader keeps the sender");
    }
}

/// Marks the stream as ended when dropped, also if the task panics at a violation of the
/// protocol.
struct MarkEnded<H>(Arc<watch::Sender<ReaderState<H>>>);

impl<H> Drop for MarkEnded<H> {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.ended = true);
    }
}
