//! Tables and types change while sessions have statements prepared that use them: the
//! next call prepares again, and nobody is told.

use convoy_testkit::{App, Functions, TestDb};
use serde_json::{Value, json};

use crate::shared::{functions, raw, tables};

/// What is read by SQL of the functions' own, in each of the places where that may stand.
fn readers() -> Functions {
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

async fn served(db: &TestDb) -> App {
    db.app_with(json!({ "poolSize": 2 }), tables(), readers()).await
}

/// Asks in every place, on sessions that are warm; gives what each was answered.
async fn everywhere(app: &App, sql: &str, values: &Value) -> Vec<Value> {
    let client = app.client();
    let input = json!({ "sql": sql, "values": values });
    let mut answers = Vec::new();
    // Several times, so that more than one session has it prepared.
    for _ in 0..3 {
        answers.push(client.query("raw.alone", input.clone()).await.data());
        answers.push(client.query("raw.inSnapshot", input.clone()).await.data());
        answers.push(client.mutate("raw.inMutation", input.clone()).await.data());
        answers.push(client.act("raw.byItself", input.clone()).await.data());
    }
    answers
}

/// What is done by hand between two calls.
const CHANGES: &[(&str, &str)] = &[
    ("a column more", "alter table things add column b int default 2"),
    ("a column less", "alter table things add column c int; alter table things drop column a, add column d text"),
    ("another type", "alter table things alter column a type text"),
    ("a new table", "drop table things; create table things (a text, e text, f text)"),
    ("a new view", "create or replace view seen as select 1 as x, 2 as y"),
];

#[tokio::test(flavor = "multi_thread")]
async fn select_star_goes_on_when_its_table_changes() {
    for (name, change) in CHANGES {
        let db = TestDb::new().await;
        let mut psql = db.psql().await;
        psql.run("create table things (a int); create view seen as select 1 as x").await;
        let app = served(&db).await;
        everywhere(&app, "select * from things", &json!([])).await;
        everywhere(&app, "select * from seen", &json!([])).await;
        psql.run(change).await;
        everywhere(&app, "select * from things", &json!([])).await;
        let seen = everywhere(&app, "select * from seen", &json!([])).await;
        let expected = if *name == "a new view" { json!([{ "x": 1, "y": 2 }]) } else { json!([{ "x": 1 }]) };
        assert!(seen.iter().all(|answer| *answer == expected), "{name}: {seen:?}");
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_made_again_is_found_again() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    let make =
        "create type mood as enum ('good', 'bad'); create table people (mood mood); insert into people values ('good')";
    psql.run(make).await;
    let app = served(&db).await;
    let (sql, values) = ("select count(*)::int as n from people where mood = $1", json!(["good"]));
    everywhere(&app, sql, &values).await;
    psql.run(&format!("drop table people; drop type mood; {make}")).await;
    let found = everywhere(&app, sql, &values).await;
    assert!(found.iter().all(|answer| *answer == json!([{ "n": 1 }])), "{found:?}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_query_goes_on_when_its_table_changes() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    psql.run("create table things (a int)").await;
    let app = served(&db).await;
    let input = json!({ "sql": "select * from things, (select count(*) from messages) as m (n)", "values": [] });
    let mut watch = app.client().watch("raw.alone", input).await;
    assert_eq!(watch.next().await, json!([]));
    psql.run("insert into things values (1); alter table things add column b int default 2").await;
    watch.until(|rows| *rows == json!([{ "a": 1, "b": 2, "n": "0" }])).await;
    app.engine.close().await;
}

/// Our own statements are prepared, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_forgotten_our_statements_is_replaced() {
    let db = TestDb::new().await;
    // A statement cannot forget itself while it runs.
    db.psql()
        .await
        .run(
            "create function forget() returns void language plpgsql as $$
             declare prepared text;
             begin
               for prepared in select name from pg_prepared_statements where name not like 'convoy%' loop
                 execute format('deallocate %I', prepared);
               end loop;
             end $$",
        )
        .await;
    let app = served(&db).await;
    let client = app.client();
    let id = client.mutate("messages.sendNow", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    for n in 0..4 {
        everywhere(&app, "select forget()", &json!([])).await;
        client.query("messages.list", json!({ "channel": "a" })).await.data();
        let edit = json!({ "id": id, "set": { "body": format!("{n}") }, "unset": [] });
        client.mutate("messages.edit", edit).await.data();
        client.mutate("messages.send", json!({ "channel": "a", "n": n, "body": "y" })).await.data();
    }
    app.engine.close().await;
}

/// Columns of ours that somebody changes by hand are read as they are.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_statements_go_on_when_a_table_of_ours_is_changed() {
    let db = TestDb::new().await;
    let app = served(&db).await;
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
