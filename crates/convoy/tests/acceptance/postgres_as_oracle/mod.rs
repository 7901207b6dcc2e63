//! Acceptance 4: Postgres says what every live query must show. Random tables,
//! random queries, random writes by everyone, clients that come again, servers
//! that start again: at every barrier all answers are those of fresh SQL.

mod question;
mod shape;
mod writes;

use convoy_testkit::{Answer, Answers, App, Functions, Holder, Psql, Reader, TestDb};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use self::question::{Question, Truth};
use self::shape::Table;
use crate::barrier::Barrier;
use crate::chat;
use crate::lane::{say, scale, seeded, split};

/// Live queries: each stream of its own kind has some.
const WATCHES: usize = 20;
const SESSIONS: usize = 4;
const IN_A_SESSION: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_live_query_matches_fresh_sql() {
    let wrong = compare(scale(3, 20), scale(8, 50), json!([])).await;
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn control_looking_only_at_new_keys_is_found() {
    assert!(compare(1, 60, json!(["newKeysOnly"])).await.is_some(), "nobody noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_cutting_a_range_too_early_is_found() {
    assert!(compare(1, 60, json!(["cutTooEarly"])).await.is_some(), "nobody noticed");
}

/// Starts the server so many times, each time with so many batches of writes and a
/// barrier behind each. Ends with the first answer that is wrong, and gives it.
async fn compare(starts: usize, batches: usize, failpoints: Value) -> Option<String> {
    let mut random = seeded();
    let db = TestDb::new().await;
    let tables: Vec<Table> = (0..3).map(|at| Table::random(&format!("t{at}"), &mut random)).collect();
    // Nobody watches anything there, so it asks Postgres each time.
    let fresh = serve(&db, &tables, json!([])).await;
    let mut judge = Judge { psql: db.psql().await, fresh, right: 0, wrong: None };
    for _ in 0..30 {
        let known = judge.known(&tables).await;
        writes::write_by_hand(&mut judge.psql, &tables, &known, &mut random).await;
    }
    let questions = judge.questions(&tables, &mut random).await;
    let (mut left, mut barriers) = (Vec::new(), 0);
    for _ in 0..starts {
        let app = serve(&db, &tables, failpoints.clone()).await;
        let mut watchers = Watchers::open(&app, &questions, left).await;
        let mut barrier = Barrier::before(&[&app]).await;
        for _ in 0..batches {
            judge.write(&app, &tables, &mut random).await;
            watchers.come_again(&app, &questions, &mut random).await;
            barrier.read_the_log(&mut judge.psql).await;
            watchers.compare(&questions, &mut judge).await;
            barriers += 1;
            if judge.wrong.is_some() {
                break;
            }
        }
        app.engine.close().await;
        left = watchers.stop().await;
        if judge.wrong.is_some() {
            break;
        }
    }
    say(&format!(
        "{} answers of {} live queries equal fresh SQL, {} does not; {barriers} barriers",
        judge.right,
        questions.len(),
        usize::from(judge.wrong.is_some())
    ));
    judge.fresh.engine.close().await;
    judge.wrong
}

async fn serve(db: &TestDb, tables: &[Table], failpoints: Value) -> App {
    let mut described = chat::tables();
    described.as_array_mut().expect("a list").extend(tables.iter().map(Table::described));
    db.app_with(chat::with_heartbeats(json!({ "failpoints": failpoints })), described, functions()).await
}

fn functions() -> Functions {
    chat::functions()
        .query("look", |ctx, op| async move {
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

/// Everyone who watches. A question's number is its place among them all.
struct Watchers {
    watches: Vec<Reader<Answer>>,
    sessions: Vec<Member>,
}

/// A session and the client's numbers for its queries.
struct Member {
    reader: Reader<Answers>,
    numbers: Vec<u64>,
}

/// What is left of a session.
type Left = (Answers, Vec<u64>);

impl Watchers {
    /// `left` are the sessions they had with the server before.
    async fn open(app: &App, questions: &[Question], left: Vec<Left>) -> Watchers {
        let (watched, asked) = questions.split_at(WATCHES);
        let mut watches = Vec::new();
        for question in watched {
            watches.push(app.client().watch("look", question.op.clone()).await.read_on());
        }
        let mut left = left.into_iter();
        let mut sessions = Vec::new();
        for questions in asked.chunks(IN_A_SESSION) {
            let fresh = || (Answers::default(), (0..questions.len() as u64).collect());
            let (answers, numbers) = left.next().unwrap_or_else(fresh);
            let queries =
                numbers.iter().zip(questions).map(|(number, asked)| query(*number, asked, answers.hash(*number)));
            let queries = json!(queries.collect::<Vec<_>>());
            let session = app.client().resume(answers, queries).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
            sessions.push(Member { reader: session.read_on(), numbers });
        }
        Watchers { watches, sessions }
    }

    /// Some streams and some queries begin anew, with what they hold or without.
    async fn come_again(&mut self, app: &App, questions: &[Question], random: &mut StdRng) {
        let (watched, asked) = questions.split_at(WATCHES);
        for (watch, question) in self.watches.iter_mut().zip(watched) {
            if random.random_bool(0.1) {
                *watch = app.client().watch("look", question.op.clone()).await.read_on();
            }
        }
        for (member, questions) in self.sessions.iter_mut().zip(asked.chunks(IN_A_SESSION)) {
            let (mut removed, mut added) = (Vec::new(), Vec::new());
            for (number, question) in member.numbers.iter_mut().zip(questions) {
                if random.random_bool(0.1) {
                    let again = *number + IN_A_SESSION as u64;
                    let hash = member.reader.change(|answers| answers.moves(*number, again));
                    added.push(query(again, question, hash.as_deref().filter(|_| random.random())));
                    removed.push(std::mem::replace(number, again));
                }
            }
            let id = member.reader.look(|answers| answers.id.clone());
            app.client().change(&id, json!({ "add": added, "remove": removed })).await.data();
        }
    }

    async fn compare(&mut self, questions: &[Question], judge: &mut Judge) {
        let (watched, asked) = questions.split_at(WATCHES);
        for (watch, question) in self.watches.iter().zip(watched) {
            judge.compare(watch, 0, question).await;
        }
        for (member, questions) in self.sessions.iter().zip(asked.chunks(IN_A_SESSION)) {
            for (number, question) in member.numbers.iter().zip(questions) {
                judge.compare(&member.reader, *number, question).await;
            }
        }
    }

    /// They hang up.
    async fn stop(self) -> Vec<Left> {
        let mut left = Vec::new();
        for Member { reader, numbers } in self.sessions {
            left.push((reader.stop().await, numbers));
        }
        left
    }
}

/// A query as a session asks for it.
fn query(number: u64, question: &Question, hash: Option<&str>) -> Value {
    let mut query = json!({ "id": number, "name": "look", "args": question.op });
    if let Some(hash) = hash {
        query["hash"] = json!(hash);
    }
    query
}

/// Knows what is true, and keeps what was not.
struct Judge {
    psql: Psql,
    fresh: App,
    right: usize,
    wrong: Option<String>,
}

impl Judge {
    async fn known(&mut self, tables: &[Table]) -> Vec<Vec<String>> {
        let mut known = Vec::new();
        for table in tables {
            known.push(writes::ids(&mut self.psql, table).await);
        }
        known
    }

    /// As many as are watched; some are second pages.
    async fn questions(&mut self, tables: &[Table], random: &mut StdRng) -> Vec<Question> {
        let known = self.known(tables).await;
        let mut questions: Vec<Question> = Vec::new();
        while questions.len() < WATCHES + SESSIONS * IN_A_SESSION {
            let question = Question::random(tables, &known, random);
            if matches!(question.truth, Truth::Page(..)) && random.random() {
                let first = self.ask(&question.op).await;
                if first["isDone"] == false {
                    questions.push(question.page_after(&first));
                    continue;
                }
            }
            questions.push(question);
        }
        questions
    }

    /// One single write, which no other can cover for; or two mutations at a time,
    /// and then statements by hand.
    async fn write(&mut self, app: &App, tables: &[Table], random: &mut StdRng) {
        let known = self.known(tables).await;
        let (mut one, mut other) = (app.client().connect().await, app.client().connect().await);
        if random.random_bool(0.7) {
            return writes::mutate(&mut one, 1, tables, &known, random).await;
        }
        let (mut first, mut second) = (split(random), split(random));
        for _ in 0..random.random_range(1..=4) {
            tokio::join!(
                writes::mutate(&mut one, random.random_range(1..=5), tables, &known, &mut first),
                writes::mutate(&mut other, random.random_range(1..=5), tables, &known, &mut second),
            );
        }
        for _ in 0..random.random_range(0..=2) {
            writes::write_by_hand(&mut self.psql, tables, &known, random).await;
        }
    }

    async fn compare<H: Holder>(&mut self, watcher: &Reader<H>, query: u64, question: &Question) {
        if self.wrong.is_some() {
            return;
        }
        let truth = self.truth(question).await;
        if watcher.comes_to(query, |data| plain(data, &question.truth) == truth).await {
            self.right += 1;
            return;
        }
        let shown = watcher.look(|held| held.latest(query).map(|data| plain(data, &question.truth)));
        let shown = shown.map_or("nothing".to_owned(), |shown| shown.to_string());
        self.wrong = Some(format!("{}\n  is {truth}\n  not {shown}", question.op));
    }

    async fn truth(&mut self, question: &Question) -> Value {
        let documents = |rows: Vec<String>| -> Vec<Value> {
            rows.iter().map(|row| serde_json::from_str(row).expect("Postgres gives JSON")).collect()
        };
        match &question.truth {
            Truth::Documents(sql) => json!(documents(self.psql.column(sql).await)),
            Truth::Document(sql) => json!(documents(self.psql.column(sql).await).pop()),
            Truth::Count(sql) => {
                let count = self.psql.column(sql).await.remove(0);
                json!(count.parse::<u64>().expect("a count"))
            }
            Truth::Page(sql, size) => {
                let mut rows = documents(self.psql.column(sql).await);
                let last = rows.len() <= *size;
                rows.truncate(*size);
                json!({ "page": rows, "isDone": last })
            }
            Truth::Fresh => self.ask(&question.op).await,
        }
    }

    async fn ask(&self, op: &Value) -> Value {
        self.fresh.client().query("look", op.clone()).await.data()
    }
}

/// An answer without what plain SQL does not say: times and cursors.
fn plain(data: &Value, truth: &Truth) -> Value {
    let document = |document: &Value| {
        let mut document = document.clone();
        document.as_object_mut().map(|fields| fields.remove("_creationTime"));
        document
    };
    let list = |list: &Value| list.as_array().map(|list| list.iter().map(document).collect::<Vec<_>>());
    match truth {
        Truth::Documents(_) => json!(list(data)),
        Truth::Document(_) => document(data),
        Truth::Page(..) => json!({ "page": list(&data["page"]), "isDone": data["isDone"] }),
        Truth::Count(_) | Truth::Fresh => data.clone(),
    }
}
