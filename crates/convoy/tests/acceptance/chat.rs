//! The program that most of these tests serve: messages in channels, and the marks of
//! [`Barrier`](crate::barrier::Barrier)s.

use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, table};
use serde_json::{Value, json};

pub(crate) fn tables() -> Value {
    json!([
        table("messages", &[("by_channel", false, &[("channel", "text"), ("n", "number")])]),
        table("marks", &[("by_n", false, &[("n", "number")])]),
        table("roles", &[]),
    ])
}

pub(crate) fn functions() -> Functions {
    Functions::new()
        .query("messages.list", |ctx, input| async move {
            ctx.saw_nothing();
            ctx.op(json!({
                "op": "scan", "table": "messages", "index": "by_channel",
                "eq": [input["channel"]], "order": "desc", "limit": 20,
            }))
            .await
        })
        .query("marks.last", |ctx, _| async move {
            ctx.saw_nothing();
            ctx.op(json!({ "op": "scan", "table": "marks", "index": "by_n", "eq": [], "order": "desc", "limit": 1 })).await
        })
        .mutation("messages.send", |ctx, input| async move { Ok(json!(ctx.insert("messages", input).await?)) })
        .mutation("messages.move", |ctx, input| async move {
            ctx.op(json!({ "op": "patch", "table": "messages", "id": input["id"], "set": { "channel": input["channel"] }, "unset": [] }))
                .await
        })
        .mutation("messages.remove", |ctx, input| async move {
            ctx.op(json!({ "op": "delete", "table": "messages", "id": input["id"] })).await
        })
        .mutation("raw", raw)
        .add(json!({ "name": "rawApart", "kind": "mutation", "transaction": false }), raw)
        .mutation("marks.leave", |ctx, input| async move { Ok(json!(ctx.hold("marks", input))) })
}

async fn raw(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    ctx.op(json!({ "op": "raw", "text": input["sql"], "values": [], "tables": null })).await
}

/// Serves the chat with short heartbeats, and `options`.
pub(crate) async fn serve(db: &TestDb, options: Value) -> App {
    db.app_with(with_heartbeats(options), tables(), functions()).await
}

/// Adds heartbeats every 100 ms to the options.
pub(crate) fn with_heartbeats(mut options: Value) -> Value {
    options["limits"]["heartbeatMs"] = json!(100);
    options
}

/// The bodies of a list of messages.
pub(crate) fn bodies(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|message| message["body"].as_str().expect("a body")).collect()
}
