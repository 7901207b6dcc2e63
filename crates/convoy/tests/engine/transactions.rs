//! Savepoints, and functions without a transaction.

use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, table};
use hyper::Method;
use serde_json::{Value, json};

fn insert(text: &str) -> Value {
    json!({ "op": "insert", "table": "notes", "id": convoy::id::mint().to_string(), "doc": { "text": text } })
}

fn bad() -> Value {
    json!({ "op": "insert", "table": "notes", "id": convoy::id::mint().to_string(), "doc": { "text": "\u{0}" } })
}

/// Runs a list of steps, each a batch of words, and returns the result of each operation.
async fn steps(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    let mut ended = Vec::new();
    for batch in input["steps"].as_array().expect("steps") {
        let ops: Value = batch
            .as_str()
            .expect("words")
            .split_whitespace()
            .map(|word| match word.split_once(':') {
                Some(("savepoint", name)) => json!({ "op": "savepoint", "name": name.parse::<u32>().expect("a number") }),
                Some(("back", name)) => json!({ "op": "rollback", "to": name.parse::<u32>().expect("a number") }),
                Some(("insert", text)) => insert(text),
                Some(("raw", text)) => json!({
                    "op": "raw", "text": "insert into notes (data) values (jsonb_build_object('text', $1::text)) returning 1 as one",
                    "values": [text], "tables": ["notes"],
                }),
                None if word == "bad" => bad(),
                // An operation that needs a transaction.
                None if word == "count" => json!({
                    "op": "count", "table": "notes", "index": null, "eq": [], "order": "asc", "limit": null,
                }),
                _ => json!({ "op": word }),
            })
            .collect();
        for result in ctx.ops(ops).await? {
            ended.push(match result {
                Ok(_) => "ok".to_owned(),
                Err(Thrown::Refused(code, _)) => code.as_str().to_owned(),
                Err(Thrown::Broke(message)) => message,
            });
        }
    }
    if input["throw"] == true {
        return Err(Thrown::Broke("throw was set".into()));
    }
    Ok(json!(ended))
}

fn functions() -> Functions {
    Functions::new()
        .mutation("within", steps)
        .action("act", steps)
        .add(json!({ "name": "without", "kind": "mutation", "transaction": false }), steps)
        .query("list", |ctx, _| async move {
            let all = json!({ "op": "scan", "table": "notes", "index": null, "eq": [], "order": "asc", "limit": null });
            ctx.op(all).await
        })
}

async fn notes(db: &TestDb) -> App {
    db.app(json!([table("notes", &[])]), functions()).await
}

async fn texts(app: &App) -> String {
    let list = app.client().query("list", json!({})).await.data();
    let texts: Vec<&str> =
        list.as_array().expect("a list").iter().map(|note| note["text"].as_str().expect("text")).collect();
    texts.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_to_savepoint_keeps_earlier_writes() {
    let db = TestDb::new().await;
    let app = notes(&db).await;
    let mut list = app.client().watch("list", json!({})).await;
    list.next().await;
    let steps = ["insert:a savepoint:1 insert:b", "savepoint:2 insert:c", "back:2 insert:d", "back:1", "insert:e"];
    app.client().mutate("within", json!({ "steps": steps })).await.data();
    assert_eq!(texts(&app).await, "a e");
    assert_eq!(list.next().await.as_array().map(Vec::len), Some(2));
    // The same with savepoints of Postgres, which the count causes.
    let steps: Vec<&str> = [&["count"], steps.as_slice()].concat();
    app.client().mutate("within", json!({ "steps": steps })).await.data();
    assert_eq!(texts(&app).await, "a e a e");
    assert_eq!(list.next().await.as_array().map(Vec::len), Some(4));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_rollback_to_savepoint_recovers_from_a_database_error() {
    let db = TestDb::new().await;
    let app = notes(&db).await;
    let client = app.client();
    let healed = json!({ "steps": ["count", "insert:a savepoint:1", "bad", "insert:lost", "back:1", "insert:b"] });
    let ended = client.mutate("within", healed).await.data();
    assert_eq!(ended, json!(["ok", "ok", "ok", "INVALID_ARGS", "INVALID_ARGS", "ok", "ok"]));
    assert_eq!(texts(&app).await, "a b");
    for first in ["count", "insert:c"] {
        let swallowed = json!({ "steps": [first, "insert:c", "bad", "insert:d"] });
        assert_eq!(client.mutate("within", swallowed).await.code(), "INVALID_ARGS");
    }
    let ended = client.mutate("within", json!({ "steps": ["begin", "insert:x", "commit"] })).await.data();
    assert_eq!(ended, json!(["INVALID_ARGS", "ok", "INVALID_ARGS"]));
    assert_eq!(texts(&app).await, "a b x");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_transaction_each_operation_is_committed_separately() {
    let db = TestDb::new().await;
    let app = notes(&db).await;
    let mut list = app.client().watch("list", json!({})).await;
    list.next().await;
    for (at, path) in ["mutation/without", "action/act"].into_iter().enumerate() {
        let steps = json!({ "steps": [
            "insert:alone bad insert:too",
            "begin insert:a", "savepoint:1 insert:b", "back:1", "commit",
            "begin insert:c", "bad", "insert:d", "commit",
            "begin insert:e", "rollback",
            "commit savepoint:1",
        ] });
        let reply = app.client().send(Method::POST, &format!("/api/{path}"), steps.to_string()).await;
        let ended = reply.data();
        let invalid = "INVALID_ARGS";
        assert_eq!(
            ended,
            json!([
                "ok", invalid, "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", invalid, invalid, invalid, "ok",
                "ok", "ok", invalid, invalid
            ])
        );
        let once = "alone too a";
        assert_eq!(texts(&app).await, [once, once].map(str::to_owned)[..=at].join(" "));
        list.until(|list| list.as_array().map(Vec::len) == Some(3 * (at + 1))).await;
    }
    // A thrown error undoes only uncommitted writes.
    let steps = json!({ "steps": ["insert:f", "begin insert:g"], "throw": true });
    assert_eq!(app.client().mutate("without", steps).await.code(), "INTERNAL");
    assert!(texts(&app).await.ends_with("a f"));
    let open = db
        .psql()
        .await
        .column(
            "select count(*)::text from pg_stat_activity where state like 'idle in%' and datname = current_database()",
        )
        .await;
    assert_eq!(open, ["0"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_statements_are_logged_by_triggers_between_logged_writes_of_the_engine() {
    let db = TestDb::new().await;
    let app = notes(&db).await;
    let mut list = app.client().watch("list", json!({})).await;
    list.next().await;
    app.client().mutate("within", json!({ "steps": ["insert:a", "raw:b", "insert:c"] })).await.data();
    list.until(|list| list.as_array().map(Vec::len) == Some(3)).await;
    let logged = db
        .psql()
        .await
        .column("select (node is null)::text || ' ' || (new_keys is not null)::text from _convoy.changes order by new_at, id")
        .await;
    assert_eq!(logged.iter().filter(|row| row.starts_with("true")).count(), 1, "{logged:?}");
    assert_eq!(logged.len(), 3);
    app.engine.close().await;
}
