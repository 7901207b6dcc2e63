//! Commit batching: no commit is lost, each call gets the result of its own, and none fails or
//! waits because of another.

use convoy_testkit::{App, Reply, TestDb, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::faults::through_proxy;
use crate::shared::{bodies, chat, functions, tables};

fn call(app: &App, name: &'static str, input: Value) -> JoinHandle<Reply> {
    let client = app.client();
    tokio::spawn(async move { client.mutate(name, input).await })
}

fn send(app: &App, message: Value) -> JoinHandle<Reply> {
    call(app, "messages.send", message)
}

fn edit(app: &App, id: &Value, set: Value) -> JoinHandle<Reply> {
    call(app, "messages.edit", json!({ "id": id, "set": set, "unset": [] }))
}

/// Sends the first call while the table may only be read, and the others, which queue behind
/// it, while it waits. Then the one that has locked the table runs `meanwhile` and commits.
async fn queued(
    db: &TestDb,
    app: &App,
    calls: Vec<impl FnOnce(&App) -> JoinHandle<Reply>>,
    meanwhile: &str,
) -> Vec<JoinHandle<Reply>> {
    let mut locker = db.psql().await;
    locker.run("begin; lock table messages in share row exclusive mode").await;
    let others = calls.len() - 1;
    let mut calls = calls.into_iter();
    let mut sent: Vec<_> = calls.by_ref().take(1).map(|first| first(app)).collect();
    db.psql().await.until_a_session_waits_for_a_lock().await;
    sent.extend(calls.map(|next| next(app)));
    within(async {
        while app.engine.stats().waiting_commits < others {
            tokio::task::yield_now().await;
        }
    })
    .await;
    locker.run(meanwhile).await;
    locker.run("commit").await;
    sent
}

async fn sent(app: &App, count: i64) -> Vec<Value> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(send(app, message(n)).await.expect("an answer").data());
    }
    ids
}

/// How many transactions have written what the change log has.
async fn transactions(db: &TestDb) -> u32 {
    let counted = db.psql().await.column("select count(distinct xid)::text from _convoy.changes").await;
    counted[0].parse().expect("a number")
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
    let inserts = (0..13).map(|n| move |app: &App| send(app, message(n))).collect();
    for call in queued(&db, &app, inserts, "").await {
        call.await.expect("an answer").data();
    }
    list.until(|list| bodies(list).len() == 13).await;
    assert_eq!(transactions(&db).await, 2);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_postgres_rejects_fails_alone() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let poison = json!({ "channel": "a", "n": 2, "body": "a\u{0}b" });
    let inserts = [message(0), message(1), poison, message(3)].into_iter();
    let inserts = inserts.map(|message| move |app: &App| send(app, message)).collect();
    let calls = queued(&db, &app, inserts, "").await;
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
async fn waiting_edits_of_different_documents_are_sent_in_one_statement() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let ids = sent(&app, 13).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    let before = transactions(&db).await;
    let edits = ids.iter().cloned().map(|id| move |app: &App| edit(app, &id, json!({ "body": "new" }))).collect();
    for call in queued(&db, &app, edits, "").await {
        let edited = call.await.expect("an answer").data();
        assert_eq!(edited["body"], "new");
    }
    list.until(|list| bodies(list) == ["new"; 13]).await;
    assert_eq!(transactions(&db).await, before + 2);
    app.engine.close().await;
}

/// Each reads before the others write.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_edits_of_one_document_are_all_applied() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let ids = sent(&app, 2).await;
    let edits = (0..12)
        .map(|n| {
            let id = ids[n % 2].clone();
            move |app: &App| edit(app, &id, json!({ format!("by{n}"): n }))
        })
        .collect();
    for call in queued(&db, &app, edits, "").await {
        call.await.expect("an answer").data();
    }
    for (parity, id) in ids.iter().enumerate() {
        let found = app.client().query("messages.get", json!({ "id": id })).await.data();
        let marks: Vec<bool> = (0..12).map(|n| found[format!("by{n}")] == json!(n)).collect();
        let expected: Vec<bool> = (0..12).map(|n| n % 2 == parity).collect();
        assert_eq!(marks, expected, "{found}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_another_has_changed_fails_no_other_commit() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let ids = sent(&app, 4).await;
    let edits = ids.iter().cloned().map(|id| move |app: &App| edit(app, &id, json!({ "body": "new" }))).collect();
    let meanwhile = r#"update messages set data = data || '{"outside": true}' where data ->> 'n' = '2'"#;
    for call in queued(&db, &app, edits, meanwhile).await {
        call.await.expect("an answer").data();
    }
    for (n, id) in ids.iter().enumerate() {
        let found = app.client().query("messages.get", json!({ "id": id })).await.data();
        assert_eq!(found["body"], "new");
        assert_eq!(found["outside"] == json!(true), n == 2, "{found}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_row_delays_no_other() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let ids = sent(&app, 6).await;
    let mut other = db.psql().await;
    other.run("begin; select from messages where data ->> 'n' = '2' for update").await;
    let edits = ids.iter().cloned().map(|id| move |app: &App| edit(app, &id, json!({ "body": "new" }))).collect();
    let mut calls = queued(&db, &app, edits, "").await;
    let waits = calls.remove(2);
    for call in calls {
        within(call).await.expect("an answer").data();
    }
    // Nor does it delay those that come now.
    within(edit(&app, &ids[0], json!({ "body": "newer" }))).await.expect("an answer").data();
    assert!(!waits.is_finished(), "its row is still locked");
    other.run("commit").await;
    assert_eq!(within(waits).await.expect("an answer").data()["body"], "new");
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

/// The response of a key may have been stored by an earlier call, because of which the statement
/// fails: it proves nothing of the other calls in the statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_does_not_prove_the_commits_beside_it() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let app = db.app_with(json!({ "databaseUrl": url }), tables(), functions()).await;
    let keyed = |n: i64| {
        let client = app.client().with_header("idempotency-key", "k");
        tokio::spawn(async move { client.mutate("messages.send", message(n)).await })
    };
    keyed(0).await.expect("an answer").data();
    // Prepares the statement of several commits, because preparing would wait for the lock.
    let warm = (1..3).map(|n| move |app: &App| send(app, message(n))).collect();
    for call in queued(&db, &app, warm, "").await {
        call.await.expect("an answer").data();
    }
    let lock = "begin; lock table messages in share row exclusive mode";
    let (mut first, mut second) = (db.psql().await, db.psql().await);
    first.run(lock).await;
    let before = send(&app, message(3));
    db.psql().await.until_a_session_waits_for_a_lock().await;
    let second = tokio::spawn(async move {
        second.run(lock).await;
        second
    });
    let (repeated, beside) = (keyed(0), send(&app, message(4)));
    within(async {
        while app.engine.stats().waiting_commits < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The first statement goes on, and the one of both calls waits for the second lock.
    first.run("commit").await;
    within(before).await.expect("an answer").data();
    let mut second = within(second).await.expect("a lock");
    db.psql().await.until_a_session_waits_for_a_lock().await;
    proxy.cut();
    proxy.restore();
    second.run("commit").await;
    within(repeated).await.expect("an answer");
    let beside = within(beside).await.expect("an answer");
    let stored = db.psql().await.column("select data ->> 'n' from messages where data ->> 'n' = '4'").await;
    assert_eq!(beside.status == 200, stored == ["4"], "{} with {stored:?}", beside.body);
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
