//! Hosts that go away in the middle of calls: what has committed nothing is run
//! again, and has its effect once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use convoy::{CallId, CallLink, HostInvocation};
use convoy::{Code, Failure, FunctionHost};
use convoy_testkit::{App, TestDb, within};
use hyper::Method;
use serde_json::{Value, json};

use crate::bank;
use crate::shared::{bodies, functions, tables};

/// A host that goes away from a call instead of giving it the results it waits
/// for, where `dies` says so of how many there were.
struct Mortal<D> {
    host: Arc<dyn FunctionHost>,
    given: AtomicU32,
    dies: D,
}

impl<D: Fn(u32) -> bool + Send + Sync + 'static> Mortal<D> {
    fn of(dies: D) -> impl Fn(Arc<dyn FunctionHost>) -> Arc<dyn FunctionHost> + Send + Sync
    where
        D: Clone,
    {
        move |host| Arc::new(Mortal { host, given: AtomicU32::new(0), dies: dies.clone() })
    }
}

impl<D: Fn(u32) -> bool + Send + Sync + 'static> FunctionHost for Mortal<D> {
    fn start(&self, invocation: HostInvocation, link: CallLink) {
        self.host.start(invocation, link);
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        if (self.dies)(self.given.fetch_add(1, Ordering::Relaxed)) {
            // Forgetting a call is what a thread that ends does to it.
            self.host.abandon(call, &Failure::new(Code::Unavailable, "gone"));
        } else {
            self.host.results(call, batch, results);
        }
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.host.abandon(call, why);
    }
}

/// A chat whose host goes away from the first so many calls.
async fn dying(db: &TestDb, deaths: u32) -> App {
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
        .on(Mortal::of(move |given| given < deaths));
    db.app(tables(), functions).await
}

fn message(body: &str) -> Value {
    json!({ "channel": "home", "n": 1, "body": body })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_run_again_twice_at_most() {
    let db = TestDb::new().await;
    for (deaths, status) in [(1, 200), (2, 200), (3, 503)] {
        let app = dying(&db, deaths).await;
        let reply = app.client().query("messages.all", json!({})).await;
        assert_eq!(reply.status, status, "{deaths} deaths: {:?}", reply.body);
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_is_run_again_and_has_its_effect_once() {
    let db = TestDb::new().await;
    let app = dying(&db, 2).await;
    app.client().mutate("messages.sendAfterReading", message("once")).await.data();
    let all = app.client().query("messages.all", json!({})).await.data();
    assert_eq!(bodies(&all), ["once"]);
    app.engine.close().await;

    // A draft as well, which has no transaction that could be rolled back.
    let app = dying(&db, 2).await;
    let edit = json!({ "id": all[0]["id"].as_str().and_then(|id| id.split(':').nth(1)), "set": { "body": "edited" } });
    app.client().mutate("messages.editAfterReading", edit).await.data();
    assert_eq!(bodies(&app.client().query("messages.all", json!({})).await.data()), ["edited"]);
    app.engine.close().await;

    let app = dying(&db, 3).await;
    let reply = app.client().mutate("messages.sendAfterReading", message("never")).await;
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"));
    assert_eq!(bodies(&app.client().query("messages.all", json!({})).await.data()), ["edited"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_not_run_again_for_only_it_knew_what_it_had_done() {
    let db = TestDb::new().await;
    let app = dying(&db, 1).await;
    let reply = app.client().send(Method::POST, "/api/action/messages.act", message("done").to_string()).await;
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"));
    assert_eq!(bodies(&app.client().query("messages.all", json!({})).await.data()), ["done"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_calls_continue_when_one_loses_its_worker() {
    let db = TestDb::new().await;
    let mortal = bank::functions().on(Mortal::of(|given| given % 100 == 99));
    let app = db.app(bank::accounts(), mortal).await;
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
