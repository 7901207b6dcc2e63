use std::time::Duration;

use super::*;
use crate::change::{Change, ChangeKind, ChangeSource, Changes};
use crate::error::{Code, Failure};
use crate::live::answer::{Made, spelled};
use crate::live::message::Message;

mod share_key;

const LINGER: Duration = Duration::from_secs(10);

/// A registry and a clock that goes on by itself.
struct World {
    registry: Registry,
    now: Instant,
}

/// A session, and what it was told.
#[derive(Clone, Copy)]
struct Client(SessionId);

impl World {
    fn new() -> World {
        let mut registry = Registry::new(LINGER, true, Failpoints::default());
        registry.watched_are(["t", "u", "users"].map(Arc::from).into());
        World { registry, now: Instant::now() }
    }

    fn now(&mut self) -> Instant {
        self.now += Duration::from_millis(1);
        self.now
    }

    fn open(&mut self, caller: Option<&str>, inputs: &[&str]) -> Client {
        let wanted = (1..).zip(inputs).map(|(id, input)| Ok(watching(id, input))).collect();
        let opening = Opening { style: Style::Protocol, caller: caller.map(Into::into), wanted, address: None };
        let now = self.now();
        Client(self.registry.open(opening, now).id)
    }

    /// A session with a context that says this; and the queries to run for it.
    fn open_as(&mut self, caller: &str, seen: &[(&str, Option<&str>)]) -> (Client, Vec<QueryId>) {
        let client = self.open(Some(caller), &["{}"]);
        let [auth] = self.queued()[..] else { panic!("its auth, and nothing else before that") };
        self.admit(auth, seen, "users", None);
        (client, self.queued())
    }

    fn queued(&mut self) -> Vec<QueryId> {
        self.registry.effects().run
    }

    fn begin(&mut self, id: QueryId) -> Ticket {
        let now = self.now();
        self.registry.begin(id, now).expect("it is queued")
    }

    fn finish(
        &mut self,
        id: QueryId,
        ticket: &Ticket,
        answer: &str,
        reads: &str,
        seen: &[(&str, Option<&str>)],
    ) -> Next {
        let share = Share::after(Some(seen_as(seen)));
        let made = Made { ts: 0, position: "p".into() };
        let answer = Answer::new("f", Ok(answer.to_owned().into()), made, None);
        let ended = Ended { reads: reading(reads), answer: Arc::new(answer), share: Some(share), suspect: false };
        let now = self.now();
        self.registry.finish(id, ticket, ended, now)
    }

    fn run(&mut self, id: QueryId, answer: &str, reads: &str) -> Next {
        let ticket = self.begin(id);
        self.finish(id, &ticket, answer, reads, &[])
    }

    fn change(&mut self, table: &str) {
        let change = Change { table: table.into(), kind: ChangeKind::Whole };
        self.registry.changed(&Changes::Some([change].into()), &ChangeSource::Outside);
    }

    fn admit(&mut self, id: QueryId, seen: &[(&str, Option<&str>)], reads: &str, expires: Option<Duration>) -> Next {
        let _ticket = self.begin(id);
        let now = self.now();
        let known = Known {
            identity: Arc::new(seen_as(seen)),
            fingerprint: Some("someone".into()),
            expires: expires.map(|after| now + after),
        };
        self.registry.admitted(id, reading(reads), Ok(known), Duration::from_secs(60), now)
    }

    /// What a session is told now: answers by id, and the rest by its kind.
    fn told(&mut self, client: Client) -> Vec<String> {
        let now = self.now();
        let taken = self.registry.take(client.0, now);
        let answers = taken.messages.iter().filter(|message| !matches!(message, Message::Session(_)));
        answers.map(shown).collect()
    }
}

fn shown(message: &Message) -> String {
    match message {
        Message::Answer { id, answer, held } if *held == Some(answer.hash()) => format!("{id} same"),
        Message::Answer { id, answer, .. } => match answer.data() {
            Some(data) => format!("{id} {}", String::from_utf8_lossy(data)),
            None => format!("{id} failed"),
        },
        Message::Settled { key } => format!("settled {key}"),
        Message::Rejected(_) => "barred".into(),
        Message::End { .. } => "end".into(),
        Message::Refused { .. } => "refused".into(),
        Message::Session(_) => "session".into(),
    }
}

fn watching(id: u64, input: &str) -> Watch {
    let query_key = QueryKey { function: "f".into(), input: input.into() };
    Watch { id, query_key, shareable: true, held: None, since: None }
}

fn reading(table: &str) -> ReadSet {
    let mut reads = ReadSet::default();
    reads.table(table);
    reads
}

fn seen_as(pairs: &[(&str, Option<&str>)]) -> Seen {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), text.map(str::to_owned))).collect()
}

