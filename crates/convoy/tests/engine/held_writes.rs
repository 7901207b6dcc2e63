//! Patches that the host holds until the function returns.

use std::time::Duration;

use convoy::Code;
use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, table};
use serde_json::{Value, json};

fn tables() -> Value {
    json!([
        table("counters", &[("by_n", false, &[("n", "number")])]),
        // A write to this table may be rejected, so every mutation of it is a transaction.
        table("names", &[("by_name", true, &[("name", "text")])]),
    ])
}

async fn read(ctx: &Ctx, table: &str, id: &Value) -> Result<Value, Thrown> {
    ctx.op(json!({ "op": "get", "table": table, "id": id })).await
}

fn hold_patch(ctx: &Ctx, table: &str, id: &Value, set: Value) {
    ctx.hold_op(json!({ "op": "patch", "table": table, "id": id, "set": set, "unset": [] }));
}

fn functions() -> Functions {
    Functions::new()
        .query("get", |ctx, input| async move { read(&ctx, "counters", &input["id"]).await })
        .mutation("add", |ctx, input| async move { Ok(json!(ctx.insert("counters", input).await?)) })
        .mutation("count", |ctx, input| async move {
            let before = read(&ctx, "counters", &input["id"]).await?;
            let n = before["n"].as_i64().expect("a number") + 1;
            hold_patch(&ctx, "counters", &input["id"], json!({ "n": n }));
            Ok(json!(n))
        })
        // Does one of several things beside, as its input says.
        .mutation("countAmong", |ctx, input| async move {
            let before = read(&ctx, "counters", &input["id"]).await?;
            let n = before["n"].as_i64().expect("a number") + 1;
            let beside = input["beside"].as_str().unwrap_or_default();
            if beside == "reads" {
                let count = json!({
                    "op": "count", "table": "names", "index": null, "eq": [], "order": "asc", "limit": null,
                });
                ctx.op(count).await?;
            }
            if beside == "waits" {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            if beside == "throws" {
                return Err(Thrown::Refused(Code::Forbidden, "no".into()));
            }
            hold_patch(&ctx, "counters", &input["id"], json!({ "n": n }));
            Ok(json!(n))
        })
        // The engine refuses its patch after the host has applied it.
        .mutation("countTooFar", |ctx, input| async move {
            let before = read(&ctx, "counters", &input["id"]).await?;
            let n = before["n"].as_i64().expect("a number") + 1;
            hold_patch(&ctx, "counters", &input["id"], json!({ "n": n, "note": "x".repeat(2_000) }));
            Ok(json!(n))
        })
        .mutation("countAndNote", |ctx, input| async move {
            let before = read(&ctx, "counters", &input["id"]).await?;
            hold_patch(&ctx, "counters", &input["id"], json!({ "n": before["n"].as_i64().expect("a number") + 1 }));
            ctx.hold("counters", json!({ "n": -1 }));
            hold_patch(&ctx, "counters", &input["id"], json!({ "note": "twice" }));
            Ok(Value::Null)
        })
        .mutation("countAndThrow", |ctx, input| async move {
            hold_patch(&ctx, "counters", &input["id"], json!({ "n": 100 }));
            Err(Thrown::Broke("no".into()))
        })
        .mutation("holdAny", |ctx, input| async move {
            ctx.hold_op(input);
            Ok(json!("returned"))
        })
        .mutation("names.add", |ctx, input| async move { Ok(json!(ctx.insert("names", input).await?)) })
        .mutation("names.rename", |ctx, input| async move {
            hold_patch(&ctx, "names", &input["id"], json!({ "name": input["name"] }));
            Ok(Value::Null)
        })
}

async fn opened(db: &TestDb) -> (App, Value) {
    let app = db.app(tables(), functions()).await;
    let id = app.client().mutate("add", json!({ "n": 0 })).await.data();
    (app, id)
}

async fn counter(app: &App, id: &Value) -> Value {
    app.client().query("get", json!({ "id": id })).await.data()
}

#[tokio::test(flavor = "multi_thread")]
async fn are_executed_in_order_with_inserts_when_the_function_returns() {
    let db = TestDb::new().await;
    let (app, id) = opened(&db).await;
    app.client().mutate("countAndNote", json!({ "id": id })).await.data();
    let document = counter(&app, &id).await;
    assert_eq!((&document["n"], &document["note"]), (&json!(1), &json!("twice")));
    assert_eq!(db.psql().await.column("select data ->> 'n' from counters order by data -> 'n'").await, ["-1", "1"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_calls_are_all_counted_once() {
    let db = TestDb::new().await;
    let (app, id) = opened(&db).await;
    let mut watch = app.client().watch("get", json!({ "id": id })).await;
    const CALLS: i64 = 200;
    let counting: Vec<_> = (0..CALLS)
        .map(|_| {
            let (client, input) = (app.client(), json!({ "id": id }));
            tokio::spawn(async move { client.mutate("count", input).await.data().as_i64().expect("a number") })
        })
        .collect();
    let mut returned = Vec::new();
    for each in counting {
        returned.push(each.await.expect("it is counted"));
    }
    returned.sort_unstable();
    assert_eq!(returned, (1..=CALLS).collect::<Vec<_>>());
    watch.until(|document| document["n"] == CALLS).await;
    assert!(app.engine.stats().queued_calls > 0, "some of them went through a serial queue");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_function_that_throws_are_dropped() {
    let db = TestDb::new().await;
    let (app, id) = opened(&db).await;
    let reply = app.client().mutate("countAndThrow", json!({ "id": id })).await;
    assert_eq!((reply.status, reply.code()), (500, "INTERNAL"));
    assert_eq!(counter(&app, &id).await["n"], 0);
    app.engine.close().await;
}

/// The host has told the function that they succeed, so a failure is that of the call.
#[tokio::test(flavor = "multi_thread")]
async fn that_fail_fail_the_call() {
    let db = TestDb::new().await;
    let (app, id) = opened(&db).await;
    let patch = |set: Value| json!({ "op": "patch", "table": "counters", "id": id, "set": set, "unset": [] });
    let refused = app.client().mutate("holdAny", patch(json!({ "n": "\u{0}" }))).await;
    assert_eq!((refused.status, refused.code()), (400, "INVALID_ARGS"), "{:?}", refused.body);
    let unknown = json!({ "op": "patch", "table": "unknown", "id": id, "set": {}, "unset": [] });
    assert_eq!(app.client().mutate("holdAny", unknown).await.code(), "INVALID_ARGS");
    let delete = json!({ "op": "delete", "table": "counters", "id": id });
    assert_eq!(app.client().mutate("holdAny", delete).await.code(), "INTERNAL");
    assert_eq!(counter(&app, &id).await["n"], 0);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_transaction_are_statements_of_it() {
    let db = TestDb::new().await;
    let (app, _) = opened(&db).await;
    let mut ids = Vec::new();
    for name in ["ada", "eve"] {
        ids.push(app.client().mutate("names.add", json!({ "name": name })).await.data());
    }
    app.client().mutate("names.rename", json!({ "id": ids[0], "name": "bob" })).await.data();
    let taken = app.client().mutate("names.rename", json!({ "id": ids[1], "name": "bob" })).await;
    assert_eq!((taken.status, taken.code()), (409, "CONFLICT"), "{:?}", taken.body);
    let names = db.psql().await.column("select data ->> 'name' from names order by 1").await;
    assert_eq!(names, ["bob", "eve"]);
    app.engine.close().await;
}

/// Calls over a hot document have their turns in a serial queue: the host receives the answers to
/// the first operations of several at once.
#[tokio::test(flavor = "multi_thread")]
async fn of_calls_that_have_their_turns_together_are_seen_by_the_calls_after_them() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "limits": { "documentBytes": 1_000 } }), tables(), functions()).await;
    let id = app.client().mutate("add", json!({ "n": 0 })).await.data();
    // Few calls do more than read, hold and return.
    let beside = |n: usize| match n % 120 {
        3 => "reads",
        17 => "waits",
        7 | 47 | 87 => "throws",
        13 => "exceeds",
        _ => "nothing",
    };
    let mut counts = Vec::new();
    let mut sent = 0;
    // How soon the document is hot depends on the machine.
    while app.engine.stats().turns_together < 500 && sent < 10_000 {
        let callers = (0..32).map(|caller| {
            let (client, args) = (app.client(), json!({ "id": id, "beside": beside(sent + caller) }));
            // Such a function has its turns alone from then on.
            let name = if args["beside"] == "exceeds" { "countTooFar" } else { "countAmong" };
            tokio::spawn(async move { client.mutate(name, args).await })
        });
        let callers: Vec<_> = callers.collect();
        for (caller, call) in callers.into_iter().enumerate() {
            let reply = call.await.expect("an answer");
            match beside(sent + caller) {
                "throws" => assert_eq!(reply.status, 403, "{:?}", reply.body),
                "exceeds" => assert_ne!(reply.status, 200, "{:?}", reply.body),
                // Under contention a call may run out of retries.
                _ if reply.status == 409 => {}
                _ => counts.push(reply.data().as_i64().expect("a number")),
            }
        }
        sent += 32;
    }
    assert!(
        app.engine.stats().turns_together >= 500,
        "turns were together {} times",
        app.engine.stats().turns_together
    );
    counts.sort_unstable();
    assert_eq!(counts, (1..=counts.len() as i64).collect::<Vec<_>>());
    assert_eq!(counter(&app, &id).await["n"], json!(counts.len()));
    app.engine.close().await;
}
