//! `timeoutMs` of a function holds for its statements, also where it is longer than the limit
//! that its connections have. A table that is locked holds the statements up. A call without a
//! `timeoutMs` begins later and fails after its limit, which the other has exceeded by then.

use convoy_testkit::{App, Functions, Psql, TestDb, within};
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::shared::{functions, raw, tables};

/// What a function does first: something that needs the table, which is locked.
pub(crate) const FUNCTIONS: [(&str, &str); 9] = [
    ("query", "read"),
    ("query", "readTwice"),
    ("mutation", "insert"),
    ("mutation", "hold"),
    ("mutation", "edit"),
    ("mutation", "raw"),
    ("mutation", "readOutside"),
    ("mutation", "editOutside"),
    ("mutation", "transaction"),
];

fn get(input: &Value) -> Value {
    json!({ "op": "get", "table": "messages", "id": input["id"] })
}

fn edit(input: &Value) -> Value {
    json!({ "op": "patch", "table": "messages", "id": input["id"], "set": { "n": 2 }, "unset": [] })
}

/// The functions, once as `own.…` with a `timeoutMs`, and once as `plain.…`.
pub(crate) fn slow_functions() -> Functions {
    let mut all = functions();
    for (prefix, limits) in [("own", json!({ "timeoutMs": 600_000 })), ("plain", json!({}))] {
        for (kind, name) in FUNCTIONS {
            let inside = !matches!(name, "readOutside" | "editOutside" | "transaction");
            let described =
                json!({ "name": format!("{prefix}.{name}"), "kind": kind, "limits": limits, "transaction": inside });
            all = all.add(described, move |ctx, input| async move {
                let count = raw("select count(*)::int as n from messages", &json!([]));
                let document = json!({ "channel": "a", "n": 1, "body": "new" });
                match name {
                    "read" | "readOutside" => ctx.op(get(&input)).await,
                    "readTwice" => {
                        ctx.op(count).await?;
                        ctx.op(get(&input)).await
                    }
                    "insert" => ctx.insert("messages", document).await.map(Value::from),
                    "hold" => Ok(Value::from(ctx.hold("messages", document))),
                    "edit" => {
                        ctx.op(get(&input)).await?;
                        ctx.op(edit(&input)).await
                    }
                    "raw" => ctx.op(count).await,
                    "editOutside" => ctx.op(edit(&input)).await,
                    _ => {
                        ctx.op(json!({ "op": "begin" })).await?;
                        ctx.op(edit(&input)).await?;
                        ctx.op(json!({ "op": "commit" })).await
                    }
                }
            });
        }
    }
    all
}

/// The id of a document that another program has written.
async fn document(psql: &mut Psql) -> String {
    let insert =
        r#"insert into messages (data) values ('{"channel": "a", "n": 1, "body": "first"}') returning id::text"#;
    psql.column(insert).await.remove(0)
}

/// Each function waits for a locked table for longer than the limit of the connections.
pub(crate) async fn assert_own_limits_hold(app: &App, psql: &mut Psql, functions: &[(&str, &str)]) {
    let id = document(psql).await;
    for (kind, name) in functions {
        let call = |prefix: &str| {
            let (client, path, body) =
                (app.client(), format!("/api/{kind}/{prefix}.{name}"), json!({ "id": id }).to_string());
            async move { client.send(Method::POST, &path, body).await }
        };
        psql.run("begin; lock table messages in access exclusive mode").await;
        let own = tokio::spawn(call("own"));
        psql.until_a_session_waits_for_a_lock().await;
        let plain = call("plain").await;
        // A commit may also be in doubt by then.
        assert!(matches!(plain.code(), "TIMEOUT" | "UNAVAILABLE"), "{name}: {}", plain.body);
        psql.run("commit").await;
        let own = own.await.expect("an answer");
        assert_eq!(own.status, 200, "{name}: {}", own.body);
    }
}

pub(crate) fn limits() -> Value {
    json!({ "queryMs": 1_000, "mutationMs": 1_000 })
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_may_take_as_long_as_their_function_in_each_strategy() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    let in_transactions = &FUNCTIONS[2..6];
    for (failpoints, functions) in [(json!([]), &FUNCTIONS[..]), (json!(["alwaysSerialQueue"]), in_transactions)] {
        let options = json!({ "limits": limits(), "failpoints": failpoints });
        let app = db.app_with(options, tables(), slow_functions()).await;
        assert_own_limits_hold(&app, &mut psql, functions).await;
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_query_runs_again_within_its_own_limit() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    let app = db.app_with(json!({ "limits": limits() }), tables(), slow_functions()).await;
    let id = document(&mut psql).await;
    let mut live = app.client().watch("own.read", json!({ "id": id })).await;
    assert_eq!(live.next().await["n"], 1);
    // The change is in the log before the lock, so that the live query runs and waits.
    psql.run("update messages set data = jsonb_set(data, '{n}', '2')").await;
    assert_eq!(live.next().await["n"], 2);
    let lock =
        "begin; lock table messages in access exclusive mode; update messages set data = jsonb_set(data, '{n}', '3')";
    psql.run(lock).await;
    let mut opened = app.client().live(json!([{ "id": 1, "name": "own.read", "args": { "id": id } }])).await;
    psql.until_a_session_waits_for_a_lock().await;
    let plain = app.client().query("plain.read", json!({ "id": id })).await;
    assert_eq!(plain.code(), "TIMEOUT");
    psql.run("commit").await;
    opened.until(1, |result| result["n"] == 3).await;
    assert_eq!(live.next().await["n"], 3);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_may_think_as_long_as_its_limit_within_a_transaction() {
    let db = TestDb::new().await;
    let (release, released) = watch::channel(false);
    let thinking = |limits: Value, name: &str| {
        let released = released.clone();
        (json!({ "name": name, "kind": "mutation", "limits": limits }), move |ctx: convoy_testkit::Ctx, _| {
            let mut released = released.clone();
            async move {
                ctx.op(raw("select 1 as one", &json!([]))).await?;
                released.wait_for(|released| *released).await.expect("the test runs");
                ctx.op(raw("select 2 as two", &json!([]))).await
            }
        })
    };
    let (own, plain) = (thinking(json!({ "timeoutMs": 600_000 }), "own"), thinking(json!({}), "plain"));
    let functions = functions().add(own.0, own.1).add(plain.0, plain.1);
    let app = db.app_with(json!({ "limits": limits() }), tables(), functions).await;
    let client = app.client();
    let own = tokio::spawn(async move { client.mutate("own", json!({})).await });
    let mut psql = db.psql().await;
    let idle = "select count(*)::text from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction'";
    within(async { while psql.column(idle).await != ["1"] {} }).await;
    assert_eq!(app.client().mutate("plain", json!({})).await.code(), "TIMEOUT");
    release.send_replace(true);
    let own = own.await.expect("an answer");
    assert_eq!(own.data()[0]["two"], 2);
    app.engine.close().await;
}
