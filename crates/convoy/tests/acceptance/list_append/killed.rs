//! The same over SIGKILLs of the server, alone and with lost connections to Postgres in the same
//! history.

use convoy_testkit::list_append::Anomaly;
use convoy_testkit::{EVENT_TIMEOUT, End, Proxy, TestDb};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::block_in_place;

use super::load::{CLIENTS, Load};
use super::{Kind, verdict};
use crate::scale::{assert_detected, report, scale, split, with_seeds};
use crate::server_process;

/// How many faults a history has.
#[derive(Clone, Copy)]
struct Faults {
    kills: usize,
    resets: usize,
    silences: usize,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// SIGKILL of the server, which starts again.
    Kill(Moment),
    /// The loss of one connection between the server and Postgres.
    Cut(Moment, End),
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// At once.
    Any,
    /// In place of the next answer of Postgres, or just after it was lost.
    Answer,
    /// The same with the next answer to a commit that was made.
    Commit,
}

impl Moment {
    const ALL: [Moment; 3] = [Moment::Any, Moment::Answer, Moment::Commit];
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_over_kills_of_the_server_are_strictly_serializable() {
    with_seeds("list_append_killed", async |mut random| {
        // Without keys some outcomes stay unknown; with keys each client finds out.
        for keyed in [true, false] {
            let faults = Faults { kills: scale(3, if keyed { 30 } else { 10 }), resets: 0, silences: 0 };
            let load = Load { transactions: scale(240, 20_000), kinds: Kind::ALL.to_vec(), keyed };
            assert_eq!(anomalies(&load, faults, &mut random, json!([])).await, []);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_over_kills_and_lost_connections_are_strictly_serializable() {
    with_seeds("list_append_killed_and_cut", async |mut random| {
        for keyed in [true, false] {
            let silences = scale(3, if keyed { 20 } else { 10 });
            let faults = Faults { kills: scale(3, 30), resets: scale(6, 200), silences };
            let load = Load { transactions: scale(480, 20_000), kinds: Kind::ALL.to_vec(), keyed };
            assert_eq!(anomalies(&load, faults, &mut random, json!([])).await, []);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_repeating_without_stored_responses_over_kills_is_condemned() {
    assert_condemned(Faults { kills: 6, resets: 0, silences: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_repeating_without_stored_responses_over_lost_connections_is_condemned() {
    assert_condemned(Faults { kills: 3, resets: 6, silences: 0 }).await;
}

/// A mutation whose answer was lost is repeated, and appends a second time.
async fn assert_condemned(faults: Faults) {
    assert_detected(async |mut random| {
        let load = Load { transactions: 480, kinds: vec![Kind::Plain, Kind::Within], keyed: true };
        let found = anomalies(&load, faults, &mut random, json!(["forgetKeys"])).await;
        found.iter().any(|anomaly| matches!(anomaly, Anomaly::Duplicate { .. }))
    })
    .await;
}

/// The anomalies in the history of a load on a server whose process is killed and started again,
/// and whose connections to Postgres are lost.
async fn anomalies(load: &Load, faults: Faults, random: &mut StdRng, failpoints: Value) -> Vec<Anomaly> {
    let db = TestDb::new().await;
    let (proxy, url) = Proxy::before(&db.url()).await;
    // A call on a silent connection ends soon, and so do the transaction and its locks.
    let limits = json!({ "queryMs": 2_000, "mutationMs": 2_000, "actionMs": 2_000 });
    let options = json!({ "databaseUrl": url, "failpoints": failpoints, "poolSize": 4, "limits": limits });
    let start = || block_in_place(|| server_process::start(&db, options.clone()));
    let mut server = start();
    let servers = watch::Sender::new(vec![server.client()]);
    let (ended, mut progress) = watch::channel(0);
    let plan = faults.plan(load.transactions, random);
    let mut random_of_load = split(random);
    let failing = async {
        for (due, fault) in plan {
            if tokio::time::timeout(EVENT_TIMEOUT, progress.wait_for(|ended| *ended >= due)).await.is_err() {
                panic!("the load has stopped, before {fault:?}; Postgres: {}", activity(&db).await);
            }
            match fault {
                Fault::Cut(moment, how) => cut(&proxy, moment, how, random).await,
                Fault::Kill(moment) => {
                    if moment != Moment::Any {
                        cut(&proxy, moment, End::Reset, random).await;
                    }
                    block_in_place(|| server.kill());
                    server = start();
                    servers.send_replace(vec![server.client()]);
                }
            }
        }
    };
    let (history, ()) = tokio::join!(load.run(&mut random_of_load, servers.subscribe(), ended), failing);
    let Faults { kills, resets, silences } = faults;
    report(&format!("{kills} kills of the server, {resets} connections to Postgres reset and {silences} silent"));
    verdict(&history)
}

/// What the sessions of the database do.
async fn activity(db: &TestDb) -> String {
    let sql = "select concat_ws(' ', pid, state, wait_event_type, wait_event, now() - xact_start, pg_blocking_pids(pid), left(query, 200))
               from pg_stat_activity where datname = current_database()";
    db.psql().await.column(sql).await.join("\n  ")
}

/// Ends a connection of the server at this moment.
async fn cut(proxy: &Proxy, moment: Moment, how: End, random: &mut StdRng) {
    match moment {
        Moment::Any => {
            let open = proxy.open_connections();
            open.choose(random).into_iter().for_each(|number| proxy.end(*number, how));
        }
        Moment::Answer => proxy.lose_answer("", how).await,
        Moment::Commit => proxy.lose_answer("COMMIT", how).await,
    }
}

impl Faults {
    /// The faults in random order, each after a random number of transactions.
    fn plan(self, transactions: usize, random: &mut StdRng) -> Vec<(usize, Fault)> {
        let some = |count, fault: fn(Moment) -> Fault| Moment::ALL.into_iter().cycle().take(count).map(fault);
        let mut faults: Vec<Fault> = some(self.kills, Fault::Kill)
            .chain(some(self.resets, |moment| Fault::Cut(moment, End::Reset)))
            .chain(some(self.silences, |moment| Fault::Cut(moment, End::Silence)))
            .collect();
        faults.shuffle(random);
        // At the end there are transactions left, so that the last fault meets some.
        let between = (transactions - 4 * CLIENTS) / faults.len();
        let due = |at: usize| at * between + random.random_range(0..between);
        let moments: Vec<usize> = (0..faults.len()).map(due).collect();
        moments.into_iter().zip(faults).collect()
    }
}
