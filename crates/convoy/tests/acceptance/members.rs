//! A chat with authentication: a token has a user, an expiry, and a role that must exist.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use convoy::Code;
use convoy_testkit::{App, Client, Ctx, Functions, TestDb, Thrown};
use serde_json::{Value, json};

use crate::chat::{functions, tables};

/// Serves the chat.
pub(crate) async fn serve(db: &TestDb, options: Value) -> App {
    let app = db.app_with(options, tables(), Functions::new()).await;
    load(&app).await;
    app
}

/// Loads the chat into an engine with its tables.
pub(crate) async fn load(app: &App) {
    let program = functions()
        .context(authenticate)
        .mutation("roles.give", |ctx, _| async move { Ok(json!(ctx.insert("roles", json!({})).await?)) })
        .mutation("roles.take", |ctx, input| async move { ctx.op(role("delete", &input["role"])).await })
        .mutation("roles.takeAndSend", |ctx, input| async move {
            ctx.op(role("delete", &input["role"])).await?;
            Ok(json!(ctx.insert("messages", input["message"].clone()).await?))
        });
    app.load(program, true).await;
}

/// A client with such a token.
pub(crate) fn client_with_token(app: &App, user: &str, expires: Option<Instant>, role: Option<&str>) -> Client {
    app.client().with_header("authorization", &token(user, expires, role))
}

/// A token of a user, with an expiry and the id of a role.
pub(crate) fn token(user: &str, expires: Option<Instant>, role: Option<&str>) -> String {
    let expires = expires.map(|expires| {
        let left = expires.saturating_duration_since(Instant::now());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        (now + left).as_millis()
    });
    json!({ "user": user, "expires": expires.map(|expires| expires as u64), "role": role }).to_string()
}

/// The context: the user of the token; refused if the role does not exist.
async fn authenticate(ctx: Ctx) -> Result<Value, Thrown> {
    let caller = ctx.caller().expect("a caller");
    let token = caller["headers"]["authorization"].as_str().unwrap_or("{}");
    let token: Value = serde_json::from_str(token).expect("the test's own token");
    if token["role"].is_string() && ctx.op(role("get", &token["role"])).await?.is_null() {
        return Err(Thrown::Refused(Code::Forbidden, "the role was revoked".into()));
    }
    ctx.saw("user", Some(&token["user"]));
    ctx.identify(token["user"].as_str().unwrap_or_default());
    if let Some(expires) = token["expires"].as_f64() {
        ctx.expires_at(expires);
    }
    Ok(json!(null))
}

fn role(op: &str, id: &Value) -> Value {
    json!({ "op": op, "table": "roles", "id": id })
}
