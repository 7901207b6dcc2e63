//! Acceptance 7: answers are lost after the commit, between Postgres and the server, and between
//! the server and its client. Clients repeat the call with its key, and it takes effect once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use convoy_testkit::list_append::Anomaly;
use convoy_testkit::{Client, Cut, TestDb, Wire, within};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::load::Load;
use super::{Kind, serve, verdict};
use crate::scale::{report, scale, seeded, split, with_seeds};

/// The share of answers that do not reach their client.
const LOST: f64 = 0.1;
/// Every so many transactions the answer to a commit does not reach the server.
const TRANSACTIONS_PER_CUT: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_repeated_with_its_key_takes_effect_once() {
    with_seeds("list_append_lost_replies", async |mut random| {
        assert_eq!(anomalies(scale(240, 20_000), &mut random, json!([])).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_calls_repeated_without_stored_responses_are_condemned() {
    let found = anomalies(240, &mut seeded(), json!(["forgetKeys"])).await;
    let twice = found.iter().any(|anomaly| matches!(anomaly, Anomaly::Duplicate { .. }));
    assert!(twice, "the failpoint was not detected");
}

async fn anomalies(transactions: usize, random: &mut StdRng, failpoints: Value) -> Vec<Anomaly> {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    let app = serve(&db, json!({ "databaseUrl": url, "failpoints": failpoints })).await;
    let (lossy, lost) = lose_answers(app.address, split(random)).await;
    let (ended, mut progress) = watch::channel(0);
    let cutting = async {
        for cut in 1..transactions / TRANSACTIONS_PER_CUT {
            within(progress.wait_for(|ended| *ended >= cut * TRANSACTIONS_PER_CUT)).await.expect("the load goes on");
            wire.cut(Cut::After(if cut % 2 == 0 { "commit" } else { "execute" }));
        }
    };
    let load = Load { transactions, kinds: vec![Kind::Plain, Kind::Within, Kind::Statement], keyed: true };
    // The first one creates the lists, and reads them at the end.
    let servers = watch::Sender::new(vec![app.client(), Client::of(lossy), Client::of(lossy)]);
    let (history, ()) = tokio::join!(load.run(random, servers.subscribe(), ended), cutting);
    let cuts = transactions / TRANSACTIONS_PER_CUT - 1;
    report(&format!("{} answers lost to clients, {cuts} to the server", lost.load(Ordering::Relaxed)));
    let found = verdict(&history);
    app.engine.close().await;
    found
}

/// A proxy in front of a server that ends some connections in place of an answer. Returns its
/// address, and the count of lost answers.
async fn lose_answers(server: SocketAddr, mut random: StdRng) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("an address");
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (random, count) = (split(&mut random), count.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await.expect("the server listens");
                relay(client, server, random, &count).await;
            });
        }
    });
    (address, lost)
}

async fn relay(client: TcpStream, server: TcpStream, mut random: StdRng, lost: &AtomicUsize) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if random.random_bool(LOST) {
                lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = answers => {}
    }
}
