//! A stream that is read all the time, and when it has nothing more to tell.

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::events::{Events, is_heartbeat};
use crate::within;

/// What a client holds of what it watches.
pub trait Holder: Send + Sync + 'static {
    /// Takes in an event that is no heartbeat.
    fn take(&mut self, event: &str);

    /// The newest result of a query by the client's number for it; what watches
    /// one query has it under 0.
    fn latest(&self, query: u64) -> Option<&Value>;
}

/// Reads in a task of its own, until it is stopped or dropped.
pub struct Reader<H> {
    heard: watch::Receiver<Heard<H>>,
    enough: Option<oneshot::Sender<()>>,
    task: JoinHandle<watch::Sender<Heard<H>>>,
}

struct Heard<H> {
    holder: H,
    heartbeats: u64,
    ended: bool,
}

impl<H: Holder> Reader<H> {
    pub(crate) fn new(mut events: Events, holder: H) -> Reader<H> {
        let (sender, heard) = watch::channel(Heard { holder, heartbeats: 0, ended: false });
        let (enough, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    _ = &mut stopped => return sender,
                    event = events.next() => event,
                };
                sender.send_modify(|heard| match event.as_deref() {
                    None => heard.ended = true,
                    Some(event) if is_heartbeat(event) => heard.heartbeats += 1,
                    Some(event) => heard.holder.take(event),
                });
                if event.is_none() {
                    return sender;
                }
            }
        });
        Reader { heard, enough: Some(enough), task }
    }

    /// Whether the newest result is as `wanted`, or becomes so.
    ///
    /// Ask when the engine is at rest: then what the stream has not said by its
    /// second heartbeat from now, it never will.
    pub async fn comes_to(&mut self, query: u64, wanted: impl Fn(&Value) -> bool) -> bool {
        let since = self.heard.borrow().heartbeats;
        let is_wanted = |heard: &Heard<H>| heard.holder.latest(query).is_some_and(&wanted);
        let over = |heard: &Heard<H>| is_wanted(heard) || heard.ended || heard.heartbeats >= since + 2;
        let heard = within(self.heard.wait_for(over)).await;
        is_wanted(&heard.expect("a reader follows the protocol"))
    }

    /// Waits until what is held is as `wanted`.
    pub async fn until(&mut self, wanted: impl Fn(&H) -> bool) {
        let over = |heard: &Heard<H>| heard.ended || wanted(&heard.holder);
        let heard = within(self.heard.wait_for(over)).await.expect("a reader follows the protocol");
        assert!(wanted(&heard.holder), "the stream has ended");
    }

    /// Waits until the stream has ended.
    pub async fn until_the_end(&mut self) {
        let ended = within(self.heard.wait_for(|heard| heard.ended)).await;
        assert!(ended.is_ok(), "a reader follows the protocol");
    }

    /// Looks at what is held.
    pub fn look<T>(&self, at: impl FnOnce(&H) -> T) -> T {
        at(&self.heard.borrow().holder)
    }

    /// Hangs up; what is left is what was held.
    pub async fn stop(mut self) -> H
    where
        H: Default,
    {
        self.enough.take();
        let sender = self.task.await.expect("a reader follows the protocol");
        let mut holder = H::default();
        sender.send_modify(|heard| std::mem::swap(&mut heard.holder, &mut holder));
        holder
    }
}
