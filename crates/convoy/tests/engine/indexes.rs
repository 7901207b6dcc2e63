//! Indexes are used, accept any stored value, and have distinct names.

use convoy_testkit::{App, Functions, TestDb, table};
use serde_json::{Value, json};

fn things() -> Value {
    json!([table(
        "things",
        &[
            ("by_name", false, &[("name", "text"), ("size", "number")]),
            ("by_size", false, &[("size", "number")]),
            ("by_done", false, &[("done", "boolean")]),
            ("by_any", false, &[("any", "json")]),
            ("by_place", false, &[("place.city", "text")]),
            ("by_code", true, &[("code", "text")]),
        ]
    )])
}

fn functions() -> Functions {
    Functions::new()
        .query("run", |ctx, op| async move { ctx.op(op).await })
        .mutation("add", |ctx, input| async move { Ok(json!(ctx.insert("things", input).await?)) })
        .mutation("write", |ctx, op| async move { ctx.op(op).await })
}

/// The plan of an operation.
async fn plan(app: &App, op: Value) -> String {
    app.engine.plan_of(&json!([op]).to_string()).await.expect("a plan")
}

async fn things_app() -> (TestDb, App) {
    let db = TestDb::new().await;
    let app = db.app(things(), functions()).await;
    db.psql()
        .await
        .run(
            "insert into things (data)
             select jsonb_build_object('name', 'n' || n % 100, 'size', n, 'done', n % 100 = 0, 'code', n::text,
               'place', jsonb_build_object('city', 'c' || n % 100),
               'any', case when n % 2 = 0 then to_jsonb(n) else to_jsonb('t' || n) end)
             from generate_series(1, 20000) as n;
             analyze things",
        )
        .await;
    (db, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn equality_ranges_and_order_use_the_index() {
    let (_db, app) = things_app().await;
    let scan = |index: &str, more: Value| {
        let mut op = json!({ "op": "scan", "table": "things", "index": index, "eq": [], "order": "asc", "limit": 20 });
        op.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        op
    };
    let bound = |value: Value| json!({ "value": value, "inclusive": true });
    for (index, more) in [
        ("by_name", json!({ "eq": ["n7"], "order": "desc" })),
        ("by_name", json!({ "eq": ["n7"], "lower": bound(json!(500)) })),
        ("by_name", json!({ "lower": bound(json!("n5")), "upper": bound(json!("n6")) })),
        ("by_name", json!({ "eq": ["n7", 207] })),
        ("by_size", json!({ "lower": bound(json!(19_000)), "order": "desc" })),
        ("by_size", json!({})),
        ("by_done", json!({ "eq": [true] })),
        ("by_any", json!({ "eq": [40] })),
        ("by_any", json!({ "eq": ["t41"] })),
        ("by_any", json!({ "lower": bound(json!("t5")), "order": "asc" })),
        ("by_place", json!({ "eq": ["c9"] })),
        ("by_code", json!({ "eq": ["77"] })),
        ("by_creation_time", json!({ "order": "desc" })),
    ] {
        let plan = plan(&app, scan(index, more.clone())).await;
        let name = if index == "by_code" { "Scan".to_owned() } else { format!("using convoy_things_{index}") };
        let walks = plan.contains("Index") && plan.contains(&name) && !plan.contains("Seq Scan");
        // The unique index yields at most one row, so a sort costs nothing.
        assert!(walks && (index == "by_code" || !plan.contains("Sort")), "{index} {more}\n{plan}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_middle_starts_its_scan_there() {
    let (_db, app) = things_app().await;
    let page = |cursor: Value| {
        json!({ "op": "page", "table": "things", "index": "by_name", "eq": ["n7"], "order": "asc", "limit": null,
                "cursor": cursor, "end": null, "size": 5 })
    };
    let first = app.client().query("run", page(Value::Null)).await.data();
    let plan = plan(&app, page(first["continueCursor"].clone())).await;
    assert!(plan.contains("Index Scan using convoy_things_by_name"), "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("Sort"), "{plan}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_are_stored_found_and_distinguished() {
    let db = TestDb::new().await;
    let app = db.app(things(), functions()).await;
    let client = app.client();
    // Incompressible text, which would exceed the size of an index row.
    let noise = |seed: u64| -> String {
        let mut state = seed;
        (0..30_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'a' + (state >> 59) as u8 % 26)
            })
            .collect()
    };
    let (long, other) = (noise(1), noise(1) + "x");
    for name in [&long, &other] {
        let code = name.clone();
        client
            .mutate("add", json!({ "name": name, "code": code, "any": name, "place": { "city": name } }))
            .await
            .data();
    }
    let again = client.mutate("add", json!({ "name": "n", "code": long })).await;
    assert_eq!(again.code(), "CONFLICT");
    let found = |index: &'static str, name: String| {
        let client = app.client();
        async move {
            let op =
                json!({ "op": "scan", "table": "things", "index": index, "eq": [name], "order": "asc", "limit": null });
            client.query("run", op).await.data().as_array().expect("a list").len()
        }
    };
    for index in ["by_name", "by_any", "by_place", "by_code"] {
        assert_eq!(found(index, long.clone()).await, 1, "{index}");
        assert_eq!(found(index, other.clone()).await, 1, "{index}");
        assert_eq!(found(index, noise(2)).await, 0, "{index}");
    }
    let above = |value: String, inclusive: bool| {
        json!({ "op": "count", "table": "things", "index": "by_name", "eq": [], "order": "asc", "limit": null,
                "lower": { "value": value, "inclusive": inclusive } })
    };
    assert_eq!(client.query("run", above(long.clone(), true)).await.data(), 2);
    assert_eq!(client.query("run", above(long.clone(), false)).await.data(), 1);
    assert_eq!(client.query("run", above(other, false)).await.data(), 0);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_another_type_neither_fail_an_insert_nor_match() {
    let db = TestDb::new().await;
    let app = db.app(things(), functions()).await;
    db.psql()
        .await
        .run(&format!(
            r#"insert into things (data) values
               ('{{"name": true, "size": "9", "done": "true", "place": "Ulm"}}'),
               ('{{"name": "true", "size": 9, "done": true, "place": {{"city": "Ulm"}}}}'),
               ('{{"name": null, "size": {}}}')"#,
            "9".repeat(5_000)
        ))
        .await;
    let count = |index: &'static str, value: Value| {
        let client = app.client();
        async move {
            let op = json!({ "op": "count", "table": "things", "index": index, "eq": [value], "order": "asc", "limit": null });
            client.query("run", op).await.data()
        }
    };
    assert_eq!(count("by_name", json!("true")).await, 1);
    assert_eq!(count("by_size", json!(9)).await, 1);
    assert_eq!(count("by_done", json!(true)).await, 1);
    assert_eq!(count("by_place", json!("Ulm")).await, 1);
    // Null matches missing and null values, and no value of another type.
    assert_eq!(count("by_name", Value::Null).await, 1);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_index_names_do_not_collide_in_the_database() {
    let db = TestDb::new().await;
    let long = "a".repeat(62);
    let (one, two) = (format!("{long}1"), format!("{long}2"));
    let (by_x, by_y) = (format!("{long}x"), format!("{long}y"));
    let tables = json!([
        table(&one, &[(&by_x, false, &[("x", "text")]), (&by_y, false, &[("x", "number")])]),
        table(&two, &[(&by_x, false, &[("x", "text")])]),
    ]);
    let app = db.app(tables, Functions::new()).await;
    let created = db
        .psql()
        .await
        .column("select indexname::text from pg_indexes where indexname like 'convoy%' and indexdef not like '%(created_at, id)'")
        .await;
    assert_eq!(created.len(), 3, "{created:?}");
    app.engine.close().await;
}
