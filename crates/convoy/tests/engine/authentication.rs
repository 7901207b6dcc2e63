//! Contexts of callers: which results they share, and the end of delivery when a context
//! is no longer valid.

use std::time::{SystemTime, UNIX_EPOCH};

use convoy::Code;
use convoy_testkit::{App, Client, Ctx, Functions, StreamState, TestDb, Thrown};
use serde_json::{Value, json};

use crate::shared::tables;

/// A program where `Authorization: <user>` is a user, whose role is the document of
/// `channels` with that name; `none` is refused.
fn functions() -> Functions {
    Functions::new()
        .context(|ctx| async move {
            let (user, role) = authenticate(&ctx).await?;
            ctx.saw("user", Some(&json!(user)));
            ctx.saw("role", Some(&role));
            if user.starts_with("brief") {
                ctx.expires_at(milliseconds() + 400.0);
            }
            Ok(Value::Null)
        })
        .query("mine", |ctx, _| async move {
            let (user, _) = authenticate(&ctx).await?;
            ctx.saw("user", Some(&json!(user)));
            messages_of(&ctx, &json!(user)).await
        })
        .query("byRole", |ctx, _| async move {
            let (_, role) = authenticate(&ctx).await?;
            ctx.saw("role", Some(&role));
            messages_of(&ctx, &role).await
        })
        .query("all", |ctx, _| async move {
            ctx.saw_nothing();
            messages_of(&ctx, &json!("all")).await
        })
        .query("unreported", |ctx, _| async move {
            let (user, _) = authenticate(&ctx).await?;
            messages_of(&ctx, &json!(user)).await
        })
        .mutation("send", |ctx, input| async move { Ok(json!(ctx.hold("messages", input))) })
        .mutation("setRole", |ctx, input| async move { Ok(json!(ctx.insert("channels", input).await?)) })
        .mutation("drop", |ctx, input| async move {
            ctx.op(json!({ "op": "delete", "table": "channels", "id": input["id"] })).await
        })
}

async fn authenticate(ctx: &Ctx) -> Result<(String, Value), Thrown> {
    let caller = ctx.caller().expect("a caller");
    let user = caller["headers"]["authorization"].as_str().unwrap_or("none").trim_start_matches("Bearer ").to_owned();
    if user == "none" {
        return Err(Thrown::Refused(Code::Unauthorized, "authenticate first".into()));
    }
    let found = ctx
        .op(json!({ "op": "scan", "table": "channels", "index": "by_name", "eq": [user], "order": "asc", "limit": 1 }))
        .await?;
    match found[0]["role"].as_str() {
        Some("banned") => Err(Thrown::Refused(Code::Forbidden, "banned".into())),
        role => Ok((user, role.map_or(json!("guest"), |role| json!(role)))),
    }
}

async fn messages_of(ctx: &Ctx, channel: &Value) -> Result<Value, Thrown> {
    let found = ctx
        .op(json!({ "op": "scan", "table": "messages", "index": "by_channel", "eq": [channel], "order": "asc", "limit": 50 }))
        .await?;
    let bodies = found.as_array().expect("a list").iter().map(|message| message["body"].clone());
    Ok(json!({ "of": channel, "bodies": bodies.collect::<Vec<_>>() }))
}

fn milliseconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1_000.0
}

async fn app(db: &TestDb) -> App {
    let app = db.app(tables(), Functions::new()).await;
    app.load(functions(), true).await;
    app
}

fn as_user(app: &App, user: &str) -> Client {
    app.client().with_header("authorization", user)
}

fn query(id: u64, name: &str) -> Value {
    json!({ "id": id, "name": name })
}

async fn send(app: &App, channel: &str, body: &str) {
    as_user(app, "system").mutate("send", json!({ "channel": channel, "n": 1, "body": body })).await.data();
}

