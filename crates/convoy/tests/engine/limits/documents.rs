//! The size of a document at its limit, by each kind of write and each way in which a function
//! runs.

use convoy_testkit::{App, Ctx, Functions, Psql, Reply, TestDb, Thrown, table, within};
use serde_json::{Value, json};

use crate::shared::tables as chat_tables;

const LIMIT: usize = 2_000;
/// A document of `n` and `body` as Postgres writes it, without a body.
const EMPTY: usize = r#"{"n": 9, "body": ""}"#.len();
const ID: &str = "00000000-0000-4000-8000-000000000001";

/// How the function `write` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its writes are buffered, and measured in the buffer.
    Optimistic,
    /// Each of its operations is a statement of its transaction.
    Serializable,
    /// Its transaction and buffer are shared with other calls.
    SerialQueue,
    /// A mutation whose operations are committed separately.
    Autocommit,
    /// The same with a time limit of its own, for which each operation has a transaction.
    Timed,
    /// An action, whose operations are committed separately.
    Action,
    /// An action that begins and commits a transaction.
    OwnTransaction,
}

use Way::{Action, Autocommit, Optimistic, OwnTransaction, SerialQueue, Serializable, Timed};

const WAYS: [Way; 7] = [Optimistic, Serializable, SerialQueue, Autocommit, Timed, Action, OwnTransaction];
const TRANSACTIONAL: [Way; 3] = [Optimistic, Serializable, SerialQueue];

/// Sends the operations in one message, or holds them, after another write.
async fn write(ctx: &Ctx, input: &Value, way: Way) -> Result<Value, Thrown> {
    if way == Serializable {
        // A count needs a transaction.
        let count = json!({ "op": "count", "table": "others", "index": null, "eq": [], "order": "asc", "limit": null });
        ctx.op(count).await?;
    }
    if way.is_atomic() {
        ctx.insert("others", json!({})).await?;
    }
    if input["held"] == true {
        input["ops"].as_array().expect("a list").iter().for_each(|op| ctx.hold_op(op.clone()));
        return Ok(Value::Null);
    }
    let results = ctx.ops(input["ops"].clone()).await?;
    if input["ignores"] == true {
        return Ok(json!(results.iter().filter(|result| result.is_err()).count()));
    }
    results.into_iter().try_fold(Value::Null, |_, result| result)
}

impl Way {
    /// Whether all writes of the function are committed together.
    fn is_atomic(self) -> bool {
        TRANSACTIONAL.contains(&self) || self == OwnTransaction
    }

    fn functions(self) -> Functions {
        let description = match self {
            Optimistic | Serializable | SerialQueue => json!({ "kind": "mutation" }),
            Autocommit => json!({ "kind": "mutation", "transaction": false }),
            Timed => json!({ "kind": "mutation", "transaction": false, "limits": { "timeoutMs": 600_000 } }),
            Action | OwnTransaction => json!({ "kind": "action" }),
        };
        let mut description = description;
        description["name"] = json!("write");
        Functions::new()
            .query("get", |ctx, _| async move { ctx.op(json!({ "op": "get", "table": "notes", "id": ID })).await })
            .add(description, move |ctx, input| async move {
                if self != OwnTransaction {
                    return write(&ctx, &input, self).await;
                }
                ctx.op(json!({ "op": "begin" })).await?;
                match write(&ctx, &input, self).await {
                    Ok(written) => ctx.op(json!({ "op": "commit" })).await.map(|_| written),
                    Err(thrown) => {
                        ctx.op(json!({ "op": "rollback" })).await?;
                        if input["again"] != true {
                            return Err(thrown);
                        }
                        ctx.op(json!({ "op": "begin" })).await?;
                        ctx.insert("others", json!({})).await?;
                        ctx.op(json!({ "op": "commit" })).await
                    }
                }
            })
    }

    async fn serve(self, db: &TestDb) -> App {
        let failpoints = if self == SerialQueue { vec!["alwaysSerialQueue"] } else { Vec::new() };
        let options = json!({ "limits": { "documentBytes": LIMIT }, "failpoints": failpoints });
        db.app_with(options, json!([table("notes", &[]), table("others", &[])]), self.functions()).await
    }

