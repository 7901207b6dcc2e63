//! Writers that write as fast as they get responses, and subscribers to what they write:
//! measures throughput, and the delay of the subscribers.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};

use crate::Failed;
use crate::caller::{processor_time, signal};
use crate::exchange::{Exchange, post};
use crate::marker::Marker;
use crate::stream::{AT_ONCE, Opening, Stream};
use crate::times::{Times, micros};

/// How long the last frames may take to arrive.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// Subscribers whose delays are measured.
const SAMPLE: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    address: SocketAddr,
    /// The stream of all subscribers.
    stream: Opening,
    subscribers: usize,
    marker: String,
    write_path: String,
    /// The body of a write, before and after its marker.
    write: (String, String),
    writers: usize,
    /// Load before the measurement.
    warm_ms: u64,
    measure_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    subscribers: usize,
    /// All successful writes: before, within and after the measurement.
    written: usize,
    /// Successful writes within it.
    writes: usize,
    per_second: f64,
    /// From sending a write to its response.
    answer: Times,
    /// All frames sent to each subscriber.
    frames_each: f64,
    /// From sending a write to the first frame that includes it or a later state, for some of
    /// the subscribers.
    after_sending: Times,
    /// Subscribers whose last frame differs from that of the first subscriber.
    behind: usize,
    /// The last frame of the first subscriber.
    last_event: String,
    /// The processor time of this program from the first write to the last frame, in
    /// microseconds.
    own_cpu: Option<u64>,
}

/// Prints `subscribed` when every subscriber has its first result, and `written` after the
/// time for the last write to arrive.
pub(crate) async fn run(plan: Plan) -> Result<Measured, Failed> {
    LocalSet::new().run_until(write_and_watch(plan)).await
}

async fn write_and_watch(plan: Plan) -> Result<Measured, Failed> {
    let streams = Stream::open_all(plan.address, std::iter::once(&plan.stream), plan.subscribers, AT_ONCE).await?;
    let marker = Rc::new(Marker::new(&plan.marker));
    let mut tasks = JoinSet::new();
    let screens: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(number, (_, stream))| {
            let screen = Rc::new(RefCell::new(Screen::default()));
            let marker = (number < SAMPLE).then(|| marker.clone());
            tasks.spawn_local(watch(stream, screen.clone(), marker));
            screen
        })
        .collect();
    let writes = Rc::new(Writes { moments: RefCell::default(), is_over: Cell::new(false) });
    let measuring = async {
        signal("subscribed").await?;
        let cpu = processor_time();
        let mut writers = writers(&plan, &marker, &writes).await?;
        tokio::time::sleep(Duration::from_millis(plan.warm_ms)).await;
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(plan.measure_ms)).await;
        let until = Instant::now();
        writes.is_over.set(true);
        while let Some(written) = writers.join_next().await {
            written??;
        }
        tokio::time::sleep(SETTLE_TIME).await;
        let own_cpu = processor_time().zip(cpu).map(|(after, before)| after - before);
        signal("written").await?;
        Ok::<_, Failed>((began, until, own_cpu))
    };
    let (began, until, own_cpu) = tokio::select! {
        measured = measuring => measured?,
        Some(ended) = tasks.join_next() => return Err(ended?),
    };
    tasks.shutdown().await;
    let moments = writes.moments.take();
    let screens: Vec<Screen> = screens.iter().map(|screen| screen.take()).collect();
    let within = |at: &Instant| *at >= began && *at < until;
    let answers: Vec<i64> = moments
        .iter()
        .filter_map(|(sent, answered)| answered.filter(within).map(|answered| micros(*sent, answered)))
        .collect();
    let frames: usize = screens.iter().map(|screen| screen.frames.len()).sum();
    let delays = screens.iter().take(SAMPLE).flat_map(|screen| screen.delays(&moments, &within)).collect();
    let last = screens.first().map(|screen| screen.last_event.clone()).unwrap_or_default();
    Ok(Measured {
        subscribers: plan.subscribers,
        written: moments.len(),
        writes: answers.len(),
        per_second: answers.len() as f64 / (until - began).as_secs_f64(),
        answer: Times::of(answers),
        frames_each: frames as f64 / plan.subscribers.max(1) as f64,
        after_sending: Times::of(delays),
        behind: screens.iter().filter(|screen| screen.last_event != last).count(),
        last_event: String::from_utf8_lossy(&last).into_owned(),
        own_cpu,
    })
}

