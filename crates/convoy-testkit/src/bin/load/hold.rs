//! Streams that are held open while others are measured.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

use crate::Failed;
use crate::caller::tell;
use crate::stream::{Opening, Stream};

/// How long an event may take that is awaited.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    address: SocketAddr,
    streams: Vec<Opening>,
    /// Streams of each kind.
    copies: usize,
    /// Streams being opened at once.
    at_once: usize,
}

#[derive(Serialize)]
pub(crate) struct Held {
    streams: usize,
    /// Which came after the first answers, heartbeats left out.
    events: usize,
}

/// Says `held` when every query has its first answer. The caller's line is how many
/// events it expects; ends when they have come, or have had their time.
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
        let expected: usize = tell("held").await?.trim().parse()?;
        let all = async {
            while events.get() < expected {
                news.notified().await;
            }
        };
        // What has not come by then is told by the count.
        drop(tokio::time::timeout(PATIENCE, all).await);
        Ok::<(), Failed>(())
    };
    tokio::select! {
        held = holding => held?,
        Some(ended) = readers.join_next() => return Err(ended?),
    }
    readers.shutdown().await;
    Ok(Held { streams: count, events: events.get() })
}
