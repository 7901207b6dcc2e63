//! Preloaded queries: the page that a server has rendered subscribes without a run and
//! without receiving the result again.

use convoy::Code;
use convoy_testkit::{Answers, App, Client, Functions, TestDb, Thrown};
use serde_json::{Value, json};

use crate::shared::{bodies, by_token, chat, tables, token_of};

fn message(channel: &str, n: i64, body: &str) -> Value {
    json!({ "channel": channel, "n": n, "body": body })
}

fn preload(client: &Client) -> Client {
    client.with_header("convoy-preload", "true")
}

/// Waits until the change log has been read since `position`: until a call takes no run but
/// that of the context.
async fn until_retained(app: &App, client: &Client, (name, args): (&str, Value), position: &str, context_runs: u64) {
    convoy_testkit::within(async {
        loop {
            let before = app.engine.stats().handler_runs;
            client.with_header("convoy-position", position).query(name, args.clone()).await.data();
            if app.engine.stats().handler_runs == before + context_runs {
                return;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_subscribes_to_a_preloaded_query_without_a_run() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    app.client().mutate("messages.send", message("a", 1, "there")).await.data();
    let before = app.engine.stats().handler_runs;
    let args = json!({ "channel": "a" });
    let reply = preload(&app.client()).query("messages.list", args.clone()).await;
    assert_eq!(bodies(&reply.body["data"]), ["there"]);
    assert_eq!(app.engine.stats().handler_runs, before + 1);
    let (hash, position) =
        (reply.header("convoy-hash").expect("a hash"), reply.header("convoy-position").expect("one"));
    until_retained(&app, &app.client(), ("messages.list", args.clone()), position, 0).await;

    let before = app.engine.stats().handler_runs;
    let query = json!({ "id": 1, "name": "messages.list", "args": args, "hash": hash });
    let known = Answers::of(1, hash, reply.body["data"].clone());
    let client = app.client().with_header("convoy-position", position);
    let mut page = client.resume(known, json!([query])).await.expect("it opens");
    while page.answers().unchanged == 0 {
        assert!(page.receive().await, "the result is confirmed");
    }
    assert_eq!((app.engine.stats().handler_runs, page.answers().results), (before, 0));
    app.client().mutate("messages.send", message("a", 2, "news")).await.data();
    assert_eq!(bodies(&page.until(1, |list| list[0]["body"] == "news").await), ["news", "there"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_query_has_the_hash_of_its_result() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let args = json!({ "channel": "a" });
    let called = app.client().query("messages.list", args.clone()).await;
    let preloaded = preload(&app.client()).query("messages.list", args.clone()).await;
    let position = preloaded.header("convoy-position").expect("a position");
    let cached = app.client().with_header("convoy-position", position).query("messages.list", args).await;
    assert!(called.header("convoy-hash").is_some_and(|hash| hash.len() == 32), "{called:?}");
    assert_eq!(called.header("convoy-hash"), preloaded.header("convoy-hash"));
    assert_eq!(called.header("convoy-hash"), cached.header("convoy-hash"));
    assert_eq!(app.client().mutate("messages.send", message("a", 1, "x")).await.header("convoy-hash"), None);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preloaded_result_is_the_callers_own_and_a_failure_is_answered_at_once() {
    let db = TestDb::new().await;
    let app = db.app(tables(), Functions::new()).await;
    let functions = by_token()
        .query("me", |ctx, _| async move { Ok(token_of(&ctx)) })
        .query("broken", |_, _| async move { Err(Thrown::Refused(Code::NotFound, "gone".into())) });
    app.load(functions, true).await;
    let of = |token: &'static str| preload(&app.client().with_header("authorization", token));
    for _ in 0..2 {
        assert_eq!(of("ann").query("me", json!({})).await.data(), "ann");
        assert_eq!(of("bob").query("me", json!({})).await.data(), "bob");
    }
    assert_eq!(preload(&app.client()).query("me", json!({})).await.status, 401);
    assert_eq!(of("ann").query("broken", json!({})).await.status, 404);
    assert_eq!(of("ann").query("lost", json!({})).await.status, 404);
    app.engine.close().await;
}
