//! Acceptance 4: Postgres as the test oracle of live queries. Random tables, queries and
//! writes, clients that reconnect and servers that restart: at every barrier all answers
//! equal those of plain SQL, and every run has a cause that plain SQL confirms. Calls of
//! another server, most of them answered from memory, equal plain SQL at any time.

mod calls;
mod causes;
mod random_query;
mod shape;
mod writes;

use std::collections::HashSet;

use convoy_testkit::{Answer, Answers, App, Functions, Psql, Reader, StreamState, TestDb};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use self::calls::Caller;
use self::causes::Causes;
use self::random_query::{Expected, RandomQuery};
use self::shape::Table;
use crate::barrier::Barrier;
use crate::chat;
use crate::scale::{assert_detected, report, scale, split, with_seeds};

/// The ids of plain streams, of sessions, and of the queries of a session.
const WATCHES: usize = 20;
const SESSIONS: usize = 4;
const QUERIES_PER_SESSION: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_live_query_matches_fresh_sql() {
    with_seeds("postgres_as_oracle", async |mut random| {
        let wrong = compare(scale(3, 20), scale(8, 50), &mut random, json!([])).await;
        assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_matching_only_new_keys_is_detected() {
    assert_detected(async |mut random| compare(1, 60, &mut random, json!(["newKeysOnly"])).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_cutting_a_range_too_early_is_detected() {
    assert_detected(async |mut random| compare(1, 60, &mut random, json!(["cutTooEarly"])).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_dropping_a_result_from_memory_too_late_is_detected() {
    assert_detected(async |mut random| compare(1, 20, &mut random, json!(["dropResultsLate"])).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_naming_another_change_as_the_cause_is_detected() {
    assert_detected(async |mut random| compare(1, 60, &mut random, json!(["misattributeRuns"])).await.is_some()).await;
}

/// Starts the server several times, each with batches of writes and a barrier after each
/// batch. Returns the first wrong answer or cause.
async fn compare(starts: usize, batches: usize, random: &mut StdRng, failpoints: Value) -> Option<String> {
    let db = TestDb::new().await;
    let tables: Vec<Table> = (0..3).map(|at| Table::random(&format!("t{at}"), random)).collect();
    // An engine without live queries and results in memory, so that it queries Postgres each time.
    let fresh = serve(&db, &tables, json!({ "limits": { "idleQueryMs": 0 } })).await;
    let mut oracle = Oracle { psql: db.psql().await, fresh, right: 0, wrong: None };
    for _ in 0..30 {
        let known = oracle.known(&tables).await;
        writes::write_externally(&mut oracle.psql, &tables, &known, random).await;
    }
    let random_queries = oracle.random_queries(&tables, random).await;
    let (mut closed, mut barriers, mut attributed, mut calls, mut runs) = (Vec::new(), 0, 0, 0, 0);
    for _ in 0..starts {
        let app = serve(&db, &tables, json!({ "failpoints": failpoints })).await;
        let mut caller = Caller::of(serve(&db, &tables, json!({ "failpoints": failpoints })).await);
        let mut watchers = Watchers::open(&app, &random_queries, closed).await;
        let mut barrier = Barrier::of(&[&app]).await;
        barrier.wait_for_log(&mut oracle.psql).await;
        let mut causes = Causes::of(&mut oracle.psql, &tables).await;
        for _ in 0..batches {
            let single = oracle.write(&app, &tables, random).await;
            // At once: what a call does not include was written later.
            caller.compare(&random_queries, &mut oracle).await;
            let subscribed = watchers.resubscribe(&app, &random_queries, random).await;
            barrier.wait_for_log(&mut oracle.psql).await;
            watchers.compare(&random_queries, &mut oracle).await;
            let checked = causes.check(&app, &random_queries, &mut oracle.psql, (&subscribed, single)).await;
            oracle.wrong = oracle.wrong.take().or(checked.err());
            barriers += 1;
            if oracle.wrong.is_some() {
                break;
            }
        }
        app.engine.close().await;
        closed = watchers.stop().await;
        attributed += causes.attributed;
        (calls, runs) = (calls + caller.calls, runs + caller.runs);
        caller.close().await;
        if oracle.wrong.is_some() {
            break;
        }
    }
    report(&format!(
        "{} answers of {} live queries equal plain SQL, {} does not; {attributed} runs have a cause; \
         {calls} calls took {runs} runs; {barriers} barriers",
        oracle.right,
        random_queries.len(),
        usize::from(oracle.wrong.is_some())
    ));
    oracle.fresh.engine.close().await;
    // A wrong answer may be found before.
    if oracle.wrong.is_none() {
        assert!(runs < calls, "no call was answered from memory, so nothing was tested");
        assert!(attributed > 0, "no run was attributed to a write, so nothing was tested");
    }
    oracle.wrong
}

async fn serve(db: &TestDb, tables: &[Table], options: Value) -> App {
    let mut described = chat::tables();
    described.as_array_mut().expect("a list").extend(tables.iter().map(Table::described));
    db.app_with(chat::with_heartbeats(options), described, functions()).await
}

fn functions() -> Functions {
    chat::functions()
        .query("read", |ctx, op| async move {
            ctx.saw_nothing();
            ctx.op(op).await
        })
        .mutation("write", |ctx, input| async move {
            for outcome in ctx.ops(input["ops"].clone()).await? {
                outcome?;
            }
            Ok(json!(null))
        })
}

/// All subscribers. Queries are assigned to them in order.
struct Watchers {
    watches: Vec<Reader<Answer>>,
    sessions: Vec<SessionReader>,
}

/// A session and the client's ids of its queries.
struct SessionReader {
    reader: Reader<Answers>,
    ids: Vec<u64>,
}

/// The answers and query ids of a closed session.
type ClosedSession = (Answers, Vec<u64>);

impl Watchers {
    /// `closed` are the sessions of the previous server, which are resumed.
    async fn open(app: &App, random_queries: &[RandomQuery], closed: Vec<ClosedSession>) -> Watchers {
        let (plain_queries, session_queries) = random_queries.split_at(WATCHES);
        let mut watches = Vec::new();
        for random_query in plain_queries {
            watches.push(app.client().watch("read", random_query.op.clone()).await.read_continuously());
        }
        let mut closed = closed.into_iter();
        let mut sessions = Vec::new();
        for random_queries in session_queries.chunks(QUERIES_PER_SESSION) {
            let fresh = || (Answers::default(), (0..random_queries.len() as u64).collect());
            let (answers, ids) = closed.next().unwrap_or_else(fresh);
            let queries =
                ids.iter().zip(random_queries).map(|(id, random_query)| query(*id, random_query, answers.hash(*id)));
            let queries = json!(queries.collect::<Vec<_>>());
            let session = app.client().resume(answers, queries).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
            sessions.push(SessionReader { reader: session.read_continuously(), ids });
        }
        Watchers { watches, sessions }
    }

    /// Restarts some streams and some queries, with or without the hash of their answer. Returns
    /// the arguments of these queries.
    async fn resubscribe(&mut self, app: &App, random_queries: &[RandomQuery], random: &mut StdRng) -> HashSet<String> {
        let mut subscribed = HashSet::new();
        let (plain_queries, session_queries) = random_queries.split_at(WATCHES);
        for (watch, random_query) in self.watches.iter_mut().zip(plain_queries) {
            if random.random_bool(0.1) {
                *watch = app.client().watch("read", random_query.op.clone()).await.read_continuously();
                subscribed.insert(random_query.op.to_string());
            }
        }
        for (session, random_queries) in self.sessions.iter_mut().zip(session_queries.chunks(QUERIES_PER_SESSION)) {
            let (mut removed, mut added) = (Vec::new(), Vec::new());
            for (id, random_query) in session.ids.iter_mut().zip(random_queries) {
                if random.random_bool(0.1) {
                    let again = *id + QUERIES_PER_SESSION as u64;
                    let hash = session.reader.change(|answers| answers.rename_query(*id, again));
                    added.push(query(again, random_query, hash.as_deref().filter(|_| random.random())));
                    removed.push(std::mem::replace(id, again));
                    subscribed.insert(random_query.op.to_string());
                }
            }
            let id = session.reader.inspect(|answers| answers.id.clone());
            app.client().change(&id, json!({ "add": added, "remove": removed })).await.data();
        }
        subscribed
    }

    async fn compare(&mut self, random_queries: &[RandomQuery], oracle: &mut Oracle) {
        let (plain_queries, session_queries) = random_queries.split_at(WATCHES);
        for (watch, random_query) in self.watches.iter().zip(plain_queries) {
            oracle.compare(watch, 0, random_query).await;
        }
        for (session, random_queries) in self.sessions.iter().zip(session_queries.chunks(QUERIES_PER_SESSION)) {
            for (id, random_query) in session.ids.iter().zip(random_queries) {
                oracle.compare(&session.reader, *id, random_query).await;
            }
        }
    }

    /// Closes all streams.
    async fn stop(self) -> Vec<ClosedSession> {
        let mut closed = Vec::new();
        for SessionReader { reader, ids } in self.sessions {
            closed.push((reader.stop().await, ids));
        }
        closed
    }
}

/// A query of a session's request.
fn query(id: u64, random_query: &RandomQuery, hash: Option<&str>) -> Value {
    let mut query = json!({ "id": id, "name": "read", "args": random_query.op });
    if let Some(hash) = hash {
        query["hash"] = json!(hash);
    }
    query
}

/// Computes expected answers, and keeps the first wrong one.
struct Oracle {
    psql: Psql,
    fresh: App,
    right: usize,
    wrong: Option<String>,
}

impl Oracle {
    async fn known(&mut self, tables: &[Table]) -> Vec<Vec<String>> {
        let mut known = Vec::new();
        for table in tables {
            known.push(writes::ids(&mut self.psql, table).await);
        }
        known
    }

    /// One query for each subscription; some are second pages.
    async fn random_queries(&mut self, tables: &[Table], random: &mut StdRng) -> Vec<RandomQuery> {
        let known = self.known(tables).await;
        let mut random_queries: Vec<RandomQuery> = Vec::new();
        while random_queries.len() < WATCHES + SESSIONS * QUERIES_PER_SESSION {
            let random_query = RandomQuery::random(tables, &known, random);
            if matches!(random_query.expected, Expected::Page(..)) && random.random() {
                let first = self.query_fresh(&random_query.op).await;
                if first["isDone"] == false {
                    random_queries.push(random_query.page_after(&first));
                    continue;
                }
            }
            random_queries.push(random_query);
        }
        random_queries
    }

    /// A single write, so that no other covers a missed change; or pairs of concurrent
    /// mutations, and then external statements. Returns whether it is a single write.
    async fn write(&mut self, app: &App, tables: &[Table], random: &mut StdRng) -> bool {
        let known = self.known(tables).await;
        let (mut one, mut other) = (app.client().connect().await, app.client().connect().await);
        if random.random_bool(0.7) {
            writes::mutate(&mut one, 1, tables, &known, random).await;
            return true;
        }
        let (mut first, mut second) = (split(random), split(random));
        for _ in 0..random.random_range(1..=4) {
            tokio::join!(
                writes::mutate(&mut one, random.random_range(1..=5), tables, &known, &mut first),
                writes::mutate(&mut other, random.random_range(1..=5), tables, &known, &mut second),
            );
        }
        for _ in 0..random.random_range(0..=2) {
            writes::write_externally(&mut self.psql, tables, &known, random).await;
        }
        false
    }

    async fn compare<H: StreamState>(&mut self, watcher: &Reader<H>, query: u64, random_query: &RandomQuery) {
        if self.wrong.is_some() {
            return;
        }
        let expected = self.expected(random_query).await;
        if watcher.reaches(query, |data| plain(data, &random_query.expected) == expected).await {
            self.right += 1;
            return;
        }
        let shown = watcher.inspect(|answers| answers.latest(query).map(|data| plain(data, &random_query.expected)));
        let shown = shown.map_or("no answer".to_owned(), |shown| shown.to_string());
        self.wrong = Some(format!("{}\n  expected {expected}\n  received {shown}", random_query.op));
    }

    /// Compares the answer to a call.
    async fn compare_call(&mut self, random_query: &RandomQuery, data: &Value) {
        if self.wrong.is_some() {
            return;
        }
        let (expected, shown) = (self.expected(random_query).await, plain(data, &random_query.expected));
        match shown == expected {
            true => self.right += 1,
            false => self.wrong = Some(format!("{}\n  expected {expected}\n  answered {shown}", random_query.op)),
        }
    }

    async fn expected(&mut self, random_query: &RandomQuery) -> Value {
        let documents = |rows: Vec<String>| -> Vec<Value> {
            rows.iter().map(|row| serde_json::from_str(row).expect("Postgres gives JSON")).collect()
        };
        match &random_query.expected {
            Expected::Documents(sql) => json!(documents(self.psql.column(sql).await)),
            Expected::Document(sql) => json!(documents(self.psql.column(sql).await).pop()),
            Expected::Count(sql) => {
                let count = self.psql.column(sql).await.remove(0);
                json!(count.parse::<u64>().expect("a count"))
            }
            Expected::Page(sql, size) => {
                let mut rows = documents(self.psql.column(sql).await);
                let last = rows.len() <= *size;
                rows.truncate(*size);
                json!({ "page": rows, "isDone": last })
            }
            Expected::Fresh => self.query_fresh(&random_query.op).await,
        }
    }

    async fn query_fresh(&self, op: &Value) -> Value {
        self.fresh.client().query("read", op.clone()).await.data()
    }
}

/// An answer without the parts that plain SQL does not return: times and cursors.
fn plain(data: &Value, expected: &Expected) -> Value {
    let document = |document: &Value| {
        let mut document = document.clone();
        document.as_object_mut().map(|fields| fields.remove("_creationTime"));
        document
    };
    let list = |list: &Value| list.as_array().map(|list| list.iter().map(document).collect::<Vec<_>>());
    match expected {
        Expected::Documents(_) => json!(list(data)),
        Expected::Document(_) => document(data),
        Expected::Page(..) => json!({ "page": list(&data["page"]), "isDone": data["isDone"] }),
        Expected::Count(_) | Expected::Fresh => data.clone(),
    }
}
