//! Idempotency keys: a mutation takes effect once, even if its answer is lost.

use std::sync::Arc;

use convoy_testkit::{App, Client, Cut, Functions, TestDb, Thrown, Wire, table, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

fn tables() -> Value {
    json!([table("notes", &[]), table("names", &[("by_name", true, &[("name", "text")])])])
}

fn functions(gate: Arc<Semaphore>) -> Functions {
    Functions::new()
        .mutation("notes.add", |ctx, input| async move {
            if let Some(caller) = ctx.caller() {
                ctx.identify(caller["headers"]["x-user"].as_str().unwrap_or("anonymous"));
            }
            Ok(json!(ctx.hold("notes", input)))
        })
        .mutation("notes.addTwo", |ctx, input| async move {
            let first = ctx.insert("notes", input.clone()).await?;
            ctx.insert("notes", input).await?;
            Ok(json!(first))
        })
        // The same in a transaction, which the count needs.
        .mutation("notes.countAndAddTwo", |ctx, input| async move {
            ctx.op(json!({ "op": "count", "table": "notes", "index": null, "eq": [], "order": "asc", "limit": null }))
                .await?;
            ctx.insert("notes", input.clone()).await?;
            Ok(json!(ctx.insert("notes", input).await?))
        })
        .mutation("names.take", |ctx, input| async move {
            let free = json!({ "op": "count", "table": "names", "index": "by_name", "eq": [input["name"]],
                               "order": "asc", "limit": null });
            if ctx.op(free).await? != json!(0) {
                return Err(Thrown::Refused(convoy::Code::Conflict, "taken".into()));
            }
            Ok(json!(ctx.insert("names", input).await?))
        })
        .mutation("notes.addSlowly", move |ctx, input| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.expect("the gate is open").forget();
                Ok(json!(ctx.insert("notes", input).await?))
            }
        })
        .query("notes.count", |ctx, _| async move {
            ctx.op(json!({ "op": "count", "table": "notes", "index": null, "eq": [], "order": "asc", "limit": null }))
                .await
        })
}

async fn notes(db: &TestDb) -> (App, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    (db.app(tables(), functions(gate.clone())).await, gate)
}

fn keyed(app: &App, key: &str) -> Client {
    app.client().with_header("idempotency-key", key)
}