    async fn run(self, app: &App, input: Value) -> Reply {
        match self {
            Action | OwnTransaction => within(app.client().act("write", input)).await,
            _ => within(app.client().mutate("write", input)).await,
        }
    }
}

fn doc(size: usize) -> Value {
    json!({ "n": 9, "body": "x".repeat(size - EMPTY) })
}

fn op(name: &str, fields: Value) -> Value {
    let mut op = json!({ "op": name, "table": "notes", "id": ID });
    op.as_object_mut().expect("an object").extend(fields.as_object().expect("fields").clone());
    op
}

fn insert(size: usize) -> Value {
    op("insert", json!({ "id": convoy::id::mint().to_string(), "doc": doc(size) }))
}

/// The operations that write a document of this size, and the size of the stored one before.
type Write = (&'static str, fn(usize) -> (Vec<Value>, usize));

const WRITES: [Write; 6] = [
    ("insert", |size| (vec![insert(size)], EMPTY)),
    ("insertMany", |size| (vec![insert(EMPTY), insert(size), insert(EMPTY)], EMPTY)),
    ("replace", |size| (vec![op("replace", json!({ "doc": doc(size) }))], EMPTY)),
    ("patch", |size| (vec![op("patch", json!({ "set": { "body": doc(size)["body"] }, "unset": [] }))], EMPTY)),
    ("patch that removes", |size| {
        let new = json!({ "set": { "text": "x".repeat(size - EMPTY) }, "unset": ["body"] });
        (vec![op("patch", new)], EMPTY + 100)
    }),
    // Nine and one have one digit more.
    ("increment", |size| (vec![op("increment", json!({ "field": "n", "by": 1, "base": 0 }))], size - 1)),
];

async fn store(psql: &mut Psql, size: usize) {
    let data = doc(size);
    psql.run(&format!("truncate notes, others; insert into notes (id, data) values ('{ID}', '{data}')")).await;
}

/// The sizes of all documents in Postgres.
async fn sizes(psql: &mut Psql) -> Vec<usize> {
    let sizes =
        "select octet_length(data::text)::text from (select * from notes union all select * from others) as all_";
    let mut sizes: Vec<usize> = psql.column(sizes).await.iter().map(|size| size.parse().expect("a number")).collect();
    sizes.sort_unstable();
    sizes
}

fn assert_refused(reply: &Reply, size: usize, what: &str) {
    assert_eq!((reply.status, reply.code()), (413, "PAYLOAD_TOO_LARGE"), "{what}: {}", reply.body);
    let message = reply.body["error"]["message"].as_str().expect("a message");
    let states = |text: &str| assert!(message.contains(text), "{what}: {message}");
    states("`notes`");
    states(&format!("has {size} bytes as JSON, and limits.documentBytes is {LIMIT}. "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_the_limit_is_written_and_one_byte_more_has_no_effect() {
    for way in WAYS {
        let db = TestDb::new().await;
        let (app, mut psql) = (way.serve(&db).await, db.psql().await);
        for (name, write) in WRITES {
            let what = format!("{way:?} {name}");
            let (ops, before) = write(LIMIT + 1);
            store(&mut psql, before).await;
            assert_refused(&way.run(&app, json!({ "ops": ops })).await, LIMIT + 1, &what);
            if way.is_atomic() || name != "insertMany" {
                assert_eq!(sizes(&mut psql).await, [before], "{what}");
            }
            let (ops, before) = write(LIMIT);
            store(&mut psql, before).await;
            way.run(&app, json!({ "ops": ops })).await.data();
            assert_eq!(sizes(&mut psql).await.last(), Some(&LIMIT), "{what}");
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_held_until_the_function_returns_has_the_same_limit() {
    for way in TRANSACTIONAL {
        let db = TestDb::new().await;
        let (app, mut psql) = (way.serve(&db).await, db.psql().await);
        for (name, write) in WRITES.into_iter().filter(|(name, _)| name.starts_with("insert") || *name == "patch") {
            for with_patch in [false, true] {
                let what = format!("{way:?} {name} {with_patch}");
                // A held patch has the host send inserts in the same way.
                let other = op("patch", json!({ "set": { "n": 8 }, "unset": [] }));
                for (size, fits) in [(LIMIT + 1, false), (LIMIT, true)] {
                    let (mut ops, before) = write(size);
                    ops.extend(with_patch.then(|| other.clone()));
                    store(&mut psql, before).await;
                    let reply = way.run(&app, json!({ "ops": ops, "held": true })).await;
                    if fits {
                        reply.data();
                        assert_eq!(sizes(&mut psql).await.last(), Some(&LIMIT), "{what}");
                    } else {
                        assert_refused(&reply, size, &what);
                        assert_eq!(sizes(&mut psql).await, [before], "{what}");
                    }
                }
            }
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_commits_nothing_if_its_function_ignores_the_refusal() {
    for way in WAYS {
        let db = TestDb::new().await;
        let (app, mut psql) = (way.serve(&db).await, db.psql().await);
        for (name, write) in WRITES {
            let what = format!("{way:?} {name}");
            let (mut ops, before) = write(LIMIT + 1);
            ops.push(insert(EMPTY + 1));
            store(&mut psql, before).await;
            let reply = way.run(&app, json!({ "ops": ops, "ignores": true })).await;
            if way.is_atomic() {
                assert_refused(&reply, LIMIT + 1, &what);
                assert_eq!(sizes(&mut psql).await, [before], "{what}");
            } else {
                // The other operations have been committed by themselves.
                assert_eq!(reply.data(), 1, "{what}");
                let stored = sizes(&mut psql).await;
                assert!(stored.contains(&(EMPTY + 1)) && !stored.contains(&(LIMIT + 1)), "{what}: {stored:?}");
            }
            // It says nothing about the next transaction.
            way.run(&app, json!({ "ops": [insert(EMPTY)] })).await.data();
            if way == OwnTransaction {
                store(&mut psql, before).await;
                way.run(&app, json!({ "ops": write(LIMIT + 1).0, "again": true })).await.data();
                assert_eq!(sizes(&mut psql).await, ["{}".len(), before], "{what}");
            }
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_document_is_read_and_only_changed_so_that_it_fits() {
    for way in WAYS {
        let db = TestDb::new().await;
        let (app, mut psql) = (way.serve(&db).await, db.psql().await);
        store(&mut psql, 5_000).await;
        let read = app.client().query("get", json!({})).await.data();
        assert_eq!(read["body"].as_str().map(str::len), Some(5_000 - EMPTY));
        let patch = |set: Value, unset: Value| json!({ "ops": [op("patch", json!({ "set": set, "unset": unset }))] });
        for set in [json!({ "n": 1 }), json!({})] {
            let reply = way.run(&app, patch(set, json!([]))).await;
            assert_refused(&reply, 5_000, &format!("{way:?}"));
            let message = reply.body["error"]["message"].as_str().expect("a message");
            assert!(message.contains("A document that was larger before"), "{message}");
            assert_eq!(sizes(&mut psql).await, [5_000], "{way:?}");
        }
        way.run(&app, patch(json!({ "text": "short" }), json!(["body"]))).await.data();
        assert!(sizes(&mut psql).await.iter().all(|size| *size < 100), "{way:?}");
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_is_that_of_the_text_in_postgres() {
    let db = TestDb::new().await;
    let functions = Functions::new().mutation("insert", |ctx, input| async move {
        let op = format!(
            r#"{{"op":"insert","table":"messages","id":"{ID}","doc":{}}}"#,
            input["doc"].as_str().expect("JSON")
        );
        ctx.op(serde_json::from_str(&op).expect("an operation")).await
    });
    let app = db.app_with(json!({ "limits": { "documentBytes": 1 } }), chat_tables(), functions).await;
    let mut psql = db.psql().await;
    for doc in [
        "{}",
        r#"{"a":[],"b":{"c":[1,2,{"d":null}],"e":true}}"#,
        r#"{"a":"é€😀 \" \\ / \b\f\n\r\t\u0001\u001f\u007f, : {}[]"}"#,
        r#"{"é€😀\n":1,"":2}"#,
        r#"{"a":[0,-0.5,1e21,1.5e300,5e-324,1e-7,123456789012345680000,0.1]}"#,
    ] {
        let stored = psql.column(&format!("select octet_length($doc${doc}$doc$::jsonb::text)::text")).await.remove(0);
        let reply = app.client().mutate("insert", json!({ "doc": doc })).await;
        let message = reply.body["error"]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(&format!("has {stored} bytes")), "{doc}: {stored}: {message}");
    }
    app.engine.close().await;
}
