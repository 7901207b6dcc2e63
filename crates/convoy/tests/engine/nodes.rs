//! Several engines over one database: what one commits reaches those who watch at
//! another, by notification where that works and by the log where it does not.

use std::time::{Duration, Instant};

use crate::faults::cabled;
use crate::shared::{bodies, chat, functions, tables};
use convoy_testkit::{App, TestDb, Watch, Wire, within};
use serde_json::{Value, json};

/// The log is not read at intervals: what arrives was notified of, or read because
/// something was missed.
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

/// Writes at one node until it is known there that another one listens, and until
/// all of that has been heard.
async fn acquaint(there: &App, list: &mut Watch, channel: &str) {
    let met = async {
        for n in 0.. {
            there.client().mutate("messages.send", message(channel, 0, "hello")).await.data();
            if n > 0 && !list.is_quiet() {
                return;
            }
        }
    };
    within(met).await;
    there.client().mutate("messages.send", message(channel, 1, "met")).await.data();
    list.until(|list| list[0]["body"] == "met").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_at_one_node_reaches_the_other_without_reading_the_log() {
    let db = TestDb::new().await;
    let (here, there) = (node(&db, without_poll()).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    acquaint(&there, &mut list, "a").await;
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
    // What is said of a row is enough to know whom it does not concern.
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
    acquaint(&there, &mut list, "a").await;
    wire.cut_on("set local synchronous_commit = off; notify");
    there.client().mutate("messages.send", message("a", 1, "its last words")).await.data();
    list.until(|list| bodies(list).contains(&"its last words")).await;
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_with_anything_else_in_it_ever_notifies() {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    let (here, there) = (chat(&db).await, node(&db, json!({ "databaseUrl": url })).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    acquaint(&there, &mut list, "a").await;
    for (n, name) in ["messages.send", "messages.sendNow"].into_iter().cycle().take(20).enumerate() {
        there.client().mutate(name, message("a", n as i64 + 2, name)).await.data();
        list.until(|list| list[0]["n"] == n + 2).await;
    }
    let said = wire.take_statements_by_connection();
    let notifies = |statement: &str| statement.to_lowercase().contains("notify");
    let notifying: Vec<usize> = said.iter().filter(|(_, said)| notifies(said)).map(|(line, _)| *line).collect();
    assert!(!notifying.is_empty());
    for (line, statement) in said.iter().filter(|(line, _)| notifying.contains(line)) {
        // `execute`: how full the queue is.
        let alone = statement.starts_with("set local synchronous_commit = off; notify \"convoy\"");
        assert!(alone || statement == "execute", "connection {line} notifies, and says: {statement}");
    }
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_peers_sends_only_heartbeats() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut heard = db.listen_to_notifications().await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    for n in 1..=20 {
        app.client().mutate("messages.send", message("a", n, "x")).await.data();
        list.until(|list| list[0]["n"] == n).await;
    }
    // The beat after all of that: none of it took a number.
    for _ in 0..2 {
        let beat = heard.next_with("\"live\":true").await;
        assert!(beat.contains("\"sequence\":0") && !beat.contains("changes"), "{beat}");
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
    acquaint(&there, &mut small, "a").await;
    let mut heard = db.listen_to_notifications().await;
    there.client().mutate("messages.send", message(&long, 1, "large")).await.data();
    let notice = heard.next_with("\"log\":true").await;
    assert!(notice.len() < 8_000);
    list.until(|list| bodies(list) == ["large"]).await;
    here.engine.close().await;
    there.engine.close().await;
}

const KILL_LISTENERS: &str = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and application_name = 'convoy' and query ilike 'listen%'";

/// Writes what no notification tells of, and then kills what nodes listen on: a new
/// connection knows of nothing before it.
async fn write_unheard(db: &TestDb, body: &str) {
    let mut psql = db.psql().await;
    psql.run(&insert("a", body)).await;
    psql.run(KILL_LISTENERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_was_lost_catches_up() {
    let db = TestDb::new().await;
    let here = node(&db, without_poll()).await;
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    for round in 0..5 {
        let body = format!("unheard {round}");
        write_unheard(&db, &body).await;
        list.until(|list| bodies(list).contains(&body.as_str())).await;
    }
    here.engine.close().await;
}

/// What the test above would notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_catch_up_would_be_noticed() {
    let db = TestDb::new().await;
    let (here, there) = (node(&db, json!({ "failpoints": ["listenerSkipsCatchUp"] })).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    let mut other = here.client().watch("messages.list", json!({ "channel": "b" })).await;
    assert_eq!((list.next().await, other.next().await), (json!([]), json!([])));
    acquaint(&there, &mut other, "b").await;
    here.until_idle().await;
    list.is_quiet();
    write_unheard(&db, "unheard").await;
    let mut psql = db.psql().await;
    let listening = KILL_LISTENERS.replace("pg_terminate_backend(pid, 5000)", "pid::text");
    within(async { while psql.column(&listening).await.len() < 2 {} }).await;
    // Connected again, it hears what is said from then on, and goes on as if nothing was.
    there.client().mutate("messages.send", message("b", 2, "said")).await.data();
    other.until(|list| bodies(list).contains(&"said")).await;
    here.until_idle().await;
    assert!(list.is_quiet(), "the failpoint does not show");
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_poll_a_strangers_write_would_not_be_seen() {
    // The log is also read whenever the listener connects, which on a busy machine may be just then.
    for _ in 0..10 {
        if a_strangers_write_is_missed().await {
            return;
        }
    }
    panic!("the failpoint does not show");
}

async fn a_strangers_write_is_missed() -> bool {
    let db = TestDb::new().await;
    let app = node(&db, without_poll()).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    let mut other = app.client().watch("messages.list", json!({ "channel": "b" })).await;
    assert_eq!((list.next().await, other.next().await), (json!([]), json!([])));
    app.until_idle().await;
    db.psql().await.run(&insert("a", "unheard")).await;
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
    let (cable, url) = cabled(&db).await;
    let mut options = without_poll();
    options["databaseUrl"] = json!(url);
    let (here, there) = (node(&db, options).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    acquaint(&there, &mut list, "a").await;
    // Every connection stays open and says nothing more; new ones are fine.
    cable.freeze();
    cable.plug_in();
    db.psql().await.run(&insert("a", "into the void")).await;
    list.until(|list| bodies(list).contains(&"into the void")).await;
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_notifications_are_swallowed_the_log_is_enough() {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    wire.drop_notifications();
    let (here, there) = (node(&db, json!({ "databaseUrl": url })).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    // It has noticed when it gives its listening up.
    let gave_up = async {
        while !wire.take_statements().iter().any(|said| said.eq_ignore_ascii_case("unlisten *")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(gave_up).await;
    there.client().mutate("messages.send", message("a", 1, "from there")).await.data();
    list.until(|list| bodies(list).contains(&"from there")).await;
    db.psql().await.run(&insert("a", "by hand")).await;
    list.until(|list| bodies(list).contains(&"by hand")).await;
    here.engine.close().await;
    there.engine.close().await;
}
