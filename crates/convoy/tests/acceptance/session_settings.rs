//! One connection, two users in turn: a setting that one user's call makes by `raw` never
//! affects calls of the other.

use convoy_testkit::{Ctx, Functions, TestDb, Thrown, table};
use serde_json::{Value, json};

use crate::scale::report;

const CALLS: usize = 40;

async fn raw(ctx: &Ctx, sql: &str, values: Value) -> Result<Value, Thrown> {
    ctx.op(json!({ "op": "raw", "text": sql, "values": values, "tables": null })).await
}

async fn enter(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    raw(&ctx, "select set_config('app.user', $1, false)", json!([input["user"]])).await
}

/// Reads the secrets of the user in the setting: none without a setting.
async fn read_secrets(ctx: Ctx, _: Value) -> Result<Value, Thrown> {
    raw(
        &ctx,
        "select data ->> 'secret' as secret from secrets where data ->> 'owner' = current_setting('app.user', true)",
        json!([]),
    )
    .await
}

fn functions() -> Functions {
    let apart = |name| json!({ "name": name, "kind": "mutation", "transaction": false });
    Functions::new()
        .mutation("enter", enter)
        .add(apart("enterApart"), enter)
        .query("enterInQuery", enter)
        .mutation("read", read_secrets)
        .add(apart("readApart"), read_secrets)
        .query("readInQuery", read_secrets)
}

/// How many calls of the other user saw a secret.
async fn seen(failpoints: Value) -> usize {
    let db = TestDb::new().await;
    let app = db
        .app_with(json!({ "poolSize": 1, "failpoints": failpoints }), json!([table("secrets", &[])]), functions())
        .await;
    let secrets =
        r#"insert into secrets (data) values ('{"owner": "ann", "secret": "a"}'), ('{"owner": "bob", "secret": "b"}')"#;
    db.psql().await.run(secrets).await;
    let (ann, bob) = (app.client(), app.client());
    let mut seen = 0;
    for call in 0..CALLS {
        let (user, one, other) = if call % 2 == 0 { ("ann", &ann, &bob) } else { ("bob", &bob, &ann) };
        let user = json!({ "user": user });
        let reply = match call / 2 % 4 {
            0 => (one.mutate("enter", user).await.data(), other.mutate("read", json!({})).await.data()),
            1 => (one.mutate("enterApart", user).await.data(), other.mutate("read", json!({})).await.data()),
            2 => (one.mutate("enter", user).await.data(), other.mutate("readApart", json!({})).await.data()),
            _ => (one.query("enterInQuery", user).await.data(), other.query("readInQuery", json!({})).await.data()),
        };
        assert_eq!(reply.0.as_array().map(Vec::len), Some(1));
        seen += usize::from(reply.1 != json!([]));
    }
    app.engine.close().await;
    report(&format!("{seen} of {CALLS} calls saw another user's secret"));
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_sees_the_secret_of_the_previous_user() {
    assert_eq!(seen(json!([])).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_session_that_is_not_reset_is_detected() {
    // A query is rolled back even then.
    assert_eq!(seen(json!(["keepSession"])).await, CALLS - CALLS / 4);
}
