//! Shared by the tests: the tables and functions of a small chat.

use convoy::Code;
use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, table};
use serde_json::{Value, json};

pub(crate) fn tables() -> Value {
    json!([
        table("channels", &[("by_name", true, &[("name", "text")])]),
        table("messages", &[("by_channel", false, &[("channel", "text"), ("n", "number")])]),
    ])
}

/// A user statement.
pub(crate) fn raw(sql: &str, values: &Value) -> Value {
    json!({ "op": "raw", "text": sql, "values": values, "tables": null })
}

pub(crate) fn functions() -> Functions {
    Functions::new()
        .query("messages.list", |ctx, input| async move {
            ctx.op(json!({
                "op": "scan", "table": "messages", "index": "by_channel",
                "eq": [input["channel"]], "order": "desc", "limit": 20,
            }))
            .await
        })
        .query("messages.get", |ctx, input| async move {
            ctx.op(json!({ "op": "get", "table": "messages", "id": input["id"] })).await
        })
        .query("messages.all", |ctx, _| async move {
            ctx.op(json!({ "op": "scan", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null })).await
        })
        .mutation("messages.send", |ctx, input| async move { Ok(json!(ctx.hold("messages", input))) })
        .mutation("messages.sendNow", |ctx, input| async move { Ok(json!(ctx.insert("messages", input).await?)) })
        .mutation("messages.edit", |ctx, input| async move {
            ctx.op(json!({ "op": "patch", "table": "messages", "id": input["id"], "set": input["set"], "unset": input["unset"] }))
                .await
        })
        .mutation("messages.remove", |ctx, input| async move {
            ctx.op(json!({ "op": "delete", "table": "messages", "id": input["id"] })).await
        })
        .mutation("channels.create", |ctx, input| async move { Ok(json!(ctx.insert("channels", input).await?)) })
        .mutation("messages.sendThenThrow", |ctx, input| async move {
            ctx.insert("messages", input).await?;
            Err(Thrown::Broke("secret cause".into()))
        })
        .mutation("messages.sendThenRefuse", |ctx, input| async move {
            ctx.insert("messages", input).await?;
            Err(Thrown::Refused(Code::Forbidden, "not yours".into()))
        })
}

pub(crate) async fn chat(db: &TestDb) -> App {
    db.app(tables(), functions()).await
}

/// The bodies of a list of messages.
pub(crate) fn bodies(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|message| message["body"].as_str().expect("a body")).collect()
}

/// Functions that identify callers by their token and refuse callers without one.
pub(crate) fn by_token() -> Functions {
    Functions::new().context(|ctx| async move {
        if token_of(&ctx) == Value::Null {
            return Err(Thrown::Refused(Code::Unauthorized, "who?".into()));
        }
        Ok(Value::Null)
    })
}

/// The caller's token, reported as a read of the context.
pub(crate) fn token_of(ctx: &Ctx) -> Value {
    let token = ctx.caller().expect("a caller")["headers"]["authorization"].clone();
    ctx.saw("user", Some(&token));
    token
}
