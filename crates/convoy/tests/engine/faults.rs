//! Postgres becomes unreachable and reachable again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::shared::{bodies, functions, raw, tables};
use convoy_testkit::{Ctx, EVENT_TIMEOUT, TestDb, within};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

/// A TCP proxy in front of Postgres that can cut all connections.
pub(crate) struct CuttableProxy {
    port: u16,
    accepting: Arc<AtomicBool>,
    cut: broadcast::Sender<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Silent,
}

impl CuttableProxy {
    async fn to(target: String) -> CuttableProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("an address").port();
        let accepting = Arc::new(AtomicBool::new(true));
        let (cut, _) = broadcast::channel(1);
        let (open, cut_sender) = (accepting.clone(), cut.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let (target, mut cut) = (target.clone(), cut_sender.subscribe());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(target).await.expect("Postgres listens");
                    let end = tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => return,
                        end = cut.recv() => end,
                    };
                    if end == Ok(End::Silent) {
                        // Stays open until the test ends, without answers.
                        std::mem::forget((client, server));
                    }
                });
            }
        });
        CuttableProxy { port, accepting, cut }
    }

    /// Closes all connections, and new ones.
    pub(crate) fn cut(&self) {
        self.end(End::Closed);
    }

    /// Leaves connections open without answers, like a router that lost its state.
    pub(crate) fn freeze(&self) {
        self.end(End::Silent);
    }

    fn end(&self, how: End) {
        self.accepting.store(false, Ordering::SeqCst);
        // Without a receiver, there is no connection.
        drop(self.cut.send(how));
    }

    pub(crate) fn restore(&self) {
        self.accepting.store(true, Ordering::SeqCst);
    }
}

