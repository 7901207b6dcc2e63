//! The probes `/api/health` and `/api/ready`.

use convoy::Remedy;
use convoy_testkit::{App, TestDb, within};
use hyper::Method;
use serde_json::json;

use crate::faults::{CuttableProxy, through_proxy};
use crate::shared::{chat, functions, tables};

async fn health(app: &App) -> (u16, serde_json::Value) {
    let reply = app.client().send(Method::GET, "/api/health", "").await;
    (reply.status, reply.body)
}

async fn ready(app: &App) -> (u16, serde_json::Value) {
    let reply = app.client().send(Method::GET, "/api/ready", "").await;
    if reply.status == 503 {
        assert!(reply.header("retry-after").is_some());
    }
    (reply.status, reply.body["error"]["details"]["failing"].clone())
}

/// Probes until exactly these checks fail.
async fn until_failing(app: &App, checks: &[&str]) {
    within(async {
        loop {
            let (status, failing) = ready(app).await;
            let named: Vec<&str> =
                failing.as_object().map_or(Vec::new(), |all| all.keys().map(String::as_str).collect());
            if named == checks {
                return assert_eq!(status, if checks.is_empty() { 200 } else { 503 });
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_makes_a_process_unready_but_not_unhealthy() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let app = db.app_with(json!({ "databaseUrl": url }), tables(), functions()).await;
    assert_eq!(health(&app).await, (200, json!({ "ok": true, "data": { "status": "up" } })));
    until_failing(&app, &[]).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    for cut in [CuttableProxy::cut, CuttableProxy::freeze] {
        cut(&proxy);
        until_failing(&app, &["database", "feed"]).await;
        assert_eq!(health(&app).await.0, 200);
        proxy.restore();
        until_failing(&app, &[]).await;
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_conditions_that_a_restart_resolves_make_a_process_unhealthy() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    app.engine.health().set("cache", Remedy::Wait, "it is cold");
    assert_eq!(health(&app).await.0, 200);
    until_failing(&app, &["cache"]).await;
    app.engine.health().set("main thread", Remedy::Restart, "silent for 10 s, since `messages.list` began");
    let (status, body) = health(&app).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("UNAVAILABLE")));
    let failing = json!({ "main thread": "silent for 10 s, since `messages.list` began" });
    assert_eq!(body["error"]["details"]["failing"], failing);
    until_failing(&app, &["cache", "main thread"]).await;
    app.engine.health().clear("main thread");
    app.engine.health().clear("cache");
    assert_eq!(health(&app).await.0, 200);
    until_failing(&app, &[]).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_functions_is_unready() {
    let db = TestDb::new().await;
    let config = serde_json::from_value(json!({ "databaseUrl": db.url() })).expect("options the engine knows");
    let engine = convoy::Engine::open(config).await.expect("the engine opens");
    let failing = engine.unready().await;
    assert_eq!(failing.keys().collect::<Vec<_>>(), ["functions"]);
    engine.close().await;
    assert_eq!(engine.unready().await.keys().collect::<Vec<_>>(), ["shutdown"]);
}
