//! Acceptance 20: each long-lived part panics once, at the worst point, with open streams.
//! It is restarted, and streams converge to the tables. Without supervision they do not.

use convoy::Part;
use convoy_testkit::{Answer, App, Functions, Reader, StreamState, TestDb, table, within};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::barrier::Barrier;
use crate::chat::{bodies, functions, tables};
use crate::scale::report;

/// An engine with streams that depend on every part.
struct World {
    db: TestDb,
    app: App,
    messages: Reader<Answer>,
    audit: Reader<Answer>,
    ticks: Reader<Answer>,
}

impl World {
    async fn open(failpoints: &[&str]) -> World {
        let db = TestDb::new().await;
        let app = serve(&db, failpoints).await;
        let (messages, audit, ticks) = (list(&app).await, watch(&app, "audit.all").await, watch(&app, "ticks").await);
        World { db, app, messages, audit, ticks }
    }

    /// Makes a part panic during `act`.
    async fn panic(&self, part: Part, act: impl Future<Output = ()>) {
        arm(&self.app, part);
        act.await;
        fired(&self.app, part).await;
    }
}

async fn write_outside(db: &TestDb) {
    let insert = r#"insert into messages (data) values ('{"channel": "w", "n": 1, "body": "news"}')"#;
    db.psql().await.run(insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_reader_is_restarted() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        let world = World::open(failpoints).await;
        world.panic(Part::Log, write_outside(&world.db)).await;
        reaches(&world.messages, supervised, is_news).await;
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_query_whose_run_panicked_runs_again() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        let db = TestDb::new().await;
        let app = serve(&db, failpoints).await;
        let messages = list(&app).await;
        arm(&app, Part::LiveQuery);
        send(&app).await;
        fired(&app, Part::LiveQuery).await;
        reaches(&messages, supervised, is_news).await;
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_of_untracked_tables_is_restarted() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        let world = World::open(failpoints).await;
        world.panic(Part::Tables, async {}).await;
        world.db.psql().await.run("insert into audit (data) values ('{}')").await;
        reaches(&world.audit, supervised, |all| all.as_array().is_some_and(|all| all.len() == 1)).await;
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refresh_timer_is_restarted() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        let world = World::open(failpoints).await;
        world.panic(Part::Timer, async {}).await;
        let fired_at = world.app.engine.stats().handler_runs;
        // A run may have been in flight, so the second one counts.
        reaches(&world.ticks, supervised, |tick| tick.as_u64().is_some_and(|tick| tick > fired_at + 1)).await;
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_listener_is_restarted() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        // Without polling only the listener receives the change.
        let here = World::open(&[failpoints, &["noPoll"][..]].concat()).await;
        let there = serve(&here.db, &[]).await;
        Barrier::of(&[&here.app, &there]).await.wait_for_notifications().await;
        here.panic(Part::Listener, send(&there)).await;
        reaches(&here.messages, supervised, is_news).await;
        here.app.engine.close().await;
        there.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notifier_is_restarted() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        // A node that does not read the log when a peer is silent; if the notifier is
        // restarted, its notification requests the read.
        let receiver = if supervised { &["noPoll"][..] } else { &["noPoll", "listenerSkipsCatchUp"] };
        let here = World::open(receiver).await;
        let there = serve(&here.db, failpoints).await;
        Barrier::of(&[&here.app, &there]).await.wait_for_notifications().await;
        arm(&there, Part::Notifier);
        send(&there).await;
        fired(&there, Part::Notifier).await;
        reaches(&here.messages, supervised, is_news).await;
        here.app.engine.close().await;
        there.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_after_a_batched_insert_is_recovered() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        let world = World::open(failpoints).await;
        let hold = async {
            let message = json!({ "channel": "w", "n": 1, "body": "news" });
            let answer = world.app.client().mutate("messages.hold", message).await;
            assert_eq!(answer.code(), "UNAVAILABLE", "the result is unknown: {}", answer.body);
        };
        world.panic(Part::CommitBatching, hold).await;
        // In either case the commit is reported as in doubt, so the change is seen.
        reaches(&world.messages, true, is_news).await;
        // The next insert uses a restarted batcher, or an abandoned one.
        let next = world.app.client().mutate("messages.hold", json!({ "channel": "x", "n": 1, "body": "" })).await;
        assert_eq!(next.status == 200, supervised, "{}", next.body);
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_after_a_queue_commit_is_recovered() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        let world = World::open(failpoints).await;
        let app = &world.app;
        let id = app.client().mutate("messages.send", json!({ "channel": "w", "n": 0, "body": "x" })).await.data();
        let count = |client: convoy_testkit::Client, id: Value| async move {
            client.mutate("messages.count", json!({ "id": id })).await
        };
        // Calls conflict until they are in a queue, and until the queue has panicked.
        let mut calls = tokio::task::JoinSet::new();
        within(async {
            loop {
                while calls.len() < 8 {
                    calls.spawn(count(app.client(), id.clone()));
                }
                calls.join_next().await;
                if app.engine.stats().queued_calls > 20 {
                    return arm(app, Part::SerialQueue);
                }
            }
        })
        .await;
        let mut left = 1_000;
        while will_panic(app, Part::SerialQueue) {
            assert!(left > 0, "no call is in a queue any more");
            left -= 1;
            while calls.len() < 8 {
                calls.spawn(count(app.client(), id.clone()));
            }
            calls.join_next().await;
        }
        calls.join_all().await;
        let next = count(app.client(), id.clone()).await;
        assert_eq!(next.status == 200, supervised, "{}", next.body);
        if supervised {
            let stored = world.db.psql().await.column("select data ->> 'n' from messages").await;
            let stored: u64 = stored[0].parse().expect("a number");
            world.messages.until(|answer| holds(answer, |list| list[0]["n"] == stored)).await;
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accept_loop_is_restarted() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        let world = World::open(failpoints).await;
        let knock = async { drop(TcpStream::connect(world.app.address).await) };
        world.panic(Part::Accept, knock).await;
        let health = || async {
            let stream = TcpStream::connect(world.app.address).await.ok()?;
            drop(stream);
            Some(world.app.client().query("messages.list", json!({ "channel": "w" })).await.status)
        };
        match supervised {
            true => assert_eq!(health().await, Some(200)),
            // The listening socket is closed with the task.
            false => within(async { while TcpStream::connect(world.app.address).await.is_ok() {} }).await,
        }
        send_inside(&world.app).await;
        world.messages.until(|answer| holds(answer, is_news)).await;
        world.app.engine.close().await;
    }
}

/// An event panics half-way through a change of the registry: the registry is reset, streams
/// end, and clients that reconnect converge.
#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_registry_is_reset() {
    for (failpoints, supervised) in SUPERVISED_AND_NOT {
        // A commit of the engine that is not applied may be reported as in doubt.
        for outside in if supervised { &[true, false][..] } else { &[true] } {
            let db = TestDb::new().await;
            let app = serve(&db, failpoints).await;
            let messages = list(&app).await;
            let query = json!([{ "id": 0, "name": "messages.list", "args": { "channel": "w" } }]);
            let session = app.client().live(query.clone()).await.read_continuously();
            assert!(session.reaches(0, |list| bodies(list).is_empty()).await);
            // A run in flight would find the change among the recent commits.
            app.until_idle().await;
            arm(&app, Part::Registry);
            match outside {
                true => write_outside(&db).await,
                false => send(&app).await,
            }
            fired(&app, Part::Registry).await;
            if !supervised {
                reaches(&messages, false, is_news).await;
                assert!(!session.reaches(0, is_news).await, "the stream is current without supervision");
                continue;
            }
            session.until_end().await;
            messages.until_end().await;
            let ended = session.stop().await;
            assert_eq!(ended.messages.last().expect("a reason")["type"], "end");
            let again = app.client().resume(ended, query).await.expect("it reconnects").read_continuously();
            again.until(|answers| answers.latest(0).is_some_and(is_news)).await;
            let list = list(&app).await;
            reaches(&list, true, is_news).await;
            let counts = app.engine.stats();
            assert_eq!((counts.sessions, counts.subscribers), (2, 2), "ended sessions are not counted");
            app.engine.close().await;
        }
    }
}

