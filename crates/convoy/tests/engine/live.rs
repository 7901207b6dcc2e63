//! Live queries over server-sent events: which changes rerun which queries, and how often.

use crate::shared::{bodies, chat, functions, tables};
use convoy_testkit::{Functions, TestDb};
use serde_json::{Value, json};

fn message(channel: &str, n: i64, body: &str) -> Value {
    json!({ "channel": channel, "n": n, "body": body })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_reruns_only_the_queries_it_concerns() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut home = app.client().watch("messages.list", json!({ "channel": "home" })).await;
    let mut work = app.client().watch("messages.list", json!({ "channel": "work" })).await;
    assert_eq!((home.next().await, work.next().await), (json!([]), json!([])));
    let before = app.engine.stats().handler_runs;
    let id = app.client().mutate("messages.send", message("home", 1, "hello")).await.data();
    assert_eq!(bodies(&home.next().await), ["hello"]);
    // A move reruns the list that it leaves and the list that it enters.
    let moved = json!({ "id": id, "set": { "channel": "work" }, "unset": [] });
    app.client().mutate("messages.edit", moved).await.data();
    assert_eq!(home.next().await, json!([]));
    assert_eq!(bodies(&work.next().await), ["hello"]);
    app.client().mutate("messages.remove", json!({ "id": id })).await.data();
    assert_eq!(work.next().await, json!([]));
    app.until_idle().await;
    assert!(home.is_quiet() && work.is_quiet());
    // Three mutations, and one re-run per list and change that concerned it.
    assert_eq!(app.engine.stats().handler_runs - before, 3 + 4);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_past_the_limit_reruns_no_query() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    for n in 1..=20 {
        app.client().mutate("messages.send", message("a", n, "x")).await.data();
    }
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(list.next().await.as_array().map(Vec::len), Some(20));
    let before = app.engine.stats().handler_runs;
    app.client().mutate("messages.send", message("a", 0, "too old")).await.data();
    app.until_idle().await;
    assert_eq!(app.engine.stats().handler_runs - before, 1, "only the mutation ran");
    app.client().mutate("messages.send", message("a", 21, "new")).await.data();
    assert_eq!(list.next().await[0]["body"], "new");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_next_row_updates_is_done_of_a_live_page() {
    let db = TestDb::new().await;
    let paged = functions().query("messages.page", |ctx, input| async move {
        ctx.op(json!({
            "op": "page", "table": "messages", "index": "by_channel", "eq": [input["channel"]], "order": "asc", "size": 2,
        }))
        .await
    });
    let app = db.app(tables(), paged).await;
    let mut ids = Vec::new();
    for n in 1..=4 {
        ids.push(app.client().mutate("messages.send", message("a", n, "x")).await.data());
    }
    let mut page = app.client().watch("messages.page", json!({ "channel": "a" })).await;
    assert_eq!(page.next().await["isDone"], false);
    let before = app.engine.stats().handler_runs;
    app.client().mutate("messages.remove", json!({ "id": ids[3] })).await.data();
    app.until_idle().await;
    assert_eq!(app.engine.stats().handler_runs - before, 1, "a row after the next one does not affect the page");
    app.client().mutate("messages.remove", json!({ "id": ids[2] })).await.data();
    page.until(|page| page["isDone"] == true).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_serves_every_subscriber() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut watches = Vec::new();
    for n in 0..50 {
        // The same arguments in two key orders.
        let args = if n % 2 == 0 { json!({ "channel": "a", "x": 1 }) } else { json!({ "x": 1, "channel": "a" }) };
        let mut watch = app.client().watch("messages.list", args).await;
        assert_eq!(watch.next().await, json!([]));
        watches.push(watch);
    }
    assert_eq!((app.engine.stats().live_queries, app.engine.stats().subscribers), (1, 50));
    let before = app.engine.stats().handler_runs;
    app.client().mutate("messages.send", message("a", 1, "for all")).await.data();
    for watch in &mut watches {
        assert_eq!(bodies(&watch.next().await), ["for all"]);
    }
    assert_eq!(app.engine.stats().handler_runs - before, 2);
    drop(watches);
    let gone = async {
        while app.engine.stats().live_queries > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(convoy_testkit::EVENT_TIMEOUT, gone)
        .await
        .expect("a query is removed with its last subscriber");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_that_join_during_writes_converge() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let writer = {
        let client = app.client();
        tokio::spawn(async move {
            for n in 0..150 {
                client.mutate("messages.send", message(&format!("c{}", n % 5), n, "x")).await.data();
            }
        })
    };
    let mut watches = Vec::new();
    for n in 0..100 {
        let channel = format!("c{}", n % 5);
        watches.push((channel.clone(), app.client().watch("messages.list", json!({ "channel": channel })).await));
    }
    writer.await.expect("all are written");
    for (channel, mut watch) in watches {
        let truth = app.client().query("messages.list", json!({ "channel": channel })).await.data();
        watch.until(|list| *list == truth).await;
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_by_id_reports_insert_update_and_truncate() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let id = convoy::id::mint().to_string();
    let mut watch = app.client().watch("messages.get", json!({ "id": id })).await;
    assert_eq!(watch.next().await, json!(null));
    let mut psql = db.psql().await;
    psql.run(&format!("insert into messages (id, data) values ('{id}', '{{\"body\": \"by hand\"}}')")).await;
    assert_eq!(watch.next().await["body"], "by hand");
    app.client().mutate("messages.edit", json!({ "id": id, "set": { "body": "edited" }, "unset": [] })).await.data();
    assert_eq!(watch.next().await["body"], "edited");
    psql.run("truncate messages").await;
    assert_eq!(watch.next().await, json!(null));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_code_reaches_open_streams() {
    let db = TestDb::new().await;
    let version = |n: i64| Functions::new().query("version", move |_, _| async move { Ok(json!(n)) });
    let app = db.app(crate::shared::tables(), version(1)).await;
    let mut watch = app.client().watch("version", json!({})).await;
    assert_eq!(watch.next().await, 1);
    app.load(version(2), false).await;
    assert_eq!(watch.next().await, 2);
    app.load(Functions::new(), false).await;
    assert_eq!(watch.message().await.expect("the stream goes on")["error"]["code"], "NOT_FOUND");
    app.load(version(3), false).await;
    assert_eq!(watch.next().await, 3);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_development_new_code_reaches_open_streams_before_the_database_is_compared() {
    let db = TestDb::new().await;
    let version = |n: i64| Functions::new().query("version", move |_, _| async move { Ok(json!(n)) });
    let app = db.app_with(json!({ "dev": true }), crate::shared::tables(), version(1)).await;
    let mut watch = app.client().watch("version", json!({})).await;
    assert_eq!(watch.next().await, 1);
    let mut psql = db.psql().await;
    // The lock of schema syncs.
    psql.run("begin; select pg_advisory_xact_lock(hashtext('convoy.layout'))").await;
    let loading = async {
        let report = app.load(version(2), false).await;
        assert!(report.swapped_after_ms.is_some());
        assert!(report.tables.contains_key("messages"), "the report is that of the comparison");
    };
    let watching = async {
        assert_eq!(watch.next().await, 2);
        psql.run("rollback").await;
    };
    tokio::join!(loading, watching);

    // Missing objects are created all the same.
    psql.run("drop table messages").await;
    let report = app.load(version(3), false).await;
    assert!(report.created.contains(&"table messages".to_owned()), "{:?}", report.created);
    assert_eq!(watch.next().await, 3);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_context_results_are_never_shared_wrongly() {
    let db = TestDb::new().await;
    let whoami = Functions::new().query("whoami", |ctx, _| async move {
        Ok(ctx.caller().expect("a caller")["headers"]["authorization"].clone())
    });
    let app = db.app(crate::shared::tables(), Functions::new()).await;
    app.load(whoami, true).await;
    let ann = app.client().with_header("authorization", "ann");
    let bob = app.client().with_header("authorization", "bob");
    let (mut a, mut b) = (ann.watch("whoami", json!({})).await, bob.watch("whoami", json!({})).await);
    assert_eq!((a.next().await, b.next().await), (json!("ann"), json!("bob")));
    assert_eq!(app.engine.stats().live_queries, 2);
    assert_eq!(bob.query("whoami", json!({})).await.data(), "bob");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_results_stop_being_shareable() {
    let db = TestDb::new().await;
    let version = |n: i64| Functions::new().query("version", move |_, _| async move { Ok(json!(n)) });
    let app = db.app(crate::shared::tables(), version(1)).await;
    let mut watch = app.client().watch("version", json!({})).await;
    assert_eq!(watch.next().await, 1);
    app.load(version(2), true).await;
    assert!(watch.message().await.is_none());
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_last_event_id_gets_only_a_comment() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut first = app.client().watch("messages.all", json!({})).await;
    let event = loop {
        let event = first.event().await.expect("an event");
        if event.contains("id: ") {
            break event;
        }
    };
    let hash = event.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    let again = app.client().with_header("last-event-id", hash);
    let mut second = again.watch("messages.all", json!({})).await;
    assert!(second.event().await.expect("a comment").contains("\n: current"));
    app.client().mutate("messages.send", message("a", 1, "news")).await.data();
    assert_eq!(bodies(&second.next().await), ["news"]);
    app.engine.close().await;
}
