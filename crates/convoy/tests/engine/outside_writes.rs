//! Writes from outside of Convoy: by every kind of statement, and by triggers, defaults and
//! cascades inside of Convoy's own transactions.

use std::time::{Duration, Instant};

use crate::shared::{bodies, chat, functions, tables};
use convoy_testkit::{App, TestDb, Watch, Wire, within};
use serde_json::{Value, json};

/// The chat, and a live query of its channel `a`, which has no messages yet.
async fn empty_channel(db: &TestDb) -> (App, Watch) {
    let app = chat(db).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(list.next().await, json!([]));
    (app, list)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_statement_updates_live_queries() {
    let db = TestDb::new().await;
    let (app, mut list) = empty_channel(&db).await;
    let mut psql = db.psql().await;
    let steps: [(&str, &[&str]); 7] = [
        (
            r#"insert into messages (id, data) values ('00000000-0000-4000-8000-000000000001', '{"channel": "a", "n": 1, "body": "one"}')"#,
            &["one"],
        ),
        (r#"update messages set data = data || '{"body": "uno"}'"#, &["uno"]),
        (
            r#"insert into messages (id, data) values ('00000000-0000-4000-8000-000000000001', '{"channel": "a", "n": 1, "body": "upsert"}')
               on conflict (id) do update set data = excluded.data"#,
            &["upsert"],
        ),
        (
            r#"begin; insert into messages (data) values ('{"channel": "a", "n": 2, "body": "two"}'); commit"#,
            &["two", "upsert"],
        ),
        (r#"update messages set data = data || '{"channel": "elsewhere"}' where data ->> 'body' = 'two'"#, &["upsert"]),
        ("delete from messages where data ->> 'body' = 'two'; delete from messages", &[]),
        (
            r#"insert into messages (data) select jsonb_build_object('channel', 'a', 'n', n, 'body', 'b') from generate_series(1, 5000) as n"#,
            &["b"; 20],
        ),
    ];
    for (sql, expected) in steps {
        psql.run(sql).await;
        list.until(|list| bodies(list) == expected).await;
    }
    psql.run("truncate messages").await;
    assert_eq!(list.next().await, json!([]));
    psql.copy("copy messages (data) from stdin", "{\"channel\": \"a\", \"n\": 1, \"body\": \"copied\"}\n").await;
    list.until(|list| bodies(list) == ["copied"]).await;
    psql.run(
        r#"insert into messages (data) select jsonb_build_object('channel', 'a', 'n', n, 'body', 'many') from generate_series(2, 100000) as n"#,
    )
    .await;
    list.until(|list| list[0]["n"] == 100_000).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_prepared_before_the_log_was_lost_is_seen_when_it_commits() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    let max_prepared = psql.column("select current_setting('max_prepared_transactions')").await;
    assert_ne!(
        max_prepared,
        ["0"],
        "this test needs a server with max_prepared_transactions above 0, as `npm test` starts one"
    );
    let (app, mut list) = empty_channel(&db).await;
    // As after a crash: the prepared transaction exists, and its log rows do not.
    psql.run(
        r#"begin; set local session_replication_role = replica;
        insert into messages (data) values ('{"channel": "a", "n": 1, "body": "prepared"}');
        prepare transaction 'convoy_test'; delete from _convoy.epoch"#,
    )
    .await;
    let epoch_renewed = async { while psql.column("select id::text from _convoy.epoch").await.is_empty() {} };
    convoy_testkit::within(epoch_renewed).await;
    app.until_idle().await;
    db.psql().await.run("commit prepared 'convoy_test'").await;
    list.until(|list| bodies(list) == ["prepared"]).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phase_transactions_prepared_before_start_are_seen() {
    let db = TestDb::new().await;
    chat(&db).await.engine.close().await;
    let mut psql = db.psql().await;
    let max_prepared = psql.column("select current_setting('max_prepared_transactions')").await;
    assert_ne!(
        max_prepared,
        ["0"],
        "this test needs a server with max_prepared_transactions above 0, as `npm test` starts one"
    );
    psql.run(
        r#"begin; set local session_replication_role = replica;
        insert into messages (data) values ('{"channel": "a", "n": 1, "body": "prepared"}');
        prepare transaction 'convoy_test_before'"#,
    )
    .await;
    let (app, mut list) = empty_channel(&db).await;
    psql.run("commit prepared 'convoy_test_before'").await;
    list.until(|list| bodies(list) == ["prepared"]).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_without_rows_reruns_no_query() {
    let db = TestDb::new().await;
    let (app, mut list) = empty_channel(&db).await;
    let before = app.engine.stats().handler_runs;
    let mut psql = db.psql().await;
    psql.run("update messages set data = '{}' where false; delete from messages where false").await;
    assert_eq!(psql.column("select count(*)::text from _convoy.changes").await, ["0"]);
    // The next write, which affects the list, comes later in the log.
    psql.run(r#"insert into messages (data) values ('{"channel": "a", "n": 1, "body": "x"}')"#).await;
    assert_eq!(bodies(&list.next().await), ["x"]);
    assert_eq!(app.engine.stats().handler_runs - before, 1);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_writes_are_logged_once_and_not_read_back() {
    let db = TestDb::new().await;
    let (app, mut list) = empty_channel(&db).await;
    let before = app.engine.stats().handler_runs;
    for name in ["messages.send", "messages.sendNow"] {
        app.client().mutate(name, json!({ "channel": "a", "n": 1, "body": name })).await.data();
        list.next().await;
    }
    let logged = db.psql().await.column("select tab || (node is not null) from _convoy.changes").await;
    assert_eq!(logged, ["messagestrue", "messagestrue"]);
    // An outside write after them shows that the log was read past them.
    db.psql().await.run(r#"insert into messages (data) values ('{"channel": "a", "n": 9, "body": "outside"}')"#).await;
    list.next().await;
    app.until_idle().await;
    assert_eq!(app.engine.stats().handler_runs - before, 2 * 2 + 1);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_by_user_triggers_inside_engine_statements_are_seen() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    db.psql()
        .await
        .run(
            "create function echo() returns trigger language plpgsql as $$
             begin
               if new.data ->> 'channel' = 'a' then
                 insert into messages (data) values (new.data || '{\"channel\": \"echo\"}');
               end if;
               return new;
             end $$;
             create trigger echo after insert on messages for each row execute function echo()",
        )
        .await;
    let mut echo = app.client().watch("messages.list", json!({ "channel": "echo" })).await;
    assert_eq!(echo.next().await, json!([]));
    app.client().mutate("messages.sendNow", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    assert_eq!(bodies(&echo.next().await), ["x"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_on_the_convoy_schema_can_write() {
    let db = TestDb::new().await;
    let (app, mut list) = empty_channel(&db).await;
    let role = format!("stranger_{}", convoy::id::mint().simple());
    let mut psql = db.psql().await;
    psql.run(&format!("create role {role}; grant insert on messages to {role}; set role {role}")).await;
    psql.run(r#"insert into messages (data) values ('{"channel": "a", "n": 1, "body": "by a stranger"}')"#).await;
    assert_eq!(bodies(&list.next().await), ["by a stranger"]);
    let error = psql.expect_error("select * from _convoy.changes").await;
    assert!(error.contains("permission denied"), "{error}");
    psql.run(&format!("reset role; drop owned by {role}; drop role {role}")).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_committed_out_of_order_are_not_skipped() {
    let db = TestDb::new().await;
    let (app, mut list) = empty_channel(&db).await;
    let insert =
        |body: &str| format!(r#"insert into messages (data) values ('{{"channel": "a", "n": 1, "body": "{body}"}}')"#);
    let (mut first, mut second) = (db.psql().await, db.psql().await);
    first.run("begin").await;
    first.run(&insert("began first")).await;
    second.run(&insert("committed first")).await;
    // When this arrives, the log was read past the open transaction.
    assert_eq!(bodies(&list.next().await), ["committed first"]);
    first.run("commit").await;
    list.until(|list| bodies(list).len() == 2).await;
    app.engine.close().await;
}

/// While nothing is committed, only the position of the log is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_open_during_idle_reads_is_seen_when_it_commits() {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    let options = json!({ "databaseUrl": url, "limits": { "pollMs": 10, "triggerCheckMs": 600_000 } });
    let app = db.app_with(options, tables(), functions()).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(list.next().await, json!([]));
    let mut psql = db.psql().await;
    for round in 1..=3 {
        psql.run("begin").await;
        psql.run(r#"insert into messages (data) values ('{"channel": "a", "n": 1, "body": "x"}')"#).await;
        wire.take_statements();
        let mut reads = 0;
        within(async {
            while reads < 6 {
                reads += wire.take_statements().len();
                tokio::task::yield_now().await;
            }
        })
        .await;
        psql.run("commit").await;
        list.until(|list| bodies(list).len() == round).await;
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_over_one_database_see_each_other() {
    let db = TestDb::new().await;
    let (here, there) = (chat(&db).await, chat(&db).await);
    let mut list = here.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    there.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "from there" })).await.data();
    assert_eq!(bodies(&list.next().await), ["from there"]);
    here.engine.close().await;
    there.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_no_object_fails_the_query_and_not_the_process() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut list = app.client().watch("messages.all", json!({})).await;
    assert_eq!(list.next().await, json!([]));
    db.psql().await.run("insert into messages (data) values ('[1]')").await;
    assert_eq!(list.message().await.expect("the stream goes on")["error"]["code"], "INTERNAL");
    db.psql().await.run("delete from messages").await;
    assert_eq!(list.next().await, json!([]));
    app.engine.close().await;
}

/// Prints delays without limits on them; fails only if a write does not arrive.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_by_hand_arrives_with_the_next_read_of_the_log() {
    let db = TestDb::new().await;
    let (app, mut list) = empty_channel(&db).await;
    let mut psql = db.psql().await;
    let mut slowest = Duration::ZERO;
    for n in 0..20 {
        let began = Instant::now();
        psql.run(&format!(r#"insert into messages (data) values ('{{"channel": "a", "n": {n}, "body": "x"}}')"#)).await;
        list.until(|list: &Value| list[0]["n"] == n).await;
        slowest = slowest.max(began.elapsed());
    }
    println!("the slowest of 20 inserts by hand was seen after {slowest:?}");
    app.engine.close().await;
}

/// A column default that writes to another table of the schema. It is called by no trigger,
/// and so runs as a part of the engine's insert.
#[tokio::test(flavor = "multi_thread")]
async fn writes_by_column_defaults_to_other_tables_are_seen() {
    let db = TestDb::new().await;
    let (app, other) = (chat(&db).await, chat(&db).await);
    let mut psql = db.psql().await;
    psql.run(
        r#"create function write_other() returns int language plpgsql as $$ begin
             insert into messages (data) values ('{"channel": "a", "n": 1, "body": "default"}');
             return 1;
           end $$;
           alter table channels add column written int default write_other()"#,
    )
    .await;
    let mut watches = Vec::new();
    for app in [&app, &other] {
        let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
        assert_eq!(list.next().await, json!([]));
        watches.push(list);
    }
    app.client().mutate("channels.create", json!({ "name": "x" })).await.data();
    for list in &mut watches {
        list.until(|list| bodies(list) == ["default"]).await;
    }
    // The engine's own insert is logged only once.
    let logged = "select tab || (node is not null) from _convoy.changes order by 1";
    assert_eq!(psql.column(logged).await, ["channelstrue", "messagesfalse"]);
    for engine in [app, other] {
        engine.engine.close().await;
    }
}

/// The mark of the engine's writes, set by another role and by the engine's role. Triggers of
/// an earlier version accept both.
#[tokio::test(flavor = "multi_thread")]
async fn another_role_cannot_use_the_engines_mark() {
    let db = TestDb::new().await;
    let role = format!("stranger_{}", convoy::id::mint().simple());
    let mut psql = db.psql().await;
    let (app, other) = (chat(&db).await, chat(&db).await);
    psql.run(&format!("create role {role} login password 'x'; grant insert on messages to {role}")).await;
    let url = db.url();
    let (_, place) = url.rsplit_once('@').expect("a role");
    let mut stranger = db.psql_at(&format!("postgres://{role}:x@{place}")).await;
    let with_forged_mark = |body: &str| {
        format!(
            r#"begin; select set_config('convoy.writer', pg_current_xact_id()::text || '/messages', true);
            insert into messages (data) values ('{{"channel": "a", "n": 1, "body": "{body}"}}'); commit"#
        )
    };
    let logged = "select count(*)::text from _convoy.changes";
    let mut watches = Vec::new();
    for app in [&app, &other] {
        let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
        assert_eq!(list.next().await, json!([]));
        watches.push(list);
    }
    stranger.run(&with_forged_mark("seen")).await;
    for list in &mut watches {
        list.until(|list| bodies(list) == ["seen"]).await;
    }
    assert_eq!(psql.column(logged).await, ["1"]);
    // The engine's role can, as it could disable the triggers.
    psql.run(&with_forged_mark("unseen")).await;
    assert_eq!(psql.column(logged).await, ["1"]);
    // Triggers of an earlier version are replaced when an engine opens.
    psql.run(
        "do $$ declare trigger oid; begin
           for trigger in select oid from pg_trigger where tgrelid = 'messages'::regclass and tgname like '\\_convoy%' loop
             execute replace(
               regexp_replace(pg_get_triggerdef(trigger), ' OR \\(SESSION_USER <> [^)]*\\)', ''), 'CREATE', 'CREATE OR REPLACE'
             );
           end loop;
         end $$",
    )
    .await;
    stranger.run(&with_forged_mark("accepted")).await;
    assert_eq!(psql.column(logged).await, ["1"]);
    let third = chat(&db).await;
    stranger.run(&with_forged_mark("seen again")).await;
    assert_eq!(psql.column(logged).await, ["2"]);
    for engine in [app, other, third] {
        engine.engine.close().await;
    }
    drop(stranger);
    psql.run(&format!("drop owned by {role}; drop role {role}")).await;
}
