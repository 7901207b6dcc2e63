//! Connections are lost all the time, and writers go on: every client that reconnects ends with
//! the last state.

use std::time::Duration;

use convoy_testkit::{Answers, App, Client, LiveSession, TestDb, allow_open_files};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::chat::{bodies, serve};
use crate::listener_storm::lists;
use crate::scale::{assert_detected, is_long, report, scale, with_seeds};

/// The share of connections that is lost at once.
const LOST: f64 = 0.05;

#[tokio::test(flavor = "multi_thread")]
async fn every_client_ends_with_the_last_state_however_often_it_was_cut_off() {
    with_seeds("drops", async |mut random| {
        let clients = scale(60, 1_000);
        assert_eq!(current_after_drops(clients, &mut random, json!([])).await, clients);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_trusting_the_hash_of_an_old_result_is_detected() {
    // The mistake shows where a client is away during the last write to its list.
    let clients = 60;
    assert_detected(async |mut random| {
        current_after_drops(clients, &mut random, json!(["trustHashes"])).await < clients
    })
    .await;
}

/// Cuts connections off, one share after another: each second for a minute in a long run. Each
/// time the lists of those clients change while they are away or reconnect. Returns how many
/// clients have the contents of the table at the end.
async fn current_after_drops(clients: usize, random: &mut StdRng, failpoints: Value) -> usize {
    allow_open_files(2 * clients as u64 + 1_000);
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "failpoints": failpoints })).await;
    let cut = watch::Sender::new(Cuts { of: vec![0; clients], done: false });
    let readers: Vec<_> = (0..clients)
        .map(|at| {
            let (client, cuts) = (app.client(), cut.subscribe());
            tokio::spawn(async move { read_over_cuts(&client, at, cuts).await })
        })
        .collect();
    let (times, pause) = if is_long() { (60, Duration::from_secs(1)) } else { (20, Duration::from_millis(50)) };
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..times {
        ticks.tick().await;
        let lost: Vec<usize> = (0..clients).filter(|_| random.random_bool(LOST)).collect();
        cut.send_modify(|cuts| lost.iter().for_each(|at| cuts.of[*at] += 1));
        join_all(lost.iter().map(|at| write(&app, *at, number))).await;
    }
    cut.send_modify(|cuts| cuts.done = true);

    app.until_idle().await;
    let table = lists(&mut db.psql().await).await;
    let (mut current, mut reconnects) = (0, 0);
    for (at, reader) in readers.into_iter().enumerate() {
        let (session, times) = reader.await.expect("a client follows the protocol");
        reconnects += times;
        let expected = table.get(&channel(at)).map_or(&[][..], Vec::as_slice);
        let reader = session.read_continuously();
        current += usize::from(reader.reaches(0, |list| bodies(list) == expected).await);
    }
    report(&format!("{current} of {clients} have the last state after {reconnects} reconnects"));
    app.engine.close().await;
    current
}

/// How often each client was cut off, and whether that is over.
struct Cuts {
    of: Vec<usize>,
    done: bool,
}

fn channel(at: usize) -> String {
    format!("c{at}")
}

async fn write(app: &App, at: usize, number: usize) {
    let message = json!({ "channel": channel(at), "n": number, "body": format!("{number}") });
    app.client().mutate("messages.send", message).await.data();
}

/// Reads a list, and reconnects after each cut, with the result it has. Returns its last session
/// and the number of reconnects.
async fn read_over_cuts(client: &Client, at: usize, mut cuts: watch::Receiver<Cuts>) -> (LiveSession, usize) {
    let mut session = client.live(query(at, &Answers::default())).await;
    let mut reconnects = 0;
    loop {
        let wanted = tokio::select! {
            is_open = session.receive() => {
                assert!(is_open, "the server ends no stream");
                continue;
            }
            cuts = cuts.wait_for(|cuts| cuts.done || cuts.of[at] > reconnects) => {
                cuts.expect("the test has the sender").of[at]
            }
        };
        if wanted == reconnects {
            return (session, reconnects);
        }
        reconnects += 1;
        let answers = session.disconnect();
        let query = query(at, &answers);
        session = client.resume(answers, query).await.expect("the server takes the session");
    }
}

fn query(at: usize, known: &Answers) -> Value {
    let mut query = json!({ "id": 0, "name": "messages.list", "args": { "channel": channel(at) } });
    if let Some(hash) = known.hash(0) {
        query["hash"] = json!(hash);
    }
    json!([query])
}
