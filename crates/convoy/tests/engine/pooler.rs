//! The engine behind a pooler in transaction mode, which assigns a session for each
//! transaction.

use crate::row_security::{self, OWN, Rig, by, count, note, system};
use crate::shared::{bodies, functions, raw, tables};
use crate::statement_timeouts;
use convoy_testkit::{App, Functions, Pooler, TestDb, table};
use serde_json::{Value, json};

fn with_raw() -> Functions {
    functions()
        .query("raw", |ctx, input| async move {
            ctx.op(raw(input["sql"].as_str().expect("SQL"), &input["values"])).await
        })
        .query("twice", |ctx, input| async move {
            let first = ctx.op(raw(input["sql"].as_str().expect("SQL"), &input["values"])).await?;
            let again = ctx.op(raw(input["sql"].as_str().expect("SQL"), &input["values"])).await?;
            Ok(json!([first, again]))
        })
        .mutation("rawWrite", |ctx, input| async move {
            ctx.op(raw(input["sql"].as_str().expect("SQL"), &input["values"])).await
        })
        .mutation("accounts.add", |ctx, input| async move { Ok(json!(ctx.insert("accounts", input).await?)) })
        .mutation("accounts.raise", |ctx, input| async move {
            let account = ctx.op(json!({ "op": "get", "table": "accounts", "id": input["id"] })).await?;
            let balance = account["balance"].as_i64().expect("a balance") + 1;
            let set = json!({ "op": "patch", "table": "accounts", "id": input["id"], "set": { "balance": balance }, "unset": [] });
            ctx.op(set).await?;
            Ok(json!(balance))
        })
        .query("accounts.get", |ctx, input| async move {
            ctx.op(json!({ "op": "get", "table": "accounts", "id": input["id"] })).await
        })
}

async fn pooled(db: &TestDb, ignored: &str) -> (Pooler, App) {
    let pooler = Pooler::before(db, 5, ignored).await;
    let mut all = tables();
    all.as_array_mut().expect("a list").push(table("accounts", &[]));
    let app = db.app_with(json!({ "databaseUrl": pooler.url(db), "poolSize": 6 }), all, with_raw()).await;
    (pooler, app)
}

fn message(channel: &str, n: i64, body: &str) -> Value {
    json!({ "channel": channel, "n": n, "body": body })
}

