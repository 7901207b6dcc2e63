//! Every run knows its cause, and whether its answer was equal.

use serde_json::{Value, json};

use super::*;
use crate::db::TableRead;
use crate::key::{KeyFields, KeyValue, RowKeys};
use crate::live::cause::CauseKind;
use crate::op::{Scan, scan_span};
use crate::schema::{Schema, Table};
use crate::time::Time;

impl World {
    /// The causes of the runs of a query, the last ones last.
    fn causes(&self, id: QueryId) -> Vec<&'static str> {
        self.registry.queries[&id].history.iter().map(|record| record.cause.kind().name()).collect()
    }

    /// The description of the only query of `f`.
    fn described(&self) -> Value {
        let now = Now { instant: self.now, ms: 1_000_000 };
        let [described] = &self.registry.describe(Some("f"), now)[..] else { panic!("one query") };
        serde_json::to_value(described).expect("json")
    }

    fn functions(&self) -> Value {
        serde_json::to_value(self.registry.describe_functions(&schema())).expect("json")
    }

    fn wrote(&mut self, changes: Vec<Change>, by: ChangeSource) {
        let commit = Commit::new(Changes::Some(changes.into()), by);
        self.registry.changed(&Arc::new(commit));
    }
}

fn schema() -> Schema {
    let schema = r#"{"tables":[{"name":"m","physicalName":"m","managed":true,"indexes":[
        {"name":"by_c","unique":false,"fields":[{"path":"c","kind":"text"}]}]}]}"#;
    Schema::parse(serde_json::from_str(schema).expect("a description")).expect("a schema")
}

fn table() -> Arc<Table> {
    schema().table("m").expect("the table").clone()
}

fn keys(table: &Table, id: u128, c: &str) -> RowKeys {
    let fields = KeyFields::of_document(&table.key_paths, &json!({ "c": c }).to_string()).expect("json");
    RowKeys { id: uuid::Uuid::from_u128(id), created: Time::of_postgres(id as i64), fields }
}

/// A change of a document of `m`, by its indexed value before and after.
fn moved(id: u128, old: Option<&str>, new: Option<&str>) -> Change {
    let table = table();
    let keys = |c: Option<&str>| c.map(|c| keys(&table, id, c));
    let kind = ChangeKind::Row { id: uuid::Uuid::from_u128(id), old: keys(old), new: keys(new), fields: None };
    Change { table: table.key.clone(), kind }
}

/// The read set of the documents of `m` with this indexed value.
fn range(c: &str) -> ReadSet {
    let eq = vec![KeyValue::Text(c.to_owned())];
    let span = scan_span(&eq, None, None);
    let scan = Arc::new(Scan::of_index(&table(), 2, eq));
    ReadSet { ranges: vec![TableRead { scan, span, cut: false }], ..ReadSet::default() }
}

fn run_reading(world: &mut World, id: QueryId, answer: &str, reads: ReadSet) {
    let ticket = world.begin(id);
    let stamp = AnswerStamp { ts: 0, position: "p".into(), cause: None };
    let answer = Arc::new(Answer::new("f", Ok(answer.to_owned().into()), stamp, None));
    let share = Some(ShareKey::of_run(Some(seen_as(&[]))));
    let now = world.now();
    world.registry.finish(id, &ticket, CompletedRun { reads, answer, share, suspect: false, pure: true }, now);
}

