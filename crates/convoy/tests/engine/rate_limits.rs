//! Rate limits of functions: whom a call is charged to, and what is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use convoy_testkit::{App, Client, End, Functions, Proxy, TestDb, Thrown, table, within};
use hyper::Method;
use serde_json::{Value, json};

use crate::shared::tables;

/// A limit whose buckets do not refill while a test runs.
pub(crate) fn limit(per: &str, tokens: u32) -> Value {
    json!({ "per": per, "tokens": tokens, "refillPerSecond": 1.0 / 86_400.0 })
}

pub(crate) fn function(name: &str, kind: &str, limit: &Value) -> Value {
    json!({ "name": name, "kind": kind, "rateLimit": limit })
}

/// One function of each kind with this limit; `Authorization: <user>` is a user. Counts the
/// contexts that are made.
fn functions(limit: &Value, contexts: &Arc<AtomicUsize>) -> Functions {
    let counter = contexts.clone();
    let list = |ctx: convoy_testkit::Ctx, _: Value| async move {
        ctx.saw_nothing();
        let scan = json!({ "op": "scan", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null });
        ctx.op(scan).await
    };
    Functions::new()
        .context(move |ctx| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                ctx.saw_nothing();
                let caller = ctx.caller().expect("a caller");
                if let Some(user) = caller["headers"]["authorization"].as_str() {
                    ctx.identify(user);
                    ctx.signed_in(user);
                }
                Ok(Value::Null)
            }
        })
        .add(function("list", "query", limit), list)
        .add(function("send", "mutation", limit), |ctx, input| async move {
            ctx.identify("someone");
            if input["fails"] == true {
                return Err(Thrown::Broke("as asked".into()));
            }
            Ok(json!(ctx.hold("messages", input)))
        })
        .add(function("ping", "action", limit), |_, _| async { Ok(json!("pong")) })
        .query("free", list)
        .mutation("write", |ctx, input| async move { Ok(json!(ctx.hold("messages", input))) })
}

async fn behind_proxy(db: &TestDb, limit: &Value) -> (App, Arc<AtomicUsize>) {
    let contexts = Arc::default();
    let app = db.app_with(json!({ "trustProxy": true }), tables(), Functions::new()).await;
    app.load(functions(limit, &contexts), true).await;
    (app, contexts)
}

pub(crate) fn from(app: &App, address: &str) -> Client {
    app.client().with_header("x-forwarded-for", address)
}

