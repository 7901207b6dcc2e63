//! Convoy's own tables truncated or dropped by hand while streams are open, as by scripts
//! that empty every table: streams converge to the contents of the tables all the same.

use convoy_testkit::{App, TestDb};
use serde_json::{Value, json};

use crate::barrier::Barrier;
use crate::chat::{bodies, serve};
use crate::scale::report;

const MESSAGE: &str = r#"insert into messages (data) values ('{"channel": "w", "n": 1, "body": "news"}')"#;

/// Statements in the transaction that has written the message.
const EMPTIED: &[&str] = &[
    "truncate _convoy.changes",
    "truncate _convoy.changes, _convoy.epoch, _convoy.idempotency, _convoy.lane_0, _convoy.lane_1, _convoy.lane_2, _convoy.lane_3",
    "set local session_replication_role = replica; truncate _convoy.changes",
    "delete from _convoy.changes",
    "delete from _convoy.changes where tab = 'messages'",
    "update _convoy.changes set tab = 'elsewhere'",
    "delete from _convoy.changes; truncate _convoy.epoch",
    "delete from _convoy.changes; delete from _convoy.epoch",
    "delete from _convoy.changes; update _convoy.epoch set id = gen_random_uuid()",
];

/// Statements after which the schema has to be synced again.
const DROPPED: &[&str] = &[
    "drop table _convoy.changes",
    "drop table _convoy.epoch",
    "drop table _convoy.changes, _convoy.epoch, _convoy.idempotency",
    "drop schema _convoy cascade",
];

#[tokio::test(flavor = "multi_thread")]
async fn writes_logged_before_a_truncate_are_seen() {
    for emptied in EMPTIED {
        let db = TestDb::new().await;
        let app = quiet(&db).await;
        assert!(is_seen(&db, &app, emptied).await, "lost with {emptied}");
        works_as_before(&db, &app).await;
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_truncate_without_its_trigger_is_missed() {
    let db = TestDb::new().await;
    let app = quiet(&db).await;
    db.psql().await.run("alter table _convoy.changes disable trigger _convoy_changed").await;
    assert!(!is_seen(&db, &app, "truncate _convoy.changes").await, "the stream is current without the trigger");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_convoy_objects_are_recreated() {
    for dropped in DROPPED {
        let db = TestDb::new().await;
        let app = quiet(&db).await;
        let watch = app.client().watch("messages.list", json!({ "channel": "w" })).await.read_continuously();
        db.psql().await.run(&format!("begin; {MESSAGE}; {dropped}; commit")).await;
        watch
            .until(|answer| convoy_testkit::StreamState::latest(answer, 0).is_some_and(|list| bodies(list) == ["news"]))
            .await;
        report(&format!("seen after {dropped}"));
        works_as_before(&db, &app).await;
        app.engine.close().await;
    }
}

/// Without live queries the log is not read for a while; the first call that fails requests
/// the check.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_recreates_what_was_dropped() {
    let db = TestDb::new().await;
    let app = quiet(&db).await;
    let keyed = app.client().with_header("idempotency-key", "k");
    let send = || keyed.mutate("messages.send", json!({ "channel": "w", "n": 1, "body": "news" }));
    send().await.data();
    for dropped in ["drop table _convoy.idempotency", "drop schema _convoy cascade"] {
        db.psql().await.run(dropped).await;
        convoy_testkit::within(async { while send().await.status != 200 {} }).await;
    }
    works_as_before(&db, &app).await;
    app.engine.close().await;
}

/// The log can still be read, so only the periodic check finds these.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_log_rows_are_detected_while_the_log_exists() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "limits": { "triggerCheckMs": 20 } })).await;
    let mut psql = db.psql().await;
    psql.run("drop table _convoy.lane_0; drop function _convoy.log_truncate() cascade; drop trigger _convoy_thinned on _convoy.changes").await;
    let there = "select (to_regclass('_convoy.lane_0') is not null)::text || count(*)
        from pg_trigger where tgname in ('_convoy_truncate', '_convoy_thinned')";
    // One trigger for each table, one for the log, and one for stored responses.
    convoy_testkit::within(async { while psql.column(there).await != ["true5"] {} }).await;
    works_as_before(&db, &app).await;
    app.engine.close().await;
}

/// Older versions had no triggers on Convoy's own tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_older_version_gets_the_triggers_on_the_log() {
    let db = TestDb::new().await;
    quiet(&db).await.engine.close().await;
    let older = "drop function _convoy.log_changed, _convoy.log_thinned, _convoy.answers_emptied, _convoy.answers_thinned cascade";
    db.psql().await.run(older).await;
    let app = quiet(&db).await;
    for emptied in ["truncate _convoy.changes", "delete from _convoy.changes"] {
        assert!(is_seen(&db, &app, emptied).await, "lost with {emptied}");
        db.psql().await.run("delete from messages").await;
    }
    app.engine.close().await;
}

