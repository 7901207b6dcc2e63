//! Many subscribers, and a writer at a steady pace: how long until those whom a
//! write concerns have seen it, and who was sent something for nothing.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::Failed;
use crate::caller::{processor_time, tell};
use crate::exchange::{Exchange, post};
use crate::marker::Marker;
use crate::stream::{AT_ONCE, Opening, Stream};
use crate::times::{Times, micros};

/// How long frames may take before they count as missing.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to listen, when all is said, for what should not come.
const AFTERWARDS: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// Where the streams are.
    address: SocketAddr,
    streams: Vec<Watched>,
    /// Subscribers of each.
    subscribers_each: usize,
    marker: String,
    /// Where writes are sent, which may be another server.
    write_address: SocketAddr,
    write_path: String,
    /// The n-th concerns the n-th stream, and so on from the first again.
    writes: usize,
    writes_per_second: u32,
    /// Writes in front that nothing is measured of.
    leave_out: usize,
}

#[derive(Deserialize)]
struct Watched {
    #[serde(flatten)]
    opening: Opening,
    /// What a write that concerns it says around its marker.
    write: (String, String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    subscribers: usize,
    writes: usize,
    /// Writes whose delays were taken.
    measured: usize,
    /// Subscribers who should have seen a write, over all writes.
    expected: usize,
    /// Those of them who never did.
    missing: usize,
    /// Frames that showed their subscriber nothing new.
    wasted: usize,
    /// Writes shown to those whom they do not concern.
    strange: usize,
    /// From sending the write to its frame.
    after_sending: Times,
    /// From the writer's answer to the frame; negative where the frame was first.
    after_answer: Times,
    /// From sending the write to its answer.
    answer: Times,
    /// Of this program while it measured, in microseconds.
    own_cpu: Option<u64>,
    /// What the first subscriber was sent last.
    last_event: String,
}

/// Says `subscribed` when every subscriber has its first answer, `measuring` when
/// the first writes have been seen, and `measured` when the others have.
pub(crate) async fn run(plan: Plan) -> Result<Measured, Failed> {
    LocalSet::new().run_until(watch_and_write(plan)).await
}

async fn watch_and_write(plan: Plan) -> Result<Measured, Failed> {
    let openings = plan.streams.iter().map(|watched| &watched.opening);
    let streams = Stream::open_all(plan.address, openings, plan.subscribers_each, AT_ONCE).await?;
    let marker = Rc::new(Marker::new(&plan.marker));
    let seen = Rc::new(RefCell::new(Seen { arrivals: Vec::new(), wasted: 0, strange: 0, last_event: Vec::new() }));
    let news = Rc::new(Notify::new());
    let mut watchers = JoinSet::new();
    for (number, (place, stream)) in streams.into_iter().enumerate() {
        let watcher = Watcher {
            stream,
            place,
            streams: plan.streams.len(),
            is_first: number == 0,
            next: 0,
            marker: marker.clone(),
            seen: seen.clone(),
            news: news.clone(),
        };
        watchers.spawn_local(watcher.watch());
    }
    let measuring = async {
        tell("subscribed").await?;
        let mut writer = Writer::new(&plan, &marker).await?;
        let all_seen = async |writes: usize| {
            let all = async {
                while seen.borrow().arrivals.len() < writes * plan.subscribers_each {
                    news.notified().await;
                }
            };
            // Who is missing is counted at the end.
            tokio::time::timeout(PATIENCE, all).await.is_ok()
        };
        writer.write(plan.leave_out).await?;
        all_seen(plan.leave_out).await;
        tell("measuring").await?;
        let before = processor_time();
        writer.write(plan.writes - plan.leave_out).await?;
        all_seen(plan.writes).await;
        let own_cpu = processor_time().zip(before).map(|(after, before)| after - before);
        tell("measured").await?;
        tokio::time::sleep(AFTERWARDS).await;
        Ok::<_, Failed>((writer.moments, own_cpu))
    };
    let (moments, own_cpu) = tokio::select! {
        measured = measuring => measured?,
        Some(ended) = watchers.join_next() => return Err(ended?),
    };
    watchers.shutdown().await;
    let seen = seen.take();
    Ok(measured(&plan, &moments, seen, own_cpu))
}

fn measured(plan: &Plan, moments: &[Moments], seen: Seen, own_cpu: Option<u64>) -> Measured {
    let taken = || seen.arrivals.iter().filter(|(write, _)| *write >= plan.leave_out);
    let measured = &moments[plan.leave_out..];
    let expected = plan.writes * plan.subscribers_each;
    Measured {
        subscribers: plan.streams.len() * plan.subscribers_each,
        writes: plan.writes,
        measured: measured.len(),
        expected,
        missing: expected - seen.arrivals.len(),
        wasted: seen.wasted,
        strange: seen.strange,
        after_sending: Times::of(taken().map(|(write, at)| micros(moments[*write].sent, *at)).collect()),
        after_answer: Times::of(taken().map(|(write, at)| micros(moments[*write].answered, *at)).collect()),
        answer: Times::of(measured.iter().map(|moment| micros(moment.sent, moment.answered)).collect()),
        own_cpu,
        last_event: String::from_utf8_lossy(&seen.last_event).into_owned(),
    }
}

struct Moments {
    sent: Instant,
    answered: Instant,
}

struct Writer<'a> {
    plan: &'a Plan,
    marker: &'a Marker,
    exchange: Exchange,
    moments: Vec<Moments>,
}

