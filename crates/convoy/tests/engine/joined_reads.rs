//! Joined reads: each call gets its own documents, and none waits for a call that has ended.

use convoy_testkit::{App, Psql, Reply, TestDb, Wire, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::shared::{functions, tables};

/// More than the statements that may be in progress.
const IN_FLIGHT: usize = 2;

fn get(app: &App, id: &Value) -> JoinHandle<Reply> {
    let (client, id) = (app.client(), id.clone());
    tokio::spawn(async move { client.query("messages.get", json!({ "id": id })).await })
}

/// An app without a result cache, ids of its documents by their numbers, and its statements.
async fn app_with_documents(db: &TestDb, count: i64) -> (App, Vec<Value>, Wire) {
    let (wire, url) = Wire::before(&db.url()).await;
    let options = json!({ "databaseUrl": url, "limits": { "idleQueryMs": 0, "pollMs": 600_000 } });
    let app = db.app_with(options, tables(), functions()).await;
    let mut ids = Vec::new();
    for n in 0..count {
        let message = json!({ "channel": "a", "n": n, "body": n.to_string() });
        ids.push(app.client().mutate("messages.send", message).await.data());
    }
    // Prepares the statements.
    get(&app, &ids[0]).await.expect("an answer").data();
    (app, ids, wire)
}

async fn until_waiting(app: &App, reads: usize) {
    within(async {
        while app.engine.stats().waiting_reads != reads {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until so many sessions wait for the table.
async fn until_blocked(db: &TestDb, sessions: usize) {
    let mut psql = db.psql().await;
    within(async {
        let waiting = "select pid::text from pg_stat_activity \
                       where datname = current_database() and wait_event_type = 'Lock'";
        while psql.column(waiting).await.len() < sessions {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Calls of which as many as may be in progress wait for the lock of the table, which the returned
/// session has, and the others for them.
async fn held<T>(
    db: &TestDb,
    app: &App,
    inputs: &[T],
    call: impl Fn(&T) -> JoinHandle<Reply>,
) -> (Psql, Vec<JoinHandle<Reply>>) {
    let mut locker = db.psql().await;
    locker.run("begin; lock table messages in access exclusive mode").await;
    let mut calls: Vec<_> = inputs[..IN_FLIGHT].iter().map(&call).collect();
    until_blocked(db, IN_FLIGHT).await;
    calls.extend(inputs[IN_FLIGHT..].iter().map(&call));
    until_waiting(app, inputs.len() - IN_FLIGHT).await;
    (locker, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_wait_share_a_statement_and_each_gets_its_document() {
    let db = TestDb::new().await;
    let (app, ids, wire) = app_with_documents(&db, 12).await;
    app.client().mutate("messages.remove", json!({ "id": ids[11] })).await.data();
    wire.take_statements();
    let (mut locker, calls) = held(&db, &app, &ids, |id| get(&app, id)).await;
    locker.run("commit").await;
    for (n, call) in calls.into_iter().enumerate() {
        let found = within(call).await.expect("an answer").data();
        match n {
            11 => assert_eq!(found, Value::Null),
            _ => assert_eq!(found["n"], json!(n)),
        }
    }
    let reads = wire.take_statements().iter().filter(|sql| sql.starts_with("execute")).count();
    assert_eq!(reads, IN_FLIGHT + 1);
    app.engine.close().await;
}

fn list(app: &App, channel: &str) -> JoinHandle<Reply> {
    let (client, channel) = (app.client(), channel.to_owned());
    tokio::spawn(async move { client.query("messages.list", json!({ "channel": channel })).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_that_wait_share_a_statement_and_each_gets_its_list_in_order() {
    let db = TestDb::new().await;
    let (app, _ids, wire) = app_with_documents(&db, 2).await;
    // As many as one statement may have beside those in progress, and one that is empty.
    let channels = ["b", "", "a\"b", "é", "$1", "c d", "1", "null", "x'y", "z\\", "empty", "a"];
    let mut sent = 0;
    for n in [3, 1, 2] {
        for channel in &channels[..10] {
            sent += 1;
            let message = json!({ "channel": channel, "n": n, "body": format!("{channel} {n} {sent}") });
            app.client().mutate("messages.send", message).await.data();
        }
    }
    for channel in channels {
        list(&app, channel).await.expect("an answer").data();
    }
    wire.take_statements();
    let (mut locker, calls) = held(&db, &app, &channels, |channel| list(&app, channel)).await;
    locker.run("commit").await;
    for (channel, call) in channels.iter().zip(calls) {
        let found = within(call).await.expect("an answer").data();
        let found: Vec<&Value> = found.as_array().expect("a list").iter().map(|message| &message["n"]).collect();
        match *channel {
            "empty" => assert!(found.is_empty()),
            "a" => assert_eq!(found, [1, 0]),
            _ => assert_eq!(found, [3, 2, 1], "{channel}"),
        }
    }
    let reads = wire.take_statements().iter().filter(|sql| sql.starts_with("execute")).count();
    assert_eq!(reads, IN_FLIGHT + 1);
    app.engine.close().await;
}

/// A read that is to lead the others may be cancelled at any moment.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_end_early_keep_no_other_waiting() {
    let db = TestDb::new().await;
    let (app, ids, _wire) = app_with_documents(&db, 12).await;
    for round in 0..20 {
        let mut locker = db.psql().await;
        locker.run("begin; lock table messages in access exclusive mode").await;
        let mut calls: Vec<_> = ids[..IN_FLIGHT].iter().map(|id| get(&app, id)).collect();
        until_blocked(&db, IN_FLIGHT).await;
        for (n, id) in ids.iter().enumerate().skip(IN_FLIGHT) {
            calls.push(get(&app, id));
            until_waiting(&app, n + 1 - IN_FLIGHT).await;
        }
        // The statements in progress or their successors, or both, before or after they end.
        let ended: Vec<usize> = (0..calls.len()).filter(|n| (n + round) % 3 == 0 || *n < round % 4).collect();
        if round % 2 == 0 {
            locker.run("commit").await;
            ended.iter().for_each(|n| calls[*n].abort());
        } else {
            ended.iter().for_each(|n| calls[*n].abort());
            locker.run("commit").await;
        }
        for (n, call) in calls.into_iter().enumerate() {
            match within(call).await {
                Ok(reply) => assert_eq!(reply.data()["n"], json!(n)),
                Err(error) => assert!(error.is_cancelled() && ended.contains(&n), "{error}"),
            }
        }
        until_waiting(&app, 0).await;
    }
    within(get(&app, &ids[0])).await.expect("an answer").data();
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joined_statement_that_fails_is_repeated_by_each() {
    let db = TestDb::new().await;
    let (app, ids, _wire) = app_with_documents(&db, 6).await;
    let (mut locker, calls) = held(&db, &app, &ids, |id| get(&app, id)).await;
    // The statements in progress fail; then the joined one.
    let cancel = "select pg_cancel_backend(pid) from pg_stat_activity \
                  where datname = current_database() and wait_event_type = 'Lock'";
    let mut psql = db.psql().await;
    psql.run(cancel).await;
    until_waiting(&app, 0).await;
    until_blocked(&db, 1).await;
    psql.run(cancel).await;
    until_blocked(&db, 1).await;
    locker.run("commit").await;
    let mut failed = 0;
    for (n, call) in calls.into_iter().enumerate() {
        let reply = within(call).await.expect("an answer");
        if reply.status == 200 {
            assert_eq!(reply.data()["n"], json!(n));
        } else {
            failed += 1;
        }
    }
    // Those whose own statement was cancelled.
    assert!(failed <= IN_FLIGHT + 1, "{failed} failed");
    app.engine.close().await;
}
