//! Many subscribers, and a writer at a steady pace: measures the delay until the affected
//! subscribers see a write, and counts frames sent to others.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::Failed;
use crate::caller::{processor_time, signal};
use crate::exchange::{Exchange, post};
use crate::marker::Marker;
use crate::stream::{AT_ONCE, Opening, Stream};
use crate::times::{Times, micros};

/// Frames that take longer count as missing.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait at the end for frames that should not arrive.
const EXTRA_TIME: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// The address of the streams.
    address: SocketAddr,
    streams: Vec<Watched>,
    /// Subscribers of each stream.
    subscribers_each: usize,
    marker: String,
    /// The address of writes, which may be another server.
    write_address: SocketAddr,
    write_path: String,
    /// The n-th write affects the n-th stream, modulo their number.
    writes: usize,
    writes_per_second: u32,
    /// Writes before the measurement.
    leave_out: usize,
}

#[derive(Deserialize)]
struct Watched {
    #[serde(flatten)]
    opening: Opening,
    /// The body of a write that affects it, before and after its marker.
    write: (String, String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    subscribers: usize,
    writes: usize,
    /// Writes whose delays were measured.
    measured: usize,
    /// Affected subscribers, summed over all writes.
    expected: usize,
    /// Those that never received the write.
    missing: usize,
    /// Frames without a new write.
    wasted: usize,
    /// Writes shown to subscribers that they do not affect.
    strange: usize,
    /// From sending the write to its frame.
    after_sending: Times,
    /// From the response of the write to the frame; negative if the frame was first.
    after_answer: Times,
    /// From sending the write to its response.
    answer: Times,
    /// The processor time of this program during the measurement, in microseconds.
    own_cpu: Option<u64>,
    /// The last frame of the first subscriber.
    last_event: String,
}

/// Prints `subscribed` when every subscriber has its first result, `measuring` when the writes
/// before the measurement have been seen, and `measured` when the others have.
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
        signal("subscribed").await?;
        let mut writer = Writer::new(&plan, &marker).await?;
        let all_seen = async |writes: usize| {
            let all = async {
                while seen.borrow().arrivals.len() < writes * plan.subscribers_each {
                    news.notified().await;
                }
            };
            // Missing frames are counted at the end.
            tokio::time::timeout(FRAME_TIMEOUT, all).await.is_ok()
        };
        writer.write(plan.leave_out).await?;
        all_seen(plan.leave_out).await;
        signal("measuring").await?;
        let before = processor_time();
        writer.write(plan.writes - plan.leave_out).await?;
        all_seen(plan.writes).await;
        let own_cpu = processor_time().zip(before).map(|(after, before)| after - before);
        signal("measured").await?;
        tokio::time::sleep(EXTRA_TIME).await;
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

    /// Sends the next writes, one after the other.
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
            if self.exchange.send(&request).await? != 200 {
                return Err(format!("a write failed: {}", self.exchange.answer()).into());
            }
            self.moments.push(Moments { sent, answered: Instant::now() });
        }
        Ok(())
    }
}

/// The frames of all subscribers after their first results.
#[derive(Default)]
struct Seen {
    /// Which write a subscriber saw, and when.
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
    /// Writes before this one have been seen, or do not affect it.
    next: usize,
    marker: Rc<Marker>,
    seen: Rc<RefCell<Seen>>,
    news: Rc<Notify>,
}

impl Watcher {
    /// Returns why the stream ended.
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
                // The newest are first, and one frame may show several.
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