/// Starts a proxy in front of the database; returns it and the URL through it.
pub(crate) async fn through_proxy(db: &TestDb) -> (CuttableProxy, String) {
    let url = db.url();
    let (before, after) = url.rsplit_once('@').expect("a URL with a role");
    let (authority, database) = after.split_once('/').expect("a URL with a database");
    let proxy = CuttableProxy::to(authority.to_owned()).await;
    let url = format!("{before}@127.0.0.1:{}/{database}", proxy.port);
    (proxy, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_return_unavailable_and_recover_with_missed_writes() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let app = db.app_with(json!({ "databaseUrl": url }), tables(), functions()).await;
    let client = app.client();
    let send = |body: &str| json!({ "channel": "a", "n": 1, "body": body });
    client.mutate("messages.send", send("before")).await.data();
    let mut list = client.watch("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(bodies(&list.next().await), ["before"]);

    proxy.cut();
    for reply in [client.query("messages.all", json!({})).await, client.mutate("messages.sendNow", send("lost")).await]
    {
        assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"));
    }
    // Written while the engine was disconnected.
    let mut psql = db.psql().await;
    psql.run(r#"insert into messages (data) values ('{"channel": "a", "n": 2, "body": "meanwhile"}')"#).await;

    proxy.restore();
    list.until(|list| bodies(list) == ["meanwhile", "before"]).await;
    let again = async { while client.mutate("messages.send", send("after")).await.status != 200 {} };
    within(again).await;
    list.until(|list| bodies(list).contains(&"after")).await;
    app.engine.close().await;
}

/// As after a failover to a standby, or with `default_transaction_read_only`.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_read_only_database_fails_without_an_unknown_outcome() {
    let db = TestDb::new().await;
    let app = db.app(tables(), functions()).await;
    let client = app.client();
    let message = json!({ "channel": "a", "n": 1, "body": "x" });
    client.mutate("messages.send", message.clone()).await.data();

    let mut psql = db.psql().await;
    psql.run(
        "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$",
    )
    .await;
    let others = "select pg_terminate_backend(pid)::text from pg_stat_activity \
                  where datname = current_database() and pid <> pg_backend_pid()";
    psql.column(others).await;
    // A call may be the first to notice a terminated connection.
    let reconnected = async { while client.query("messages.all", json!({})).await.status != 200 {} };
    within(reconnected).await;

    for name in ["messages.send", "messages.sendNow"] {
        let keyed = client.with_header("idempotency-key", name);
        for caller in [&client, &keyed] {
            let answered = async {
                loop {
                    let reply = caller.mutate(name, message.clone()).await;
                    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"), "{name}");
                    let text = reply.body["error"]["message"].as_str().expect("a message").to_owned();
                    if text.contains("only reads") {
                        return;
                    }
                }
            };
            tokio::time::timeout(EVENT_TIMEOUT, answered)
                .await
                .unwrap_or_else(|_| panic!("{name} never reports a read-only database"));
        }
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_disallows_connections_is_unavailable() {
    let db = TestDb::new().await;
    let app = db.app(tables(), functions()).await;
    let client = app.client();
    let url = db.url();
    let (server, name) = url.rsplit_once('/').expect("a URL with a database");
    let mut psql = db.psql_at(&format!("{server}/postgres")).await;
    psql.run(&format!("alter database \"{name}\" allow_connections false")).await;
    psql.column(&format!(
        "select pg_terminate_backend(pid)::text from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()"
    ))
    .await;
    for _ in 0..3 {
        let reply = client.query("messages.all", json!({})).await;
        assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"), "{}", reply.body);
    }
    psql.run(&format!("alter database \"{name}\" allow_connections true")).await;
    within(async { while client.query("messages.all", json!({})).await.status != 200 {} }).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_opened_while_the_database_is_unreachable_recovers() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let app = db.app_with(json!({ "databaseUrl": url }), tables(), functions()).await;
    proxy.cut();
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    let first = list.message().await.expect("the stream is open");
    assert_eq!(first["error"]["code"], "UNAVAILABLE");
    proxy.restore();
    assert_eq!(list.until(|_| true).await, json!([]));
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    list.until(|list| bodies(list) == ["x"]).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_backends_lose_no_acknowledged_write() {
    let db = TestDb::new().await;
    let app = db.app(tables(), functions()).await;
    let mut all = app.client().watch("messages.all", json!({})).await;
    all.next().await;
    let done = Arc::new(AtomicBool::new(false));
    let killer = {
        let (mut psql, done) = (db.psql().await, done.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                psql.run(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                     where application_name = 'convoy' and datname = current_database() and random() < 0.3;
                     select pg_sleep(0.01)",
                )
                .await;
            }
        })
    };
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let client = app.client();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..40 {
                    let body = format!("{writer}/{n}");
                    let name = if n % 2 == 0 { "messages.send" } else { "messages.sendNow" };
                    let reply = client.mutate(name, json!({ "channel": "a", "n": n, "body": body })).await;
                    match reply.status {
                        200 => acknowledged.push(body),
                        _ => assert_eq!(reply.code(), "UNAVAILABLE", "{reply:?}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("the writer ends"));
    }
    done.store(true, Ordering::SeqCst);
    killer.await.expect("the killer ends");
    let truth = db.psql().await.column("select data ->> 'body' from messages").await;
    for body in &acknowledged {
        assert!(truth.contains(body), "{body} was acknowledged and is lost");
    }
    // Some outcomes were unknown, so more rows may be stored than acknowledged.
    println!("{} of 320 acknowledged, {} stored", acknowledged.len(), truth.len());
    assert!(!acknowledged.is_empty());
    all.until(|list| list.as_array().map(Vec::len) == Some(truth.len())).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_makes_every_live_query_run_again() {
    let db = TestDb::new().await;
    let app = db.app(tables(), functions()).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    // As after a crash: the unlogged tables are empty, and rows exist that were never logged.
    db.psql()
        .await
        .run(
            r#"begin;
            alter table messages disable trigger all;
            insert into messages (data) values ('{"channel": "a", "n": 1, "body": "unlogged"}');
            alter table messages enable trigger all;
            truncate _convoy.epoch, _convoy.changes;
            commit"#,
        )
        .await;
    let seen = tokio::time::timeout(EVENT_TIMEOUT, list.until(|list: &Value| bodies(list) == ["unlogged"])).await;
    assert!(seen.is_ok());
    assert_eq!(db.psql().await.column("select count(*)::text from _convoy.epoch").await, ["1"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_time_out_when_the_database_stops_answering() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let (reached, mut before_commit) = tokio::sync::mpsc::channel::<()>(1);
    let (go, may_go) = tokio::sync::watch::channel(false);
    let paused = functions().mutation("paused", move |ctx, input| {
        let (reached, mut may_go) = (reached.clone(), may_go.clone());
        async move {
            // A count needs a transaction, which is open when the connection goes silent.
            let count =
                json!({ "op": "count", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null });
            ctx.op(count).await?;
            ctx.insert("messages", input).await?;
            reached.send(()).await.expect("the test listens");
            may_go.wait_for(|go| *go).await.expect("the test lives");
            Ok(json!(null))
        }
    });
    let options = json!({ "databaseUrl": url, "limits": { "queryMs": 2_000 } });
    let app = db.app_with(options, tables(), paused).await;
    let client = app.client();
    let mutation =
        tokio::spawn(async move { client.mutate("paused", json!({ "channel": "a", "n": 1, "body": "?" })).await });
    within(before_commit.recv()).await.expect("the mutation runs");
    app.client().query("messages.all", json!({})).await.data();
    proxy.freeze();
    let query = app.client().query("messages.all", json!({})).await;
    assert_eq!((query.status, query.code()), (504, "TIMEOUT"));
    go.send(true).expect("the mutation waits to commit");
    let reply = within(mutation).await.expect("an answer");
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"));
    assert!(reply.body["error"]["message"].as_str().is_some_and(|message| message.contains("unknown")), "{reply:?}");
    proxy.restore();
    within(async { while app.client().query("messages.all", json!({})).await.status != 200 {} }).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_made_after_an_unknown_outcome_reaches_live_queries() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let app = db.app_with(json!({ "databaseUrl": url }), tables(), functions()).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(list.next().await, json!([]));
    // Prepares the statement, which would otherwise wait for the lock unsent.
    app.client().mutate("messages.send", json!({ "channel": "b", "n": 1, "body": "first" })).await.data();
    let mut locker = db.psql().await;
    locker.run("begin; lock table messages in exclusive mode").await;
    let client = app.client();
    let mutation =
        tokio::spawn(
            async move { client.mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "late" })).await },
        );
    db.psql().await.until_a_session_waits_for_a_lock().await;
    proxy.cut();
    let reply = within(mutation).await.expect("an answer");
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"));
    assert_eq!(list.message().await.expect("the stream is open")["error"]["code"], "UNAVAILABLE");
    proxy.restore();
    // The list has recovered, without the row, before Postgres continues.
    list.until(|list| *list == json!([])).await;
    app.until_idle().await;
    locker.run("commit").await;
    list.until(|list| bodies(list) == ["late"]).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_query_that_timed_out_runs_again() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "limits": { "queryMs": 200 } }), tables(), functions()).await;
    let mut locker = db.psql().await;
    locker.run("begin; lock table messages in access exclusive mode").await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    let error = list.message().await.expect("the stream is open")["error"].clone();
    assert_eq!(error["code"], "TIMEOUT");
    assert!(
        error["message"].as_str().is_some_and(|message| message.contains("within 200 ms (limits.queryMs)")),
        "{error}"
    );
    locker.run("commit").await;
    list.until(|list| *list == json!([])).await;
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    list.until(|list| bodies(list) == ["x"]).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limits_of_the_database_end_neither_sessions_nor_transactions() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    let mut limits = vec!["idle_session_timeout"];
    if psql.major_version().await >= 17 {
        limits.push("transaction_timeout");
    }
    for limit in limits {
        let set = format!("execute format('alter database %I set {limit} = 100', current_database())");
        psql.run(&format!("do $$ begin {set}; end $$")).await;
    }
    // Longer than the limits.
    let sleep = |ctx: Ctx| async move { ctx.op(raw("select pg_sleep(0.3)::text", &json!([]))).await };
    let program = functions().query("read", move |ctx, _| sleep(ctx)).mutation("write", move |ctx, _| sleep(ctx));
    let app = db.app(tables(), program).await;
    let listeners =
        "select pid::text from pg_stat_activity where datname = current_database() and query ilike 'listen%'";
    let before = db.psql().await.column(listeners).await;
    app.client().query("read", json!({})).await.data();
    app.client().mutate("write", json!({})).await.data();
    assert_eq!(db.psql().await.column(listeners).await, before);
    assert_eq!(before.len(), 1);
    app.engine.close().await;
}
