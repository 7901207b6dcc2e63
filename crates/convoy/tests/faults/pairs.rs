//! The program of these tests, and what must hold after a fault. Each mutation writes a row to
//! `left` and one to `right`, with its number, or one to `notes`; each number has a live query of its
//! own, so no later commit covers a lost change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use convoy_testkit::{Answers, App, Client, Ctx, Functions, IndexSpec, Psql, Reader, TestDb, Thrown, table, within};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Barrier;

/// The connections of each pool. Calls wait for each other with all of them in use.
pub(crate) const POOL_SIZE: usize = 6;

/// How a mutation writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By one statement at the end.
    Optimistic,
    /// In a transaction of its own.
    Transaction,
    /// By an insert that is batched with others.
    Batched,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Optimistic, Way::Transaction, Way::Batched];

    pub(crate) fn function(self) -> &'static str {
        match self {
            Way::Optimistic => "pairs.add",
            Way::Transaction => "pairs.addWithin",
            Way::Batched => "notes.add",
        }
    }
}

pub(crate) fn tables() -> Value {
    let by_number: &[IndexSpec<'_>] = &[("by_number", false, &[("number", "number")])];
    json!([table("left", by_number), table("right", by_number), table("notes", by_number), table("guard", &[])])
}

pub(crate) fn functions() -> Functions {
    let gate = Arc::new(Barrier::new(POOL_SIZE));
    Functions::new()
        .query("of", |ctx, input| async move {
            ctx.saw_nothing();
            let number = input["number"].clone();
            let [left, right, notes] = ["left", "right", "notes"].map(|table| count(&ctx, table, &number));
            Ok(json!([left.await?, right.await?, notes.await?]))
        })
        .mutation("pairs.add", |ctx, input| async move { add_pair(&ctx, input).await })
        .mutation("pairs.addWithin", |ctx, input| async move {
            ctx.op(guard()).await?;
            add_pair(&ctx, input).await
        })
        .add(json!({ "name": "pairs.addTorn", "kind": "mutation", "transaction": false }), |ctx, input| async move {
            add_pair(&ctx, input).await
        })
        .mutation("notes.add", |ctx, input| async move { Ok(json!(ctx.hold("notes", input))) })
        .mutation("hold", move |ctx, _| {
            let gate = gate.clone();
            async move {
                ctx.op(guard()).await?;
                gate.wait().await;
                Ok(Value::Null)
            }
        })
}

async fn add_pair(ctx: &Ctx, input: Value) -> Result<Value, Thrown> {
    ctx.insert("left", input.clone()).await?;
    ctx.insert("right", input).await?;
    Ok(Value::Null)
}

async fn count(ctx: &Ctx, table: &str, number: &Value) -> Result<usize, Thrown> {
    let scan =
        json!({ "op": "scan", "table": table, "index": "by_number", "eq": [number], "order": "asc", "limit": 9 });
    Ok(ctx.op(scan).await?.as_array().map_or(0, Vec::len))
}

/// An operation that only a transaction answers.
fn guard() -> Value {
    json!({ "op": "scan", "table": "guard", "index": null, "eq": [], "order": "asc", "limit": 1 })
}

/// Serves the program.
pub(crate) async fn serve(db: &TestDb, options: Value) -> App {
    db.app_with(with_limits(options), tables(), functions()).await
}

/// Adds the limits of these tests.
pub(crate) fn with_limits(mut options: Value) -> Value {
    options["poolSize"] = json!(POOL_SIZE);
    options["limits"]["heartbeatMs"] = json!(1_000);
    options["limits"]["untrackedPollMs"] = json!(50);
    // Postgres ends an idle transaction after the limit, which would hide it.
    options["limits"]["mutationMs"] = json!(300_000);
    options
}

/// A mutation of a test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutation {
    pub number: u64,
    pub function: &'static str,
    /// Whether it has an idempotency key, and is repeated until it is acknowledged.
    pub keyed: bool,
}

/// Calls a mutation; returns whether it was acknowledged.
pub(crate) async fn write(client: &Client, write: Mutation) -> bool {
    let input = json!({ "number": write.number });
    if !write.keyed {
        return try_mutate(client, write.function, &input).await;
    }
    let client = client.with_header("idempotency-key", &format!("key-{}", write.number));
    within(async { while !try_mutate(&client, write.function, &input).await {} }).await;
    true
}

/// Whether the call was acknowledged; a lost connection is a failure like others.
async fn try_mutate(client: &Client, name: &str, input: &Value) -> bool {
    let Ok(mut connection) = client.try_connect().await else {
        tokio::task::yield_now().await;
        return false;
    };
    match within(connection.try_call(&format!("mutation/{name}"), input, None)).await {
        Ok(reply) => {
            assert!([200, 409, 500, 503].contains(&reply.status), "{}", reply.body);
            reply.status == 200
        }
        Err(_lost) => false,
    }
}

/// A session that watches the query of each number, and is opened again when it ends.
pub(crate) struct Watcher {
    client: Client,
    numbers: std::ops::Range<u64>,
    session: Reader<Answers>,
}

impl Watcher {
    pub(crate) async fn open(client: Client, numbers: std::ops::Range<u64>) -> Watcher {
        let session = client.live(queries(&numbers)).await.read_continuously();
        let watcher = Watcher { client, numbers, session };
        watcher.session.until(|answers| watcher.numbers.clone().all(|number| answers.answered(number) > 0)).await;
        watcher
    }

