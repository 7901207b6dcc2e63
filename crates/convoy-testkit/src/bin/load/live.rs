//! Many subscribers of a few live queries, and a writer at a steady pace: how
//! long until whom it concerns has seen a write, and who was sent something for
//! nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::Failed;
use crate::exchange::{Exchange, post};
use crate::times::Times;

/// How long frames may take before they count as missing.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to listen, when all is said, for what should not come.
const AFTERWARDS: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    address: SocketAddr,
    /// Paths of event streams.
    streams: Vec<String>,
    /// Subscribers of each.
    subscribers_each: usize,
    write_path: String,
    writes: Vec<Write>,
    writes_per_second: u32,
    /// Writes in front that no delay is taken of.
    leave_out: usize,
}

#[derive(Deserialize)]
struct Write {
    body: String,
    /// The stream it concerns: its place among `streams`.
    stream: usize,
    /// What is in that stream's frames from this write on.
    marker: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
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
    /// From sending the write to its frame.
    after_sending: Times,
    /// From the writer's answer to the frame; negative where the frame was first.
    after_answer: Times,
    /// From sending the write to its answer.
    answer: Times,
}

/// What a subscriber was sent after its first frame.
enum Seen {
    Write { write: usize, at: Instant },
    NothingNew,
}

/// Says `subscribed` when every subscriber has its first frame, waits for a line,
/// and then writes.
pub async fn run(plan: Plan) -> Result<Measured, Failed> {
    let mut markers: HashMap<usize, Vec<(usize, String)>> = HashMap::new();
    for (place, write) in plan.writes.iter().enumerate() {
        markers.entry(write.stream).or_default().push((place, write.marker.clone()));
    }
    let expected = plan.writes.len() * plan.subscribers_each;
    // Room for all there should be and as much again, so that nobody waits.
    let (sender, mut seen) = mpsc::channel(expected * 2 + 1);
    for (place, path) in plan.streams.iter().enumerate() {
        let markers: Arc<[_]> = markers.remove(&place).unwrap_or_default().into();
        for _ in 0..plan.subscribers_each {
            let mut watcher = Watcher::open(plan.address, path).await?;
            watcher.event().await?;
            tokio::spawn(watcher.watch(markers.clone(), sender.clone()));
        }
    }
    println!("subscribed");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;

    let moments = write_all(&plan).await?;
    let mut arrivals = Vec::with_capacity(expected);
    let mut wasted = 0;
    let mut patience = PATIENCE;
    while let Ok(Some(seen)) = tokio::time::timeout(patience, seen.recv()).await {
        match seen {
            Seen::Write { write, at } => arrivals.push((write, at)),
            Seen::NothingNew => wasted += 1,
        }
        if arrivals.len() == expected {
            patience = AFTERWARDS;
        }
    }
    let taken = || arrivals.iter().filter(|(write, _)| *write >= plan.leave_out);
    let measured = &moments[plan.leave_out.min(moments.len())..];
    Ok(Measured {
        subscribers: plan.streams.len() * plan.subscribers_each,
        writes: plan.writes.len(),
        measured: measured.len(),
        expected,
        missing: expected - arrivals.len(),
        wasted,
        after_sending: Times::of(taken().map(|(write, at)| micros(moments[*write].sent, *at)).collect()),
        after_answer: Times::of(taken().map(|(write, at)| micros(moments[*write].answered, *at)).collect()),
        answer: Times::of(measured.iter().map(|moment| micros(moment.sent, moment.answered)).collect()),
    })
}

struct Moments {
    sent: Instant,
    answered: Instant,
}

async fn write_all(plan: &Plan) -> Result<Vec<Moments>, Failed> {
    let mut exchange = Exchange::open(plan.address).await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / plan.writes_per_second.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut moments = Vec::with_capacity(plan.writes.len());
    for write in &plan.writes {
        let request = post(plan.address, &plan.write_path, &write.body);
        pace.tick().await;
        let sent = Instant::now();
        if exchange.ask(&request).await? != 200 {
            return Err(format!("a write was refused: {}", exchange.answer()).into());
        }
        moments.push(Moments { sent, answered: Instant::now() });
    }
    Ok(moments)
}

fn micros(from: Instant, to: Instant) -> i64 {
    match to.checked_duration_since(from) {
        Some(later) => later.as_micros() as i64,
        None => -((from - to).as_micros() as i64),
    }
}

/// One subscriber.
struct Watcher {
    body: Incoming,
    buffer: String,
}

impl Watcher {
    async fn open(address: SocketAddr, path: &str) -> Result<Watcher, Failed> {
        let socket = TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("{path}: {}", response.status()).into());
        }
        Ok(Watcher { body: response.into_body(), buffer: String::new() })
    }

    /// The next event that carries data, comments left out.
    async fn event(&mut self) -> Result<String, Failed> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let event: String = self.buffer.drain(..end + 2).collect();
                if event.contains("data:") {
                    return Ok(event);
                }
                continue;
            }
            let frame = self.body.frame().await.ok_or("a stream ended")??;
            if let Ok(data) = frame.into_data() {
                self.buffer.push_str(std::str::from_utf8(&data)?);
            }
        }
    }

    /// Tells of every event until its stream or the run ends.
    async fn watch(mut self, markers: Arc<[(usize, String)]>, seen: mpsc::Sender<Seen>) {
        let mut awaited = markers.iter().peekable();
        while let Ok(event) = self.event().await {
            let at = Instant::now();
            let mut nothing_new = true;
            // One frame may show several writes.
            while let Some((write, _)) = awaited.next_if(|(_, marker)| event.contains(marker.as_str())) {
                nothing_new = false;
                if seen.send(Seen::Write { write: *write, at }).await.is_err() {
                    return;
                }
            }
            if nothing_new && seen.send(Seen::NothingNew).await.is_err() {
                return;
            }
        }
    }
}