impl<'a> Writer<'a> {
    async fn new(plan: &'a Plan, marker: &'a Marker) -> Result<Writer<'a>, Failed> {
        let exchange = Exchange::open(plan.write_address).await?;
        Ok(Writer { plan, marker, exchange, moments: Vec::with_capacity(plan.writes) })
    }

    /// The next writes, each answered before the one after it.
    async fn write(&mut self, count: usize) -> Result<(), Failed> {
        let Plan { streams, write_address, write_path, writes_per_second, .. } = self.plan;
        let mut pace = tokio::time::interval(Duration::from_secs(1) / (*writes_per_second).max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..count {
            let number = self.moments.len();
            let (before, after) = &streams[number % streams.len()].write;
            let request = post(*write_address, write_path, &format!("{before}{}{after}", self.marker.text(number)));
            pace.tick().await;
            let sent = Instant::now();
            if self.exchange.ask(&request).await? != 200 {
                return Err(format!("a write was refused: {}", self.exchange.answer()).into());
            }
            self.moments.push(Moments { sent, answered: Instant::now() });
        }
        Ok(())
    }
}

/// What all subscribers have been sent after their first answers.
#[derive(Default)]
struct Seen {
    /// Which write somebody saw, and when.
    arrivals: Vec<(usize, Instant)>,
    wasted: usize,
    strange: usize,
    last_event: Vec<u8>,
}

/// One subscriber.
struct Watcher {
    stream: Stream,
    place: usize,
    streams: usize,
    is_first: bool,
    /// Writes before this one have been seen, or do not concern it.
    next: usize,
    marker: Rc<Marker>,
    seen: Rc<RefCell<Seen>>,
    news: Rc<Notify>,
}

impl Watcher {
    /// Gives why it ended.
    async fn watch(mut self) -> Failed {
        let Watcher { stream, place, streams, is_first, next, marker, seen, news } = &mut self;
        loop {
            let read = stream.read(|event| {
                let at = Instant::now();
                let seen = &mut *seen.borrow_mut();
                if *is_first {
                    seen.last_event.clear();
                    seen.last_event.extend_from_slice(event);
                }
                let known = *next;
                // The newest come first, and one frame may show several.
                for number in marker.numbers(event).take_while(|number| *number >= known) {
                    *next = (*next).max(number + 1);
                    if number % *streams == *place {
                        seen.arrivals.push((number, at));
                    } else {
                        seen.strange += 1;
                    }
                }
                if *next == known {
                    seen.wasted += 1;
                }
            });
            if let Err(failed) = read.await {
                return failed;
            }
            news.notify_one();
        }
    }
}
