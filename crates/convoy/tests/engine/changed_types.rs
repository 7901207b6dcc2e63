//! Columns change their types while sessions have prepared statements for them: values are
//! stored as given, and calls do not fail.

use convoy_testkit::{App, Functions, TestDb, Thrown, within};
use serde_json::{Value, json};

use crate::bank::{bank_of, get, set};
use crate::shared::{functions, raw, tables};

fn with_raw() -> Functions {
    functions()
        .mutation("raw.inMutation", |ctx, input| async move { ctx.op(raw(sql(&input), &input["values"])).await })
        .action("raw.byItself", |ctx, input| async move { ctx.op(raw(sql(&input), &input["values"])).await })
        .action("raw.inTransaction", |ctx, input| async move {
            // Like `ctx.db.transaction`, which begins again after a conflict.
            for _ in 0..3 {
                ctx.op(json!({ "op": "begin" })).await?;
                let ran = ctx.op(raw(sql(&input), &input["values"])).await;
                match ran {
                    Ok(rows) => {
                        ctx.op(json!({ "op": "commit" })).await?;
                        return Ok(rows);
                    }
                    Err(Thrown::Refused(code, _)) if code.as_str() == "CONFLICT" => {
                        ctx.op(json!({ "op": "rollback" })).await?;
                    }
                    Err(other) => return Err(other),
                }
            }
            Err(Thrown::Broke("it kept conflicting".into()))
        })
        // The second statement fails, and is rolled back to a savepoint.
        .mutation("raw.goesBack", |ctx, input| async move {
            let with = |value: &str| raw(sql(&input), &json!([value]));
            ctx.op(with("1")).await?;
            ctx.op(json!({ "op": "savepoint", "name": 1 })).await?;
            let refused = ctx.op(with("one")).await.is_err();
            ctx.op(json!({ "op": "rollback", "to": 1 })).await?;
            ctx.op(with("2")).await?;
            Ok(json!(refused))
        })
}

fn sql(input: &Value) -> &str {
    input["sql"].as_str().expect("SQL")
}

async fn serve(db: &TestDb) -> App {
    db.app_with(json!({ "poolSize": 1 }), tables(), with_raw()).await
}

