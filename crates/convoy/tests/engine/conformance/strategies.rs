//! The strategies, and a server that runs a scripted mutation with one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use convoy::Code;
use convoy_testkit::{App, Client, Ctx, Functions, TestDb, Thrown, Wire, table, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// The strategy of the scripted mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Optimistic concurrency control.
    Optimistic,
    /// A separate serializable transaction.
    Serializable,
    /// A transaction shared with other calls.
    SerialQueue,
    /// One insert statement, possibly shared with other calls.
    InsertBatching,
    /// Each operation is committed separately.
    Autocommit,
    /// A transaction that the function begins and ends.
    OwnTransaction,
}

use Strategy::{Autocommit, InsertBatching, Optimistic, OwnTransaction, SerialQueue, Serializable};

pub(super) const STRATEGIES: [Strategy; 6] =
    [Optimistic, Serializable, SerialQueue, InsertBatching, Autocommit, OwnTransaction];

impl Strategy {
    /// Whether the engine runs the call in a transaction and retries it after a conflict.
    pub(super) fn is_transactional(self) -> bool {
        !matches!(self, Autocommit | OwnTransaction)
    }

    /// The statement that commits.
    pub(super) fn commits_by(self) -> &'static str {
        match self {
            Optimistic | InsertBatching | Autocommit => "execute",
            Serializable | SerialQueue | OwnTransaction => "commit",
        }
    }

    fn options(self) -> Value {
        match self {
            SerialQueue => json!({ "failpoints": ["alwaysSerialQueue"] }),
            _ => json!({}),
        }
    }
}

/// A server whose mutation `script` runs with one strategy, behind a connection to Postgres
/// that can be cut.
pub(super) struct Served {
    pub db: TestDb,
    pub app: App,
    pub wire: Wire,
    /// The step `wait` takes a permit.
    pub gate: Arc<Semaphore>,
    runs: Arc<AtomicUsize>,
    strategy: Strategy,
}

impl Served {
    pub(super) async fn by(strategy: Strategy) -> Served {
        Served::with(strategy, json!({}), "").await
    }

    /// With more options. `sql` runs after the tables were created.
    pub(super) async fn with(strategy: Strategy, options: Value, sql: &str) -> Served {
        let db = TestDb::new().await;
        if !sql.is_empty() {
            db.app(tables(), functions(strategy, Arc::new(Semaphore::new(0)), Arc::default()))
                .await
                .engine
                .close()
                .await;
            db.psql().await.run(sql).await;
        }
        let (wire, url) = Wire::before(&db.url()).await;
        let mut all = strategy.options();
        all["databaseUrl"] = json!(url);
        for (key, value) in options.as_object().expect("options are an object") {
            all[key] = value.clone();
        }
        let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
        let app = db.app_with(all, tables(), functions(strategy, gate.clone(), runs.clone())).await;
        Served { db, app, wire, gate, runs, strategy }
    }

    /// Runs the script once, so that traits are learned and statements prepared, and checks
    /// that the strategy is used.
    pub(super) async fn warmed(self) -> Served {
        self.run(&self.app.client(), json!([{ "insert": 0 }])).await.data();
        self.expect_strategy().await;
        self.db.psql().await.run("delete from notes").await;
        self
    }

    /// Inserts a note, and checks that the strategy is used.
    async fn expect_strategy(&self) {
        let queued = self.app.engine.stats().queued_calls;
        self.wire.take_statements();
        self.run(&self.app.client(), json!([{ "insert": 0 }])).await.data();
        let statements = self.wire.take_statements();
        let begins = statements.iter().any(|sql| sql.starts_with("begin isolation level serializable"));
        let in_transaction = self.strategy.commits_by() == "commit";
        assert_eq!(begins, in_transaction, "{:?}: {statements:?}", self.strategy);
        assert_eq!(self.app.engine.stats().queued_calls > queued, self.strategy == SerialQueue, "{:?}", self.strategy);
    }

    /// How often the steps of a script were begun, retries included.
    pub(super) fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    /// Runs a script.
    pub(super) async fn run(&self, client: &Client, steps: Value) -> convoy_testkit::Reply {
        within(client.mutate("script", json!({ "steps": steps }))).await
    }