#[test]
fn one_run_serves_every_subscriber_of_a_query() {
    let mut world = World::new();
    let (a, b) = (world.open(None, &["{}"]), world.open(None, &["{}"]));
    let [id] = world.queued()[..] else { panic!("one query") };
    assert_eq!(world.run(id, "1", "t"), Next::Rest);
    assert_eq!((world.told(a), world.told(b)), (vec!["1 1".to_owned()], vec!["1 1".to_owned()]));
    let late = world.open(None, &["{}"]);
    assert_eq!(world.told(late), ["1 1"], "from memory");
    world.change("t");
    world.change("other");
    assert_eq!(world.queued(), [id]);
}

#[test]
fn a_change_that_lands_while_a_run_is_under_way_makes_it_run_again() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    // It has read nothing yet, so nothing can be found by index.
    world.change("t");
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    assert_eq!(world.finish(id, &ticket, "1", "t", &[]), Next::Again);
    assert_eq!(world.told(client), ["1 1"], "it is shown all the same");
    assert_eq!(world.run(id, "2", "t"), Next::Rest);
    assert_eq!(world.told(client), ["1 2"]);
}

#[test]
fn an_unchanged_result_sends_no_frame() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    assert_eq!(world.told(client), ["1 1"]);
    for answers in [&["1"][..], &["2", "1"]] {
        for answer in answers {
            world.change("t");
            world.run(id, answer, "t");
        }
        assert_eq!(world.told(client), Vec::<String>::new());
    }
    world.change("t");
    world.run(id, "2", "t");
    world.change("t");
    world.run(id, "3", "t");
    assert_eq!(world.told(client), ["1 3"], "who reads slowly is told the newest");
}

#[test]
fn results_of_one_commit_share_a_frame_within_a_time_limit() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    for id in &ids {
        world.run(*id, "0", "t");
    }
    assert_eq!(world.told(client).len(), 2);
    world.change("t");
    world.run(ids[0], "1", "t");
    assert_eq!(world.told(client), Vec::<String>::new(), "the other may have changed with it");
    world.run(ids[1], "1", "t");
    assert_eq!(world.told(client), ["1 1", "2 1"]);
    world.change("t");
    world.run(ids[0], "2", "t");
    world.now += Duration::from_millis(60);
    assert_eq!(world.told(client), ["1 2"]);
    world.run(ids[1], "2", "t");
    assert_eq!(world.told(client), ["2 2"]);
}

#[test]
fn a_mutation_has_settled_when_all_it_changed_was_sent() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    world.run(ids[0], "0", "t");
    world.run(ids[1], "0", "u");
    world.told(client);
    world.registry.settle(client.0, "nothing".into(), None);
    assert_eq!(world.told(client), ["settled nothing"]);
    world.change("t");
    world.registry.settle(client.0, "one".into(), None);
    assert_eq!(world.told(client), Vec::<String>::new());
    world.run(ids[0], "1", "t");
    assert_eq!(world.told(client), ["1 1", "settled one"]);
    // Also where the answer stays the same.
    world.change("u");
    world.registry.settle(client.0, "two".into(), None);
    world.run(ids[1], "0", "u");
    assert_eq!(world.told(client), ["settled two"]);
}

#[test]
fn clients_holding_a_result_get_unchanged_and_newer_ones_wait() {
    let mut world = World::new();
    let _other = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "[1]", "t");
    let hash = world.registry.queries[&id].answer.as_ref().map(|answer| answer.hash());
    let early = world.now;
    let come_back = |world: &mut World, since| {
        let watch = Watch { held: hash, since: Some(since), ..watching(1, "{}") };
        let opening = Opening { style: Style::Protocol, caller: None, wanted: vec![Ok(watch)], address: None };
        let now = world.now();
        let client = Client(world.registry.open(opening, now).id);
        let told = world.told(client);
        (client, told)
    };
    // The run began before this moment, so it may lack what was committed by then.
    let (waiting, told) = come_back(&mut world, early);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(world.queued(), [id]);
    world.run(id, "[1]", "t");
    assert_eq!(world.told(waiting), ["1 same"]);
    let (_, told) = come_back(&mut world, early);
    assert_eq!(told, ["1 same"], "no run: what was true later is known");
    let now = world.now();
    world.registry.caught_up(now);
    let (_, told) = come_back(&mut world, now);
    assert_eq!(told, ["1 same"]);
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    assert_eq!(hash.map(spelled).map(|hash| hash.len()), Some(32));
}

#[test]
fn a_result_without_subscribers_is_retained_until_it_may_have_changed() {
    let mut world = World::new();
    let (client, other) = (world.open(None, &["1"]), world.open(None, &["2"]));
    let ids = world.queued();
    world.run(ids[0], "[1]", "t");
    world.run(ids[1], "[2]", "u");
    for gone in [client, other] {
        let now = world.now();
        world.registry.close(gone.0, now);
    }
    assert_eq!(world.registry.counts(), Counts { queries: 0, busy: 0, sessions: 0, watching: 0 });
    let back = world.open(None, &["1", "2"]);
    assert_eq!(world.told(back), ["1 [1]", "2 [2]"]);
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    let now = world.now();
    world.registry.close(back.0, now);
    world.change("t");
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "not worth a run");
    assert_eq!(world.registry.queries.len(), 1);
    world.now += LINGER;
    let now = world.now();
    world.registry.caught_up(now);
    assert!(world.registry.is_empty());
}

