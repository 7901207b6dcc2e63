//! The same with inserts, which are batched, and reads of ranges: sets instead of lists.
//!
//! A set is checked as one list for each of its values, which is empty until the value is
//! inserted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use convoy_testkit::list_append::{Anomaly, Outcome, Step, Transaction};
use convoy_testkit::{App, Client, Functions, TestDb, table};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::load::CLIENTS;
use super::verdict;
use crate::scale::{scale, seeded, split, with_seeds};

/// Sets in use at a time.
const SETS: u64 = 3;
/// The number of values after which clients use other sets.
const VALUES_PER_SETS: u64 = 60;

/// A mutation that has read a set, or none, and inserted a value into another.
struct Insert {
    read: Option<(u64, Vec<u64>)>,
    set: u64,
    value: u64,
    begin: u64,
    end: u64,
    outcome: Outcome,
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_of_batched_inserts_are_strictly_serializable() {
    with_seeds("list_append_inserts", async |mut random| {
        for keyed in [false, true] {
            assert_eq!(anomalies_of_inserts(scale(240, 20_000), keyed, &mut random, json!([])).await, []);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_write_skew_of_inserts_is_condemned() {
    let found = anomalies_of_inserts(480, false, &mut seeded(), json!(["readCommitted", "noSerialQueue"])).await;
    assert!(found.iter().any(|anomaly| anomaly.name() == "G2 (write skew)"), "READ COMMITTED passed as serializable");
}

async fn anomalies_of_inserts(count: usize, keyed: bool, random: &mut StdRng, failpoints: Value) -> Vec<Anomaly> {
    let db = TestDb::new().await;
    let tables = json!([table("items", &[("by_set", false, &[("set", "number")])])]);
    let app = db.app_with(json!({ "failpoints": failpoints }), tables, functions()).await;
    let (began, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let clients = (0..CLIENTS).map(|at| {
        let keys = keyed.then(|| format!("client {at}"));
        tokio::spawn(send(app.client(), count / CLIENTS, keys, (next.clone(), split(random)), began))
    });
    let histories = join_all(clients.collect::<Vec<_>>()).await;
    let inserts: Vec<Insert> = histories.into_iter().flat_map(|each| each.expect("a client")).collect();
    let history = with_final_read(&app, inserts, began).await;
    app.engine.close().await;
    verdict(&history)
}

fn functions() -> Functions {
    Functions::new()
        .mutation("items.add", |ctx, input| async move { Ok(json!(ctx.hold("items", input))) })
        .mutation("items.readAndAdd", |ctx, input| async move {
            let read = ctx.op(scan(&input["read"])).await?;
            ctx.hold("items", input["item"].clone());
            Ok(read)
        })
        .query("items.list", |ctx, input| async move { ctx.op(scan(&input["set"])).await })
}

fn scan(set: &Value) -> Value {
    json!({ "op": "scan", "table": "items", "index": "by_set", "eq": [set], "order": "asc", "limit": null })
}

fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

async fn send(
    client: Client,
    count: usize,
    keys: Option<String>,
    (next, mut random): (Arc<AtomicU64>, StdRng),
    began: Instant,
) -> Vec<Insert> {
    let mut inserts = Vec::new();
    let mut connection = client.connect().await;
    for number in 0..count {
        let value = next.fetch_add(1, Ordering::Relaxed);
        let mut any_set = || value / VALUES_PER_SETS * SETS + random.random_range(0..SETS);
        let (set, read) = (any_set(), any_set());
        let reads = random.random::<bool>();
        let item = json!({ "set": set, "value": value });
        let (path, input) = match reads {
            true => ("mutation/items.readAndAdd", json!({ "read": read, "item": item })),
            false => ("mutation/items.add", item),
        };
        let key = keys.as_ref().map(|keys| format!("{keys}: {number}"));
        let begin = since(began);
        let reply = connection.try_call(path, &input, key.as_deref()).await.expect("the server answers");
        let end = since(began);
        let outcome = if reply.status == 409 { Outcome::Failed } else { Outcome::Committed };
        let found = (outcome == Outcome::Committed).then(|| reply.data()).filter(|_| reads);
        let read = found.map(|documents| (read, values(&documents)));
        inserts.push(Insert { read, set, value, begin, end, outcome });
    }
    inserts
}

fn values(documents: &Value) -> Vec<u64> {
    let documents = documents.as_array().expect("documents").iter();
    documents.map(|document| document["value"].as_u64().expect("a value")).collect()
}

/// The inserts as a history of lists, with a read of every set at the end.
async fn with_final_read(app: &App, inserts: Vec<Insert>, began: Instant) -> Vec<Transaction> {
    let mut sets: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for insert in &inserts {
        sets.entry(insert.set).or_default().push(insert.value);
    }
    let read_steps = |set: u64, found: &[u64]| {
        let all = sets.get(&set).into_iter().flatten();
        let lists = all.map(|value| {
            let list = found.iter().copied().filter(|found| found == value).collect();
            Step::Read { key: *value, list }
        });
        lists.collect::<Vec<_>>()
    };
    let mut last = Vec::new();
    let begin = since(began);
    for set in sets.keys() {
        let found = app.client().query("items.list", json!({ "set": set })).await.data();
        last.extend(read_steps(*set, &values(&found)));
    }
    let last = Transaction { steps: last, begin, end: since(began), outcome: Outcome::Committed };
    let transaction = |insert: Insert| {
        let mut steps = insert.read.map_or_else(Vec::new, |(set, found)| read_steps(set, &found));
        steps.push(Step::Append { key: insert.value, value: insert.value });
        Transaction { steps, begin: insert.begin, end: insert.end, outcome: insert.outcome }
    };
    inserts.into_iter().map(transaction).chain([last]).collect()
}
