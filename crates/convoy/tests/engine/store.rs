//! Stored documents: their content and order, and the writes of failed transactions.

use crate::shared::{bodies, chat};
use convoy_testkit::{Functions, TestDb, Thrown, within};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_inserted_document_has_its_id_and_creation_time() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let id =
        app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "hi \"there\"" })).await.data();
    let message = app.client().query("messages.get", json!({ "id": id })).await.data();
    assert_eq!(message["id"], format!("messages:{}", id.as_str().expect("an id")));
    assert_eq!(message["body"], "hi \"there\"");
    let stored = db
        .psql()
        .await
        .column("select round(extract(epoch from created_at) * 1000000)::int8::text from messages")
        .await;
    let micros: f64 = stored[0].parse().expect("a number");
    assert_eq!(message["_creationTime"].as_f64(), Some(micros / 1000.0));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_orders_by_value_and_the_newest_come_first() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    for n in [9, 10, -1, 2] {
        app.client().mutate("messages.send", json!({ "channel": "a", "n": n, "body": n.to_string() })).await.data();
    }
    app.client().mutate("messages.send", json!({ "channel": "b", "n": 3, "body": "elsewhere" })).await.data();
    let list = app.client().query("messages.list", json!({ "channel": "a" })).await.data();
    assert_eq!(bodies(&list), ["10", "9", "2", "-1"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_sets_and_removes_only_the_keys_it_names() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    let id = client.mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x", "old": true })).await.data();
    let edit = json!({ "id": id, "set": { "body": "y" }, "unset": ["old"] });
    let edited = client.mutate("messages.edit", edit).await.data();
    assert_eq!((&edited["body"], &edited["n"], edited.get("old")), (&json!("y"), &json!(1), None));
    let missing = json!({ "id": convoy::id::mint().to_string(), "set": {}, "unset": [] });
    assert_eq!(client.mutate("messages.edit", missing).await.data(), json!(null));
    assert_eq!(client.mutate("messages.remove", json!({ "id": id })).await.data(), json!(true));
    assert_eq!(client.mutate("messages.remove", json!({ "id": id })).await.data(), json!(false));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_throws_is_rolled_back_and_hides_the_cause() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let message = json!({ "channel": "a", "n": 1, "body": "x" });
    let threw = app.client().mutate("messages.sendThenThrow", message.clone()).await;
    assert_eq!((threw.status, threw.code()), (500, "INTERNAL"));
    assert!(threw.body["error"]["errorId"].is_string() && !threw.body.to_string().contains("secret"));
    let refused = app.client().mutate("messages.sendThenRefuse", message).await;
    assert_eq!((refused.status, refused.body["error"]["message"].as_str()), (403, Some("not yours")));
    assert_eq!(app.client().query("messages.all", json!({})).await.data(), json!([]));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_database_error_still_undoes_the_mutation() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions().mutation("swallow", |ctx, _| async move {
        ctx.insert("channels", json!({ "name": "kept?" })).await?;
        let twice = ctx.insert("channels", json!({ "name": "general" })).await;
        assert!(matches!(twice, Err(Thrown::Refused(convoy::Code::Conflict, _))));
        Ok(json!("fine"))
    });
    let app = db.app(crate::shared::tables(), functions).await;
    app.client().mutate("channels.create", json!({ "name": "general" })).await.data();
    let reply = app.client().mutate("swallow", json!({})).await;
    assert_eq!((reply.status, reply.code()), (409, "CONFLICT"));
    let expected = json!({ "table": "channels", "index": "by_name", "fields": ["name"] });
    assert_eq!(reply.body["error"]["details"], expected);
    assert_eq!(db.psql().await.column("select data ->> 'name' from channels").await, ["general"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_read_modify_writes_lose_nothing() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions().mutation("bump", |ctx, input| async move {
        let doc = ctx.op(json!({ "op": "get", "table": "messages", "id": input["id"] })).await?;
        let n = doc["n"].as_i64().expect("a number") + 1;
        ctx.op(json!({ "op": "patch", "table": "messages", "id": input["id"], "set": { "n": n }, "unset": [] })).await
    });
    let app = db.app_with(json!({ "limits": { "retries": 50 } }), crate::shared::tables(), functions).await;
    let id = app.client().mutate("messages.send", json!({ "channel": "a", "n": 0, "body": "x" })).await.data();
    let bumps = (0..16).map(|_| {
        let (client, id) = (app.client(), id.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                client.mutate("bump", json!({ "id": id })).await.data();
            }
        })
    });
    for bump in bumps.collect::<Vec<_>>() {
        bump.await.expect("every bump lands");
    }
    assert_eq!(app.client().query("messages.get", json!({ "id": id })).await.data()["n"], 80);
    assert!(app.engine.stats().handler_runs > 82, "nothing conflicted, so this test shows nothing");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_several_statements_sees_one_snapshot() {
    let db = TestDb::new().await;
    let (reached, mut at_second) = tokio::sync::mpsc::channel::<()>(1);
    let (go, may_go) = tokio::sync::watch::channel(false);
    let functions = crate::shared::functions().query("twice", move |ctx, _| {
        let (reached, mut may_go) = (reached.clone(), may_go.clone());
        async move {
            let scan =
                json!({ "op": "scan", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null });
            let first = ctx.op(scan.clone()).await?;
            // The first run is restarted here, so only the second sends.
            let _ = ctx.op(json!({ "op": "get", "table": "messages", "id": convoy::id::mint().to_string() })).await?;
            reached.send(()).await.expect("the test listens");
            may_go.wait_for(|go| *go).await.expect("the test lives");
            Ok(json!([first, ctx.op(scan).await?]))
        }
    });
    let app = db.app(crate::shared::tables(), functions).await;
    let client = app.client();
    let query = tokio::spawn(async move { client.query("twice", json!({})).await.data() });
    within(at_second.recv()).await.expect("the query runs");
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "late" })).await.data();
    go.send(true).expect("the query waits");
    assert_eq!(query.await.expect("the query ends"), json!([[], []]));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbouring_inserts_of_a_batch_are_one_statement() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions().mutation("fill", |ctx, _| async move {
        let insert = |table: &str, n: i64| {
            let doc = json!({ "name": n.to_string(), "channel": "a", "n": n, "body": n.to_string() });
            json!({ "op": "insert", "table": table, "id": convoy::id::mint().to_string(), "doc": doc })
        };
        let mut ops: Vec<Value> = (0..50).map(|n| insert("messages", n)).collect();
        ops.extend((0..50).map(|n| insert("channels", n)));
        let results = ctx.ops(json!(ops)).await?;
        Ok(json!(results.into_iter().filter(Result::is_ok).count()))
    });
    let app = db.app(crate::shared::tables(), functions).await;
    let mut psql = db.psql().await;
    // Counts statements by statement triggers.
    psql.run(
        "create table statements (tab text);
         create function count_statement() returns trigger language plpgsql as $$
         begin insert into statements values (tg_table_name); return null; end $$;
         create trigger counted after insert on messages for each statement execute function count_statement();
         create trigger counted after insert on channels for each statement execute function count_statement()",
    )
    .await;
    assert_eq!(app.client().mutate("fill", json!({})).await.data(), 100);
    assert_eq!(psql.column("select tab from statements order by tab").await, ["channels", "messages"]);
    let list = app.client().query("messages.list", json!({ "channel": "a" })).await.data();
    assert_eq!(bodies(&list)[..3], ["49", "48", "47"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_cannot_write() {
    let db = TestDb::new().await;
    let functions = Functions::new()
        .query("sneaky", |ctx, _| async move { Ok(json!(ctx.insert("messages", json!({ "body": "x" })).await?)) });
    let app = db.app(crate::shared::tables(), functions).await;
    assert_eq!(app.client().query("sneaky", json!({})).await.status, 500);
    assert_eq!(db.psql().await.column("select count(*)::text from messages").await, ["0"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_continues_after_its_caller_disconnects() {
    let db = TestDb::new().await;
    let (started, mut has_started) = tokio::sync::mpsc::channel::<()>(1);
    let (go, may_go) = tokio::sync::watch::channel(false);
    let functions = crate::shared::functions().mutation("slow", move |ctx, input| {
        let (started, mut may_go) = (started.clone(), may_go.clone());
        async move {
            ctx.insert("messages", input).await?;
            started.send(()).await.expect("the test listens");
            may_go.wait_for(|go| *go).await.expect("the test lives");
            Ok(json!(null))
        }
    });
    let app = db.app(crate::shared::tables(), functions).await;
    let mut all = app.client().watch("messages.all", json!({})).await;
    assert_eq!(all.next().await, json!([]));
    let client = app.client();
    let caller =
        tokio::spawn(async move { client.mutate("slow", json!({ "channel": "a", "n": 1, "body": "kept" })).await });
    within(has_started.recv()).await.expect("the mutation runs");
    caller.abort();
    go.send(true).expect("the mutation waits");
    assert_eq!(bodies(&all.next().await), ["kept"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_index_that_failed_to_build_is_invalid_until_a_later_load_builds_it() {
    let db = TestDb::new().await;
    let plain = json!([convoy_testkit::table("channels", &[])]);
    let app = db.app(plain, Functions::new()).await;
    let mut psql = db.psql().await;
    psql.run(r#"insert into channels (data) values ('{"name": "twice"}'), ('{"name": "twice"}')"#).await;
    let unique = convoy_testkit::table("channels", &[("by_name", true, &[("name", "text")])]);
    let load = |app: convoy_testkit::App| async {
        let program = json!({ "schema": { "tables": [unique] }, "functions": [], "hasContext": false, "sync": true });
        let host = Functions::new().host();
        let loaded = app.engine.load(serde_json::from_value(program).expect("a program"), host).await;
        (app, loaded.map_err(|error| error.to_failure()))
    };
    let (app, refused) = load(app).await;
    let refused = refused.expect_err("there are duplicates");
    assert!(refused.message.contains("`by_name` of `channels` cannot be unique"), "{refused}");
    let (app, again) = load(app).await;
    assert!(again.is_err(), "the invalid index must not count as built");
    psql.run("delete from channels where ctid = (select min(ctid) from channels)").await;
    let (app, built) = load(app).await;
    assert_eq!(built.expect("it can be built now").created, ["index channels.by_name"]);
    let valid = "select indisvalid::text from pg_index where indrelid = 'channels'::regclass and indisunique and not indisprimary";
    assert_eq!(psql.column(valid).await, ["true"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_over_the_read_limit_fails_without_fetching_all_rows() {
    let db = TestDb::new().await;
    let app = db
        .app_with(json!({ "limits": { "maxDocumentsRead": 10 } }), crate::shared::tables(), crate::shared::functions())
        .await;
    let mut psql = db.psql().await;
    let fill =
        |n: u32| format!("insert into messages (data) select '{{\"channel\": \"a\"}}' from generate_series(1, {n})");
    psql.run(&fill(10)).await;
    assert_eq!(app.client().query("messages.all", json!({})).await.data().as_array().map(Vec::len), Some(10));
    psql.run(&fill(1)).await;
    let refused = app.client().query("messages.all", json!({})).await;
    assert_eq!((refused.status, refused.code()), (413, "PAYLOAD_TOO_LARGE"));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_over_the_write_limit_writes_nothing() {
    let db = TestDb::new().await;
    let held = |ctx: &convoy_testkit::Ctx, table: &str, count: i64| {
        for n in 0..count {
            ctx.hold(table, json!({ "channel": "a", "n": n, "body": "x", "name": n.to_string() }));
        }
    };
    let functions = crate::shared::functions()
        .mutation("held", move |ctx, input| async move {
            held(&ctx, "messages", input["first"].as_i64().expect("a number"));
            held(&ctx, "others", input["second"].as_i64().expect("a number"));
            Ok(json!("fine"))
        })
        .mutation("sent", move |ctx, input| async move {
            // A host sends held inserts before the next operation, and ignores their
            // answers.
            let insert = |n: i64| {
                let id = convoy::id::mint().to_string();
                json!({ "op": "insert", "table": "messages", "id": id, "doc": { "channel": "a", "n": n, "body": "x" } })
            };
            let mut ops: Vec<Value> = (0..input["first"].as_i64().expect("a number")).map(insert).collect();
            ops.push(json!({ "op": "get", "table": "messages", "id": convoy::id::mint().to_string() }));
            let ignored = ctx.ops(json!(ops)).await?;
            drop(ignored);
            held(&ctx, "messages", input["second"].as_i64().expect("a number"));
            Ok(json!("fine"))
        });
    let mut tables = crate::shared::tables();
    tables.as_array_mut().expect("a list").push(convoy_testkit::table("others", &[]));
    let app = db.app_with(json!({ "limits": { "maxDocumentsWritten": 10 } }), tables, functions).await;
    let client = app.client();
    for (name, first, second) in [("held", 11, 0), ("held", 6, 5), ("sent", 11, 0), ("sent", 6, 5)] {
        let reply = client.mutate(name, json!({ "first": first, "second": second })).await;
        assert_eq!((reply.status, reply.code()), (413, "PAYLOAD_TOO_LARGE"), "{name} {first} {second}");
    }
    let mut psql = db.psql().await;
    let count = "select ((select count(*) from messages) + (select count(*) from others))::text";
    assert_eq!(psql.column(count).await, ["0"]);
    for (name, first, second) in [("held", 10, 0), ("held", 6, 4), ("sent", 10, 0), ("sent", 6, 4)] {
        client.mutate(name, json!({ "first": first, "second": second })).await.data();
    }
    assert_eq!(psql.column(count).await, ["40"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_unique_index_from_the_schema_gives_a_warning() {
    let db = TestDb::new().await;
    let of = |unique: bool| json!([convoy_testkit::table("channels", &[("by_name", unique, &[("name", "text")])])]);
    let app = db.app(of(true), Functions::new()).await;
    let program = json!({ "schema": { "tables": of(false) }, "functions": [], "hasContext": false, "sync": true });
    let loaded = app.engine.load(serde_json::from_value(program).expect("a program"), Functions::new().host()).await;
    let warnings = loaded.expect("it loads").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("drop index \"convoy_channels_by_name_"), "{warnings:?}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_out_of_range_compare_like_the_range_ends() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions().query("between", |ctx, input| async move {
        let bound = |name: &str| json!({ "value": input[name], "inclusive": false });
        ctx.op(json!({
            "op": "scan", "table": "messages", "index": "by_creation_time", "eq": [],
            "lower": bound("after"), "upper": bound("before"), "order": "asc", "limit": null,
        }))
        .await
    });
    let app = db.app(crate::shared::tables(), functions).await;
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "now" })).await.data();
    for (after, before, found) in [(-1e300, 1e300, 1), (1e300, 1e301, 0), (-1e300, -1e18, 0), (0.0, 1e18, 1)] {
        let list = app.client().query("between", json!({ "after": after, "before": before })).await.data();
        assert_eq!(list.as_array().map(Vec::len), Some(found), "{after} {before}");
    }
    app.engine.close().await;
}
