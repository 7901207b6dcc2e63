//! The same behind a pooler in transaction mode.

use convoy_testkit::{Pooler, TestDb};
use serde_json::json;

use super::load::Load;
use super::{Kind, anomalies, serve, transactions};
use crate::scale::with_seeds;

#[tokio::test(flavor = "multi_thread")]
async fn histories_behind_a_pooler_are_strictly_serializable() {
    with_seeds("list_append_pooler", async |mut random| {
        for keyed in [true, false] {
            let db = TestDb::new().await;
            let pooler = Pooler::before(&db, 5, "").await;
            let app = serve(&db, json!({ "databaseUrl": pooler.url(&db), "poolSize": 6 })).await;
            let load = Load { transactions: transactions(), kinds: Kind::ALL.to_vec(), keyed };
            assert_eq!(anomalies(&load, &mut random, &[&app]).await, []);
            app.engine.close().await;
        }
    })
    .await;
}