/// Asserts that no session of the pooler is in a transaction, or keeps state of the engine.
async fn assert_sessions_are_clean(db: &TestDb, app: App, pooler: Pooler) {
    app.engine.close().await;
    // The next clients get the same sessions: all five at once.
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = db.psql_at(&pooler.url(db)).await;
        client.run("begin").await;
        assert_eq!(client.column("select name from pg_prepared_statements").await, Vec::<String>::new());
        let settings = "select current_setting('default_transaction_isolation') || ' ' || current_setting('plan_cache_mode')
            || ' ' || current_setting('statement_timeout') || ' ' || coalesce(current_setting('convoy.writer', true), '')";
        assert_eq!(client.column(settings).await, ["read committed auto 0 "]);
        assert_eq!(client.column("select pg_listening_channels()").await, Vec::<String>::new());
        clients.push(client);
    }
    drop(clients);
    let locks = "select count(*)::text from pg_locks where locktype = 'advisory'
        and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(db.psql().await.column(locks).await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_live_queries_work_and_leave_sessions_clean() {
    let db = TestDb::new().await;
    let (pooler, app) = pooled(&db, "").await;
    let client = app.client();
    let mut list = client.watch("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(list.next().await, json!([]));
    let id = client.mutate("messages.send", message("a", 1, "one")).await.data();
    assert_eq!(bodies(&list.next().await), ["one"]);
    client.mutate("messages.edit", json!({ "id": id, "set": { "body": "uno" }, "unset": [] })).await.data();
    assert_eq!(bodies(&list.next().await), ["uno"]);
    db.psql().await.run(r#"insert into messages (data) values ('{"channel": "a", "n": 2, "body": "outside"}')"#).await;
    assert_eq!(bodies(&list.next().await), ["outside", "uno"]);
    // After a unique violation and a thrown error, the session is still usable.
    client.mutate("channels.create", json!({ "name": "x" })).await.data();
    assert_eq!(client.mutate("channels.create", json!({ "name": "x" })).await.code(), "CONFLICT");
    assert_eq!(client.mutate("messages.sendThenThrow", message("a", 3, "no")).await.code(), "INTERNAL");
    assert_sessions_are_clean(&db, app, pooler).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_statements_cannot_write_in_a_query_and_do_not_stay_prepared() {
    let db = TestDb::new().await;
    let (pooler, app) = pooled(&db, "").await;
    let client = app.client();
    let write = r#"insert into messages (data) values (jsonb_build_object('channel', $1::text, 'n', 1, 'body', $2::text)) returning data ->> 'body' as body"#;
    for n in 0..20 {
        let args = json!({ "sql": write, "values": ["a", n.to_string()] });
        assert_eq!(client.mutate("rawWrite", args).await.data()[0]["body"], n.to_string());
        let counted =
            json!({ "sql": "select count(*)::int as n from messages where data ->> 'channel' = $1", "values": ["a"] });
        assert_eq!(client.query("raw", counted.clone()).await.data()[0]["n"], n + 1);
        assert_eq!(client.query("twice", counted).await.data()[1][0]["n"], n + 1);
    }
    for name in ["raw", "twice"] {
        let refused = client.query(name, json!({ "sql": write, "values": ["a", "never"] })).await;
        assert_eq!(refused.code(), "INVALID_ARGS", "{refused:?}");
        let nonsense = client.query(name, json!({ "sql": "select 1 / $1::int", "values": ["0"] })).await;
        assert_eq!(nonsense.code(), "INTERNAL", "{nonsense:?}");
    }
    let failing = client.mutate("rawWrite", json!({ "sql": "select 1 / $1::int", "values": ["0"] })).await;
    assert_eq!(failing.code(), "INTERNAL", "{failing:?}");
    let leak = json!({ "sql": "select set_config('plan_cache_mode', 'force_custom_plan', false)", "values": [] });
    client.query("raw", leak).await.data();
    assert_eq!(db.psql().await.column("select count(*)::text from messages").await, ["20"]);
    assert_sessions_are_clean(&db, app, pooler).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contended_and_keyed_mutations_are_serializable_and_happen_once() {
    let db = TestDb::new().await;
    let (pooler, app) = pooled(&db, "").await;
    let id = app.client().mutate("accounts.add", json!({ "balance": 0 })).await.data();
    let mut watch = app.client().watch("accounts.get", json!({ "id": id })).await;
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let key = format!("key-{}", n / 2);
            let client = app.client().with_header("idempotency-key", &key);
            let input = json!({ "id": id });
            tokio::spawn(async move {
                loop {
                    let reply = client.mutate("accounts.raise", input.clone()).await;
                    // A call that kept conflicting may be repeated with its key.
                    if reply.status == 200 {
                        return reply.data();
                    }
                    assert_eq!(reply.code(), "CONFLICT", "{reply:?}");
                }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.expect("a call ends").as_i64().expect("a balance"));
    }
    answers.sort_unstable();
    let twice: Vec<i64> = (1..=20).flat_map(|n| [n, n]).collect();
    assert_eq!(answers, twice, "each key raised the balance once and had one response");
    watch.until(|account| account["balance"] == 20).await;
    assert_sessions_are_clean(&db, app, pooler).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_drops_start_up_options_is_detected() {
    let db = TestDb::new().await;
    let (pooler, app) = pooled(&db, "options, extra_float_digits").await;
    let id = app.client().mutate("accounts.add", json!({ "balance": 1 })).await.data();
    let raise = json!({ "id": id });
    assert_eq!(app.client().mutate("accounts.raise", raise).await.data(), 2);
    let write = json!({ "sql": "insert into messages (data) values ('{}')", "values": [] });
    assert_eq!(app.client().query("raw", write).await.code(), "INVALID_ARGS");
    assert_sessions_are_clean(&db, app, pooler).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_work_behind_a_pooler() {
    let db = TestDb::new().await;
    let pooler = Pooler::before(&db, 2, "").await;
    let url = pooler.url(&db);
    let rig = Rig::without_program(db, json!({ "databaseUrl": url, "poolSize": 3 })).await;
    let Rig { db, app, mut psql, role } = rig;
    psql.run(OWN).await;
    app.load(row_security::functions(&role), true).await;
    let rig = Rig { db, app, psql, role };
    rig.run("write", json!([[by("ada", note("ada"))], [by("eve", note("eve"))]])).await;
    for function in ["read", "write", "act", "separate"] {
        assert_eq!(
            rig.run(function, json!([[by("ada", count()), system(count())]])).await,
            json!([1, 2]),
            "{function}"
        );
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_may_take_as_long_as_their_function_behind_a_pooler() {
    let db = TestDb::new().await;
    let pooler = Pooler::before(&db, 8, "").await;
    let options = json!({ "limits": statement_timeouts::limits(), "databaseUrl": pooler.url(&db) });
    let app = db.app_with(options, tables(), statement_timeouts::slow_functions()).await;
    statement_timeouts::assert_own_limits_hold(&app, &mut db.psql().await, &statement_timeouts::FUNCTIONS).await;
    app.engine.close().await;
    // Nothing of it is left in the sessions of the pooler.
    for _ in 0..8 {
        let mut client = db.psql_at(&pooler.url(&db)).await;
        client.run("begin").await;
        assert_eq!(client.column("select current_setting('statement_timeout')").await, ["0"]);
    }
}
