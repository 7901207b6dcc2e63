//! Calls answered from the result cache: without a run, and never older than what the
//! caller has seen or written.

use convoy_testkit::{App, Functions, TestDb};
use serde_json::{Value, json};

use crate::shared::{bodies, by_token, chat, tables, token_of};

fn message(n: i64) -> Value {
    json!({ "channel": "a", "n": n, "body": format!("m{n}") })
}

/// Calls the list with the newest token until that takes no run: then the log has been
/// read since.
async fn until_cached(app: &App, mut position: String) -> String {
    convoy_testkit::within(async {
        loop {
            let before = app.engine.stats().handler_runs;
            let client = app.client().with_header("convoy-position", &position);
            let reply = client.query("messages.list", json!({ "channel": "a" })).await;
            position = reply.header("convoy-position").expect("a position").to_owned();
            if app.engine.stats().handler_runs == before {
                return position;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_live_queries_are_answered_from_the_result_cache() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut watch = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    watch.next().await;
    let first = app.client().query("messages.list", json!({ "channel": "a" })).await;
    let position = until_cached(&app, first.header("convoy-position").expect("a position").to_owned()).await;
    let before = app.engine.stats().handler_runs;
    for _ in 0..10 {
        let client = app.client().with_header("convoy-position", &position);
        assert_eq!(client.query("messages.list", json!({ "channel": "a" })).await.data(), json!([]));
    }
    assert_eq!(app.engine.stats().handler_runs, before);
    // A call without a token takes a run, and so does one with other arguments.
    app.client().query("messages.list", json!({ "channel": "a" })).await.data();
    let client = app.client().with_header("convoy-position", &position);
    client.query("messages.list", json!({ "channel": "b" })).await.data();
    assert_eq!(app.engine.stats().handler_runs, before + 2);
    assert_eq!(client.query("messages.lost", json!({})).await.status, 404);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_its_own_writes() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut watch = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    watch.next().await;
    let mut position = String::new();
    for n in 0..60 {
        let sent = app.client().mutate("messages.send", message(n)).await;
        position = sent.header("convoy-position").expect("a position").to_owned();
        let client = app.client().with_header("convoy-position", &position);
        let reply = client.query("messages.list", json!({ "channel": "a" })).await;
        assert_eq!(bodies(&reply.data())[0], format!("m{n}"));
    }
    until_cached(&app, position).await;
    app.engine.close().await;
}

/// One process writes, another reads: for a token of another process, everything committed
/// by now must be in the answer.
#[tokio::test(flavor = "multi_thread")]
async fn writes_of_peers_are_seen() {
    let db = TestDb::new().await;
    let (here, there) = (chat(&db).await, chat(&db).await);
    let mut watch = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    watch.next().await;
    for n in 0..60 {
        let sent = there.client().mutate("messages.send", message(n)).await;
        let position = sent.header("convoy-position").expect("a position").to_owned();
        let client = here.client().with_header("convoy-position", &position);
        let reply = client.query("messages.list", json!({ "channel": "a" })).await;
        let position = reply.header("convoy-position").expect("a position").to_owned();
        assert_eq!(bodies(&reply.data())[0], format!("m{n}"));
        // With the token of that answer, later answers of this process include it.
        let client = here.client().with_header("convoy-position", &position);
        let reply = client.query("messages.list", json!({ "channel": "a" })).await;
        assert_eq!(bodies(&reply.data())[0], format!("m{n}"));
    }
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_made_per_call_and_never_mixed() {
    let db = TestDb::new().await;
    let functions = by_token().query("me", |ctx, _| async move { Ok(token_of(&ctx)) });
    let app = db.app(tables(), Functions::new()).await;
    app.load(functions, true).await;
    let (ann, bob) =
        (app.client().with_header("authorization", "ann"), app.client().with_header("authorization", "bob"));
    let mut watch = ann.watch("me", json!({})).await;
    assert_eq!(watch.next().await, "ann");
    let mut position = ann.query("me", json!({})).await.header("convoy-position").expect("a position").to_owned();
    convoy_testkit::within(async {
        loop {
            let before = app.engine.stats().handler_runs;
            let reply = ann.with_header("convoy-position", &position).query("me", json!({})).await;
            position = reply.header("convoy-position").expect("a position").to_owned();
            assert_eq!(reply.data(), "ann");
            // One run: of the context.
            if app.engine.stats().handler_runs == before + 1 {
                return;
            }
        }
    })
    .await;
    assert_eq!(bob.with_header("convoy-position", &position).query("me", json!({})).await.data(), "bob");
    let anonymous = app.client().with_header("convoy-position", &position).query("me", json!({})).await;
    assert_eq!(anonymous.status, 401, "the cache is not consulted without a valid context");
    app.engine.close().await;
}
