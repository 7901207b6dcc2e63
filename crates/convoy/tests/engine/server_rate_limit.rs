//! The rate limit of all functions and routes together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use convoy::{Config, Engine};
use convoy_testkit::{App, Functions, TestDb};
use hyper::Method;
use serde_json::{Value, json};

use crate::rate_limits::{from, function, is_limited, limit};
use crate::shared::tables;

/// A query, a mutation, an action and a route; `Authorization: <user>` is a user. Counts the
/// contexts that are made. `send` has the limit of its own that is given.
fn functions(own: &Value, contexts: &Arc<AtomicUsize>) -> Functions {
    let counter = contexts.clone();
    Functions::new()
        .context(move |ctx| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                ctx.saw_nothing();
                if let Some(user) = ctx.caller().expect("a caller")["headers"]["authorization"].as_str() {
                    ctx.identify(user);
                    ctx.signed_in(user);
                }
                Ok(Value::Null)
            }
        })
        .query("list", |ctx, _| async move {
            ctx.saw_nothing();
            let scan =
                json!({ "op": "scan", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null });
            ctx.op(scan).await
        })
        .add(function("send", "mutation", own), |ctx, input| async move { Ok(json!(ctx.hold("messages", input))) })
        .action("ping", |_, _| async { Ok(json!("pong")) })
        .route(("GET", "/page", json!({})), |ctx, _| async move { crate::routes::whole(&ctx, "page") })
}

async fn limited(db: &TestDb, of_all: &Value, own: &Value) -> (App, Arc<AtomicUsize>) {
    let contexts = Arc::default();
    let app = db.app_with(json!({ "trustProxy": true, "rateLimit": of_all }), tables(), Functions::new()).await;
    app.load(functions(own, &contexts), true).await;
    (app, contexts)
}

