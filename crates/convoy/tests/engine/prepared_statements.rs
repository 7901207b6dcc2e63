//! Statements prepared before their tables changed are prepared again, without errors for callers.

use convoy_testkit::{Functions, TestDb};
use serde_json::{Value, json};

use crate::shared::{functions, tables};

fn raw(input: &Value) -> Value {
    let values = input["values"].as_array().cloned().unwrap_or_default();
    json!({ "op": "raw", "text": input["sql"], "values": values, "tables": [] })
}

/// Functions that run `sql`, one of each kind.
fn with_raw() -> Functions {
    functions()
        .query("raw", |ctx, input| async move { ctx.op(raw(&input)).await })
        .query("rawTwice", |ctx, input| async move {
            ctx.op(raw(&input)).await?;
            ctx.op(raw(&input)).await
        })
        .mutation("rawWrite", |ctx, input| async move { ctx.op(raw(&input)).await })
        .action("rawAlone", |ctx, input| async move { ctx.op(raw(&input)).await })
}

const RUN: &str = "create function run(statement text) returns text language plpgsql as $$ begin execute statement; return 'done'; end $$";

fn leak(statement: &str) -> Value {
    json!({ "sql": "select run($1)", "values": [statement] })
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_prepared_again_after_their_tables_changed() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "poolSize": 2 }), tables(), with_raw()).await;
    let mut psql = db.psql().await;
    psql.run(
        "create type mood as enum ('sad'); create table people (n int, m mood); insert into people values (1, 'sad')",
    )
    .await;
    let statements = [
        json!({ "sql": "select * from people" }),
        json!({ "sql": "select n from people where n = $1", "values": ["1"] }),
        json!({ "sql": "select * from people where m = $1::mood", "values": ["sad"] }),
    ];
    let changes = [
        "select 1",
        "alter table people add column extra int",
        "alter table people alter column n type text",
        "alter table people drop column m; drop type mood; create type mood as enum ('sad'); alter table people add column m mood default 'sad'",
        "drop table people; create table people (m mood, n int); insert into people values ('sad', 1)",
    ];
    for change in changes {
        psql.run(change).await;
        for statement in &statements {
            for _ in 0..2 {
                for name in ["raw", "rawTwice"] {
                    let reply = app.client().query(name, statement.clone()).await;
                    assert_eq!(reply.status, 200, "{change}: {name} {statement} {reply:?}");
                    assert_eq!(reply.data().as_array().map(Vec::len), Some(1));
                }
                let reply = app.client().mutate("rawWrite", statement.clone()).await;
                assert_eq!(reply.status, 200, "{change}: {statement} {reply:?}");
                let reply = app
                    .client()
                    .send("POST".parse().expect("a method"), "/api/action/rawAlone", statement.to_string())
                    .await;
                assert_eq!(reply.status, 200, "{change}: {statement} {reply:?}");
            }
        }
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_statements_survive_changed_tables_and_deallocation() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "poolSize": 1 }), tables(), with_raw()).await;
    db.psql().await.run(RUN).await;
    let client = app.client();
    let message = |body: &str| json!({ "channel": "a", "n": 1, "body": body });
    let id = client.mutate("messages.sendNow", message("one")).await.data();
    for change in [
        "alter table messages alter column created_at type timestamp",
        "alter table messages alter column created_at type timestamptz",
    ] {
        client.query("messages.get", json!({ "id": id })).await;
        db.psql().await.run(change).await;
    }
    assert_eq!(client.query("messages.get", json!({ "id": id })).await.data()["body"], "one");
    for round in 0..2 {
        // These deallocate the statement that runs them, and may fail; the next calls do not.
        client.mutate("rawWrite", leak("deallocate all")).await;
        client.query("raw", leak("deallocate all")).await;
        let replies = [
            client.mutate("messages.sendNow", message("two")).await,
            client.query("messages.get", json!({ "id": id })).await,
        ];
        for (at, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.status, 200, "round {round}, call {at}: {reply:?}");
        }
    }
    app.engine.close().await;
}
