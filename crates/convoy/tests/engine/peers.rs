//! Several engines over one database: commits of one reach the live queries of another, by
//! notifications if possible, and else by the log.

use std::time::{Duration, Instant};

use crate::faults::through_proxy;
use crate::shared::{bodies, chat, functions, tables};
use convoy_testkit::{App, TestDb, Watch, Wire, within};
use serde_json::{Value, json};

/// Options under which the log is not polled: changes arrive by notifications, or by reads
/// of the log after a missed one.
fn without_poll() -> Value {
    json!({ "failpoints": ["noPoll"] })
}

async fn node(db: &TestDb, options: Value) -> App {
    db.app_with(options, tables(), functions()).await
}

fn message(channel: &str, n: i64, body: &str) -> Value {
    json!({ "channel": channel, "n": n, "body": body })
}

fn insert(channel: &str, body: &str) -> String {
    format!(r#"insert into messages (data) values ('{{"channel": "{channel}", "n": 1, "body": "{body}"}}')"#)
}

/// Writes at one node until it has noticed the other one, and until the other has received
/// all of it.
async fn connect_peers(there: &App, list: &mut Watch, channel: &str) {
    let connected = async {
        for n in 0.. {
            there.client().mutate("messages.send", message(channel, 0, "hello")).await.data();
            if n > 0 && !list.is_quiet() {
                return;
            }
        }
    };
    within(connected).await;
    there.client().mutate("messages.send", message(channel, 1, "met")).await.data();
    list.until(|list| list[0]["body"] == "met").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_at_one_node_reaches_the_other_without_reading_the_log() {
    let db = TestDb::new().await;
    // On a machine so loaded that heartbeats are missed, single writes arrive by a read of the log.
    let poll = Duration::from_secs(5);
    let options = json!({ "limits": { "pollMs": poll.as_millis() as u64 } });
    let (here, there) = (node(&db, options).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    connect_peers(&there, &mut list, "a").await;
    let mut delays = Vec::new();
    for n in 2..=61 {
        let client = there.client();
        let began = Instant::now();
        client.mutate("messages.send", message("a", n, "x")).await.data();
        list.until(|list| list[0]["n"] == n).await;
        delays.push(began.elapsed());
    }
    delays.sort_unstable();
    println!("from a write at one node to a subscriber of the other: {:?} (median of 60)", delays[30]);
    assert!(delays[30] < poll / 2, "they arrive by the log: {delays:?}");
    // The keys of a row in a notification show which queries it does not affect.
    here.until_idle().await;
    let before = here.engine.stats().handler_runs;
    there.client().mutate("messages.send", message("elsewhere", 1, "x")).await.data();
    there.client().mutate("messages.send", message("a", 62, "x")).await.data();
    list.until(|list| list[0]["n"] == 62).await;
    assert_eq!(here.engine.stats().handler_runs - before, 1);
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_between_commit_and_notification_loses_no_update() {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    let (here, there) = (chat(&db).await, node(&db, json!({ "databaseUrl": url })).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    connect_peers(&there, &mut list, "a").await;
    wire.cut_on("set local synchronous_commit = off; notify");
    there.client().mutate("messages.send", message("a", 1, "last write")).await.data();
    list.until(|list| bodies(list).contains(&"last write")).await;
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_are_sent_in_transactions_of_their_own() {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    let (here, there) = (chat(&db).await, node(&db, json!({ "databaseUrl": url })).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    connect_peers(&there, &mut list, "a").await;
    for (n, name) in ["messages.send", "messages.sendNow"].into_iter().cycle().take(20).enumerate() {
        there.client().mutate(name, message("a", n as i64 + 2, name)).await.data();
        list.until(|list| list[0]["n"] == n + 2).await;
    }
    let statements = wire.take_statements_by_connection();
    let notifies = |statement: &str| statement.to_lowercase().contains("notify");
    let notifying: Vec<usize> =
        statements.iter().filter(|(_, statements)| notifies(statements)).map(|(connection, _)| *connection).collect();
    assert!(!notifying.is_empty());
    for (connection, statement) in statements.iter().filter(|(connection, _)| notifying.contains(connection)) {
        // `execute` is the check of the queue usage.
        let alone = statement.starts_with("set local synchronous_commit = off; notify \"convoy\"");
        assert!(alone || statement == "execute", "connection {connection} notifies, and runs: {statement}");
    }
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_peers_sends_only_heartbeats() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut notifications = db.listen_to_notifications().await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    for n in 1..=20 {
        app.client().mutate("messages.send", message("a", n, "x")).await.data();
        list.until(|list| list[0]["n"] == n).await;
    }
    // The heartbeats after the writes: none of these took a sequence number.
    for _ in 0..2 {
        let heartbeat = notifications.next_with("\"live\":true").await;
        assert!(heartbeat.contains("\"sequence\":0") && !heartbeat.contains("changes"), "{heartbeat}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_too_large_for_a_notification_are_read_from_the_log() {
    let db = TestDb::new().await;
    let (here, there) = (node(&db, without_poll()).await, chat(&db).await);
    let long = "x".repeat(20_000);
    let mut list = here.client().watch("messages.list", json!({ "channel": long })).await;
    assert_eq!(list.next().await, json!([]));
    let mut small = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    small.next().await;
    connect_peers(&there, &mut small, "a").await;
    let mut notifications = db.listen_to_notifications().await;
    there.client().mutate("messages.send", message(&long, 1, "large")).await.data();
    let notification = notifications.next_with("\"log\":true").await;
    assert!(notification.len() < 8_000);
    list.until(|list| bodies(list) == ["large"]).await;
    here.engine.close().await;
    there.engine.close().await;
}

const KILL_LISTENERS: &str = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and application_name = 'convoy' and query ilike 'listen%'";

/// Writes without a notification, and then kills the listening connections: a new connection
/// does not receive what was sent before.
async fn write_and_kill_listeners(db: &TestDb, body: &str) {
    let mut psql = db.psql().await;
    psql.run(&insert("a", body)).await;
    psql.run(KILL_LISTENERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_catches_up_after_a_lost_connection() {
    let db = TestDb::new().await;
    let here = node(&db, without_poll()).await;
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    for round in 0..5 {
        let body = format!("unnoticed {round}");
        write_and_kill_listeners(&db, &body).await;
        list.until(|list| bodies(list).contains(&body.as_str())).await;
    }
    here.engine.close().await;
}

/// The failpoint shows that the test above detects a listener that does not catch up.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_catch_up_is_detected() {
    let db = TestDb::new().await;
    let (here, there) = (node(&db, json!({ "failpoints": ["listenerSkipsCatchUp"] })).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    let mut other = here.client().watch("messages.list", json!({ "channel": "b" })).await;
    assert_eq!((list.next().await, other.next().await), (json!([]), json!([])));
    connect_peers(&there, &mut other, "b").await;
    here.until_idle().await;
    list.is_quiet();
    write_and_kill_listeners(&db, "unnoticed").await;
    let mut psql = db.psql().await;
    let listening = KILL_LISTENERS.replace("pg_terminate_backend(pid, 5000)", "pid::text");
    within(async { while psql.column(&listening).await.len() < 2 {} }).await;
    // After reconnecting, it receives new notifications, but does not read the log.
    there.client().mutate("messages.send", message("b", 2, "new")).await.data();
    other.until(|list| bodies(list).contains(&"new")).await;
    here.until_idle().await;
    assert!(list.is_quiet(), "the failpoint has no effect");
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_polling_an_outside_write_is_missed() {
    // The log is also read when the listener connects, which may happen meanwhile on a busy machine.
    for _ in 0..10 {
        if an_outside_write_is_missed().await {
            return;
        }
    }
    panic!("the failpoint has no effect");
}

async fn an_outside_write_is_missed() -> bool {
    let db = TestDb::new().await;
    let app = node(&db, without_poll()).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    let mut other = app.client().watch("messages.list", json!({ "channel": "b" })).await;
    assert_eq!((list.next().await, other.next().await), (json!([]), json!([])));
    app.until_idle().await;
    db.psql().await.run(&insert("a", "unnoticed")).await;
    app.client().mutate("messages.send", message("b", 1, "ours")).await.data();
    other.until(|list| bodies(list) == ["ours"]).await;
    app.until_idle().await;
    let missed = list.is_quiet();
    app.engine.close().await;
    missed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_whose_other_end_vanished_is_replaced() {
    let db = TestDb::new().await;
    let (proxy, url) = through_proxy(&db).await;
    let mut options = without_poll();
    options["databaseUrl"] = json!(url);
    let (here, there) = (node(&db, options).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    connect_peers(&there, &mut list, "a").await;
    // Open connections go silent; new ones work.
    proxy.freeze();
    proxy.restore();
    db.psql().await.run(&insert("a", "into the void")).await;
    list.until(|list| bodies(list).contains(&"into the void")).await;
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notifications_changes_arrive_by_the_log() {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    wire.drop_notifications();
    let (here, there) = (node(&db, json!({ "databaseUrl": url })).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    // It has noticed when it stops listening.
    let stopped_listening = async {
        while !wire.take_statements().iter().any(|statements| statements.eq_ignore_ascii_case("unlisten *")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(stopped_listening).await;
    there.client().mutate("messages.send", message("a", 1, "from there")).await.data();
    list.until(|list| bodies(list).contains(&"from there")).await;
    db.psql().await.run(&insert("a", "by hand")).await;
    list.until(|list| bodies(list).contains(&"by hand")).await;
    here.engine.close().await;
    there.engine.close().await;
}