/// Only the removal of rows within their retention is logged.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_removal_of_unexpired_answers_is_logged() {
    let db = TestDb::new().await;
    let app = quiet(&db).await;
    let mut psql = db.psql().await;
    let logged = "select count(*)::text from _convoy.changes where tab = '_convoy.idempotency'";
    let old = "insert into _convoy.idempotency (function, identity, key, body, result, at)
        values ('f', '', gen_random_uuid(), gen_random_uuid(), '1', now() - interval '25 hours')";
    psql.run(old).await;
    psql.run("delete from _convoy.idempotency").await;
    assert_eq!(psql.column(logged).await, ["0"]);
    app.client()
        .with_header("idempotency-key", "k")
        .mutate("messages.send", json!({ "channel": "x", "n": 1, "body": "" }))
        .await
        .data();
    psql.run("delete from _convoy.idempotency").await;
    assert_eq!(psql.column(logged).await, ["1"]);
    psql.run("truncate _convoy.idempotency").await;
    assert_eq!(psql.column(logged).await, ["2"]);
    let epoch = "select id::text from _convoy.epoch";
    let before = psql.column(epoch).await;
    // Rows below the trim position have been read by every reader.
    psql.run(
        "with trimmed as (delete from _convoy.changes)
         update _convoy.epoch set trimmed_below = pg_current_xact_id()",
    )
    .await;
    assert_eq!(psql.column(epoch).await, before);
    app.engine.close().await;
}

/// Serves without periodic checks of the triggers.
async fn quiet(db: &TestDb) -> App {
    serve(db, json!({ "limits": { "triggerCheckMs": 600_000 } })).await
}

/// Whether a stream shows a message written in the same transaction as `sql` once the log
/// has been read past it.
async fn is_seen(db: &TestDb, app: &App, sql: &str) -> bool {
    let watch = app.client().watch("messages.list", json!({ "channel": "w" })).await.read_continuously();
    watch.reaches(0, |list| bodies(list).is_empty()).await;
    let mut barrier = Barrier::of(&[app]).await;
    let mut psql = db.psql().await;
    psql.run(&format!("begin; {MESSAGE}; {sql}; commit")).await;
    barrier.wait_for_log(&mut psql).await;
    let seen = watch.reaches(0, |list| bodies(list) == ["news"]).await;
    report(&format!("{} with {sql}", if seen { "seen" } else { "lost" }));
    seen
}

/// Checks that external writes are seen and keyed calls are answered.
async fn works_as_before(db: &TestDb, app: &App) {
    let mut watch = app.client().watch("messages.list", json!({ "channel": "after" })).await;
    let mut psql = db.psql().await;
    for n in 1..=2 {
        psql.run(&format!(r#"insert into messages (data) values ('{{"channel": "after", "n": {n}, "body": "x"}}')"#))
            .await;
        watch.until(|list: &Value| bodies(list).len() == n).await;
    }
    psql.run("truncate messages").await;
    watch.until(|list: &Value| bodies(list).is_empty()).await;
    let keyed = app.client().with_header("idempotency-key", "once");
    let message = json!({ "channel": "after", "n": 3, "body": "kept" });
    let first = keyed.mutate("messages.send", message.clone()).await.data();
    assert_eq!(keyed.mutate("messages.send", message).await.data(), first);
    watch.until(|list: &Value| bodies(list) == ["kept"]).await;
}