#[test]
fn live_queries_report_why_they_ran() {
    let mut world = World::new();
    let _client = world.open(None, &["{\"a\":1}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    world.change("t");
    world.run(id, "1", "t");
    let described = world.described();
    assert_eq!(described["reads"], json!(["t: all of it"]));
    assert_eq!(described["lastCause"], "t changed, written by someone else");
    assert_eq!(
        described["causes"],
        json!({ "outside": { "runs": 1, "equal": 1 }, "subscribed": { "runs": 1, "equal": 0 } })
    );
    let runs = described["history"].as_array().expect("its runs");
    assert_eq!((&runs[0]["equal"], &runs[1]["equal"]), (&Value::Null, &json!(true)));
    assert_eq!(runs[0]["cause"], json!({ "kind": "subscribed", "text": "a client subscribed" }));
    assert_eq!(
        runs[1]["cause"],
        json!({
            "kind": "outside", "text": "t changed, written by someone else", "commit": 0, "table": "t",
            "read": "t: all of it, by raw"
        })
    );
}

#[test]
fn a_cause_names_the_document_the_range_and_the_function() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    run_reading(&mut world, id, "1", range("a"));
    let by = ChangeSource::Function("send".into());
    world.wrote(vec![moved(1, None, Some("b")), moved(2, None, Some("a")), moved(3, None, Some("a"))], by.clone());
    world.wrote(vec![moved(3, Some("a"), None)], by.clone());
    run_reading(&mut world, id, "2", range("a"));
    world.wrote(vec![moved(2, Some("a"), Some("a"))], by);
    run_reading(&mut world, id, "2", range("a"));
    let runs = world.described()["history"].clone();
    assert_eq!(
        runs[1]["cause"],
        json!({
            "kind": "commit", "commit": 0, "by": "send", "table": "m", "document": uuid::Uuid::from_u128(2),
            "read": "m: by_c where c = \"a\"",
            "text": format!("m:{} entered by_c where c = \"a\", written by send", uuid::Uuid::from_u128(2)),
        })
    );
    assert_eq!(runs[1]["furtherCommits"], 1);
    assert!(runs[2]["cause"]["text"].as_str().expect("text").contains("changed within by_c"));
    let functions = world.functions();
    let read = &functions[0]["reads"][0];
    assert_eq!((&read["runs"], &read["equal"]), (&json!(2), &json!(1)));
    let advice = read["advice"]["text"].as_str().expect("advice");
    assert!(advice.starts_with("`send` writes fields of documents of `m`, which the answer does not show"), "{advice}");
}

#[test]
fn a_change_during_a_run_is_the_cause_of_the_next() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.wrote(vec![moved(1, None, Some("b"))], ChangeSource::Outside);
    world.change("t");
    assert_eq!(world.finish(id, &ticket, "1", "t", &[]), NextStep::RunAgain);
    world.run(id, "2", "t");
    assert_eq!(world.causes(id), ["subscribed", "outside"]);
    assert_eq!(world.described()["history"][1]["cause"]["commit"], 1);
}

#[test]
fn each_event_that_queues_a_query_is_a_cause() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    world.registry.changed(&Arc::new(Commit::new(Changes::Everything, ChangeSource::Resync)));
    world.run(id, "1", "t");
    world.wrote(vec![Change { table: "t".into(), kind: ChangeKind::Whole }], ChangeSource::Poll);
    world.run(id, "1", "t");
    world.registry.reloaded();
    world.run(id, "1", "t");
    let ticket = world.begin_again(id, CauseKind::Expired);
    world.finish(id, &ticket, "1", "t", &[]);
    let interrupted = world.begin_again(id, CauseKind::Retry);
    world.registry.interrupted(id);
    drop(interrupted);
    world.run(id, "1", "t");
    let mut returning = request(2, "{}");
    returning.since = Some(world.now() + Duration::from_secs(1));
    let other = world.open(None, &[]);
    let now = world.now();
    world.registry.subscribe(other.0, Ok(returning), now);
    world.run(id, "1", "t");
    assert_eq!(
        world.causes(id)[..6],
        ["subscribed", "recovery", "poll", "reload", "expired", "recovery"],
        "the interrupted run was repeated"
    );
    assert_eq!(world.causes(id)[6], "subscribed", "a client has seen more than the answer has");
}

#[test]
fn contexts_have_causes_and_so_have_queries_that_they_move() {
    let mut world = World::new();
    let (client, queued) = world.open_as("a", &[("user", Some("ann"))]);
    let [id] = queued[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.finish(id, &ticket, "1", "t", &[("user", Some("ann"))]);
    world.registry.replace_token(client.0, "b".into());
    let [auth] = world.queued()[..] else { panic!("its context") };
    world.admit(auth, &[("user", Some("bob"))], "users", None);
    let [moved] = world.queued()[..] else { panic!("a query for the other caller") };
    let ticket = world.begin(moved);
    world.finish(moved, &ticket, "2", "t", &[("user", Some("bob"))]);
    world.change("users");
    world.admit(auth, &[("user", Some("bob"))], "users", None);
    assert_eq!(world.causes(auth), ["subscribed", "context", "outside"]);
    assert_eq!(world.causes(moved), ["context"]);
    let functions = world.functions();
    let context = functions.as_array().expect("a list").iter().find(|each| each["function"] == "createContext");
    assert_eq!(context.expect("it is listed")["equal"], 1);
}

#[test]
fn only_the_last_runs_are_remembered_and_all_are_counted() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    for _ in 0..30 {
        world.change("t");
        world.run(id, "1", "t");
    }
    let described = world.described();
    assert_eq!(described["history"].as_array().map(Vec::len), Some(20));
    assert_eq!(described["history"][19]["run"], 31);
    assert_eq!(described["causes"]["outside"], json!({ "runs": 30, "equal": 30 }));
}

impl World {
    /// Begins a run of an idle query for a reason that no change announces.
    fn begin_again(&mut self, id: QueryId, cause: CauseKind) -> Ticket {
        let run = self.registry.runs(id).expect("it is known");
        assert!(self.registry.requeue(id, run, cause));
        self.begin(id)
    }
}
