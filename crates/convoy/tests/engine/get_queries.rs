//! Queries by GET: what caches are told, and that nothing is answered before the gate.

use convoy::Code;
use convoy_testkit::{App, Functions, TestDb, Thrown};
use hyper::Method;
use serde_json::{Value, json};

use crate::shared::tables;
use crate::wire::{exchange, header, send_request, status};

const CONTROL: &str = "cache-control";

/// Queries of a shop. The context refuses callers with a bad token, and describes the others.
fn shop() -> Functions {
    let get = |name: &str, more: Value| {
        let mut description = json!({ "name": name, "kind": "query", "http": "GET" });
        for (key, value) in more.as_object().expect("an object") {
            description[key] = value.clone();
        }
        description
    };
    let cache = json!({ "cache": { "maxAge": 60 } });
    Functions::new()
        .add(get("prices.own", json!({})), |ctx, input| async move {
            gate(&ctx)?;
            ctx.saw("user", Some(&user(&ctx)));
            Ok(json!({ "user": user(&ctx), "input": input }))
        })
        .add(get("prices.all", cache.clone()), |ctx, _| async move {
            gate(&ctx)?;
            ctx.saw_nothing();
            Ok(json!([1, 2]))
        })
        .add(get("prices.mine", cache), |ctx, _| async move {
            gate(&ctx)?;
            ctx.saw("user", Some(&user(&ctx)));
            Ok(json!([3]))
        })
        .add(get("prices.fail", json!({ "cache": { "maxAge": 60 } })), |_, _| async move {
            Err(Thrown::Refused(Code::NotFound, "There are no prices.".into()))
        })
        .add(get("prices.hidden", json!({ "internal": true })), |_, _| async move { Ok(json!(0)) })
        .query("prices.posted", |_, _| async move { Ok(json!(0)) })
        .context(|ctx| async move {
            gate(&ctx)?;
            ctx.saw("user", Some(&user(&ctx)));
            Ok(Value::Null)
        })
}

fn token(ctx: &convoy_testkit::Ctx) -> Option<String> {
    ctx.caller()?["headers"]["authorization"].as_str().map(str::to_owned)
}

fn user(ctx: &convoy_testkit::Ctx) -> Value {
    token(ctx).map_or(Value::Null, Value::from)
}

fn gate(ctx: &convoy_testkit::Ctx) -> Result<(), Thrown> {
    match token(ctx).as_deref() {
        Some("bad") => Err(Thrown::Refused(Code::Unauthorized, "Sign in again.".into())),
        _ => Ok(()),
    }
}

async fn open(db: &TestDb, options: Value, functions: Functions, has_context: bool) -> App {
    let app = db.app_with(options, tables(), Functions::new()).await;
    app.load(functions, has_context).await;
    app
}