#[tokio::test(flavor = "multi_thread")]
async fn results_independent_of_the_context_are_shared() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    as_user(&app, "system").mutate("setRole", json!({ "name": "ann", "role": "admin" })).await.data();
    let users = ["ann", "bob", "cid"];
    let mut sessions = Vec::new();
    for user in users {
        let queries = json!([query(1, "mine"), query(2, "byRole"), query(3, "all"), query(4, "unreported")]);
        sessions.push(as_user(&app, user).live(queries).await);
    }
    for (session, user) in sessions.iter_mut().zip(users) {
        assert_eq!(session.until(1, |_| true).await["of"], user);
        assert_eq!(session.until(2, |_| true).await["of"], if user == "ann" { "admin" } else { "guest" });
        assert_eq!(session.until(3, |_| true).await["of"], "all");
        assert_eq!(session.until(4, |_| true).await["of"], user);
    }
    app.until_idle().await;
    // mine: three; byRole: two; all: one; unreported: three.
    assert_eq!(app.engine.stats().live_queries, 9);
    let before = app.engine.stats().handler_runs;
    send(&app, "all", "hello").await;
    send(&app, "guest", "to guests").await;
    send(&app, "bob", "to bob").await;
    for (session, user) in sessions.iter_mut().zip(users) {
        session.until(3, |is| is["bodies"] == json!(["hello"])).await;
        if user != "ann" {
            session.until(2, |is| is["bodies"] == json!(["to guests"])).await;
        }
        if user == "bob" {
            session.until(1, |is| is["bodies"] == json!(["to bob"])).await;
            session.until(4, |is| is["bodies"] == json!(["to bob"])).await;
        }
    }
    app.until_idle().await;
    assert_eq!(app.engine.stats().handler_runs - before, 3 + 4, "one run for each result that changed");
    assert_eq!(sessions[0].answers().latest(1).expect("an answer")["bodies"], json!([]));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_role_takes_effect_at_once() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    let role = as_user(&app, "system").mutate("setRole", json!({ "name": "ann", "role": "admin" })).await.data();
    send(&app, "admin", "secret").await;
    let mut session = as_user(&app, "ann").live(json!([query(1, "byRole")])).await;
    session.until(1, |is| is["bodies"] == json!(["secret"])).await;
    as_user(&app, "system").mutate("drop", json!({ "id": role })).await.data();
    session.until(1, |is| is["of"] == "guest").await;
    send(&app, "admin", "for admins only").await;
    send(&app, "guest", "for guests").await;
    let latest = session.until(1, |is| is["bodies"] == json!(["for guests"])).await;
    assert_eq!(latest["of"], "guest");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_session_gets_nothing_and_others_are_not_affected() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    let mut ann = as_user(&app, "ann").live(json!([query(1, "all")])).await;
    let mut bob = as_user(&app, "bob").live(json!([query(1, "all")])).await;
    ann.until(1, |_| true).await;
    bob.until(1, |_| true).await;
    let mut psql = db.psql().await;
    psql.run(r#"insert into channels (data) values ('{"name": "ann", "role": "banned"}')"#).await;
    let auth = ann.until_message("auth").await;
    assert_eq!(auth["error"]["code"], "FORBIDDEN");
    send(&app, "all", "not for ann").await;
    bob.until(1, |is| is["bodies"] == json!(["not for ann"])).await;
    app.until_idle().await;
    psql.run("update channels set data = data || '{\"role\": \"member\"}'").await;
    let again = ann.until(1, |is| is["bodies"] != json!([])).await;
    assert_eq!(again["bodies"], json!(["not for ann"]), "once accepted again, the session receives the present answer");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_receives_nothing_until_its_token_is_replaced() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    let client = as_user(&app, "brief");
    let mut session = client.live(json!([query(1, "all")])).await;
    session.until(1, |_| true).await;
    assert_eq!(session.until_message("auth").await["error"]["code"], "UNAUTHORIZED");
    send(&app, "all", "later").await;
    app.until_idle().await;
    client.change(session.id(), json!({ "auth": true })).await.data();
    session.until(1, |is| is["bodies"] == json!(["later"])).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_caller_that_opened_a_session_may_change_it() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    assert_eq!(as_user(&app, "none").try_live(json!([])).await.map(|_| ()).expect_err("refused").status, 401);
    let functions = functions().context(|ctx| async move {
        let (user, _) = authenticate(&ctx).await?;
        ctx.saw("user", Some(&json!(user)));
        ctx.identify(&user);
        Ok(Value::Null)
    });
    app.load(functions, true).await;
    let session = as_user(&app, "ann").live(json!([])).await;
    for change in [json!({ "add": [query(1, "all")] }), json!({ "auth": true })] {
        let reply = as_user(&app, "bob").change(session.id(), change.clone()).await;
        assert_eq!((reply.status, reply.code()), (403, "FORBIDDEN"));
        as_user(&app, "ann").change(session.id(), change).await.data();
    }
    assert_eq!(as_user(&app, "none").change(session.id(), json!({ "auth": true })).await.status, 401);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_stream_is_refused_with_its_status_and_ends_with_its_context() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    let refused = as_user(&app, "none").send(hyper::Method::GET, "/api/subscribe?name=all", "").await;
    assert_eq!((refused.status, refused.code()), (401, "UNAUTHORIZED"));
    let mut watch = as_user(&app, "brief").watch("all", json!({})).await;
    assert_eq!(watch.next().await["of"], "all");
    assert_eq!(watch.message().await.expect("a message")["error"]["code"], "UNAUTHORIZED");
    assert!(watch.message().await.is_none(), "an EventSource reconnects by itself");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn development_detects_results_that_must_not_be_shared() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "dev": true }), tables(), Functions::new()).await;
    // It reports no reads of the context, like a function that takes the user from module
    // state.
    let functions = functions().query("leaky", |ctx, _| async move {
        let (user, _) = authenticate(&ctx).await?;
        ctx.saw_nothing();
        messages_of(&ctx, &json!(user)).await
    });
    app.load(functions, true).await;
    let mut ann = as_user(&app, "ann").live(json!([query(1, "leaky"), query(2, "all")])).await;
    let mut bob = as_user(&app, "bob").live(json!([query(1, "leaky"), query(2, "all")])).await;
    let shown = ann.until(1, |_| true).await;
    assert_eq!(bob.until(1, |_| true).await, shown, "one of them receives the result of the other");
    // So that there is a cause, even if its first run was audited.
    send(&app, shown["of"].as_str().expect("a user"), "x").await;
    app.until_idle().await;
    let overview = convoy_testkit::within(async {
        loop {
            let seen = app.client().send(hyper::Method::GET, "/api/_live", "").await.data();
            if seen["differing"] == json!(["leaky"]) {
                return seen;
            }
            // Only some of its runs are audited.
            send(&app, shown["of"].as_str().expect("a user"), "x").await;
            app.until_idle().await;
        }
    })
    .await;
    let listed: Vec<&Value> = overview["queries"].as_array().expect("a list").iter().collect();
    let all = listed.iter().find(|query| query["function"] == "all").expect("it is listed");
    assert_eq!((&all["subscribers"], &all["sharedBy"]), (&json!(2), &json!([])));
    assert!(all["reads"].to_string().contains("by_channel where channel = \\\"all\\\""), "{all}");
    let leaky = listed.iter().find(|query| query["function"] == "leaky").expect("it is listed");
    let cause = leaky["lastCause"].as_str().expect("a cause");
    assert!(cause.contains("entered by_channel") && cause.ends_with("written by send"), "{cause}");
    app.engine.close().await;
}
