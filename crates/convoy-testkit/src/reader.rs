//! A stream that is read all the time, and when it has nothing more to tell.

use std::sync::Arc;

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
    heard: Arc<watch::Sender<Heard<H>>>,
    enough: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Heard<H> {
    holder: H,
    heartbeats: u64,
    ended: bool,
}

impl<H: Holder> Reader<H> {
    pub(crate) fn new(mut events: Events, holder: H) -> Reader<H> {
        let heard = Arc::new(watch::Sender::new(Heard { holder, heartbeats: 0, ended: false }));
        let (enough, mut stopped) = oneshot::channel();
        let told = Ending(heard.clone());
        let task = tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    _ = &mut stopped => return,
                    event = events.next() => event,
                };
                let Some(event) = event else { return };
                told.0.send_modify(|heard| match is_heartbeat(&event) {
                    true => heard.heartbeats += 1,
                    false => heard.holder.take(&event),
                });
            }
        });
        Reader { heard, enough, task }
    }

    /// Whether the newest result is as `wanted`, or becomes so.
    ///
    /// Ask when the engine is at rest: then what the stream has not said by its
    /// second heartbeat from now, it never will.
    pub async fn comes_to(&self, query: u64, wanted: impl Fn(&Value) -> bool) -> bool {
        let since = self.heard.borrow().heartbeats;
        let is_wanted = |heard: &Heard<H>| heard.holder.latest(query).is_some_and(&wanted);
        let over = |heard: &Heard<H>| is_wanted(heard) || heard.ended || heard.heartbeats >= since + 2;
        self.wait_for(over).await;
        is_wanted(&self.heard.borrow())
    }

    /// Waits until what is held is as `wanted`.
    pub async fn until(&self, wanted: impl Fn(&H) -> bool) {
        let over = |heard: &Heard<H>| heard.ended || wanted(&heard.holder);
        self.wait_for(over).await;
        assert!(self.look(&wanted), "the stream has ended");
    }

    /// Waits until the stream has ended.
    pub async fn until_the_end(&self) {
        self.wait_for(|heard| heard.ended).await;
    }

    /// Looks at what is held.
    pub fn look<T>(&self, at: impl FnOnce(&H) -> T) -> T {
        at(&self.heard.borrow().holder)
    }

    /// Changes what is held.
    pub fn change<T>(&self, change: impl FnOnce(&mut H) -> T) -> T {
        let mut result = None;
        self.heard.send_modify(|heard| result = Some(change(&mut heard.holder)));
        result.expect("it was changed")
    }

    /// Hangs up; what is left is what was held.
    pub async fn stop(self) -> H
    where
        H: Default,
    {
        drop(self.enough);
        self.task.await.expect("a reader follows the protocol");
        let mut holder = H::default();
        self.heard.send_modify(|heard| std::mem::swap(&mut heard.holder, &mut holder));
        holder
    }

    async fn wait_for(&self, over: impl Fn(&Heard<H>) -> bool) {
        let mut heard = self.heard.subscribe();
        let over = within(heard.wait_for(&over)).await;
        assert!(over.is_ok(), "the sender is ours");
    }
}

/// Says that nothing more comes, also where what came broke the protocol and the
/// task has panicked.
struct Ending<H>(Arc<watch::Sender<Heard<H>>>);

impl<H> Drop for Ending<H> {
    fn drop(&mut self) {
        self.0.send_modify(|heard| heard.ended = true);
    }
}
