//! The same over SIGKILLs of the server.

use convoy_testkit::list_append::Anomaly;
use convoy_testkit::{TestDb, within};
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::block_in_place;

use super::load::Load;
use super::{Kind, verdict};
use crate::scale::{report, scale, seeded, with_seeds};
use crate::server_process;

#[tokio::test(flavor = "multi_thread")]
async fn histories_over_kills_of_the_server_are_strictly_serializable() {
    with_seeds("list_append_killed", async |mut random| {
        // Without keys some outcomes stay unknown; with keys each client finds out.
        for keyed in [true, false] {
            let kills = scale(2, if keyed { 30 } else { 10 });
            let load = Load { transactions: scale(240, 20_000), kinds: Kind::ALL.to_vec(), keyed };
            assert_eq!(anomalies_over_kills(&load, kills, &mut random, json!([])).await, []);
        }
    })
    .await;
}

/// A mutation whose answer was lost is repeated, and appends a second time.
#[tokio::test(flavor = "multi_thread")]
async fn control_repeating_without_stored_responses_is_condemned() {
    for _ in 0..10 {
        let load = Load { transactions: 480, kinds: vec![Kind::Plain, Kind::Within], keyed: true };
        let found = anomalies_over_kills(&load, 5, &mut seeded(), json!(["forgetKeys"])).await;
        if found.iter().any(|anomaly| matches!(anomaly, Anomaly::Duplicate { .. })) {
            return;
        }
    }
    panic!("the failpoint was not detected");
}

/// Kills the server at even parts of the load.
async fn anomalies_over_kills(load: &Load, kills: usize, random: &mut StdRng, failpoints: Value) -> Vec<Anomaly> {
    let db = TestDb::new().await;
    let start = || block_in_place(|| server_process::start(&db, json!({ "failpoints": failpoints, "poolSize": 4 })));
    let mut server = start();
    let servers = watch::Sender::new(vec![server.client()]);
    let (ended, mut progress) = watch::channel(0);
    let killing = async {
        for kill in 1..=kills {
            let due = load.transactions * kill / (kills + 1);
            within(progress.wait_for(|ended| *ended >= due)).await.expect("the load goes on");
            block_in_place(|| server.kill());
            server = start();
            servers.send_replace(vec![server.client()]);
        }
    };
    let (history, ()) = tokio::join!(load.run(random, servers.subscribe(), ended), killing);
    report(&format!("{kills} kills of the server"));
    verdict(&history)
}
