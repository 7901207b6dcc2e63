//! Fixtures for the tests of contention: accounts, and functions that transfer money.

use std::time::Duration;

use convoy::Code;
use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, table};
use serde_json::{Value, json};

use crate::shared::raw;

pub(crate) fn accounts() -> Value {
    json!([
        table("accounts", &[]),
        table("slips", &[("by_number", true, &[("number", "number")]), ("by_from", false, &[("from", "text")])]),
    ])
}

pub(crate) fn get(id: &Value) -> Value {
    json!({ "op": "get", "table": "accounts", "id": bare(id) })
}

pub(crate) fn set(id: &Value, balance: i64) -> Value {
    json!({ "op": "patch", "table": "accounts", "id": bare(id), "set": { "balance": balance }, "unset": [] })
}

fn count(table: &str) -> Value {
    json!({ "op": "count", "table": table, "index": null, "eq": [], "order": "asc", "limit": null })
}

/// The uuid of an id.
fn bare(id: &Value) -> &str {
    id.as_str().and_then(|id| id.rsplit(':').next()).expect("an id")
}

/// Transfers money by two reads and two writes, like typical user code.
async fn transfer(ctx: &Ctx, input: &Value) -> Result<(), Thrown> {
    let (from, to) = (&input["from"], &input["to"]);
    let read = ctx.ops(json!([get(from), get(to)])).await?;
    let balances: Vec<i64> = read
        .into_iter()
        .map(|document| document.map(|document| document["balance"].as_i64().expect("a balance")))
        .collect::<Result<_, _>>()?;
    let amount = input["amount"].as_i64().expect("an amount");
    if balances[0] < amount {
        return Err(Thrown::Refused(Code::Forbidden, "not enough money".into()));
    }
    for written in ctx.ops(json!([set(from, balances[0] - amount), set(to, balances[1] + amount)])).await? {
        written?;
    }
    Ok(())
}

