//! Untracked tables, and the tables that `raw` reads.

use convoy_testkit::{App, Functions, TestDb, table};
use serde_json::{Value, json};

use crate::shared::{bodies, functions, tables};

fn with_raw() -> Functions {
    functions()
        .query("raw", |ctx, input| async move {
            ctx.op(json!({ "op": "raw", "text": input["sql"], "values": input["values"], "tables": input["tables"] }))
                .await
        })
        .query("rawTwice", |ctx, input| async move {
            let op = json!({ "op": "raw", "text": input["sql"], "values": input["values"], "tables": null });
            ctx.op(op.clone()).await?;
            ctx.op(op).await
        })
        .query("audit.all", |ctx, _| async move {
            ctx.op(json!({ "op": "scan", "table": "audit", "index": null, "eq": [], "order": "asc", "limit": null }))
                .await
        })
        .mutation("audit.add", |ctx, input| async move { Ok(json!(ctx.insert("audit", input).await?)) })
        .mutation("channels.remove", |ctx, input| async move {
            ctx.op(json!({ "op": "delete", "table": "channels", "id": input["id"] })).await
        })
}

async fn app(db: &TestDb) -> App {
    let limits = json!({ "limits": { "untrackedPollMs": 50, "triggerCheckMs": 50 } });
    db.app_with(limits, tables(), with_raw()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_its_trigger_is_polled_until_the_trigger_is_back() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(list.next().await, json!([]));
    let insert =
        |body: &str| format!(r#"insert into messages (data) values ('{{"channel": "a", "n": 1, "body": "{body}"}}')"#);
    let mut psql = db.psql().await;
    psql.run("alter table messages disable trigger _convoy_insert").await;
    for body in ["disabled", "still disabled"] {
        psql.run(&insert(body)).await;
        list.until(|list| bodies(list).contains(&body)).await;
    }
    psql.run("alter table messages enable replica trigger _convoy_insert").await;
    psql.run(&insert("for replicas only")).await;
    list.until(|list| bodies(list).contains(&"for replicas only")).await;
    psql.run("drop trigger _convoy_insert on messages").await;
    psql.run(&insert("dropped")).await;
    list.until(|list| bodies(list).contains(&"dropped")).await;
    assert_eq!(psql.column("select count(*)::text from _convoy.changes").await, ["0"]);
    // Loading the code again creates the trigger; from then on the table is not polled.
    app.load(with_raw(), false).await;
    psql.run(&insert("back")).await;
    list.until(|list| bodies(list).contains(&"back")).await;
    assert_eq!(psql.column("select count(*)::text from _convoy.changes").await, ["1"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_added_later_is_noticed() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    let mut psql = db.psql().await;
    let add = json!({ "channel": "a", "n": 1, "body": "x" });
    let id = app.client().mutate("messages.sendNow", add).await.data();
    psql.run(
        "create function shout() returns trigger language plpgsql as $$
         begin new.data := new.data || jsonb_build_object('body', upper(new.data ->> 'body')); return new; end $$;
         create trigger shout before update on messages for each row execute function shout()",
    )
    .await;
    // Once the trigger is noticed, the result of a write is what was stored.
    let trait_read = async {
        for n in 0.. {
            let edit = json!({ "id": id, "set": { "body": format!("quiet {n}") }, "unset": [] });
            let edited = app.client().mutate("messages.edit", edit).await.data();
            if edited["body"] == format!("QUIET {n}") {
                return;
            }
        }
    };
    convoy_testkit::within(trait_read).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmanaged_table_is_polled_and_updates_at_once_for_own_writes() {
    let db = TestDb::new().await;
    db.psql().await.run("create table audit (id uuid primary key, data jsonb not null)").await;
    let mut audit = table("audit", &[]);
    audit["managed"] = json!(false);
    let limits = json!({ "limits": { "untrackedPollMs": 50 } });
    let app = db.app_with(limits, json!([audit]), with_raw()).await;
    let mut all = app.client().watch("audit.all", json!({})).await;
    assert_eq!(all.next().await, json!([]));
    db.psql().await.run("insert into audit values (gen_random_uuid(), '{\"event\": \"by hand\"}')").await;
    all.until(|all| all[0]["event"] == "by hand").await;
    app.client().mutate("audit.add", json!({ "event": "ours" })).await.data();
    all.until(|all| all.as_array().map(Vec::len) == Some(2)).await;
    assert_eq!(
        db.psql().await.column("select tgname::text from pg_trigger where tgrelid = 'audit'::regclass").await.len(),
        0
    );
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_read_only_by_raw_is_live_by_polling() {
    let db = TestDb::new().await;
    db.psql().await.run("create table plain (n int); create function hidden() returns bigint language sql volatile as 'select count(*) from plain'; create function opaque() returns bigint language plpgsql as 'begin return (select count(*) from plain); end'").await;
    let app = app(&db).await;
    for (sql, tables) in [
        ("select count(*)::int as n from plain", json!(["plain"])),
        ("select count(*)::int as n from plain", json!(null)),
        ("select opaque()::int as n", json!(null)),
    ] {
        db.psql().await.run("truncate plain").await;
        let mut watch = app.client().watch("raw", json!({ "sql": sql, "values": [], "tables": tables })).await;
        watch.until(|rows| rows[0]["n"] == 0).await;
        db.psql().await.run("insert into plain values (1)").await;
        watch.until(|rows| rows[0]["n"] == 1).await;
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_found_through_another_search_path_is_polled() {
    let db = TestDb::new().await;
    let by_value = json!(["select set_config($1, 'other, public', true)", ["search_path"]]);
    let by_text = json!(["select set_config('SEARCH_PATH', 'other, public', true)", []]);
    db.psql().await.run("create schema other; create table other.messages (n int)").await;
    let functions = with_raw().query("elsewhere", |ctx, input| async move {
        let op = |text: &Value, values: &Value| json!({ "op": "raw", "text": text, "values": values, "tables": null });
        ctx.op(op(&input["first"][0], &input["first"][1])).await?;
        Ok(ctx.op(op(&input["sql"], &json!([]))).await?[0]["n"].clone())
    });
    let limits = json!({ "limits": { "untrackedPollMs": 50 } });
    let app = db.app_with(limits, tables(), functions).await;
    let sql = "select count(*)::int as n from messages";
    for first in [by_value, by_text] {
        db.psql().await.run("truncate other.messages").await;
        let mut watch = app.client().watch("elsewhere", json!({ "first": first, "sql": sql })).await;
        watch.until(|n| *n == 0).await;
        db.psql().await.run("insert into other.messages values (1)").await;
        watch.until(|n| *n == 1).await;
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_by_cascades_inside_engine_statements_are_seen() {
    let db = TestDb::new().await;
    let app = app(&db).await;
    let channel = app.client().mutate("channels.create", json!({ "name": "c" })).await.data();
    db.psql()
        .await
        .run(
            r#"alter table messages add parent uuid references channels (id) on delete cascade;
            insert into messages (data, parent) select '{"channel": "a", "n": 1, "body": "child"}', id from channels"#,
        )
        .await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.until(|list| bodies(list) == ["child"]).await;
    app.client().mutate("channels.remove", json!({ "id": channel })).await.data();
    list.until(|list| *list == json!([])).await;
    app.engine.close().await;
}

/// The tables that the live query of a statement depends on: names, or `everything`.
async fn tables_read_by(app: &App, name: &str, sql: &str, values: Value) -> Vec<String> {
    let mut watch = app.client().watch(name, json!({ "sql": sql, "values": values, "tables": null })).await;
    let message = watch.message().await.expect("the stream is open");
    assert_eq!(message["type"], "result", "{sql}: {message}");
    app.until_idle().await;
    let names = app.engine.tables_read();
    drop(watch);
    let ended = async {
        while app.engine.stats().live_queries > 0 {
            tokio::task::yield_now().await
        }
    };
    convoy_testkit::within(ended).await;
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_raw_are_those_of_its_plan_or_everything() {
    let db = TestDb::new().await;
    // With polling, the engine would never be idle.
    let app =
        db.app_with(json!({ "limits": { "untrackedPollMs": 600_000, "idleQueryMs": 0 } }), tables(), with_raw()).await;
    db.psql()
        .await
        .run(
            "create view busy as select data ->> 'channel' as channel, count(*)::int as n from messages group by 1;
             create view busier as select * from busy where n > 1;
             create schema elsewhere; create table elsewhere.messages (n int);
             create table measured (at int, v int) partition by range (at);
             create table measured_1 partition of measured for values from (0) to (10);
             create table measured_2 partition of measured for values from (10) to (20);
             create table base (n int); create table derived () inherits (base);
             create function sqlish() returns bigint language sql stable as 'select count(*) from messages';
             create function opaque(int) returns int language plpgsql as 'begin return (select count(*) from channels); end';
             create view with_hidden as select * from base limit opaque(1);
             create function minus_all(int, int) returns int language plpgsql as 'begin return (select count(*) from channels); end';
             create operator |-| (leftarg = int, rightarg = int, function = minus_all);
             create table secured (n int); alter table secured enable row level security;
             create materialized view kept as select 1 as n;
             analyze measured; analyze messages",
        )
        .await;
    let everything = &["everything"][..];
    let cases: [(&str, Value, &[&str]); 29] = [
        ("select 1 as n", json!([]), &[]),
        ("select count(*)::int from messages", json!([]), &["messages"]),
        ("select max(n) from base", json!([]), &["base", "derived"]),
        ("select n from derived", json!([]), &["base", "derived"]),
        ("select * from busier where channel = $1", json!(["a"]), &["messages"]),
        (
            "select 1 from messages m join channels c on c.data ->> 'name' = m.data ->> 'channel'",
            json!([]),
            &["channels", "messages"],
        ),
        (
            "with c as materialized (select * from channels) select (select count(*) from c)::int, exists (select from messages)",
            json!([]),
            &["channels", "messages"],
        ),
        (
            "with recursive r as (select n from base union all select r.n + 1 from r where r.n < 3) select * from r",
            json!([]),
            &["base", "derived"],
        ),
        (
            "select * from messages where id in (select id from channels) union all select * from messages",
            json!([]),
            &["channels", "messages"],
        ),
        ("select n from elsewhere.messages", json!([]), &["elsewhere.messages"]),
        ("select v from measured where at < 10", json!([]), &["measured", "measured_1", "measured_2"]),
        ("select v from measured where at = $1", json!(["3"]), everything),
        ("select v from measured_2", json!([]), &["measured", "measured_1", "measured_2"]),
        // The condition is false for this value, but may be true for another.
        ("select 1 from messages where $1 = 'never'", json!(["a"]), &["messages"]),
        ("select 1 from messages where $1::boolean", json!(["f"]), &["messages"]),
        (
            "select data from messages where data ->> 'body' = 'opaque(1)' or data ->> 'body' = $1",
            json!(["x"]),
            &["messages"],
        ),
        (
            "select lower(data ->> 'body'), coalesce(data ->> 'n', '') from messages order by created_at limit 3",
            json!([]),
            &["messages"],
        ),
        ("select now()::text, generate_series(1, 2)", json!([]), &[]),
        ("select * from kept", json!([]), &["kept"]),
        ("select sqlish()", json!([]), everything),
        ("select opaque(n) from base", json!([]), everything),
        ("select n from base order by opaque(n)", json!([]), everything),
        ("select n from base limit opaque(1)", json!([]), everything),
        ("select * from (values (opaque(1)), (2)) as v", json!([]), everything),
        ("select * from opaque(1)", json!([]), everything),
        ("select * from with_hidden", json!([]), everything),
        ("select n |-| 1 from base", json!([]), everything),
        ("select query_to_xml('select * from messages', true, false, '')::text", json!([]), everything),
        ("select \"opaque\"(1)", json!([]), everything),
    ];
    for (sql, values, expected) in cases {
        for name in ["raw", "rawTwice"] {
            assert_eq!(tables_read_by(&app, name, sql, values.clone()).await, expected, "{name}: {sql}");
        }
    }
    // The reads of a failed statement are unknown.
    let mut failing =
        app.client().watch("raw", json!({ "sql": "select 1 / $1::int", "values": ["0"], "tables": null })).await;
    assert_eq!(failing.message().await.expect("the stream is open")["type"], "error");
    app.until_idle().await;
    assert_eq!(app.engine.tables_read(), ["everything"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_query_reruns_only_for_tables_it_reads() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({}), tables(), with_raw()).await;
    let count = json!({ "sql": "select count(*)::int as n from messages", "values": [], "tables": null });
    let mut watch = app.client().watch("raw", count).await;
    assert_eq!(watch.next().await[0]["n"], 0);
    app.until_idle().await;
    let before = app.engine.stats().handler_runs;
    app.client().mutate("channels.create", json!({ "name": "c" })).await.data();
    app.until_idle().await;
    assert_eq!(app.engine.stats().handler_runs - before, 1, "only the mutation ran");
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    watch.until(|rows| rows[0]["n"] == 1).await;
    db.psql().await.run("truncate messages").await;
    watch.until(|rows| rows[0]["n"] == 0).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn untracked_tables_are_never_answered_from_the_result_cache() {
    let db = TestDb::new().await;
    db.psql().await.run("create table audit (id uuid primary key, data jsonb not null)").await;
    let mut audit = table("audit", &[]);
    audit["managed"] = json!(false);
    let limits = json!({ "limits": { "untrackedPollMs": 600_000 } });
    let app = db.app_with(limits, json!([audit]), with_raw()).await;
    let mut all = app.client().watch("audit.all", json!({})).await;
    assert_eq!(all.next().await, json!([]));
    db.psql().await.run("insert into audit values (gen_random_uuid(), '{\"event\": \"by hand\"}')").await;
    let seen = app.client().query("audit.all", json!({})).await;
    let position = seen.header("convoy-position").expect("a position").to_owned();
    assert_eq!(seen.data()[0]["event"], "by hand");
    for _ in 0..3 {
        let client = app.client().with_header("convoy-position", &position);
        assert_eq!(
            client.query("audit.all", json!({})).await.data()[0]["event"],
            "by hand",
            "the position includes it"
        );
    }
    let mut again = app.client().with_header("convoy-position", &position).watch("audit.all", json!({})).await;
    assert_eq!(again.next().await[0]["event"], "by hand");
    // The same for calls that are made again and again.
    for n in 2..8 {
        db.psql().await.run("insert into audit values (gen_random_uuid(), '{}')").await;
        let rows = app.client().query("audit.all", json!({})).await.data();
        assert_eq!(rows.as_array().map(Vec::len), Some(n));
    }
    app.engine.close().await;
}