/// With supervision, and without it as the control.
const SUPERVISED_AND_NOT: [(&[&str], bool); 2] = [(&[], true), (&["unsupervised"], false)];

/// With supervision a stream converges. Without it, it has not by its second heartbeat,
/// and so never will.
async fn reaches(reader: &Reader<Answer>, supervised: bool, is_current: impl Fn(&Value) -> bool) {
    match supervised {
        true => reader.until(|answer| holds(answer, &is_current)).await,
        false => assert!(!reader.reaches(0, &is_current).await, "the stream is current without supervision"),
    }
    report(if supervised { "current again" } else { "stale, as expected" });
}

fn holds(answer: &Answer, is_current: impl Fn(&Value) -> bool) -> bool {
    answer.latest(0).is_some_and(is_current)
}

fn is_news(list: &Value) -> bool {
    bodies(list) == ["news"]
}

fn arm(app: &App, part: Part) {
    app.engine.config().failpoints.panic_once(part);
}

fn will_panic(app: &App, part: Part) -> bool {
    app.engine.config().failpoints.will_panic(part)
}

async fn fired(app: &App, part: Part) {
    within(async {
        while will_panic(app, part) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Sends the message; the call itself may fail with the panic.
async fn send(app: &App) {
    app.client().mutate("messages.send", json!({ "channel": "w", "n": 1, "body": "news" })).await;
}

/// The same without a connection.
async fn send_inside(app: &App) {
    let input = json!({ "channel": "w", "n": 1, "body": "news" }).to_string();
    let kind = convoy::FunctionKind::Mutation;
    let caller = convoy::Caller::Inside(None);
    let call = convoy::IncomingCall {
        kind,
        name: "messages.send",
        input,
        caller,
        key: None,
        uncached: false,
        traceparent: None,
    };
    app.engine.call(call).await.expect("it is sent");
}

async fn list(app: &App) -> Reader<Answer> {
    let list = app.client().watch("messages.list", json!({ "channel": "w" })).await.read_continuously();
    assert!(list.reaches(0, |list| bodies(list).is_empty() || is_news(list)).await);
    list
}

async fn watch(app: &App, name: &str) -> Reader<Answer> {
    let watch = app.client().watch(name, json!({})).await.read_continuously();
    watch.until(|answer| holds(answer, |_| true)).await;
    watch
}

async fn serve(db: &TestDb, failpoints: &[&str]) -> App {
    let create = "create table if not exists audit (id uuid primary key default gen_random_uuid(), data jsonb)";
    db.psql().await.run(create).await;
    let limits = json!({ "heartbeatMs": 100, "untrackedPollMs": 50, "triggerCheckMs": 1_000, "mutationMs": 1_500 });
    let mut tables = tables();
    let mut audit = table("audit", &[]);
    audit["managed"] = json!(false);
    tables.as_array_mut().expect("a list").push(audit);
    db.app_with(json!({ "limits": limits, "failpoints": failpoints }), tables, with_more()).await
}

fn with_more() -> Functions {
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    functions()
        .query("audit.all", |ctx, _| async move {
            ctx.saw_nothing();
            ctx.op(json!({ "op": "scan", "table": "audit", "index": null, "eq": [], "order": "asc", "limit": null }))
                .await
        })
        .query("ticks", move |ctx, _| {
            let tick = runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                ctx.saw_nothing();
                ctx.refresh_after(20);
                Ok(json!(tick))
            }
        })
        .mutation("messages.hold", |ctx, input| async move { Ok(json!(ctx.hold("messages", input))) })
        .mutation("messages.count", |ctx, input| async move {
            let found = ctx.op(json!({ "op": "get", "table": "messages", "id": input["id"] })).await?;
            let n = found["n"].as_u64().unwrap_or_default() + 1;
            let patch =
                json!({ "op": "patch", "table": "messages", "id": input["id"], "set": { "n": n }, "unset": [] });
            ctx.op(patch).await
        })
}
