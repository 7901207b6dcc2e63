//! The same at PgBouncer, which lends its sessions for one transaction each.

use convoy_testkit::{Pooler, TestDb};
use serde_json::json;

use super::{no_number_stays, nothing_stays, serve};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_in_a_poolers_sessions() {
    let db = TestDb::new().await;
    let pooler = Pooler::before(&db, 2, "").await;
    let app =
        serve(&db, json!({ "databaseUrl": pooler.url(&db), "poolSize": 1, "limits": { "pollMs": 600_000 } })).await;
    nothing_stays(&db, &app, "return").await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_state_does_not_leak_to_other_calls_at_a_pooler() {
    let db = TestDb::new().await;
    let pooler = Pooler::before(&db, 2, "").await;
    let app =
        serve(&db, json!({ "databaseUrl": pooler.url(&db), "poolSize": 1, "limits": { "pollMs": 600_000 } })).await;
    no_number_stays(&db, &app).await;
    app.engine.close().await;
}