async fn get(app: &App, path: &str, lines: &[&str]) -> String {
    let host = format!("host: {}", app.address);
    let lines: Vec<&str> = [host.as_str()].into_iter().chain(lines.iter().copied()).collect();
    send_request(app, &format!("GET /api/query/{path} HTTP/1.1"), &lines).await
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_says_so_answers_get_and_head_and_still_post() {
    let db = TestDb::new().await;
    let app = open(&db, json!({}), shop(), true).await;
    let answer = get(&app, "prices.own?args=%7B%22a%22%3A1%7D", &["authorization: ada"]).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(body(&answer), r#"{"ok":true,"data":{"input":{"a":1},"user":"ada"}}"#);
    assert_eq!(header(&answer, CONTROL), Some("private, no-cache"));
    assert_eq!(header(&answer, "vary"), Some("Authorization, Cookie, Origin"));
    assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    let hash = header(&answer, "convoy-hash").expect("a hash");
    assert_eq!(header(&answer, "etag"), Some(format!("\"{hash}\"").as_str()));
    assert!(header(&answer, "convoy-position").is_some());

    let host = format!("host: {}", app.address);
    let head = send_request(&app, "HEAD /api/query/prices.own HTTP/1.1", &[&host]).await;
    assert_eq!((status(&head), body(&head)), (200, ""));
    assert_eq!(header(&head, "content-length"), Some("43"), "{head}");
    let posted = app.client().query("prices.own", json!({ "a": 1 })).await;
    assert_eq!((posted.header(CONTROL), posted.header("etag")), (Some("no-store"), None));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_be_called_by_get_are_all_answered_alike() {
    let db = TestDb::new().await;
    let app = open(&db, json!({}), shop(), false).await;
    for name in ["prices.posted", "prices.hidden", "prices.unknown"] {
        let answer = get(&app, name, &[]).await;
        assert_eq!((status(&answer), header(&answer, "allow")), (405, Some("POST")), "{name}: {answer}");
        assert_eq!(header(&answer, CONTROL), Some("no-store"));
    }
    let put = app.client().send(Method::PUT, "/api/query/prices.all", "{}").await;
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD, POST")));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_comes_only_after_the_gate_has_let_this_caller_pass() {
    let db = TestDb::new().await;
    let app = open(&db, json!({}), shop(), true).await;
    let answer = get(&app, "prices.own", &["authorization: ada"]).await;
    let known = format!("if-none-match: W/{}", header(&answer, "etag").expect("a tag"));
    let runs = app.engine.stats().handler_runs;
    let current = get(&app, "prices.own", &["authorization: ada", &known]).await;
    assert_eq!((status(&current), body(&current)), (304, ""), "{current}");
    assert_eq!(app.engine.stats().handler_runs, runs + 1, "the query has run");
    for (name, value) in [(CONTROL, "private, no-cache"), ("vary", "Authorization, Cookie, Origin")] {
        assert_eq!(header(&current, name), Some(value), "{current}");
    }
    assert_eq!(header(&current, "etag"), header(&answer, "etag"));
    for known in [known.as_str(), "if-none-match: *"] {
        let refused = get(&app, "prices.own", &["authorization: bad", known]).await;
        assert_eq!((status(&refused), header(&refused, CONTROL)), (401, Some("no-store")), "{refused}");
        assert_eq!(header(&refused, "etag"), None);
    }
    let other = get(&app, "prices.own", &["authorization: bob", &known]).await;
    assert_eq!(status(&other), 200, "another caller has another result");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_caches_keep_only_answers_that_everyone_gets() {
    let db = TestDb::new().await;
    let app = open(&db, json!({}), shop(), true).await;
    for caller in [&[][..], &["authorization: ada", "cookie: a=b"]] {
        let all = get(&app, "prices.all", caller).await;
        assert_eq!((status(&all), header(&all, CONTROL)), (200, Some("public, max-age=60")), "{all}");
        assert_eq!(header(&all, "vary"), None);
        let known = format!("if-none-match: {}", header(&all, "etag").expect("a tag"));
        let current = get(&app, "prices.all", &[caller, &[known.as_str()]].concat()).await;
        assert_eq!((status(&current), header(&current, CONTROL)), (304, Some("public, max-age=60")));
    }
    let mine = get(&app, "prices.mine", &["if-none-match: *"]).await;
    assert_eq!((status(&mine), header(&mine, CONTROL)), (200, Some("private, no-store")), "{mine}");
    assert_eq!(header(&mine, "etag"), None);
    for (path, code) in [("prices.fail", 404), ("prices.all?args=[", 400)] {
        let failed = get(&app, path, &[]).await;
        assert_eq!((status(&failed), header(&failed, CONTROL)), (code, Some("no-store")), "{failed}");
    }
    let refused = get(&app, "prices.all", &["authorization: bad"]).await;
    assert_eq!((status(&refused), header(&refused, CONTROL)), (401, Some("no-store")));
    app.engine.close().await;
}

/// The query reads nothing of its caller, but its context is for those with a token.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_behind_a_gate_is_not_for_everyone() {
    let db = TestDb::new().await;
    let signed_in = |ctx: &convoy_testkit::Ctx| match token(ctx) {
        Some(_) => Ok(()),
        None => Err(Thrown::Refused(Code::Unauthorized, "Sign in first.".into())),
    };
    let description = json!({ "name": "prices.all", "kind": "query", "http": "GET", "cache": { "maxAge": 60 } });
    let functions = Functions::new()
        .add(description, move |ctx, _| async move {
            signed_in(&ctx)?;
            ctx.saw_nothing();
            Ok(json!([1]))
        })
        .context(move |ctx| async move {
            signed_in(&ctx)?;
            ctx.saw_nothing();
            Ok(Value::Null)
        });
    let app = open(&db, json!({}), functions, true).await;
    let answer = get(&app, "prices.all", &["authorization: ada"]).await;
    assert_eq!((status(&answer), header(&answer, CONTROL)), (200, Some("private, no-store")), "{answer}");
    assert_eq!(status(&get(&app, "prices.all", &[]).await), 401);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_read_an_answer() {
    let db = TestDb::new().await;
    let cors = json!({ "cors": { "origins": ["https://partner.example"] } });
    let app = open(&db, cors, shop(), false).await;
    let listed = get(&app, "prices.all", &["origin: https://partner.example"]).await;
    assert_eq!(status(&listed), 200);
    assert_eq!(header(&listed, "access-control-allow-origin"), Some("https://partner.example"));
    assert_eq!((header(&listed, "vary"), header(&listed, CONTROL)), (Some("Origin"), Some("public, max-age=60")));
    let other = get(&app, "prices.own", &["origin: https://evil.test", "sec-fetch-site: cross-site"]).await;
    assert_eq!((status(&other), header(&other, "access-control-allow-origin")), (200, None));
    assert_eq!(header(&other, "vary"), Some("Authorization, Cookie, Origin"));
    let preflight = exchange(
        &app,
        b"OPTIONS /api/query/prices.own HTTP/1.1\r\nhost: a\r\nconnection: close\r\norigin: https://partner.example\r\n\
          access-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n\r\n",
    )
    .await;
    assert_eq!(header(&preflight, "access-control-allow-methods"), Some("GET, HEAD, POST"), "{preflight}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_with_a_position_is_never_answered_with_an_older_result() {
    let db = TestDb::new().await;
    let description = json!({ "name": "messages.count", "kind": "query", "http": "GET" });
    let functions = crate::shared::functions().add(description, |ctx, _| async move {
        ctx.op(json!({ "op": "scan", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null }))
            .await
    });
    let app = db.app(tables(), functions).await;
    let mut watched = app.client().watch("messages.count", json!({})).await;
    watched.message().await.expect("a first result");
    for n in 0..20 {
        let sent = app.client().mutate("messages.send", json!({ "channel": "a", "n": n, "body": "x" })).await;
        let position = format!("convoy-position: {}", sent.header("convoy-position").expect("a position"));
        let answer = get(&app, "messages.count", &[&position]).await;
        let list: Value = serde_json::from_str(body(&answer)).expect("JSON");
        assert_eq!(list["data"].as_array().map(Vec::len), Some(n + 1));
    }
    drop(watched);
    app.engine.close().await;
}
