//! Counts the statements that are sent to Postgres.

use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, Wire, table};
use serde_json::{Value, json};

fn get(id: &Value) -> Value {
    json!({ "op": "get", "table": "accounts", "id": id })
}

fn set(id: &Value, balance: &Value) -> Value {
    json!({ "op": "patch", "table": "accounts", "id": id, "set": { "balance": balance }, "unset": [] })
}

async fn raw(ctx: Ctx, _: Value) -> Result<Value, Thrown> {
    let text = "select data from accounts where id = $1";
    ctx.op(json!({ "op": "raw", "text": text, "values": [convoy::id::mint().to_string()], "tables": ["accounts"] }))
        .await
}

fn functions() -> Functions {
    Functions::new()
        .query("get", |ctx, input| async move { ctx.op(get(&input["id"])).await })
        .query("all", |ctx, input| async move {
            let ids = input["ids"].as_array().cloned().unwrap_or_default();
            let found = ctx.ops(ids.iter().map(get).collect()).await?;
            Ok(json!(found.len()))
        })
        .query("twice", |ctx, input| async move {
            ctx.op(get(&input["a"])).await?;
            ctx.op(get(&input["b"])).await
        })
        .query("again", |ctx, input| async move {
            ctx.op(get(&input["a"])).await?;
            ctx.op(get(&input["b"])).await?;
            ctx.op(get(&input["a"])).await
        })
        .mutation("add", |ctx, input| async move { Ok(json!(ctx.hold("accounts", input))) })
        .mutation("transfer", |ctx, input| async move {
            let both = json!([get(&input["from"]), get(&input["to"])]);
            ctx.ops(both).await?;
            let both = json!([set(&input["from"], &json!(1)), set(&input["to"], &json!(2))]);
            Ok(json!(ctx.ops(both).await?.len()))
        })
        .mutation("slowTransfer", |ctx, input| async move {
            ctx.op(get(&input["from"])).await?;
            ctx.op(get(&input["to"])).await?;
            ctx.op(set(&input["from"], &json!(1))).await?;
            ctx.op(set(&input["to"], &json!(2))).await
        })
        .mutation("touch", |ctx, input| async move { ctx.op(set(&input["a"], &json!(3))).await })
        .query("raw", raw)
        .mutation("rawWithin", raw)
        .add(json!({ "name": "rawApart", "kind": "mutation", "transaction": false }), raw)
        .mutation("nothing", |_, _| async move { Ok(Value::Null) })
        .mutation("scan", |ctx, input| async move {
            ctx.op(
                json!({ "op": "count", "table": "accounts", "index": null, "eq": [], "order": "asc", "limit": null }),
            )
            .await?;
            ctx.ops(json!([get(&input["from"]), get(&input["to"])])).await?;
            let both = json!([set(&input["from"], &json!(1)), set(&input["to"], &json!(2))]);
            Ok(json!(ctx.ops(both).await?.len()))
        })
}

async fn counted() -> (TestDb, App, Wire) {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    // Without results in memory and with a long interval, because reads of the log would be counted.
    let limits = json!({ "pollMs": 600_000, "triggerCheckMs": 600_000, "idleQueryMs": 0 });
    let options = json!({ "databaseUrl": url, "limits": limits });
    let app = db.app_with(options, json!([table("accounts", &[])]), functions()).await;
    (db, app, wire)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_takes_no_more_statements_than_it_needs() {
    let (_db, app, wire) = counted().await;
    let client = app.client();
    let mut ids = Vec::new();
    for balance in 0..3 {
        ids.push(client.mutate("add", json!({ "balance": balance })).await.data());
    }
    let both = json!({ "from": ids[0], "to": ids[1], "a": ids[0], "b": ids[1], "id": ids[0], "ids": ids });
    for (kind, name, expected) in [
        ("query", "get", "execute"),
        ("query", "all", "execute"),
        ("mutation", "add", "execute"),
        ("mutation", "nothing", ""),
        ("mutation", "touch", "execute execute"),
        ("mutation", "transfer", "execute execute"),
        ("mutation", "slowTransfer", "execute execute execute"),
        // After an operation that needs a transaction, writes are not buffered.
        ("mutation", "scan", "begin execute execute execute commit"),
        // A `raw` statement with its transaction, and the reset of its session.
        ("query", "raw", "begin"),
        ("mutation", "rawApart", "begin"),
        ("mutation", "rawWithin", "begin prepare commit;"),
        ("query", "twice", "begin execute execute rollback"),
        ("query", "again", "begin execute execute rollback"),
    ] {
        // The first run prepares statements and learns traits.
        for _ in 0..2 {
            wire.take_statements();
            match kind {
                "query" => client.query(name, both.clone()).await.data(),
                _ => client.mutate(name, both.clone()).await.data(),
            };
        }
        let words: Vec<String> = wire
            .take_statements()
            .iter()
            .map(|sql| sql.split_whitespace().next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(words.join(" "), expected, "{name}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_costs_a_statement_only_in_a_transaction() {
    let (_db, app, wire) = counted().await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        wire.take_statements();
        let client = app.client().with_header("idempotency-key", key);
        ids.push(client.mutate("add", json!({ "balance": 1 })).await.data());
    }
    assert_eq!(wire.take_statements(), ["execute"]);
    let both = json!({ "from": ids[0], "to": ids[1] });
    for key in ["a", "b"] {
        wire.take_statements();
        app.client().with_header("idempotency-key", key).mutate("transfer", both.clone()).await.data();
    }
    assert_eq!(wire.take_statements(), ["execute", "execute"]);
    for key in ["c", "d"] {
        wire.take_statements();
        app.client().with_header("idempotency-key", key).mutate("scan", both.clone()).await.data();
    }
    let statements = wire.take_statements();
    assert_eq!(statements.len(), 6, "{statements:?}");
    app.engine.close().await;
}