#[test]
fn a_client_with_unread_refusals_is_disconnected() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    for _ in 0..5_000 {
        let refused = Failure::new(Code::NotFound, "no such query");
        let now = world.now();
        world.registry.watch(client.0, Err((7, refused)), now);
    }
    let told = world.told(client);
    assert!(told.len() <= 1_025 && told.last().is_some_and(|last| last == "end"), "{}", told.len());
    let now = world.now();
    assert!(world.registry.take(client.0, now).over);
}

#[test]
fn more_changes_than_are_kept_count_as_a_hit() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    for _ in 0..=20_000 {
        world.change("other");
    }
    assert_eq!(world.finish(id, &ticket, "1", "t", &[]), Next::Again);
}

#[test]
fn loading_code_reruns_every_query_and_discards_old_runs() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.registry.reloaded();
    assert_eq!(world.finish(id, &ticket, "1", "t", &[]), Next::Again);
    assert_eq!(world.run(id, "2", "t"), Next::Rest);
    world.told(client);
    world.registry.reloaded();
    assert_eq!(world.queued(), [id]);
}

#[test]
fn an_answer_runs_again_when_it_has_grown_old_unless_it_is_another_by_then() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let run = |world: &mut World| {
        let ticket = world.begin(id);
        world.finish(id, &ticket, "1", "t", &[]);
        ticket.run
    };
    let first = run(&mut world);
    let at = world.now() + Duration::from_secs(5);
    world.registry.grows_old(id, first, at);
    assert_eq!(world.registry.next_due(), Some(at));
    world.registry.grown_old(at - Duration::from_millis(1));
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    world.registry.grown_old(at);
    assert_eq!((world.queued(), world.registry.next_due()), (vec![id], None));
    // A change comes first: the time of the answer before means nothing any more.
    let second = run(&mut world);
    world.registry.grows_old(id, second, at);
    world.change("t");
    run(&mut world);
    world.registry.grows_old(id, second, at);
    assert_eq!(world.registry.next_due(), None);
}

#[test]
fn a_query_that_cannot_be_run_for_now_holds_no_others_up() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    world.run(ids[0], "0", "t");
    let ticket = world.begin(ids[1]);
    let made = Made { ts: 0, position: "p".into() };
    let away = Answer::new("f", Err(Failure::new(Code::Unavailable, "away")), made, None);
    let ended = Ended { reads: ReadSet::default(), answer: Arc::new(away), share: None, suspect: true };
    let now = world.now();
    world.registry.finish(ids[1], &ticket, ended, now);
    assert_eq!(world.told(client), ["1 0", "2 failed"]);
    world.change("t");
    world.registry.settle(client.0, "mine".into(), None);
    world.run(ids[0], "1", "t");
    assert_eq!(world.told(client), ["1 1", "settled mine"]);
}

#[test]
fn live_queries_report_why_they_ran() {
    let mut world = World::new();
    let _client = world.open(None, &["{\"a\":1}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    world.change("t");
    let [described] = &world.registry.describe()[..] else { panic!("one query") };
    let json = serde_json::to_value(described).expect("json");
    assert_eq!(
        json,
        serde_json::json!({
            "function": "f", "args": { "a": 1 }, "reads": ["t: all of it"], "subscribers": 1, "runs": 1,
            "state": "queued", "sharedBy": [], "lastCause": "t changed, written by someone else"
        })
    );
}

#[test]
fn an_expired_result_without_subscribers_is_dropped() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.finish(id, &ticket, "\"noon\"", "t", &[]);
    let now = world.now();
    world.registry.close(client.0, now);
    assert!(!world.registry.requeue(id, ticket.run), "it is not worth a run");
    let back = world.open(None, &["{}"]);
    assert_eq!(world.told(back), Vec::<String>::new());
    assert_eq!(world.queued().len(), 1, "the old answer will not do");
}

#[test]
fn a_run_that_something_else_has_made_since_is_not_asked_for_again() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let first = world.begin(id);
    world.finish(id, &first, "1", "t", &[]);
    world.change("t");
    let second = world.begin(id);
    world.finish(id, &second, "2", "t", &[]);
    assert!(!world.registry.requeue(id, first.run), "whoever made the second run sees to it");
    assert!(world.registry.requeue(id, second.run));
    assert!(!world.registry.requeue(id, second.run), "once");
}

#[test]
fn a_withdrawn_result_does_not_shorten_the_frame_delay() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2", "3"]);
    let ids = world.queued();
    for (id, table) in ids.iter().zip(["t", "t", "u"]) {
        world.run(*id, "0", table);
    }
    world.told(client);
    world.change("u");
    world.run(ids[2], "1", "u");
    let now = world.now();
    world.registry.unwatch(client.0, 3, now);
    world.now += Duration::from_secs(1);
    world.change("t");
    world.run(ids[0], "1", "t");
    assert_eq!(world.told(client), Vec::<String>::new(), "the other may have changed with it");
    world.run(ids[1], "1", "t");
    assert_eq!(world.told(client), ["1 1", "2 1"]);
}
