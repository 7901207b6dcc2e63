//! Keeps streams open while others are measured.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

use crate::Failed;
use crate::caller::signal;
use crate::stream::{Opening, Stream};

/// How long an awaited event may take.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    address: SocketAddr,
    streams: Vec<Opening>,
    /// Streams of each kind.
    copies: usize,
    /// Streams that are opened concurrently.
    at_once: usize,
}

#[derive(Serialize)]
pub(crate) struct Held {
    streams: usize,
    /// Events after the first results, without heartbeats.
    events: usize,
}

/// Prints `held` when every query has its first result. The line of the caller is the number of
/// events it expects; ends when they have arrived, or after a timeout.
pub(crate) async fn run(plan: Plan) -> Result<Held, Failed> {
    LocalSet::new().run_until(hold(plan)).await
}

async fn hold(plan: Plan) -> Result<Held, Failed> {
    let streams = Stream::open_all(plan.address, plan.streams.iter(), plan.copies, plan.at_once).await?;
    let count = streams.len();
    let events = Rc::new(Cell::new(0));
    let news = Rc::new(Notify::new());
    let mut readers = JoinSet::new();
    for (_, mut stream) in streams {
        let (events, news) = (events.clone(), news.clone());
        readers.spawn_local(async move {
            loop {
                if let Err(failed) = stream.read(|_| events.set(events.get() + 1)).await {
                    return failed;
                }
                news.notify_one();
            }
        });
    }
    let holding = async {
        let expected: usize = signal("held").await?.trim().parse()?;
        let all = async {
            while events.get() < expected {
                news.notified().await;
            }
        };
        // The count shows what did not arrive by then.
        drop(tokio::time::timeout(EVENT_TIMEOUT, all).await);
        Ok::<(), Failed>(())
    };
    tokio::select! {
        held = holding => held?,
        Some(ended) = readers.join_next() => return Err(ended?),
    }
    readers.shutdown().await;
    Ok(Held { streams: count, events: events.get() })
}