pub(crate) fn is_limited(reply: &convoy_testkit::Reply) -> bool {
    let is_limited = reply.code() == "RATE_LIMITED";
    assert_eq!(is_limited, reply.status == 429, "{}", reply.body);
    if is_limited {
        let ms = reply.body["error"]["details"]["retryAfterMs"].as_u64().expect("a time");
        let header: u64 = reply.header("retry-after").expect("a header").parse().expect("seconds");
        assert!(ms > 0 && header == ms.div_ceil(1_000), "{header} {ms}");
    }
    is_limited
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_has_its_tokens_whatever_it_sends_along() {
    let db = TestDb::new().await;
    let (app, contexts) = behind_proxy(&db, &limit("address", 2)).await;
    for kind in ["query/list", "mutation/send", "action/ping"] {
        let call = async |address: &str| {
            let client = from(&app, address);
            is_limited(&client.send(Method::POST, &format!("/api/{kind}"), r#"{"channel":"a","n":1}"#).await)
        };
        assert!(!call("192.0.2.1").await && !call("6.6.6.6, 192.0.2.1").await);
        let before = contexts.load(Ordering::Relaxed);
        for forged in ["192.0.2.1", "7.7.7.7, 192.0.2.1", "::1,192.0.2.1", "127.0.0.1, 192.0.2.1:80"] {
            assert!(call(forged).await, "{kind} {forged}");
        }
        assert_eq!(contexts.load(Ordering::Relaxed), before, "it is checked before the context is made");
        assert!(!call("192.0.2.2").await);
        // This machine counts, too.
        assert!(!call("127.0.0.1").await && !call("127.0.0.1").await && call("127.0.0.1").await);
        // One customer has a network of IPv6.
        assert!(!call("2001:db8:0:1::1").await && !call("2001:db8:0:1:ffff::2").await);
        assert!(call("2001:db8:0:1::3").await && !call("2001:db8:0:2::3").await);
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_its_tokens_at_any_address_and_others_count_by_address() {
    let db = TestDb::new().await;
    let (app, _) = behind_proxy(&db, &limit("identity", 2)).await;
    let call = async |user: Option<&str>, address: &str| {
        let client = from(&app, address);
        let client = user.map_or(client.clone(), |user| client.with_header("authorization", user));
        is_limited(&client.query("list", json!({})).await)
    };
    assert!(!call(Some("ada"), "192.0.2.1").await && !call(Some("ada"), "192.0.2.2").await);
    assert!(call(Some("ada"), "192.0.2.3").await);
    assert!(!call(Some("bob"), "192.0.2.1").await);
    assert!(!call(None, "192.0.2.1").await && !call(None, "192.0.2.1").await);
    assert!(call(None, "192.0.2.1").await && !call(None, "192.0.2.2").await);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribing_counts_and_running_again_is_free() {
    let db = TestDb::new().await;
    for per in ["address", "identity"] {
        let (app, _) = behind_proxy(&db, &limit(per, 2)).await;
        let ada = from(&app, "192.0.2.1").with_header("authorization", "ada");
        let mut session = ada.live(json!([{ "id": 1, "name": "list" }])).await;
        let rows = session.until(1, |_| true).await.as_array().expect("a list").len();
        for n in 0..5 {
            ada.mutate("write", json!({ "channel": per, "n": n })).await.data();
            session.until(1, |list| list.as_array().is_some_and(|list| list.len() == rows + n + 1)).await;
        }
        let added = json!({ "add": [{ "id": 2, "name": "list", "args": {} }, { "id": 3, "name": "free" }] });
        ada.change(session.id(), added).await.data();
        session.until(2, |_| true).await;
        session.until(3, |_| true).await;
        // One query is refused, the stream and the others stay.
        ada.change(session.id(), json!({ "add": [{ "id": 4, "name": "list" }] })).await.data();
        let error = session.until_message("error").await;
        assert_eq!((error["id"].as_u64(), error["error"]["code"].as_str()), (Some(4), Some("RATE_LIMITED")));
        assert!(error["error"]["details"]["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0), "{error}");
        ada.mutate("write", json!({ "channel": per, "n": 9 })).await.data();
        session.until(3, |list| list.as_array().is_some_and(|list| list.len() == rows + 6)).await;
        // So is one of an opening.
        let mut other = ada.live(json!([{ "id": 7, "name": "list" }, { "id": 8, "name": "free" }])).await;
        assert_eq!(other.until_message("error").await["id"], 7);
        other.until(8, |_| true).await;
        // A stream of one query is refused before it begins.
        let refused = ada.send(Method::GET, "/api/subscribe?name=list", "").await;
        assert!(is_limited(&refused));
        assert!(is_limited(&ada.query("list", json!({})).await), "calls and subscriptions share the bucket");
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_repeated_under_its_key_is_charged_once() {
    let db = TestDb::new().await;
    let (app, _) = behind_proxy(&db, &limit("address", 1)).await;
    let client = from(&app, "192.0.2.1");
    let keyed = client.with_header("idempotency-key", "k-1");
    let first = keyed.mutate("send", json!({ "channel": "a", "n": 1 })).await.data();
    for attempt in ["2", "3", "4"] {
        let again = keyed.with_header("convoy-attempt", attempt);
        let reply = again.mutate("send", json!({ "channel": "a", "n": 1 })).await;
        assert_eq!(reply.header("idempotency-replayed"), Some("true"));
        assert_eq!(reply.data(), first);
    }
    assert!(is_limited(&keyed.mutate("send", json!({ "channel": "a", "n": 1 })).await), "their number is limited");
    assert!(is_limited(&client.with_header("idempotency-key", "k-2").mutate("send", json!({})).await));
    assert_eq!(client.query("free", json!({})).await.data().as_array().map(Vec::len), Some(1));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_queries_by_get_have_limits_too() {
    let db = TestDb::new().await;
    let contexts = Arc::default();
    let mut description = function("byGet", "query", &limit("address", 1));
    (description["http"], description["cache"]) = (json!("GET"), json!({ "maxAge": 60 }));
    let all = functions(&limit("address", 1), &contexts)
        .add(description, |ctx, _| async move {
            ctx.saw_nothing();
            Ok(json!(1))
        })
        .route(("GET", "/page", json!({ "rateLimit": limit("address", 1) })), |ctx, _| async move {
            crate::routes::whole(&ctx, "page")
        });
    let app = db.app_with(json!({ "trustProxy": true }), tables(), Functions::new()).await;
    app.load(all, true).await;
    let client = from(&app, "192.0.2.1");
    assert!(!is_limited(&client.send(Method::GET, "/api/query/byGet", "").await));
    assert!(is_limited(&client.send(Method::GET, "/api/query/byGet", "").await));
    let header = "x-forwarded-for: 192.0.2.1\r\n";
    let page = async || crate::routes::exchange(&app, &crate::routes::request("GET /page", header, "")).await;
    assert!(page().await.ends_with("page"));
    let refused = page().await.to_ascii_lowercase();
    assert!(refused.starts_with("http/1.1 429") && refused.contains("retry-after: "), "{refused}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_outlive_a_reload_and_calls_inside_are_free() {
    let db = TestDb::new().await;
    let (app, contexts) = behind_proxy(&db, &limit("address", 1)).await;
    let client = from(&app, "192.0.2.1");
    assert!(!is_limited(&client.act("ping", json!({})).await));
    app.load(functions(&limit("address", 1), &contexts), true).await;
    assert!(is_limited(&client.act("ping", json!({})).await));
    for _ in 0..3 {
        let call = convoy::IncomingCall {
            kind: convoy::FunctionKind::Action,
            name: "ping",
            input: "{}".to_owned(),
            caller: convoy::Caller::Inside(None),
            key: None,
            uncached: false,
            traceparent: None,
        };
        within(app.engine.call(call)).await.expect("it is free");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_needs_to_know_who_tells_addresses() {
    let db = TestDb::new().await;
    let one = || Functions::new().add(function("ping", "action", &limit("identity", 1)), |_, _| async { Ok(json!(1)) });
    let app = db.app(json!([table("notes", &[])]), Functions::new()).await;
    let refused = app.try_load(one(), false).await.expect_err("refused").to_failure();
    assert!(refused.message.contains("`ping`") && refused.message.contains("trustProxy"), "{}", refused.message);
    app.engine.close().await;
    for options in [json!({ "trustProxy": false }), json!({ "dev": true })] {
        let app = db.app_with(options, json!([table("notes", &[])]), one()).await;
        // The peer is the client, and what it sends does not count.
        assert!(!is_limited(&from(&app, "192.0.2.1").act("ping", json!({})).await));
        assert!(is_limited(&from(&app, "192.0.2.2").act("ping", json!({})).await));
        app.engine.close().await;
    }
}

fn shared(per: &str, tokens: u32, refill_per_second: f64) -> Value {
    json!({ "per": per, "tokens": tokens, "refillPerSecond": refill_per_second, "shared": true })
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_buckets_of_a_shared_limit() {
    let db = TestDb::new().await;
    let limit = shared("address", 6, 1.0 / 86_400.0);
    let (one, _) = behind_proxy(&db, &limit).await;
    let (other, _) = behind_proxy(&db, &limit).await;
    let lists = (0..12).map(|n| {
        let client = from(if n % 2 == 0 { &one } else { &other }, "192.0.2.1");
        async move { is_limited(&client.query("list", json!({})).await) }
    });
    let refused = futures_util::future::join_all(lists).await;
    assert_eq!(refused.iter().filter(|refused| **refused).count(), 6);
    for app in [&one, &other] {
        assert!(is_limited(&from(app, "192.0.2.1").query("list", json!({})).await));
        assert!(!is_limited(&from(app, "192.0.2.2").query("list", json!({})).await), "another address");
        assert!(!is_limited(&from(app, "192.0.2.1").act("ping", json!({})).await), "another function");
    }
    // A subscription counts as a call.
    let list = json!([{ "id": 1, "name": "list", "args": {} }]);
    let mut session = from(&other, "192.0.2.1").live(list).await;
    assert_eq!(session.until_message("error").await["error"]["code"], "RATE_LIMITED");
    one.engine.close().await;
    other.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_limit_gives_no_caller_a_token_too_many() {
    let db = TestDb::new().await;
    let limit = shared("address", 10, 20.0);
    let (one, _) = behind_proxy(&db, &limit).await;
    let (other, _) = behind_proxy(&db, &limit).await;
    let began = std::time::Instant::now();
    let calls = (0..8).map(|n| {
        let client = from(if n % 2 == 0 { &one } else { &other }, "192.0.2.1");
        async move {
            let mut granted = 0_u32;
            for _ in 0..40 {
                let reply = client.query("list", json!({})).await;
                let is_limited = is_limited(&reply);
                assert!(is_limited || reply.status == 200, "{}", reply.body);
                granted += u32::from(!is_limited);
            }
            granted
        }
    });
    let granted: u32 = futures_util::future::join_all(calls).await.into_iter().sum();
    let most = 10.0 + 20.0 * began.elapsed().as_secs_f64();
    assert!(granted >= 10 && f64::from(granted) <= most, "{granted} of at most {most}");
    one.engine.close().await;
    other.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_bucket_refills_and_a_full_one_is_removed() {
    let db = TestDb::new().await;
    let (app, _) = behind_proxy(&db, &shared("address", 1, 4.0)).await;
    let client = from(&app, "192.0.2.1");
    assert!(!is_limited(&client.query("list", json!({})).await));
    // It is told how long to wait; then there is a token.
    within(async { while is_limited(&client.query("list", json!({})).await) {} }).await;
    let count = "select count(*)::text from _convoy.rate_limits";
    assert_eq!(db.psql().await.column(count).await, ["1"]);
    let mut psql = db.psql().await;
    psql.run("update _convoy.rate_limits set full_at = clock_timestamp() - interval '1 second'").await;
    app.engine.trim_now().await;
    assert_eq!(psql.column(count).await, ["0"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_table_a_shared_limit_refuses_until_the_table_is_back() {
    let db = TestDb::new().await;
    let (app, _) = behind_proxy(&db, &shared("address", 100, 1.0)).await;
    db.psql().await.run("drop table _convoy.rate_limits").await;
    let client = from(&app, "192.0.2.1");
    let refused = client.query("list", json!({})).await;
    assert_eq!(refused.code(), "INTERNAL", "{}", refused.body);
    within(async { while client.query("list", json!({})).await.status != 200 {} }).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_a_shared_limit_refuses_until_the_database_is_back() {
    let db = TestDb::new().await;
    let (proxy, url) = Proxy::before(&db.url()).await;
    let contexts = Arc::default();
    let options = json!({ "databaseUrl": url, "trustProxy": true, "limits": { "connectionMs": 500 } });
    let app = db.app_with(options, tables(), Functions::new()).await;
    let unlimited = |_, _| async { Ok(json!("pong")) };
    let functions = functions(&shared("address", 2, 1.0 / 86_400.0), &contexts).action("unlimited", unlimited);
    app.load(functions, true).await;
    let client = from(&app, "192.0.2.1");
    assert!(!is_limited(&client.act("ping", json!({})).await));
    // Nothing listens there.
    proxy.point_to("postgres://none@127.0.0.1:1/none");
    proxy.open_connections().into_iter().for_each(|connection| proxy.end(connection, End::Reset));
    let made = contexts.load(Ordering::Relaxed);
    for address in ["192.0.2.1", "192.0.2.2"] {
        let refused = from(&app, address).act("ping", json!({})).await;
        assert_eq!((refused.status, refused.code()), (503, "UNAVAILABLE"), "{}", refused.body);
        assert!(refused.header("retry-after").is_some(), "{address}");
    }
    assert_eq!(contexts.load(Ordering::Relaxed), made, "the function does not run");
    assert_eq!(client.act("unlimited", json!({})).await.data(), "pong", "nothing else needs the database");
    proxy.point_to(&db.url());
    let back = within(async {
        loop {
            let reply = client.act("ping", json!({})).await;
            if reply.code() != "UNAVAILABLE" {
                return reply;
            }
        }
    })
    .await;
    // What was refused has taken no token, and no refusal is remembered.
    assert!(!is_limited(&back), "{}", back.body);
    assert!(is_limited(&client.act("ping", json!({})).await));
    app.engine.close().await;
}