pub(crate) fn functions() -> Functions {
    Functions::new()
        .mutation("bank.open", |ctx, input| async move {
            Ok(json!(format!("accounts:{}", ctx.insert("accounts", input).await?)))
        })
        .mutation("bank.transfer", |ctx, input| async move {
            ctx.identify("someone");
            transfer(&ctx, &input).await?;
            Ok(Value::Null)
        })
        // With `throw`, fails after it has written.
        .mutation("bank.transferThenThrow", |ctx, input| async move {
            transfer(&ctx, &input).await?;
            if input["throw"] == true {
                return Err(Thrown::Refused(Code::Forbidden, "changed my mind".into()));
            }
            Ok(Value::Null)
        })
        // Inserts a slip, whose number is unique.
        .mutation("bank.transferWithSlip", |ctx, input| async move {
            transfer(&ctx, &input).await?;
            ctx.insert("slips", json!({ "number": input["number"], "from": input["from"] })).await?;
            Ok(Value::Null)
        })
        // Waits between reading and writing.
        .mutation("bank.slowTransfer", |ctx, input| async move {
            ctx.op(get(&input["from"])).await?;
            tokio::time::sleep(Duration::from_millis(input["ms"].as_u64().expect("milliseconds"))).await;
            transfer(&ctx, &input).await?;
            Ok(Value::Null)
        })
        .mutation("bank.stuck", |ctx, input| async move {
            ctx.op(set(&input["from"], -1_000)).await?;
            std::future::pending::<()>().await;
            Ok(Value::Null)
        })
        // Adds one. With `throw`, counts the accounts and fails.
        .mutation("bank.bump", |ctx, input| async move {
            let balance = ctx.op(get(&input["id"])).await?["balance"].as_i64().expect("a balance");
            ctx.op(set(&input["id"], balance + 1)).await?;
            if input["throw"] == true {
                ctx.op(count("accounts")).await?;
                return Err(Thrown::Refused(Code::Forbidden, "throw was set".into()));
            }
            if let Some(own) = input["own"].as_str() {
                ctx.op(get(&json!(own))).await?;
                ctx.op(set(&json!(own), balance + 1)).await?;
            }
            Ok(Value::Null)
        })
        // Returns the `app.user` of its transaction before it sets one.
        .mutation("bank.bumpAs", |ctx, input| async move {
            let balance = ctx.op(get(&input["id"])).await?["balance"].as_i64().expect("a balance");
            ctx.op(set(&input["id"], balance + 1)).await?;
            let who = "select coalesce(current_setting('app.user', true), '') as who";
            let before = ctx.op(raw(who, &json!([]))).await?[0]["who"].clone();
            ctx.op(raw("select set_config('app.user', $1, true)", &json!([input["user"]]))).await?;
            Ok(before)
        })
        .mutation("bank.bumpPlainly", |ctx, input| async move {
            let balance = ctx.op(get(&input["id"])).await?["balance"].as_i64().expect("a balance");
            ctx.op(set(&input["id"], balance + 1)).await
        })
        // Counts the accounts. With `wait`, idles longer than a turn of a queue allows.
        .mutation("bank.ponder", |ctx, input| async move {
            ctx.op(get(&input["id"])).await?;
            ctx.op(count("accounts")).await?;
            if input["wait"] == true {
                tokio::time::sleep(Duration::from_millis(60)).await;
                return Ok(Value::Null);
            }
            let balance = ctx.op(get(&input["id"])).await?["balance"].as_i64().expect("a balance");
            ctx.op(set(&input["id"], balance + 1)).await
        })
        // Rolls back to a savepoint after a buffered write and a statement: the buffered write
        // comes first with `bufferedFirst`.
        .mutation("bank.rollBackAPart", |ctx, input| async move {
            let id = &input["id"];
            let balance = ctx.op(get(id)).await?["balance"].as_i64().expect("a balance");
            let slip = json!({ "op": "insert", "table": "slips", "id": convoy::id::mint().to_string(),
                               "doc": { "number": balance, "from": "someone" } });
            let savepoint = json!({ "op": "savepoint", "name": 1 });
            if input["bufferedFirst"] == true {
                ctx.ops(json!([savepoint, set(id, -1)])).await?;
                ctx.op(slip).await?;
            } else {
                ctx.ops(json!([savepoint, slip])).await?;
                ctx.op(set(id, -1)).await?;
            }
            ctx.op(json!({ "op": "rollback", "to": 1 })).await?;
            ctx.op(set(id, balance + 1)).await
        })
        .query("bank.get", |ctx, input| async move { ctx.op(get(&input["id"])).await })
        .mutation("counter.tick", |ctx, _| async move {
            let all = json!({ "op": "scan", "table": "accounts", "index": null, "eq": [], "order": "asc", "limit": 1 });
            let first = ctx.op(all).await?[0].clone();
            ctx.op(set(&first["id"], first["balance"].as_i64().expect("a balance") + 1)).await
        })
        .query("bank.total", |ctx, _| async move {
            let all =
                json!({ "op": "scan", "table": "accounts", "index": null, "eq": [], "order": "asc", "limit": null });
            let all = ctx.op(all).await?;
            let balances =
                all.as_array().expect("a list").iter().map(|account| account["balance"].as_i64().expect("a balance"));
            Ok(json!({ "total": balances.clone().sum::<i64>(), "least": balances.min() }))
        })
}

/// A bank with `count` accounts of 1,000 each.
pub(crate) async fn bank(db: &TestDb, count: usize) -> (App, Vec<Value>) {
    // A short limit, so that a stuck function is abandoned soon.
    bank_with(db, count, json!({ "mutationMs": 5_000 })).await
}

pub(crate) async fn bank_with(db: &TestDb, count: usize, limits: Value) -> (App, Vec<Value>) {
    bank_of(db, count, limits, functions()).await
}

pub(crate) async fn bank_of(db: &TestDb, count: usize, limits: Value, functions: Functions) -> (App, Vec<Value>) {
    let options = json!({ "poolSize": 8, "limits": limits });
    let app = db.app_with(options, accounts(), functions).await;
    let client = app.client();
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(client.mutate("bank.open", json!({ "balance": 1_000 })).await.data());
    }
    (app, ids)
}
