//! Subscribers who read all the time, each in a task of its own.

use convoy_testkit::{Heard, Subscriber};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Those who read.
pub struct Audience<S> {
    readers: Vec<JoinHandle<S>>,
    enough: watch::Sender<bool>,
}

impl<S: Subscriber + 'static> Audience<S> {
    pub fn new() -> Audience<S> {
        Audience { readers: Vec::new(), enough: watch::Sender::new(false) }
    }

    /// One more begins to read.
    pub fn seat(&mut self, mut subscriber: S) {
        let mut enough = self.enough.subscribe();
        self.readers.push(tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = enough.wait_for(|enough| *enough) => return subscriber,
                    heard = subscriber.hear() => if heard == Heard::End { return subscriber },
                }
            }
        }));
    }

    /// They stop reading; in the order in which they came.
    pub async fn leave(self) -> Vec<S> {
        self.enough.send_replace(true);
        let mut all = Vec::with_capacity(self.readers.len());
        for reader in self.readers {
            all.push(reader.await.expect("a reader follows the protocol"));
        }
        all
    }
}