async fn count(app: &App) -> i64 {
    app.client().query("notes.count", json!({})).await.data().as_i64().expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_call_gets_the_first_answer_and_has_no_effect() {
    let db = TestDb::new().await;
    let (app, _) = notes(&db).await;
    for (name, rows) in [("notes.add", 1), ("notes.addTwo", 2)] {
        let before = count(&app).await;
        let first = keyed(&app, "k1").mutate(name, json!({ "text": "a" })).await;
        assert_eq!(first.header("idempotency-replayed"), None);
        // The body must be identical, byte by byte.
        let again = keyed(&app, "k1").mutate(name, json!({ "text": "a" })).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(first.data(), again.data());
        assert_eq!(count(&app).await, before + rows);
        let other = keyed(&app, "k1").mutate(name, json!({ "text": "b" })).await;
        assert_eq!(other.code(), "CONFLICT");
        keyed(&app, "k2").mutate(name, json!({ "text": "b" })).await.data();
        assert_eq!(count(&app).await, before + 2 * rows);
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_call_that_would_fail_now_gets_the_first_answer() {
    let db = TestDb::new().await;
    let (app, _) = notes(&db).await;
    let first = keyed(&app, "k").mutate("names.take", json!({ "name": "ada" })).await.data();
    assert_eq!(keyed(&app, "k").mutate("names.take", json!({ "name": "ada" })).await.data(), first);
    assert_eq!(keyed(&app, "l").mutate("names.take", json!({ "name": "ada" })).await.code(), "CONFLICT");
    // Failures are not stored: the call may succeed later with the same key.
    db.psql().await.run("delete from names").await;
    keyed(&app, "l").mutate("names.take", json!({ "name": "ada" })).await.data();
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_function_and_one_caller() {
    let db = TestDb::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let app = db.app(tables(), functions(gate.clone())).await;
    app.load(functions(gate), true).await;
    let ada = keyed(&app, "k").with_header("x-user", "ada");
    let bob = keyed(&app, "k").with_header("x-user", "bob");
    let note = json!({ "text": "a" });
    let of_ada = ada.mutate("notes.add", note.clone()).await.data();
    let of_bob = bob.mutate("notes.add", note.clone()).await;
    assert_eq!(of_bob.header("idempotency-replayed"), None);
    assert_ne!(of_ada, of_bob.data());
    assert_eq!(ada.mutate("notes.add", note.clone()).await.data(), of_ada);
    assert_eq!(count(&app).await, 2);
    // Answers of callers without an identity are neither stored nor replayed.
    let anonymous = ada.mutate("notes.addTwo", note.clone()).await;
    assert_eq!(anonymous.header("idempotency-replayed"), None);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_in_flight_waits_for_the_first() {
    let db = TestDb::new().await;
    let (app, gate) = notes(&db).await;
    let other = db.app(tables(), functions(gate.clone())).await;
    let calls: Vec<_> = [&app, &app, &other]
        .map(|node| {
            let client = keyed(node, "k");
            tokio::spawn(async move { client.mutate("notes.addSlowly", json!({ "text": "a" })).await })
        })
        .into();
    within(async {
        while app.engine.stats().running + other.engine.stats().running < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // One waits for its turn on this node, so only two functions run.
    gate.add_permits(8);
    let mut answers = Vec::new();
    for call in calls {
        answers.push(within(call).await.expect("an answer").data());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(count(&app).await, 1);
    app.engine.close().await;
    other.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_printable_and_has_at_most_128_characters() {
    let db = TestDb::new().await;
    let (app, _) = notes(&db).await;
    for key in ["", &"k".repeat(129), "k\u{e9}y", "a\tb"] {
        let reply = keyed(&app, key).mutate("notes.add", json!({})).await;
        assert_eq!(reply.code(), "INVALID_ARGS", "{key:?}");
    }
    keyed(&app, &"k".repeat(128)).mutate("notes.add", json!({})).await.data();
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_call_takes_effect_once_wherever_the_connection_is_cut() {
    let db = TestDb::new().await;
    let (direct, gate) = notes(&db).await;
    let (wire, url) = Wire::before(&db.url()).await;
    let app = db.app_with(json!({ "databaseUrl": url }), tables(), functions(gate)).await;
    let note = json!({ "text": "a" });
    let mut expected = 0;
    // Without a key, the commit is resolved by the transaction id.
    for (name, statement, has_key) in [
        ("notes.countAndAddTwo", "commit", true),
        ("notes.countAndAddTwo", "commit", false),
        ("notes.addTwo", "execute", true),
    ] {
        // Run once, so that its traits are learned and its statements prepared.
        app.client().mutate(name, note.clone()).await.data();
        expected += 2;
        for cut in [Cut::After(statement), Cut::Before(statement)] {
            let client = if has_key { keyed(&app, &format!("{name} {cut:?}")) } else { app.client() };
            wire.cut(cut);
            let reply = within(client.mutate(name, note.clone())).await;
            assert!(!wire.cut_is_pending());
            reply.data();
            expected += 2;
            assert_eq!(count(&direct).await, expected, "{name} {cut:?}");
            if has_key {
                let again = client.mutate(name, note.clone()).await;
                assert_eq!(again.header("idempotency-replayed"), Some("true"));
                assert_eq!(count(&direct).await, expected);
            }
        }
    }
    // The commit of a single insert cannot be resolved; its caller retries.
    wire.cut(Cut::After("execute"));
    let lost = keyed(&app, "single").mutate("notes.add", json!({ "text": "b" })).await;
    if lost.status != 200 {
        assert_eq!(lost.code(), "UNAVAILABLE");
    }
    keyed(&app, "single").mutate("notes.add", json!({ "text": "b" })).await.data();
    assert_eq!(count(&direct).await, expected + 1);
    app.engine.close().await;
    direct.engine.close().await;
}
