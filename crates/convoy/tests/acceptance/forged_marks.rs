//! `raw` statements that mark their transaction as an engine's, which disables the
//! triggers: streams of every engine show their writes all the same.

use convoy_testkit::TestDb;
use serde_json::{Value, json};

use crate::barrier::Barrier;
use crate::chat::{bodies, serve};
use crate::scale::report;

const MARK: &str = "set_config('convoy.writer', pg_current_xact_id()::text || '/messages', true)";
const MESSAGE: &str = r#"'{"channel": "w", "n": 1, "body": "news"}'::jsonb"#;

/// The ways to set the mark in one statement.
fn forgeries() -> [(&'static str, String); 3] {
    [
        (
            "a mark in the statement",
            format!(
                "with mark as materialized (select {MARK} as xid) insert into messages (data) select {MESSAGE} from mark"
            ),
        ),
        ("a function that marks and writes", "select forge()".into()),
        ("a function that takes the mark off again", "select forge_and_clear()".into()),
    ]
}

fn functions_of_the_database() -> String {
    format!(
        "create function forge() returns void language plpgsql as $$ begin
           perform {MARK}; insert into messages (data) values ({MESSAGE});
         end $$;
         create function forge_and_clear() returns void language plpgsql as $$ begin
           perform {MARK}; insert into messages (data) values ({MESSAGE});
           perform set_config('convoy.writer', '', true);
         end $$"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_sees_writes_hidden_by_a_forged_mark() {
    for (name, sql) in forgeries() {
        for function in ["raw", "rawApart"] {
            assert_eq!(seen(json!([]), function, &sql).await, [true, true], "{name}, {function}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_trusted_mark_is_detected() {
    let (_, sql) = &forgeries()[0];
    for function in ["raw", "rawApart"] {
        assert_eq!(seen(json!(["trustMark"]), function, sql).await, [false, false], "{function}");
    }
}

/// Which of two engines' streams show the message.
async fn seen(failpoints: Value, function: &str, sql: &str) -> [bool; 2] {
    let db = TestDb::new().await;
    let one = serve(&db, json!({ "failpoints": failpoints })).await;
    let other = serve(&db, json!({ "failpoints": failpoints })).await;
    db.psql().await.run(&functions_of_the_database()).await;
    let mut watches = Vec::new();
    for app in [&one, &other] {
        let watch = app.client().watch("messages.list", json!({ "channel": "w" })).await.read_continuously();
        assert!(watch.reaches(0, |list| bodies(list).is_empty()).await);
        watches.push(watch);
    }
    let mut barrier = Barrier::of(&[&one, &other]).await;
    one.client().mutate(function, json!({ "sql": sql })).await.data();
    barrier.wait_for_log(&mut db.psql().await).await;
    let mut seen = [false; 2];
    for (seen, watch) in seen.iter_mut().zip(&watches) {
        *seen = watch.reaches(0, |list| bodies(list) == ["news"]).await;
    }
    one.engine.close().await;
    other.engine.close().await;
    report(&format!("{function}: seen {seen:?}"));
    seen
}
