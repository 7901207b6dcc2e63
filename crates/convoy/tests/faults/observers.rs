//! A panic or a pause in the tasks that observe an engine: those that serve metrics, export
//! telemetry, and hand out events. Calls and live queries go on meanwhile, and afterwards so
//! does the task.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use convoy::{Event, EventReader, Gate, Part, Place, Stop};
use convoy_testkit::{App, TestDb, within};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::pairs::{Damage, Mutation, Stored, Watcher, Way, serve, write, wrong_queries};

const WRITES: u64 = 6;
const OBSERVERS: [Part; 3] = [Part::Metrics, Part::Telemetry, Part::Events];

/// An engine with every observer, and how much each has seen.
struct Observed {
    db: TestDb,
    app: App,
    metrics: SocketAddr,
    /// Exports of telemetry that a collector has received.
    exports: watch::Receiver<usize>,
    /// Events that a reader has received.
    events: watch::Receiver<usize>,
}

struct CountingReader(watch::Sender<usize>);

impl EventReader for CountingReader {
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, ()> {
        self.0.send_modify(|received| *received += events.len());
        Box::pin(std::future::ready(()))
    }
}

/// A collector that takes everything; returns its address, and how many requests it has had.
async fn collector() -> (SocketAddr, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("an address");
    let (sender, exports) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move { while_open(BufReader::new(socket), &sender).await });
        }
    });
    (address, exports)
}

/// Answers the requests of one connection, until its client ends it.
async fn while_open(mut socket: BufReader<TcpStream>, exports: &watch::Sender<usize>) -> Option<()> {
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
        exports.send_modify(|received| *received += 1);
    }
}

impl Observed {
    async fn open(failpoints: &[&str]) -> Observed {
        let (collector, exports) = collector().await;
        let otlp = json!({ "endpoint": format!("http://{collector}"), "protocol": "http/protobuf", "intervalMs": 50 });
        let telemetry = json!({ "prometheus": { "port": 0 }, "otlp": otlp, "sampleRatio": 1 });
        let db = TestDb::new().await;
        let app = serve(&db, json!({ "telemetry": telemetry, "failpoints": failpoints })).await;
        let (sender, events) = watch::channel(0);
        app.engine.read_events(Arc::new(CountingReader(sender)));
        let metrics = app.engine.metrics_address().expect("metrics are served");
        Observed { db, app, metrics, exports, events }
    }

    /// Whether metrics are served; waits for the answer.
    async fn serves_metrics(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(self.metrics).await else { return false };
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        socket.write_all(request).await.is_ok()
            && socket.read_to_string(&mut answer).await.is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    /// Waits until the observer has seen something of calls that are made from now on.
    async fn goes_on(&self, part: Part) {
        let mut seen = match part {
            Part::Metrics => return within(async { while !self.serves_metrics().await {} }).await,
            Part::Telemetry => self.exports.clone(),
            _ => self.events.clone(),
        };
        let before = *seen.borrow();
        self.app.client().query("of", json!({ "number": 0 })).await.data();
        within(seen.wait_for(|now| *now > before)).await.map(drop).expect("the sender is there");
    }

    /// How much the observer has seen.
    fn seen(&self, part: Part) -> usize {
        match part {
            Part::Metrics => 0,
            Part::Telemetry => *self.exports.borrow(),
            _ => *self.events.borrow(),
        }
    }

    /// Stops an observer while the engine works; returns the damage to the work.
    async fn stop(&self, part: Part, fault: Fault, numbers: std::ops::Range<u64>) -> Damage {
        let client = self.app.client();
        let mut watcher = Watcher::open(self.app.client(), numbers.clone()).await;
        let (gate, failpoints) = (Gate::default(), &self.app.engine.config().failpoints);
        let stop = match fault {
            Fault::Panic => Stop::Panic,
            Fault::Pause => Stop::Pause(gate.clone()),
        };
        failpoints.stop_once(Place::Task(part), stop);
        within(async {
            while failpoints.will_stop(Place::Task(part)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let seen = self.seen(part);
        let mut acknowledged = BTreeSet::new();
        for number in numbers.clone() {
            let way = Way::ALL[number as usize % 3];
            assert!(write(&client, Mutation { number, function: way.function(), keyed: true }).await);
            acknowledged.insert(number);
        }
        let stored = Stored::read(&mut self.db.psql().await).await;
        let mut damage = Damage::of(&stored, &acknowledged);
        damage.stale = watcher.stale(Some(&self.app), &stored).await;
        damage.wrong = wrong_queries(&client, numbers, &stored).await;
        if fault == Fault::Pause {
            // One export may have been on its way.
            let on_the_way = usize::from(part == Part::Telemetry);
            assert!(self.seen(part) <= seen + on_the_way, "{part:?} was not paused");
            gate.release();
        }
        damage
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Panic,
    Pause,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_or_a_pause_of_an_observer_does_no_damage_and_it_goes_on() {
    let observed = Observed::open(&[]).await;
    let mut first = 0;
    for fault in [Fault::Panic, Fault::Pause] {
        for part in OBSERVERS {
            observed.goes_on(part).await;
            let damage = observed.stop(part, fault, first..first + WRITES).await;
            assert_eq!(damage, Damage::default(), "{part:?}, {fault:?}");
            observed.goes_on(part).await;
            first += WRITES;
        }
    }
    observed.app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_metrics_that_are_served_no_more_are_detected() {
    let observed = Observed::open(&["unsupervised"]).await;
    observed.goes_on(Part::Metrics).await;
    let damage = observed.stop(Part::Metrics, Fault::Panic, 0..WRITES).await;
    assert_eq!(damage, Damage::default());
    // The check of the test above would wait in vain.
    within(async { while observed.serves_metrics().await {} }).await;
    observed.app.engine.close().await;
}