    /// The numbers whose query does not show these counts, and never will: an idle engine has
    /// sent two heartbeats since.
    pub(crate) async fn stale(&mut self, app: Option<&App>, stored: &Stored) -> Vec<u64> {
        let mut stale = Vec::new();
        for number in self.numbers.clone() {
            let wanted = stored.counts(number);
            while !self.shows(number, &wanted).await {
                if self.has_ended() {
                    self.session = self.client.live(queries(&self.numbers)).await.read_continuously();
                    continue;
                }
                if app.is_some_and(|app| app.engine.stats().busy > 0) {
                    continue;
                }
                stale.push(number);
                break;
            }
        }
        stale
    }

    /// Waits until the query of this number shows what is stored.
    pub(crate) async fn until_shows(&mut self, number: u64, stored: &Stored) {
        let wanted = stored.counts(number);
        convoy_testkit::within(async {
            while !self.shows(number, &wanted).await {
                if self.has_ended() {
                    self.session = self.client.live(queries(&self.numbers)).await.read_continuously();
                }
            }
        })
        .await;
    }

    async fn shows(&self, number: u64, wanted: &Value) -> bool {
        self.session.reaches(number, |counts| counts == wanted).await
    }

    fn has_ended(&self) -> bool {
        self.session.has_ended()
    }
}

fn queries(numbers: &std::ops::Range<u64>) -> Value {
    let query = |number: u64| json!({ "id": number, "name": "of", "args": { "number": number } });
    json!(numbers.clone().map(query).collect::<Vec<_>>())
}

/// The rows of the tables: how many each number has in `left`, `right` and `notes`.
#[derive(Debug)]
pub(crate) struct Stored(BTreeMap<u64, [u64; 3]>);

impl Stored {
    pub(crate) async fn read(psql: &mut Psql) -> Stored {
        let mut rows: BTreeMap<u64, [u64; 3]> = BTreeMap::new();
        for (at, table) in ["left", "right", "notes"].iter().enumerate() {
            for number in psql.column(&format!("select data ->> 'number' from \"{table}\"")).await {
                rows.entry(number.parse().expect("a number")).or_default()[at] += 1;
            }
        }
        Stored(rows)
    }

    fn of(&self, number: u64) -> [u64; 3] {
        self.0.get(&number).copied().unwrap_or_default()
    }

    pub(crate) fn counts(&self, number: u64) -> Value {
        json!(self.of(number))
    }
}

/// What is wrong after a fault.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Acknowledged mutations without effect.
    pub lost: BTreeSet<u64>,
    /// Mutations with one of their two effects.
    pub halves: BTreeSet<u64>,
    /// Mutations that have taken effect twice.
    pub doubled: BTreeSet<u64>,
    /// Live queries that show something else than the tables.
    pub stale: Vec<u64>,
    /// New queries that return something else than the tables.
    pub wrong: Vec<u64>,
    /// Sessions of Postgres inside of a transaction that no call uses.
    pub open_transactions: usize,
    /// The server answers no new calls.
    pub silent: bool,
}

impl Damage {
    /// Compares the stored rows with the acknowledged mutations.
    pub(crate) fn of(stored: &Stored, acknowledged: &BTreeSet<u64>) -> Damage {
        let rows = |is_damaged: fn([u64; 3]) -> bool| {
            let damaged = stored.0.iter().filter(|(_, counts)| is_damaged(**counts));
            damaged.map(|(number, _)| *number).collect()
        };
        Damage {
            lost: acknowledged.iter().copied().filter(|number| stored.of(*number) == [0, 0, 0]).collect(),
            halves: rows(|[left, right, _]| left != right),
            doubled: rows(|counts| counts.iter().any(|count| *count > 1)),
            ..Damage::default()
        }
    }
}

/// Calls queries of these numbers; returns those with another result than the tables.
pub(crate) async fn wrong_queries(client: &Client, numbers: std::ops::Range<u64>, stored: &Stored) -> Vec<u64> {
    let mut wrong = Vec::new();
    for number in numbers {
        let counts = client.query("of", json!({ "number": number })).await.data();
        if counts != stored.counts(number) {
            wrong.push(number);
        }
    }
    wrong
}

/// Whether the server answers a new call.
pub(crate) async fn answers(client: &Client) -> bool {
    let Ok(mut connection) = client.try_connect().await else { return false };
    connection.try_call("query/of", &json!({ "number": 0 }), None).await.is_ok()
}

/// Uses every connection of the writing pool at once, so none is lost; the calls succeed.
pub(crate) async fn use_all_connections(client: &Client) {
    let holds = (0..POOL_SIZE).map(|_| async { client.mutate("hold", json!({})).await.data() });
    within(join_all(holds)).await;
}

/// The sessions that are idle in a transaction. A closed connection takes a moment to end; one that
/// a pool has kept is still there after this many looks.
pub(crate) async fn open_transactions(psql: &mut Psql) -> usize {
    let open = "select pid::text from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'";
    let mut found = 0;
    for _ in 0..1_000 {
        found = psql.column(open).await.len();
        if found == 0 {
            break;
        }
    }
    found
}

/// Prints a line to standard error, also of a test that passes and whose output is captured.
pub(crate) fn report(line: &str) {
    let thread = std::thread::current();
    // A closed standard error is ignored.
    drop(writeln!(std::io::stderr(), "{}: {line}", thread.name().unwrap_or_default()));
}
