//! Metrics of what waits, of what is dropped, and of how late live queries are: a known cause is in them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convoy::{Event, EventReader, FunctionKind, Gate, IncomingCall, Place, Point, Stop};
use convoy_testkit::{App, Functions, Reply, TestDb, within};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::bank::accounts;
use crate::metrics::Metrics;
use crate::shared::{functions, tables};

async fn measured(db: &TestDb, failpoints: Value, tables: Value, functions: Functions) -> App {
    let options = json!({ "failpoints": failpoints, "telemetry": { "prometheus": { "port": 0 } } });
    db.app_with(options, tables, functions).await
}

/// Has the next task that passes the point wait.
fn hold(app: &App, point: Point) -> Gate {
    let gate = Gate::default();
    app.engine.config().failpoints.stop_once(Place::Point(point), Stop::Pause(gate.clone()));
    gate
}

fn send(app: &App, name: &'static str, args: Value) -> JoinHandle<Reply> {
    let client = app.client();
    tokio::spawn(async move { client.mutate(name, args).await })
}

async fn length_of(app: &App, queue: &str) -> f64 {
    Metrics::of(app).await.sum("convoy_queue_length", &[&format!("queue=\"{queue}\"")])
}

/// Calls that wait behind one which stops at the point are in the length of their queue, and leave it.
async fn expect_in_queue(app: &App, (queue, point): (&str, Point), call: impl Fn() -> JoinHandle<Reply>) {
    assert_eq!(length_of(app, queue).await, 0.0);
    let gate = hold(app, point);
    let first = call();
    within(gate.reached()).await;
    assert_eq!(length_of(app, queue).await, 0.0, "the first call does not wait for others");
    let waiting = [call(), call(), call()];
    within(async { while length_of(app, queue).await != 3.0 {} }).await;
    assert_eq!(Metrics::of(app).await.sum("convoy_calls_running", &[]), 4.0);
    gate.release();
    for call in [first].into_iter().chain(waiting) {
        within(call).await.expect("an answer").data();
    }
    assert_eq!(length_of(app, queue).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_a_hot_key_are_in_the_length_of_the_serial_queues() {
    let db = TestDb::new().await;
    let app = measured(&db, json!(["alwaysSerialQueue"]), accounts(), crate::bank::functions()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(app.client().mutate("bank.open", json!({ "balance": 1_000 })).await.data());
    }
    let transfer = json!({ "from": ids[0], "to": ids[1], "amount": 1 });
    let call = || send(&app, "bank.transfer", transfer.clone());
    expect_in_queue(&app, ("serial_queues", Point::BeforeCommit), call).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_wait_for_a_statement_are_in_the_length_of_their_queue() {
    let db = TestDb::new().await;
    let app = measured(&db, json!([]), tables(), functions()).await;
    let message = json!({ "channel": "a", "n": 1, "body": "x" });
    let call = || send(&app, "messages.send", message.clone());
    expect_in_queue(&app, ("commits", Point::BeforeApplying), call).await;
    app.engine.close().await;
}

/// Takes one batch of events, and never another.
struct StuckReader;

impl EventReader for StuckReader {
    fn deliver(&self, _events: Vec<Event>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_find_their_queue_full_are_counted_as_dropped() {
    let db = TestDb::new().await;
    let functions = Functions::new().action("ping", |_, _| async { Ok(json!("pong")) });
    let app = measured(&db, json!([]), tables(), functions).await;
    let ping = async |count: usize| {
        for _ in 0..count {
            let call = IncomingCall {
                kind: FunctionKind::Action,
                name: "ping",
                input: "{}".to_owned(),
                caller: convoy::Caller::Inside(None),
                key: None,
                uncached: false,
                traceparent: None,
            };
            app.engine.call(call).await.expect("it is answered");
        }
    };
    let dropped = async || Metrics::of(&app).await.sum("convoy_dropped_total", &["what=\"events\""]);
    app.engine.read_events(Arc::new(StuckReader));
    ping(1_000).await;
    assert_eq!(dropped().await, 0.0, "they fit");
    ping(1_000).await;
    // The queue has 1,024, and the reader at most 256.
    let lost = dropped().await;
    assert!((2_000.0 - 1_024.0 - 256.0..=2_000.0 - 1_024.0 + 10.0).contains(&lost), "{lost}");
    ping(100).await;
    assert_eq!(dropped().await, lost + 100.0);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_worker_is_counted() {
    let db = TestDb::new().await;
    let app = measured(&db, json!([]), tables(), functions()).await;
    let restarts = async || Metrics::of(&app).await.sum("convoy_worker_restarts_total", &[]);
    assert_eq!(restarts().await, 0.0);
    app.engine.record_worker_restart();
    assert_eq!(restarts().await, 1.0);
    app.engine.close().await;
}

/// How often a lag was recorded in a stage since `before`, and for how long in all.
fn lags(stage: &str, before: &Metrics, after: &Metrics) -> (f64, Duration) {
    let label = format!("stage=\"{stage}\"");
    let since = |name: &str| after.sum(name, &[&label]) - before.sum(name, &[&label]);
    (since("convoy_feed_lag_seconds_count"), Duration::from_secs_f64(since("convoy_feed_lag_seconds_sum")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_in_the_lag_of_its_stage_and_in_no_other() {
    const DELAY: Duration = Duration::from_millis(500);
    for (point, stage, other) in
        [(Point::BeforeApplying, "applied", "frame"), (Point::BeforeDelivery, "frame", "applied")]
    {
        let db = TestDb::new().await;
        // A read of the change log would be another lag.
        let app = measured(&db, json!(["noPoll"]), tables(), functions()).await;
        let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
        list.next().await;
        let before = Metrics::of(&app).await;
        let (gate, began) = (hold(&app, point), Instant::now());
        let sent = send(&app, "messages.sendNow", json!({ "channel": "a", "n": 1, "body": "x" }));
        within(gate.reached()).await;
        tokio::time::sleep(DELAY).await;
        gate.release();
        list.next().await;
        within(sent).await.expect("an answer").data();
        let (after, all) = (Metrics::of(&app).await, began.elapsed());
        let ((count, lag), (other_count, other_lag)) = (lags(stage, &before, &after), lags(other, &before, &after));
        assert_eq!((count, other_count), (1.0, 1.0), "{stage}");
        assert!(lag >= DELAY && lag <= all, "{stage}: {lag:?} of {all:?}");
        assert!(other_lag <= all - DELAY, "{other}: {other_lag:?} of {all:?}, beside {lag:?} of {stage}");
        app.engine.close().await;
    }
}