async fn page(app: &App, address: &str) -> String {
    let header = format!("x-forwarded-for: {address}\r\n");
    crate::routes::exchange(app, &crate::routes::request("GET /page", &header, "")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_takes_a_token_of_the_same_bucket_and_one_beyond_is_refused() {
    let db = TestDb::new().await;
    let (app, contexts) = limited(&db, &limit("address", 5), &Value::Null).await;
    let client = from(&app, "192.0.2.1");
    assert!(!is_limited(&client.query("list", json!({})).await));
    assert!(!is_limited(&client.mutate("send", json!({ "channel": "a", "n": 1 })).await));
    assert!(!is_limited(&client.act("ping", json!({})).await));
    assert!(page(&app, "192.0.2.1").await.ends_with("page"));
    let mut session = client.live(json!([{ "id": 1, "name": "list" }])).await;
    session.until(1, |_| true).await;
    // The bucket is empty: nothing has another one.
    let before = contexts.load(Ordering::Relaxed);
    let refused = client.mutate("send", json!({ "channel": "a", "n": 2 })).await;
    assert!(is_limited(&refused));
    let message = refused.body["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("Too many calls; try again in "), "{message}");
    assert!(is_limited(&client.query("list", json!({})).await) && is_limited(&client.act("ping", json!({})).await));
    assert!(page(&app, "192.0.2.1").await.starts_with("HTTP/1.1 429"));
    assert!(is_limited(&client.send(Method::GET, "/api/subscribe?name=list", "").await));
    assert_eq!(contexts.load(Ordering::Relaxed), before, "it is checked before the context is made");
    // An open session goes on, and gets no further queries.
    client.change(session.id(), json!({ "add": [{ "id": 2, "name": "list", "args": {} }] })).await.data();
    assert_eq!(session.until_message("error").await["error"]["code"], "RATE_LIMITED");
    let other = from(&app, "192.0.2.2");
    other.mutate("send", json!({ "channel": "a", "n": 3 })).await.data();
    session.until(1, |list| list.as_array().is_some_and(|list| list.len() == 2)).await;
    // Names that no function has take no token.
    assert_eq!(other.query("nothing", json!({})).await.status, 404);
    for _ in 0..4 {
        assert!(!is_limited(&other.act("ping", json!({})).await));
    }
    assert!(is_limited(&other.act("ping", json!({})).await));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_its_own_limit_besides_and_users_have_buckets() {
    let db = TestDb::new().await;
    let (app, contexts) = limited(&db, &limit("identity", 3), &limit("identity", 1)).await;
    let ada = from(&app, "192.0.2.1").with_header("authorization", "ada");
    let send = async |n: u32| is_limited(&ada.mutate("send", json!({ "channel": "a", "n": n })).await);
    assert!(!send(1).await);
    assert_eq!(contexts.load(Ordering::Relaxed), 1, "both limits have the user of one context");
    // Refused by its own limit; the token of all is taken.
    let refused = ada.mutate("send", json!({ "channel": "a", "n": 2 })).await;
    assert!(is_limited(&refused) && refused.body.to_string().contains("`send`"), "{}", refused.body);
    // At another address it is the same user.
    let elsewhere = from(&app, "192.0.2.9").with_header("authorization", "ada");
    let mut session = elsewhere.live(json!([{ "id": 1, "name": "list" }, { "id": 2, "name": "list" }])).await;
    let error = session.until_message("error").await;
    assert_eq!((error["id"].as_u64(), error["error"]["code"].as_str()), (Some(2), Some("RATE_LIMITED")));
    session.until(1, |_| true).await;
    assert!(
        !is_limited(&from(&app, "192.0.2.1").act("ping", json!({})).await),
        "who is not signed in counts by address"
    );
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_an_address_may_not_subscribe_to_is_not_charged_to_its_user() {
    let db = TestDb::new().await;
    let contexts = Arc::default();
    let app = db.app_with(json!({ "trustProxy": true, "rateLimit": limit("address", 1) }), tables(), Functions::new());
    let app = app.await;
    let all = functions(&Value::Null, &contexts)
        .add(function("mine", "query", &limit("identity", 1)), |_, _| async { Ok(json!(1)) });
    app.load(all, true).await;
    let ada = |address: &str| from(&app, address).with_header("authorization", "ada");
    ada("192.0.2.1").act("ping", json!({})).await.data();
    let mut refused = ada("192.0.2.1").live(json!([{ "id": 1, "name": "mine" }])).await;
    assert_eq!(refused.until_message("error").await["error"]["message"], refused_message(&app).await);
    let mut session = ada("192.0.2.2").live(json!([{ "id": 1, "name": "mine" }])).await;
    assert_eq!(session.until(1, |_| true).await, 1);
    app.engine.close().await;
}

/// The message of a call for which the address has no token.
async fn refused_message(app: &App) -> Value {
    let refused = from(app, "192.0.2.1").act("ping", json!({})).await;
    assert!(is_limited(&refused));
    refused.body["error"]["message"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_one_call_are_charged_once_and_calls_of_two_functions_twice() {
    let db = TestDb::new().await;
    let contexts = Arc::default();
    let app = db.app_with(json!({ "trustProxy": true, "rateLimit": limit("address", 2) }), tables(), Functions::new());
    let app = app.await;
    let all = functions(&Value::Null, &contexts)
        .mutation("write", |ctx, input| async move { Ok(json!(ctx.hold("messages", input))) });
    app.load(all, true).await;
    let keyed = from(&app, "192.0.2.1").with_header("idempotency-key", "k-1");
    let call = async |name: &str, attempt: &str| {
        let client = keyed.with_header("convoy-attempt", attempt);
        is_limited(&client.mutate(name, json!({ "channel": "a", "n": 1 })).await)
    };
    assert!(!call("write", "1").await && !call("write", "2").await);
    app.load(functions(&Value::Null, &contexts), true).await;
    // New code has the same bucket; another function under the key is another call.
    assert!(!call("send", "1").await);
    assert!(is_limited(&from(&app, "192.0.2.1").act("ping", json!({})).await));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_bucket_of_all_functions() {
    let db = TestDb::new().await;
    let mut shared = limit("address", 2);
    shared["shared"] = json!(true);
    let (one, _) = limited(&db, &shared, &Value::Null).await;
    let (other, _) = limited(&db, &shared, &Value::Null).await;
    assert!(!is_limited(&from(&one, "192.0.2.1").act("ping", json!({})).await));
    assert!(!is_limited(&from(&other, "192.0.2.1").query("list", json!({})).await));
    assert!(is_limited(&from(&one, "192.0.2.1").act("ping", json!({})).await));
    assert!(is_limited(&from(&other, "192.0.2.1").act("ping", json!({})).await));
    one.engine.close().await;
    other.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_all_functions_needs_to_know_who_tells_addresses() {
    let db = TestDb::new().await;
    let open = async |mut options: Value| {
        options["databaseUrl"] = json!(db.url());
        options["rateLimit"] = limit("address", 1);
        let config: Config = serde_json::from_value(options).expect("options the engine knows");
        Engine::open(config).await.expect("the engine opens")
    };
    let program = json!({ "schema": { "tables": tables() }, "functions": [], "hasContext": false, "sync": true });
    for (options, is_refused) in
        [(json!({}), true), (json!({ "trustProxy": false }), false), (json!({ "dev": true }), false)]
    {
        let engine = open(options).await;
        let program = serde_json::from_value(program.clone()).expect("a program description");
        let refused = engine.load(program, Functions::new().host()).await.err().map(|error| error.to_failure().message);
        assert_eq!(refused.is_some(), is_refused, "{refused:?}");
        let names = |message: String| message.contains("`createConvoy`") && message.contains("trustProxy");
        assert!(refused.is_none_or(names));
        engine.close().await;
    }
}
