//! Tables and types change while sessions have prepared statements that use them: the next call
//! prepares again, without an error.

use convoy_testkit::{App, Functions, TestDb};
use serde_json::{Value, json};

use crate::shared::{functions, raw, tables};

/// Functions that run raw SQL, in each context in which it can run.
fn raw_functions() -> Functions {
    functions()
        .query("raw.alone", |ctx, input| async move { ctx.op(raw(sql(&input), &input["values"])).await })
        .query("raw.inSnapshot", |ctx, input| async move {
            ctx.op(json!({ "op": "get", "table": "messages", "id": convoy::id::mint().to_string() })).await?;
            ctx.op(raw(sql(&input), &input["values"])).await
        })
        .mutation("raw.inMutation", |ctx, input| async move { ctx.op(raw(sql(&input), &input["values"])).await })
        .action("raw.byItself", |ctx, input| async move { ctx.op(raw(sql(&input), &input["values"])).await })
}

fn sql(input: &Value) -> &str {
    input["sql"].as_str().expect("SQL")
}

async fn serve(db: &TestDb) -> App {
    db.app_with(json!({ "poolSize": 2 }), tables(), raw_functions()).await
}

/// Runs a statement in every function, on warm sessions; returns the results.
async fn run_everywhere(app: &App, sql: &str, values: &Value) -> Vec<Value> {
    let client = app.client();
    let input = json!({ "sql": sql, "values": values });
    let mut answers = Vec::new();
    // Several times, so that more than one session has prepared it.
    for _ in 0..3 {
        answers.push(client.query("raw.alone", input.clone()).await.data());
        answers.push(client.query("raw.inSnapshot", input.clone()).await.data());
        answers.push(client.mutate("raw.inMutation", input.clone()).await.data());
        answers.push(client.act("raw.byItself", input.clone()).await.data());
    }
    answers
}

/// Changes made by hand between two calls.
const CHANGES: &[(&str, &str)] = &[
    ("an added column", "alter table things add column b int default 2"),
    ("a dropped column", "alter table things add column c int; alter table things drop column a, add column d text"),
    ("another type", "alter table things alter column a type text"),
    ("a new table", "drop table things; create table things (a text, e text, f text)"),
    ("a new view", "create or replace view seen as select 1 as x, 2 as y"),
];

#[tokio::test(flavor = "multi_thread")]
async fn select_star_succeeds_after_its_table_changed() {
    for (name, change) in CHANGES {
        let db = TestDb::new().await;
        let mut psql = db.psql().await;
        psql.run("create table things (a int); create view seen as select 1 as x").await;
        let app = serve(&db).await;
        run_everywhere(&app, "select * from things", &json!([])).await;
        run_everywhere(&app, "select * from seen", &json!([])).await;
        psql.run(change).await;
        run_everywhere(&app, "select * from things", &json!([])).await;
        let seen = run_everywhere(&app, "select * from seen", &json!([])).await;
        let expected = if *name == "a new view" { json!([{ "x": 1, "y": 2 }]) } else { json!([{ "x": 1 }]) };
        assert!(seen.iter().all(|answer| *answer == expected), "{name}: {seen:?}");
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_type_is_found() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    let create =
        "create type mood as enum ('good', 'bad'); create table people (mood mood); insert into people values ('good')";
    psql.run(create).await;
    let app = serve(&db).await;
    let (sql, values) = ("select count(*)::int as n from people where mood = $1", json!(["good"]));
    run_everywhere(&app, sql, &values).await;
    psql.run(&format!("drop table people; drop type mood; {create}")).await;
    let found = run_everywhere(&app, sql, &values).await;
    assert!(found.iter().all(|answer| *answer == json!([{ "n": 1 }])), "{found:?}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_query_continues_after_its_table_changed() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    psql.run("create table things (a int)").await;
    let app = serve(&db).await;
    let input = json!({ "sql": "select * from things, (select count(*) from messages) as m (n)", "values": [] });
    let mut watch = app.client().watch("raw.alone", input).await;
    assert_eq!(watch.next().await, json!([]));
    psql.run("insert into things values (1); alter table things add column b int default 2").await;
    watch.until(|rows| *rows == json!([{ "a": 1, "b": 2, "n": "0" }])).await;
    app.engine.close().await;
}

/// The statements of the engine are prepared too.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_the_engines_prepared_statements_is_replaced() {
    let db = TestDb::new().await;
    // A statement cannot deallocate itself while it runs.
    db.psql()
        .await
        .run(
            "create function deallocate_others() returns void language plpgsql as $$
             declare prepared text;
             begin
               for prepared in select name from pg_prepared_statements where name not like 'convoy%' loop
                 execute format('deallocate %I', prepared);
               end loop;
             end $$",
        )
        .await;
    let app = serve(&db).await;
    let client = app.client();
    let id = client.mutate("messages.sendNow", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    for n in 0..4 {
        run_everywhere(&app, "select deallocate_others()", &json!([])).await;
        client.query("messages.list", json!({ "channel": "a" })).await.data();
        let edit = json!({ "id": id, "set": { "body": format!("{n}") }, "unset": [] });
        client.mutate("messages.edit", edit).await.data();
        client.mutate("messages.send", json!({ "channel": "a", "n": n, "body": "y" })).await.data();
    }
    app.engine.close().await;
}

/// Columns that were changed by hand are read with their new types.
#[tokio::test(flavor = "multi_thread")]
async fn engine_statements_succeed_after_a_managed_table_changed() {
    let db = TestDb::new().await;
    let app = serve(&db).await;
    let client = app.client();
    client.mutate("messages.sendNow", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    client.query("messages.list", json!({ "channel": "a" })).await.data();
    let mut psql = db.psql().await;
    psql.run("alter table messages add column extra int default 3; alter table messages alter column created_at type timestamptz(3)")
        .await;
    for _ in 0..4 {
        let list = client.query("messages.list", json!({ "channel": "a" })).await.data();
        assert_eq!(list[0]["body"], json!("x"));
        client.mutate("messages.send", json!({ "channel": "b", "n": 1, "body": "y" })).await.data();
    }
    app.engine.close().await;
}
