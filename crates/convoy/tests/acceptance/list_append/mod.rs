//! Acceptance 3: transactions that read lists and append to them, on few lists, so that they
//! conflict. Their history is strictly serializable with every strategy, with keys and without,
//! on two nodes, behind a pooler, and over SIGKILLs of the server and lost connections to
//! Postgres. READ COMMITTED is not.

mod inserts;
mod killed;
mod load;
mod lost_replies;
mod pooler;
mod program;

use convoy_testkit::list_append::{self, Anomaly, Outcome, Transaction};
use convoy_testkit::{App, TestDb};
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::load::Load;
pub(crate) use self::program::{Kind, add_to, tables};
use crate::scale::{report, scale, seeded, with_seeds};

fn transactions() -> usize {
    scale(96, 20_000)
}

async fn serve(db: &TestDb, options: Value) -> App {
    db.app_with(options, tables(), add_to(convoy_testkit::Functions::new())).await
}

/// The anomalies in the history of a load on these nodes.
async fn anomalies(load: &Load, random: &mut StdRng, apps: &[&App]) -> Vec<Anomaly> {
    // Its sender is kept, because clients wait for another list while a server is away.
    let servers = watch::Sender::new(apps.iter().map(|app| app.client()).collect());
    let history = load.run(random, servers.subscribe(), watch::Sender::new(0)).await;
    verdict(&history)
}

fn verdict(history: &[Transaction]) -> Vec<Anomaly> {
    let count = |wanted| history.iter().filter(|each| each.outcome == wanted).count();
    let found = list_append::check(history);
    let (committed, failed, unknown) = (count(Outcome::Committed), count(Outcome::Failed), count(Outcome::Unknown));
    report(&format!("{committed} committed, {failed} failed, {unknown} in doubt: {} anomalies", found.len()));
    found.iter().take(3).for_each(|anomaly| report(&anomaly.to_string()));
    found
}

/// Each strategy alone, with and without keys, and all on the same lists.
#[tokio::test(flavor = "multi_thread")]
async fn histories_are_strictly_serializable_with_every_strategy() {
    with_seeds("list_append_strategies", async |mut random| {
        let db = TestDb::new().await;
        let forced = [
            ("optimistic or queued", json!([]), vec![Kind::Plain]),
            ("optimistic", json!(["noSerialQueue"]), vec![Kind::Plain]),
            ("queued", json!(["alwaysSerialQueue"]), vec![Kind::Plain]),
            ("serializable", json!(["noOptimistic", "noSerialQueue"]), vec![Kind::Within]),
            ("in own transactions", json!([]), vec![Kind::OwnTransaction, Kind::Action]),
            ("single statements", json!([]), vec![Kind::Statement, Kind::Autocommit]),
            ("all together", json!([]), Kind::ALL.to_vec()),
        ];
        for (name, failpoints, kinds) in forced {
            let app = serve(&db, json!({ "failpoints": failpoints })).await;
            let both = kinds.iter().any(|kind| matches!(kind, Kind::Plain | Kind::Within | Kind::Statement));
            for keyed in if both { &[false, true][..] } else { &[false] } {
                report(&format!("{name}{}", if *keyed { ", with keys" } else { "" }));
                let load = Load { transactions: transactions(), kinds: kinds.clone(), keyed: *keyed };
                assert_eq!(anomalies(&load, &mut random, &[&app]).await, []);
                db.psql().await.run("truncate lists, _convoy.idempotency").await;
            }
            app.engine.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_read_committed_is_condemned() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "failpoints": ["readCommitted", "noOptimistic", "noSerialQueue"] })).await;
    for kinds in [vec![Kind::Within], vec![Kind::OwnTransaction, Kind::Action]] {
        let load = Load { transactions: 320, kinds, keyed: false };
        assert!(!anomalies(&load, &mut seeded(), &[&app]).await.is_empty(), "READ COMMITTED passed as serializable");
        db.psql().await.run("truncate lists").await;
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_of_two_nodes_are_strictly_serializable() {
    with_seeds("list_append_nodes", async |mut random| {
        for keyed in [true, false] {
            let db = TestDb::new().await;
            let (one, two) = (serve(&db, json!({})).await, serve(&db, json!({})).await);
            let load = Load { transactions: transactions(), kinds: Kind::ALL.to_vec(), keyed };
            assert_eq!(anomalies(&load, &mut random, &[&one, &two]).await, []);
            one.engine.close().await;
            two.engine.close().await;
        }
    })
    .await;
}
