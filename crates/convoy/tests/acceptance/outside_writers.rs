//! Acceptance 10: writers outside Convoy. Each kind of write is seen in time, and a
//! statement that changes no row reruns no query.

use std::time::{Duration, Instant};

use convoy_testkit::{App, Functions, TestDb};
use serde_json::{Value, json};

use crate::barrier::Barrier;
use crate::chat::{functions, tables, with_heartbeats};
use crate::scale::{report, scale};

/// The limit until a write is seen: of a few rows, and of many.
const SMALL_WRITE_LIMIT: Duration = Duration::from_millis(250);
const LARGE_WRITE_LIMIT: Duration = Duration::from_secs(2);
/// A build without optimisation runs beside other tests. The measured times are printed.
const TOLERANCE: u32 = if cfg!(debug_assertions) { 10 } else { 1 };

/// How a statement reaches Postgres.
enum Statement {
    Sql(String),
    /// Lines for `copy messages (data) from stdin`.
    Copy(&'static str),
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_writing_is_seen_in_time() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({})).await;
    let mut overview = app.client().watch("messages.overview", json!({})).await;
    overview.until(|now| shows(now, 0, "")).await;
    let mut psql = db.psql().await;
    let large = scale(20_000, 100_000);
    for (name, statement, count, newest) in ways_of_writing(large) {
        let began = Instant::now();
        match statement {
            Statement::Sql(sql) => psql.run(&sql).await,
            Statement::Copy(rows) => psql.copy_in("copy messages (data) from stdin", rows).await,
        }
        let written = Instant::now();
        overview.until(|now| shows(now, count, newest)).await;
        let (took, delay) = (written - began, written.elapsed());
        report(&format!("{name}: seen {delay:?} after the statement, which took {took:?}"));
        let limit = if count >= large { LARGE_WRITE_LIMIT } else { SMALL_WRITE_LIMIT };
        assert!(delay <= limit * TOLERANCE, "{name} was seen after {delay:?}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_changes_no_row_reruns_nothing() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({})).await;
    let mut overview = app.client().watch("messages.overview", json!({})).await;
    let mut psql = db.psql().await;
    psql.run(&one_row("here", "there already")).await;
    overview.until(|now| shows(now, 1, "there already")).await;
    let mut barrier = Barrier::of(&[&app]).await;
    barrier.wait_for_log(&mut psql).await;
    let before = app.engine.stats().handler_runs;
    psql.run(
        "update messages set data = '{}' where false;
         delete from messages where false;
         insert into messages (data) select '{}'::jsonb where false;
         insert into messages (id, data) select id, data from messages on conflict do nothing",
    )
    .await;
    psql.copy_in("copy messages (data) from stdin", "").await;
    barrier.wait_for_log(&mut psql).await;
    let runs = app.engine.stats().handler_runs - before;
    report(&format!("five statements that change no row: {runs} run, of the mark after them"));
    assert_eq!(runs, 1);
    app.engine.close().await;
}

/// How often a control is retried, because another event may cause a read of the log.
const ATTEMPTS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn control_an_unread_log_is_detected() {
    // The log is also read when the listener connects, which may be at the same time.
    for _ in 0..ATTEMPTS {
        if !one_row_is_seen(json!(["noPoll"]), one_row("here", "news")).await {
            return;
        }
    }
    panic!("the row was seen {ATTEMPTS} times of {ATTEMPTS}");
}

/// A documented limitation: writes with disabled triggers are not detected.
#[tokio::test(flavor = "multi_thread")]
async fn control_writes_without_triggers_are_missed() {
    let quietly =
        format!("set session_replication_role = replica; {}; reset session_replication_role", one_row("here", "news"));
    assert!(!one_row_is_seen(json!([]), quietly).await, "the write was detected");
}

/// Whether a row that `sql` inserts is seen once a later write of the engine is.
async fn one_row_is_seen(failpoints: Value, sql: String) -> bool {
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "failpoints": failpoints })).await;
    let mut overview = app.client().watch("messages.overview", json!({})).await;
    overview.until(|now| shows(now, 0, "")).await;
    db.psql().await.run(&sql).await;
    let mut barrier = Barrier::of(&[&app]).await;
    barrier.wait_for_notifications().await;
    let seen = overview.read_continuously().reaches(0, |now| shows(now, 1, "news")).await;
    report(&format!("a row written outside is {}seen", if seen { "" } else { "not " }));
    app.engine.close().await;
    seen
}

/// Each with the number of messages after it, and the body of the newest.
fn ways_of_writing(large: usize) -> Vec<(&'static str, Statement, usize, &'static str)> {
    let sql = |sql: &str| Statement::Sql(sql.to_owned());
    vec![
        ("insert", Statement::Sql(one_row("a", "inserted")), 1, "inserted"),
        ("update", sql(r#"update messages set data = data || '{"body": "updated"}'"#), 1, "updated"),
        (
            "insert on conflict do update",
            sql("insert into messages (id, data) select id, data from messages
                 on conflict (id) do update set data = excluded.data || '{\"body\": \"upserted\"}'"),
            1,
            "upserted",
        ),
        ("delete", sql("delete from messages"), 0, ""),
        ("copy", Statement::Copy("{\"n\": 1, \"body\": \"one\"}\n{\"n\": 2, \"body\": \"copied\"}\n"), 2, "copied"),
        ("truncate", sql("truncate messages"), 0, ""),
        (
            "a transaction of three statements",
            Statement::Sql(format!("begin; {}; delete from messages; {}; commit", one_row("a", "x"), one_row("a", "kept"))),
            1,
            "kept",
        ),
        (
            "a large insert",
            Statement::Sql(format!(
                "insert into messages (data)
                 select jsonb_build_object('channel', 'large', 'n', n, 'body', 'row ' || n) from generate_series(2, {large}) as n"
            )),
            large,
            if large == 20_000 { "row 20000" } else { "row 100000" },
        ),
        (
            "a large update",
            sql(r#"update messages set data = data || '{"body": "all of them"}'"#),
            large,
            "all of them",
        ),
        ("a large delete", sql("delete from messages"), 0, ""),
    ]
}

fn one_row(channel: &str, body: &str) -> String {
    format!(r#"insert into messages (data) values ('{{"channel": "{channel}", "n": 1, "body": "{body}"}}')"#)
}

async fn serve(db: &TestDb, options: Value) -> App {
    db.app_with(with_heartbeats(options), tables(), with_overview()).await
}

fn with_overview() -> Functions {
    functions().query("messages.overview", |ctx, _| async move {
        ctx.saw_nothing();
        let all = json!({ "op": "count", "table": "messages", "index": null, "eq": [] });
        let newest = json!({ "op": "scan", "table": "messages", "index": null, "by": { "field": "n", "kind": "number" }, "order": "desc", "limit": 1 });
        Ok(json!({ "count": ctx.op(all).await?, "newest": ctx.op(newest).await?[0]["body"] }))
    })
}

fn shows(overview: &Value, count: usize, newest: &str) -> bool {
    overview["count"] == count && overview["newest"].as_str().unwrap_or_default() == newest
}
