//! Acceptance 20: each long-lived part panics once, where that does the most harm,
//! under open streams. It starts again, and streams come to what is in the tables.
//! Without supervision they do not.

use convoy::Part;
use convoy_testkit::{Answer, App, Functions, Holder, Reader, TestDb, table, within};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::barrier::Barrier;
use crate::chat::{bodies, functions, tables};
use crate::lane::say;

/// An engine with streams on all that the parts keep current.
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

    /// Makes a part panic at what `act` makes it do, or before.
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
async fn the_log_is_read_on() {
    for (failpoints, kept) in KEPT_AND_NOT {
        let world = World::open(failpoints).await;
        world.panic(Part::Log, write_outside(&world.db)).await;
        comes_to(&world.messages, kept, is_news).await;
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_query_whose_run_panicked_runs_again() {
    for (failpoints, kept) in KEPT_AND_NOT {
        let db = TestDb::new().await;
        let app = serve(&db, failpoints).await;
        let messages = list(&app).await;
        arm(&app, Part::LiveQuery);
        send(&app).await;
        fired(&app, Part::LiveQuery).await;
        comes_to(&messages, kept, is_news).await;
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_triggers_are_asked_again() {
    for (failpoints, kept) in KEPT_AND_NOT {
        let world = World::open(failpoints).await;
        world.panic(Part::Tables, async {}).await;
        world.db.psql().await.run("insert into audit (data) values ('{}')").await;
        comes_to(&world.audit, kept, |all| all.as_array().is_some_and(|all| all.len() == 1)).await;
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_grow_old() {
    for (failpoints, kept) in KEPT_AND_NOT {
        let world = World::open(failpoints).await;
        world.panic(Part::Timer, async {}).await;
        let fired_at = world.app.engine.stats().handler_runs;
        // A run may have been on its way, so the second one counts.
        comes_to(&world.ticks, kept, |tick| tick.as_u64().is_some_and(|tick| tick > fired_at + 1)).await;
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_nodes_are_heard() {
    for (failpoints, kept) in KEPT_AND_NOT {
        // What is not heard is not read either, so that only hearing tells of it.
        let here = World::open(&[failpoints, &["noPoll"][..]].concat()).await;
        let there = serve(&here.db, &[]).await;
        Barrier::before(&[&here.app, &there]).await.heard_each_other().await;
        here.panic(Part::Listener, send(&there)).await;
        comes_to(&here.messages, kept, is_news).await;
        here.app.engine.close().await;
        there.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_nodes_are_notified() {
    for (failpoints, kept) in KEPT_AND_NOT {
        // A node that does not fall back on the log when another falls silent; where
        // notifying goes on, it reads it because it is told to.
        let deaf = if kept { &["noPoll"][..] } else { &["noPoll", "listenerSkipsCatchUp"] };
        let here = World::open(deaf).await;
        let there = serve(&here.db, failpoints).await;
        Barrier::before(&[&here.app, &there]).await.heard_each_other().await;
        arm(&there, Part::Notifier);
        send(&there).await;
        fired(&there, Part::Notifier).await;
        comes_to(&here.messages, kept, is_news).await;
        here.app.engine.close().await;
        there.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_after_a_batched_insert_is_recovered() {
    for (failpoints, kept) in KEPT_AND_NOT {
        let world = World::open(failpoints).await;
        let hold = async {
            let message = json!({ "channel": "w", "n": 1, "body": "news" });
            let answer = world.app.client().mutate("messages.hold", message).await;
            assert_eq!(answer.code(), "UNAVAILABLE", "whether it took effect is not known: {}", answer.body);
        };
        world.panic(Part::InsertBatching, hold).await;
        // In either case its caller says that it may have happened.
        comes_to(&world.messages, true, is_news).await;
        // The next insert finds a lane that works, or one that was abandoned.
        let next = world.app.client().mutate("messages.hold", json!({ "channel": "x", "n": 1, "body": "" })).await;
        assert_eq!(next.status == 200, kept, "{}", next.body);
        world.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_after_a_queue_commit_is_recovered() {
    for (failpoints, kept) in KEPT_AND_NOT {
        let world = World::open(failpoints).await;
        let app = &world.app;
        let id = app.client().mutate("messages.send", json!({ "channel": "w", "n": 0, "body": "x" })).await.data();
        let count = |client: convoy_testkit::Client, id: Value| async move {
            client.mutate("messages.count", json!({ "id": id })).await
        };
        // They keep meeting until they are in a lane, and until that has panicked.
        let mut calls = tokio::task::JoinSet::new();
        within(async {
            loop {
                while calls.len() < 8 {
                    calls.spawn(count(app.client(), id.clone()));
                }
                calls.join_next().await;
                if app.engine.stats().in_lanes > 20 {
                    return arm(app, Part::SerialQueue);
                }
            }
        })
        .await;
        let mut left = 1_000;
        while will_panic(app, Part::SerialQueue) {
            assert!(left > 0, "no call is in a lane any more");
            left -= 1;
            while calls.len() < 8 {
                calls.spawn(count(app.client(), id.clone()));
            }
            calls.join_next().await;
        }
        calls.join_all().await;
        let next = count(app.client(), id.clone()).await;
        assert_eq!(next.status == 200, kept, "{}", next.body);
        if kept {
            let stored = world.db.psql().await.column("select data ->> 'n' from messages").await;
            let stored: u64 = stored[0].parse().expect("a number");
            world.messages.until(|answer| holds(answer, |list| list[0]["n"] == stored)).await;
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_accepted() {
    for (failpoints, kept) in KEPT_AND_NOT {
        let world = World::open(failpoints).await;
        let knock = async { drop(TcpStream::connect(world.app.address).await) };
        world.panic(Part::Accept, knock).await;
        let health = || async {
            let stream = TcpStream::connect(world.app.address).await.ok()?;
            drop(stream);
            Some(world.app.client().query("messages.list", json!({ "channel": "w" })).await.status)
        };
        match kept {
            true => assert_eq!(health().await, Some(200)),
            // The socket goes with the task.
            false => within(async { while TcpStream::connect(world.app.address).await.is_ok() {} }).await,
        }
        send_inside(&world.app).await;
        world.messages.until(|answer| holds(answer, is_news)).await;
        world.app.engine.close().await;
    }
}

/// An event that panics half-way through the state of all live queries: nothing of it
/// is relied on any more. Streams end, and their clients come back to what is right.
#[tokio::test(flavor = "multi_thread")]
async fn state_that_was_left_half_changed_is_not_used() {
    for (failpoints, kept) in KEPT_AND_NOT {
        // A writer of ours whose commit is not told of may say itself that it is in doubt.
        for outside in if kept { &[true, false][..] } else { &[true] } {
            let db = TestDb::new().await;
            let app = serve(&db, failpoints).await;
            let messages = list(&app).await;
            let query = json!([{ "id": 0, "name": "messages.list", "args": { "channel": "w" } }]);
            let session = app.client().live(query.clone()).await.read_on();
            assert!(session.comes_to(0, |list| bodies(list).is_empty()).await);
            // What runs meanwhile would find the change in the history.
            app.rest().await;
            arm(&app, Part::Registry);
            match outside {
                true => write_outside(&db).await,
                false => send(&app).await,
            }
            fired(&app, Part::Registry).await;
            if !kept {
                comes_to(&messages, false, is_news).await;
                assert!(!session.comes_to(0, is_news).await, "the stream is right without supervision");
                continue;
            }
            session.until_the_end().await;
            messages.until_the_end().await;
            let ended = session.stop().await;
            assert_eq!(ended.told.last().expect("it says why")["type"], "end");
            let again = app.client().resume(ended, query).await.expect("it may come back").read_on();
            again.until(|answers| answers.latest(0).is_some_and(is_news)).await;
            let list = list(&app).await;
            comes_to(&list, true, is_news).await;
            let counts = app.engine.stats();
            assert_eq!((counts.sessions, counts.subscribers), (2, 2), "what has ended is not counted");
            app.engine.close().await;
        }
    }
}

/// With supervision, and as the control without.
const KEPT_AND_NOT: [(&[&str], bool); 2] = [(&[], true), (&["unsupervised"], false)];

/// With supervision a stream comes to what is right. Without, it has not by its
/// second heartbeat, and so never will.
async fn comes_to(reader: &Reader<Answer>, kept: bool, right: impl Fn(&Value) -> bool) {
    match kept {
        true => reader.until(|answer| holds(answer, &right)).await,
        false => assert!(!reader.comes_to(0, &right).await, "the stream is right without supervision"),
    }
    say(if kept { "right again" } else { "stale, as it must be" });
}

fn holds(answer: &Answer, right: impl Fn(&Value) -> bool) -> bool {
    answer.latest(0).is_some_and(right)
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

/// Sends the news; the call itself may fail with the panic.
async fn send(app: &App) {
    app.client().mutate("messages.send", json!({ "channel": "w", "n": 1, "body": "news" })).await;
}

/// The same without a connection.
async fn send_inside(app: &App) {
    let input = json!({ "channel": "w", "n": 1, "body": "news" }).to_string();
    let kind = convoy::FunctionKind::Mutation;
    let caller = convoy::Caller::Inside(None);
    let call = convoy::IncomingCall { kind, name: "messages.send", input, caller, key: None };
    app.engine.call(call).await.expect("it is sent");
}

async fn list(app: &App) -> Reader<Answer> {
    let list = app.client().watch("messages.list", json!({ "channel": "w" })).await.read_on();
    assert!(list.comes_to(0, |list| bodies(list).is_empty() || is_news(list)).await);
    list
}

async fn watch(app: &App, name: &str) -> Reader<Answer> {
    let watch = app.client().watch(name, json!({})).await.read_on();
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