/// The type of a column, a value, its new type, and a value that only the new type can hold.
const TYPE_CHANGES: &[(&str, &str, &str, &str)] = &[
    ("date", "2024-01-01", "timestamp", "2024-01-02 12:34:56"),
    ("timestamp", "2024-01-01 00:00:00", "timestamptz", "2024-01-02 12:00:00+05"),
    ("int", "1", "text", "007"),
    ("int", "1", "bigint", "3000000000"),
    ("int", "1", "numeric", "1.5"),
    ("numeric", "1", "text", "abc"),
    ("real", "1", "double precision", "1.23456789012"),
    ("boolean", "true", "text", "yes"),
    ("json", "{}", "jsonb", r#"{"a": 1}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_stored_as_given_after_its_column_changed_its_type() {
    for (from, first, to, second) in TYPE_CHANGES {
        let db = TestDb::new().await;
        let mut psql = db.psql().await;
        psql.run(&format!("create table things (a {from})")).await;
        let app = serve(&db).await;
        let client = app.client();
        // With a comment at its end, which must not comment out what Convoy appends.
        let insert = |value: &str| json!({ "sql": "insert into things (a) values ($1) -- a", "values": [value] });
        for round in [first, second] {
            if round == second {
                psql.run(&format!("truncate things; alter table things alter a type {to} using a::text::{to}")).await;
            }
            client.mutate("raw.inMutation", insert(round)).await.data();
            client.act("raw.byItself", insert(round)).await.data();
            client.act("raw.inTransaction", insert(round)).await.data();
        }
        let stored =
            psql.column(&format!("select count(*)::text from things where a::text = '{second}'::{to}::text")).await;
        let found = psql.column("select a::text from things").await;
        assert_eq!(stored, ["3"], "{from} became {to}: {found:?}");
        app.engine.close().await;
    }
}

/// The kind of a type, the statement that creates it, and a value.
const RECREATED_TYPES: &[(&str, &str, &str)] = &[
    ("type", "create type t as enum ('x')", "x"),
    ("type", "create type t as (a int)", "(1)"),
    ("type", "create type t as range (subtype = int4)", "[1,2)"),
    ("domain", "create domain t as text", "x"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_type_takes_values_in_every_kind_of_call() {
    for (kind, create, value) in RECREATED_TYPES {
        let db = TestDb::new().await;
        let mut psql = db.psql().await;
        psql.run(create).await;
        let app = serve(&db).await;
        let client = app.client();
        for _ in 0..2 {
            for (cast, value) in [("t", (*value).to_owned()), ("t[]", format!("{{\"{value}\"}}"))] {
                let input = json!({ "sql": format!("select count($1::{cast})::int as n"), "values": [value] });
                let one = json!([{ "n": 1 }]);
                assert_eq!(client.mutate("raw.inMutation", input.clone()).await.data(), one, "{create}");
                assert_eq!(client.act("raw.byItself", input.clone()).await.data(), one, "{create}");
                assert_eq!(client.act("raw.inTransaction", input).await.data(), one, "{create}");
            }
            psql.run(&format!("drop {kind} t; {create}")).await;
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_succeeds_after_the_columns_of_a_statement_changed() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    psql.run("create table things (a int); insert into things values (1)").await;
    let app = serve(&db).await;
    let input = json!({ "sql": "select * from things", "values": [] });
    let client = app.client();
    assert_eq!(client.act("raw.inTransaction", input.clone()).await.data(), json!([{ "a": 1 }]));
    psql.run("alter table things add column b int default 2").await;
    assert_eq!(client.act("raw.inTransaction", input).await.data(), json!([{ "a": 1, "b": 2 }]));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_statement_runs_again_after_a_rollback_to_a_savepoint() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    psql.run("create table things (a int)").await;
    let app = serve(&db).await;
    let input = json!({ "sql": "insert into things (a) values ($1)" });
    for _ in 0..2 {
        assert_eq!(app.client().mutate("raw.goesBack", input.clone()).await.data(), json!(true));
    }
    assert_eq!(psql.column("select a::text from things order by a").await, ["1", "1", "2", "2"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_queue_survives_changed_tables_and_types() {
    let functions = crate::bank::functions().mutation("bank.bumpWithRaw", |ctx, input| async move {
        let balance = ctx.op(get(&input["id"])).await?["balance"].as_i64().expect("a balance");
        ctx.op(set(&input["id"], balance + 1)).await?;
        if input["value"] == "1" {
            ctx.op(raw("select * from things", &json!([]))).await?;
        }
        ctx.op(raw("insert into things (a) values ($1)", &json!([input["value"]]))).await
    });
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    psql.run("create table things (a int)").await;
    let (app, ids) = bank_of(&db, 1, json!({}), functions).await;
    let mut bumps = 0;
    for (change, value) in [
        ("select 1", "1"),
        ("alter table things add column b int", "1"),
        ("alter table things drop column b", "1"),
        ("alter table things alter a type text", "007"),
    ] {
        psql.run(change).await;
        psql.run("truncate things").await;
        let goal = app.engine.stats().queued_calls + 40;
        let mut given = 0;
        while app.engine.stats().queued_calls < goal {
            let calls: Vec<_> = (0..8)
                .map(|_| {
                    let (client, input) = (app.client(), json!({ "id": ids[0], "value": value }));
                    tokio::spawn(async move { client.mutate("bank.bumpWithRaw", input).await })
                })
                .collect();
            for call in calls {
                within(call).await.expect("an answer").data();
            }
            given += 8;
        }
        bumps += given;
        let stored = psql.column(&format!("select count(*)::text from things where a::text = '{value}'")).await;
        assert_eq!(stored, [given.to_string()], "{change}");
    }
    let balance = app.client().query("bank.get", json!({ "id": ids[0] })).await.data();
    assert_eq!(balance["balance"], json!(1_000 + bumps));
    app.engine.close().await;
}
