//! The same behind PgBouncer, which assigns sessions for one transaction each.

use convoy_testkit::{Pooler, TestDb};
use serde_json::json;

use super::{assert_no_leak, assert_no_sequence_leak, serve};

#[tokio::test(flavor = "multi_thread")]
async fn raw_leaves_no_state_in_pooled_sessions() {
    let db = TestDb::new().await;
    let pooler = Pooler::before(&db, 2, "").await;
    let app =
        serve(&db, json!({ "databaseUrl": pooler.url(&db), "poolSize": 1, "limits": { "pollMs": 600_000 } })).await;
    assert_no_leak(&db, &app, "return").await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_state_does_not_leak_to_other_calls_at_a_pooler() {
    let db = TestDb::new().await;
    let pooler = Pooler::before(&db, 2, "").await;
    let app =
        serve(&db, json!({ "databaseUrl": pooler.url(&db), "poolSize": 1, "limits": { "pollMs": 600_000 } })).await;
    assert_no_sequence_leak(&db, &app).await;
    app.engine.close().await;
}
