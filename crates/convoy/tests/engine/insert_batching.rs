//! Insert batching: no insert is lost, and each call gets the result of its own insert.

use convoy_testkit::{App, Reply, TestDb, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::faults::through_proxy;
use crate::shared::{bodies, chat, functions, tables};

fn send(app: &App, message: Value) -> JoinHandle<Reply> {
    let client = app.client();
    tokio::spawn(async move { client.mutate("messages.send", message).await })
}

/// Sends `first` while the table is locked, and the others, which queue behind it, while it
/// waits. Then unlocks the table and returns the calls.
async fn queued(db: &TestDb, app: &App, first: Value, others: Vec<Value>) -> Vec<JoinHandle<Reply>> {
    let mut locker = db.psql().await;
    locker.run("begin; lock table messages in exclusive mode").await;
    let mut calls = vec![send(app, first)];
    db.psql().await.until_a_session_waits_for_a_lock().await;
    let count = others.len() + 1;
    calls.extend(others.into_iter().map(|message| send(app, message)));
    within(async {
        while app.engine.stats().running < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
    locker.run("commit").await;
    calls
}

fn message(n: i64) -> Value {
    json!({ "channel": "a", "n": n, "body": n.to_string() })
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_inserts_are_sent_in_one_statement_and_reach_live_queries() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    for call in queued(&db, &app, message(0), (1..=12).map(message).collect()).await {
        call.await.expect("an answer").data();
    }
    list.until(|list| bodies(list).len() == 13).await;
    // The last calls of the scripted host may reach the queue a moment late, and then need
    // one more statement.
    let statements = db.psql().await.column("select count(distinct xid)::text from _convoy.changes").await;
    let statements: u32 = statements[0].parse().expect("a number");
    assert!((2..=4).contains(&statements), "13 inserts took {statements} statements");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_postgres_rejects_fails_alone() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let poison = json!({ "channel": "a", "n": 2, "body": "a\u{0}b" });
    let calls = queued(&db, &app, message(0), vec![message(1), poison, message(3)]).await;
    let mut statuses = Vec::new();
    for call in calls {
        let reply = call.await.expect("an answer");
        statuses.push((reply.status, reply.code().to_owned()));
    }
    let fine = (200, "none".to_owned());
    assert_eq!(statuses, [fine.clone(), fine.clone(), (400, "INVALID_ARGS".to_owned()), fine]);
    let list = app.client().query("messages.list", json!({ "channel": "a" })).await.data();
    assert_eq!(bodies(&list), ["3", "1", "0"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_insert_is_not_written() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "limits": { "mutationMs": 1_500 } }), tables(), functions()).await;
    let (mut locker, mut observer) = (db.psql().await, db.psql().await);
    locker.run("begin; lock table messages in exclusive mode").await;
    let first = send(&app, message(0));
    observer.until_a_session_waits_for_a_lock().await;
    // Queued behind a statement that Postgres will cancel. Calls whose own statement has been
    // sent by the deadline are in doubt.
    let mut calls = vec![(0, first)];
    calls.extend((1..10).map(|n| (n, send(&app, message(n)))));
    let mut certain = Vec::new();
    for (n, call) in calls {
        let reply = call.await.expect("an answer");
        assert!(["TIMEOUT", "UNAVAILABLE"].contains(&reply.code()), "{reply:?}");
        if reply.code() == "TIMEOUT" {
            certain.push(n.to_string());
        }
    }
    locker.run("commit").await;
    app.client().mutate("messages.sendNow", message(10)).await.data();
    let list = app.client().query("messages.list", json!({ "channel": "a" })).await.data();
    assert!(certain.iter().all(|body| !bodies(&list).contains(&body.as_str())), "{certain:?} in {list}");
    app.engine.close().await;
}

/// Resolving a keyed insert in doubt may take as long as the time limit of its call.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_in_doubt_does_not_delay_the_next() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let app = db.app_with(json!({ "databaseUrl": url }), tables(), functions()).await;
    // Prepares the statement, because preparing would wait for the lock.
    send(&app, message(0)).await.expect("an answer").data();
    let mut locker = db.psql().await;
    locker.run("begin; lock table messages in exclusive mode").await;
    let keyed = app.client().with_header("idempotency-key", "k");
    let unanswered = tokio::spawn(async move { keyed.mutate("messages.send", message(1)).await });
    db.psql().await.until_a_session_waits_for_a_lock().await;
    proxy.cut();
    let next = within(send(&app, message(2))).await.expect("an answer");
    assert_eq!((next.status, next.code()), (503, "UNAVAILABLE"), "{}", next.body);
    assert!(!unanswered.is_finished(), "it is still in doubt");
    proxy.restore();
    locker.run("commit").await;
    within(unanswered).await.expect("an answer").data();
    let stored = db.psql().await.column("select data ->> 'n' from messages order by 1").await;
    assert_eq!(stored, ["0", "1"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_writers_lose_nothing() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let calls: Vec<_> = (0..400).map(|n| send(&app, message(n))).collect();
    for call in calls {
        call.await.expect("an answer").data();
    }
    let stored = db.psql().await.column("select count(distinct data ->> 'body')::text from messages").await;
    assert_eq!(stored, ["400"]);
    app.engine.close().await;
}