async fn writers(plan: &Plan, marker: &Rc<Marker>, writes: &Rc<Writes>) -> Result<JoinSet<Result<(), Failed>>, Failed> {
    let mut writers = JoinSet::new();
    for _ in 0..plan.writers {
        let exchange = Exchange::open(plan.address).await?;
        let (address, path, (before, after)) = (plan.address, plan.write_path.clone(), plan.write.clone());
        let marker = marker.clone();
        let request = move |number| post(address, &path, &format!("{before}{}{after}", marker.text(number)));
        writers.spawn_local(keep_writing(exchange, request, writes.clone()));
    }
    Ok(writers)
}

struct Writes {
    /// By number: when it was sent, and when its response arrived.
    moments: RefCell<Vec<(Instant, Option<Instant>)>>,
    is_over: Cell<bool>,
}

async fn keep_writing(
    mut exchange: Exchange,
    request: impl Fn(usize) -> Vec<u8>,
    writes: Rc<Writes>,
) -> Result<(), Failed> {
    while !writes.is_over.get() {
        let number = writes.moments.borrow().len();
        let request = request(number);
        writes.moments.borrow_mut().push((Instant::now(), None));
        if exchange.send(&request).await? != 200 {
            return Err(format!("a write failed: {}", exchange.answer()).into());
        }
        writes.moments.borrow_mut()[number].1 = Some(Instant::now());
    }
    Ok(())
}

/// The frames of one subscriber.
#[derive(Default)]
struct Screen {
    frames: Vec<Instant>,
    /// The writes that each frame shows, if its delays are measured.
    shown: Vec<Vec<usize>>,
    last_event: Vec<u8>,
}

/// Returns why the stream ended.
async fn watch(mut stream: Stream, screen: Rc<RefCell<Screen>>, marker: Option<Rc<Marker>>) -> Failed {
    loop {
        let read = stream.read(|event| {
            let mut screen = screen.borrow_mut();
            screen.frames.push(Instant::now());
            if let Some(marker) = &marker {
                screen.shown.push(marker.numbers(event).collect());
            }
            screen.last_event.clear();
            screen.last_event.extend_from_slice(event);
        });
        if let Err(failed) = read.await {
            return failed;
        }
    }
}

impl Screen {
    /// A frame shows only the newest writes. Writes that had completed before one of these was
    /// sent are included in its state.
    fn delays(&self, moments: &[(Instant, Option<Instant>)], within: &impl Fn(&Instant) -> bool) -> Vec<i64> {
        let mut by_answer: Vec<(Instant, usize)> = moments
            .iter()
            .enumerate()
            .filter_map(|(number, (_, answered))| answered.map(|answered| (answered, number)))
            .collect();
        by_answer.sort_unstable();
        let mut seen = vec![None; moments.len()];
        let mut passed = 0;
        for (at, shown) in self.frames.iter().zip(&self.shown) {
            for number in shown {
                seen[*number].get_or_insert(*at);
            }
            let Some(newest) = shown.iter().map(|number| moments[*number].0).max() else { continue };
            while let Some((_, number)) = by_answer.get(passed).filter(|(answered, _)| *answered <= newest) {
                seen[*number].get_or_insert(*at);
                passed += 1;
            }
        }
        let all = moments.iter().zip(seen).filter(|((sent, _), _)| within(sent));
        all.filter_map(|((sent, _), seen)| seen.map(|at| micros(*sent, at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_without_a_frame_counts_as_seen_with_a_later_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let moments = [(at(0), Some(at(2))), (at(1), Some(at(9))), (at(5), Some(at(7)))];
        // The second had not completed when the third was sent; the next frame has it.
        let screen = Screen { frames: vec![at(10), at(20)], shown: vec![vec![2], vec![1, 2]], last_event: Vec::new() };
        assert_eq!(screen.delays(&moments, &|_| true), [10_000, 19_000, 5_000]);
    }
}
