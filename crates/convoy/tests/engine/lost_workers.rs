//! Hosts that fail in the middle of calls: calls that have not committed run again, and take
//! effect once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use convoy::{CallId, CallLink, HostInvocation, UnstartedCall};
use convoy::{Code, Failure, FunctionHost};
use convoy_testkit::{App, TestDb, within};
use hyper::Method;
use serde_json::{Value, json};

use crate::bank;
use crate::shared::{bodies, functions, tables};

/// A host that abandons a call instead of delivering results, if `fails` is true for the number
/// of batches so far.
struct FailingHost<D> {
    host: Arc<dyn FunctionHost>,
    batches: AtomicU32,
    fails: D,
}

impl<D: Fn(u32) -> bool + Send + Sync + 'static> FailingHost<D> {
    fn of(fails: D) -> impl Fn(Arc<dyn FunctionHost>) -> Arc<dyn FunctionHost> + Send + Sync
    where
        D: Clone,
    {
        move |host| Arc::new(FailingHost { host, batches: AtomicU32::new(0), fails: fails.clone() })
    }
}

impl<D: Fn(u32) -> bool + Send + Sync + 'static> FunctionHost for FailingHost<D> {
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        self.host.start(invocation, link)
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        if (self.fails)(self.batches.fetch_add(1, Ordering::Relaxed)) {
            // A thread that exits abandons its calls.
            self.host.abandon(call, &Failure::new(Code::Unavailable, "gone"));
        } else {
            self.host.results(call, batch, results);
        }
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.host.abandon(call, why);
    }
}

/// A chat whose host fails for the first `failures` batches.
async fn app_with_failures(db: &TestDb, failures: u32) -> App {
    let functions = functions()
        .mutation("messages.editAfterReading", |ctx, input| async move {
            ctx.op(json!({ "op": "get", "table": "messages", "id": input["id"] })).await?;
            ctx.op(json!({ "op": "patch", "table": "messages", "id": input["id"], "set": input["set"], "unset": [] }))
                .await
        })
        .mutation("messages.sendAfterReading", |ctx, input| async move {
            ctx.op(
                json!({ "op": "scan", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null }),
            )
            .await?;
            let id = ctx.insert("messages", input).await?;
            ctx.op(
                json!({ "op": "scan", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null }),
            )
            .await?;
            Ok(json!(id))
        })
        .action("messages.act", |ctx, input| async move { Ok(json!(ctx.insert("messages", input).await?)) })
        .on(FailingHost::of(move |batches| batches < failures));
    db.app(tables(), functions).await
}

fn message(body: &str) -> Value {
    json!({ "channel": "home", "n": 1, "body": body })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_runs_again_at_most_twice() {
    let db = TestDb::new().await;
    for (failures, status) in [(1, 200), (2, 200), (3, 503)] {
        let app = app_with_failures(&db, failures).await;
        let reply = app.client().query("messages.all", json!({})).await;
        assert_eq!(reply.status, status, "{failures} failures: {:?}", reply.body);
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_runs_again_and_takes_effect_once() {
    let db = TestDb::new().await;
    let app = app_with_failures(&db, 2).await;
    app.client().mutate("messages.sendAfterReading", message("once")).await.data();
    let all = app.client().query("messages.all", json!({})).await.data();
    assert_eq!(bodies(&all), ["once"]);
    app.engine.close().await;

    // An optimistic call too, which has no transaction to roll back.
    let app = app_with_failures(&db, 2).await;
    let edit = json!({ "id": all[0]["id"].as_str().and_then(|id| id.split(':').nth(1)), "set": { "body": "edited" } });
    app.client().mutate("messages.editAfterReading", edit).await.data();
    assert_eq!(bodies(&app.client().query("messages.all", json!({})).await.data()), ["edited"]);
    app.engine.close().await;

    let app = app_with_failures(&db, 3).await;
    let reply = app.client().mutate("messages.sendAfterReading", message("never")).await;
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"));
    assert_eq!(bodies(&app.client().query("messages.all", json!({})).await.data()), ["edited"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_does_not_run_again_because_its_effects_are_unknown() {
    let db = TestDb::new().await;
    let app = app_with_failures(&db, 1).await;
    let reply = app.client().send(Method::POST, "/api/action/messages.act", message("done").to_string()).await;
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"));
    assert_eq!(bodies(&app.client().query("messages.all", json!({})).await.data()), ["done"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_calls_continue_when_one_loses_its_worker() {
    let db = TestDb::new().await;
    let functions = bank::functions().on(FailingHost::of(|batches| batches % 100 == 99));
    let app = db.app(bank::accounts(), functions).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(app.client().mutate("bank.open", json!({ "balance": 1_000 })).await.data());
    }
    let clients: Vec<_> = (0..16)
        .map(|at| {
            let client = app.client();
            let (from, to) = if at % 2 == 0 { (&ids[0], &ids[1]) } else { (&ids[1], &ids[0]) };
            let args = json!({ "from": from, "to": to, "amount": 1 });
            tokio::spawn(async move {
                for _ in 0..100 {
                    let reply = client.mutate("bank.transfer", args.clone()).await;
                    assert_eq!(reply.status, 200, "{:?}", reply.body);
                }
            })
        })
        .collect();
    for client in clients {
        within(client).await.expect("no transfer failed");
    }
    assert!(app.engine.stats().queued_calls > 100);
    let books = app.client().query("bank.total", json!({})).await.data();
    assert_eq!(books["total"], json!(2_000));
    app.engine.close().await;
}
