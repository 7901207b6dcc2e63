//! Calls answered from the result cache: without a run, and never older than what the
//! caller has seen or written.

use convoy_testkit::{App, Client, Ctx, Functions, TestDb, Thrown};
use serde_json::{Value, json};

use crate::shared::{bodies, by_token, chat, functions, tables, token_of};

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

/// Calls a query until that takes no run, and returns its result. On a loaded machine a call may
/// run instead of waiting for the log.
async fn until_answered_without_a_run(app: &App, name: &str, args: Value) -> Value {
    convoy_testkit::within(async {
        loop {
            let before = app.engine.stats().handler_runs;
            let reply = app.client().query(name, args.clone()).await.data();
            if app.engine.stats().handler_runs == before {
                return reply;
            }
        }
    })
    .await
}

/// Calls a query so often that its result would be kept, and asserts that each call ran.
async fn runs_each_time(app: &App, client: &Client, name: &str) {
    for _ in 0..6 {
        let before = app.engine.stats().handler_runs;
        client.query(name, json!({ "channel": "a" })).await.data();
        assert_eq!(app.engine.stats().handler_runs, before + 1, "{name}");
    }
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
    // So is a call without a token, once the log has been read since it came; one with other
    // arguments takes a run.
    until_answered_without_a_run(&app, "messages.list", json!({ "channel": "a" })).await;
    let before = app.engine.stats().handler_runs;
    let client = app.client().with_header("convoy-position", &position);
    client.query("messages.list", json!({ "channel": "b" })).await.data();
    assert_eq!(app.engine.stats().handler_runs, before + 1);
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

async fn list(ctx: &Ctx, channel: &Value) -> Result<Value, Thrown> {
    ctx.op(json!({
        "op": "scan", "table": "messages", "index": "by_channel", "eq": [channel], "order": "desc", "limit": 20,
    }))
    .await
}

/// The same result by each kind of query that may not be kept, and one that may.
fn kinds() -> Functions {
    functions()
        .query("kept", |ctx, input| async move { list(&ctx, &input["channel"]).await })
        .query("random", |ctx, input| async move {
            ctx.is_impure();
            list(&ctx, &input["channel"]).await
        })
        .query("timed", |ctx, input| async move {
            ctx.refresh_after(60_000);
            list(&ctx, &input["channel"]).await
        })
        .query("raw", |ctx, _| async move {
            let text = "select count(*)::int as n from messages";
            ctx.op(json!({ "op": "raw", "text": text, "values": [], "tables": ["messages"] })).await
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_call_takes_no_run_until_a_write_of_any_program() {
    let db = TestDb::new().await;
    let app = db.app(tables(), kinds()).await;
    let args = || json!({ "channel": "a" });
    app.client().mutate("messages.send", message(0)).await.data();
    let before = app.engine.stats().handler_runs;
    app.client().query("kept", args()).await.data();
    app.client().query("kept", args()).await.data();
    assert_eq!(app.engine.stats().handler_runs, before + 2, "the first two run");
    assert_eq!(bodies(&until_answered_without_a_run(&app, "kept", args()).await), ["m0"]);
    let mut psql = db.psql().await;
    let mut expected = vec!["m0".to_owned()];
    for n in 1..20 {
        match n % 2 {
            0 => drop(app.client().mutate("messages.send", message(n)).await.data()),
            _ => {
                let insert = "insert into messages (data) values";
                psql.run(&format!("{insert} ('{}')", message(n))).await;
            }
        }
        expected.insert(0, format!("m{n}"));
        // The write has ended, so no call from now on may lack it.
        assert_eq!(bodies(&app.client().query("kept", args()).await.data()), expected);
        assert_eq!(bodies(&until_answered_without_a_run(&app, "kept", args()).await), expected);
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_a_write_may_not_announce_are_not_kept() {
    let db = TestDb::new().await;
    let app = db.app(tables(), kinds()).await;
    for name in ["random", "timed", "raw"] {
        runs_each_time(&app, &app.client(), name).await;
    }
    until_answered_without_a_run(&app, "kept", json!({ "channel": "a" })).await;
    // A caller may ask for a run.
    for value in ["no-cache", "max-age=0, No-Cache"] {
        runs_each_time(&app, &app.client().with_header("cache-control", value), "kept").await;
    }
    // What `fetch` sends with `cache: 'no-store'` is about the client's own cache.
    let before = app.engine.stats().handler_runs;
    let fetching = app.client().with_header("cache-control", "no-cache").with_header("pragma", "no-cache");
    convoy_testkit::within(async {
        for call in 1.. {
            fetching.query("kept", json!({ "channel": "a" })).await.data();
            if app.engine.stats().handler_runs - before < call {
                return;
            }
        }
    })
    .await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_calls_at_once_take_one_run() {
    let db = TestDb::new().await;
    let app = db.app(tables(), kinds()).await;
    until_answered_without_a_run(&app, "kept", json!({ "channel": "a" })).await;
    for n in 0..10 {
        app.client().mutate("messages.send", message(n)).await.data();
        let before = app.engine.stats().handler_runs;
        let calls = (0..50).map(|_| {
            let client = app.client();
            async move { client.query("kept", json!({ "channel": "a" })).await.data() }
        });
        let replies = futures_util::future::join_all(calls).await;
        assert!(replies.iter().all(|reply| bodies(reply)[0] == format!("m{n}")));
        let runs = app.engine.stats().handler_runs - before;
        // A call that waits too long on a loaded machine runs by itself.
        assert!((1..25).contains(&runs), "{runs} runs for 50 calls");
    }
    app.engine.close().await;
}