    /// The numbers that are stored, in order.
    pub(super) async fn stored(&self) -> Vec<String> {
        self.db.psql().await.column("select data ->> 'n' from notes order by (data ->> 'n')::int").await
    }

    /// Checks that the strategy was used to the end: it may change for good during a call.
    pub(super) async fn close(self) {
        self.expect_strategy().await;
        self.app.engine.close().await;
    }

    /// For checks after which the function runs with another strategy.
    pub(super) async fn close_with_other_strategy(self) {
        self.app.engine.close().await;
    }
}

fn tables() -> Value {
    json!([table("notes", &[]), table("guarded", &[])])
}

fn count(of: &str) -> Value {
    json!({ "op": "count", "table": of, "index": null, "eq": [], "order": "asc", "limit": null })
}

fn functions(strategy: Strategy, gate: Arc<Semaphore>, runs: Arc<AtomicUsize>) -> Functions {
    let described = json!({ "name": "script", "kind": "mutation", "transaction": strategy.is_transactional() });
    Functions::new()
        .add(described, move |ctx, input| {
            let (gate, runs) = (gate.clone(), runs.clone());
            async move {
                ctx.identify("someone");
                match strategy {
                    OwnTransaction => in_own_transaction(&ctx, &input, &gate, &runs).await,
                    _ => {
                        runs.fetch_add(1, Ordering::Relaxed);
                        script(&ctx, &input, strategy, &gate).await
                    }
                }
            }
        })
        .query("count", |ctx, _| async move { ctx.op(count("notes")).await })
}

/// Like `ctx.db.transaction`: retries after a conflict.
async fn in_own_transaction(ctx: &Ctx, input: &Value, gate: &Semaphore, runs: &AtomicUsize) -> Result<Value, Thrown> {
    for _ in 0..50 {
        runs.fetch_add(1, Ordering::Relaxed);
        ctx.op(json!({ "op": "begin" })).await?;
        let ended = match script(ctx, input, OwnTransaction, gate).await {
            Ok(result) => ctx.op(json!({ "op": "commit" })).await.map(|_| result),
            Err(thrown) => {
                ctx.op(json!({ "op": "rollback" })).await?;
                Err(thrown)
            }
        };
        match ended {
            Err(Thrown::Refused(Code::Conflict, message)) if message.contains("on every attempt") => {}
            ended => return ended,
        }
    }
    Err(Thrown::Broke("it met a conflict each time".into()))
}

/// Runs the steps of a script: `insert` a number, into `table`; `add` to the number of a
/// document; `get` a document; `savepoint`, `rollback` to it; `wait` at the gate; `throw`.
async fn script(ctx: &Ctx, input: &Value, strategy: Strategy, gate: &Semaphore) -> Result<Value, Thrown> {
    if strategy == Serializable {
        // A count needs a transaction.
        ctx.op(count("guarded")).await?;
    }
    for step in input["steps"].as_array().expect("steps") {
        let (name, value) = step.as_object().and_then(|step| step.iter().next()).expect("a step");
        match name.as_str() {
            "insert" | "guarded" => {
                let table = if name == "insert" { "notes" } else { "guarded" };
                match strategy {
                    InsertBatching => drop(ctx.hold(table, json!({ "n": value }))),
                    _ => drop(ctx.insert(table, json!({ "n": value })).await?),
                }
            }
            "add" => {
                let read = ctx.op(json!({ "op": "get", "table": "notes", "id": value })).await?;
                let n = read["n"].as_i64().expect("a number");
                let set = json!({ "n": n + 1 });
                ctx.op(json!({ "op": "patch", "table": "notes", "id": value, "set": set, "unset": [] })).await?;
            }
            "get" => drop(ctx.op(json!({ "op": "get", "table": "notes", "id": value })).await?),
            "savepoint" => drop(ctx.op(json!({ "op": "savepoint", "name": value })).await?),
            "rollback" => drop(ctx.op(json!({ "op": "rollback", "to": value })).await?),
            "wait" => gate.acquire().await.expect("the gate is open").forget(),
            "throw" => return Err(Thrown::Refused(Code::Forbidden, "throw was set".into())),
            other => panic!("no step `{other}`"),
        }
    }
    Ok(Value::Null)
}
