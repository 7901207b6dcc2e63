//! A chat for members: tokens say who someone is, until when, and by which role
//! they may come in.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use convoy::Code;
use convoy_testkit::{App, Client, Ctx, Functions, TestDb, Thrown};
use serde_json::{Value, json};

use crate::chat::{functions, tables};

/// Serves it.
pub(crate) async fn serve(db: &TestDb, options: Value) -> App {
    let app = db.app_with(options, tables(), Functions::new()).await;
    let program = functions()
        .context(who)
        .mutation("roles.give", |ctx, _| async move { Ok(json!(ctx.insert("roles", json!({})).await?)) })
        .mutation("roles.take", |ctx, input| async move { ctx.op(role("delete", &input["role"])).await })
        .mutation("roles.takeAndSend", |ctx, input| async move {
            ctx.op(role("delete", &input["role"])).await?;
            Ok(json!(ctx.insert("messages", input["message"].clone()).await?))
        });
    app.load(program, true).await;
    app
}

/// A client with such a token.
pub(crate) fn bearing(app: &App, user: &str, ends: Option<Instant>, role: Option<&str>) -> Client {
    app.client().with_header("authorization", &token(user, ends, role))
}

/// A token that says who someone is, when that ends, and by which role they may
/// come in.
pub(crate) fn token(user: &str, ends: Option<Instant>, role: Option<&str>) -> String {
    let ends = ends.map(|ends| {
        let left = ends.saturating_duration_since(Instant::now());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        (now + left).as_millis()
    });
    json!({ "user": user, "ends": ends.map(|ends| ends as u64), "role": role }).to_string()
}

/// The context: who the token names, while it holds and the role is there.
async fn who(ctx: Ctx) -> Result<Value, Thrown> {
    let caller = ctx.caller().expect("a caller");
    let token = caller["headers"]["authorization"].as_str().unwrap_or("{}");
    let token: Value = serde_json::from_str(token).expect("the test's own token");
    if token["role"].is_string() && ctx.op(role("get", &token["role"])).await?.is_null() {
        return Err(Thrown::Refused(Code::Forbidden, "your role is gone".into()));
    }
    ctx.saw("user", Some(&token["user"]));
    ctx.identify(token["user"].as_str().unwrap_or_default());
    if let Some(ends) = token["ends"].as_f64() {
        ctx.expires_at(ends);
    }
    Ok(json!(null))
}

fn role(op: &str, id: &Value) -> Value {
    json!({ "op": op, "table": "roles", "id": id })
}
