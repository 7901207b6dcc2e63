use std::time::Duration;

use super::*;
use crate::change::{Change, ChangeKind, ChangeSource, Changes, Commit};
use crate::dispatch::Seen;
use crate::error::{Code, Failure};
use crate::live::answer::{AnswerStamp, hash_to_hex};
use crate::live::message::{ReportedMutation, SessionMessage};

mod kept_results;
mod run_causes;
mod share_key;

const RETENTION: Duration = Duration::from_secs(10);
const MAX_IDLE: usize = 3;
/// The most memory for results without subscribers: that of so many.
const MAX_BYTES: usize = MAX_IDLE * 2_000;

/// A registry and a clock that advances by itself.
struct World {
    registry: Registry,
    now: Instant,
}

/// A session.
#[derive(Clone, Copy)]
struct Client(SessionId);

impl World {
    fn new() -> World {
        let mut registry = Registry::new(Retention { time: RETENTION, bytes: MAX_BYTES }, Failpoints::default());
        registry.set_tracked_tables(["t", "u", "users"].map(Arc::from).into());
        World { registry, now: Instant::now() }
    }

    fn now(&mut self) -> Instant {
        self.now += Duration::from_millis(1);
        self.now
    }

    fn open(&mut self, caller: Option<&str>, inputs: &[&str]) -> Client {
        let requests = (1..).zip(inputs).map(|(id, input)| Ok(request(id, input))).collect();
        let opening =
            NewSession { format: StreamFormat::Protocol, caller: caller.map(Into::into), requests, counted: None };
        let now = self.now();
        Client(self.registry.open(opening, now).id)
    }

    /// A session with these context fields, and the queries to run for it.
    fn open_as(&mut self, caller: &str, seen: &[(&str, Option<&str>)]) -> (Client, Vec<QueryId>) {
        let client = self.open(Some(caller), &["{}"]);
        let [auth] = self.queued()[..] else { panic!("only its authentication") };
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
    ) -> NextStep {
        let share = ShareKey::of_run(Some(seen_as(seen)));
        let stamp = AnswerStamp { ts: 0, position: "p".into(), cause: None };
        let answer = Answer::new("f", Ok(answer.to_owned().into()), stamp, None);
        let completed = CompletedRun {
            reads: reading(reads),
            answer: Arc::new(answer),
            share: Some(share),
            suspect: false,
            pure: true,
        };
        let now = self.now();
        self.registry.finish(id, ticket, completed, now).next
    }

    fn run(&mut self, id: QueryId, answer: &str, reads: &str) -> NextStep {
        let ticket = self.begin(id);
        self.finish(id, &ticket, answer, reads, &[])
    }

    fn change(&mut self, table: &str) {
        let change = Change { table: table.into(), kind: ChangeKind::Whole };
        self.registry.changed(&outside([change].into()));
    }

    fn admit(
        &mut self,
        id: QueryId,
        seen: &[(&str, Option<&str>)],
        reads: &str,
        expires_at: Option<Duration>,
    ) -> NextStep {
        let _ticket = self.begin(id);
        let now = self.now();
        let context = SessionContext {
            user: None,
            identity: Arc::new(seen_as(seen)),
            fingerprint: Some("someone".into()),
            expires_at: expires_at.map(|after| now + after),
        };
        self.registry.finish_auth(id, reading(reads), Ok(context), Duration::from_secs(60), now).next
    }

    /// The next frame of a session: answers by id, other messages by kind.
    fn received(&mut self, client: Client) -> Vec<String> {
        let now = self.now();
        let frame = self.registry.next_frame(client.0, now);
        let answers = frame.messages.iter().filter(|message| !matches!(message, SessionMessage::Session(_)));
        answers.map(shown).collect()
    }
}

/// A commit of another writer.
fn outside(changes: Arc<[Change]>) -> Arc<Commit> {
    Arc::new(Commit::new(Changes::Some(changes), ChangeSource::Outside))
}

fn mutation(key: &str) -> ReportedMutation {
    ReportedMutation { key: key.to_owned(), result: None }
}

fn shown(message: &SessionMessage) -> String {
    match message {
        SessionMessage::Answer { id, answer, client_hash } if *client_hash == Some(answer.hash()) => {
            format!("{id} same")
        }
        SessionMessage::Answer { id, answer, .. } => match answer.data() {
            Some(data) => format!("{id} {}", String::from_utf8_lossy(data)),
            None => format!("{id} failed"),
        },
        SessionMessage::Settled { mutation } => format!("settled {}", mutation.key),
        SessionMessage::Included { mutation, ids } => format!("included {} {ids:?}", mutation.key),
        SessionMessage::Rejected(_) => "rejected".into(),
        SessionMessage::End { reason, .. } => format!("end {reason:?}"),
        SessionMessage::Refused { .. } => "refused".into(),
        SessionMessage::Session(_) => "session".into(),
    }
}

fn request(id: u64, input: &str) -> SubscribeRequest {
    let query_key = QueryKey { function: "f".into(), input: input.into() };
    SubscribeRequest { id, query_key, shareable: true, client_hash: None, since: None }
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
    assert_eq!(world.run(id, "1", "t"), NextStep::Idle);
    assert_eq!((world.received(a), world.received(b)), (vec!["1 1".to_owned()], vec!["1 1".to_owned()]));
    let late = world.open(None, &["{}"]);
    assert_eq!(world.received(late), ["1 1"], "from memory");
    world.change("t");
    world.change("other");
    assert_eq!(world.queued(), [id]);
}

#[test]
fn a_change_during_a_run_causes_another_run() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    // Its read set is not in the index yet.
    world.change("t");
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    assert_eq!(world.finish(id, &ticket, "1", "t", &[]), NextStep::RunAgain);
    assert_eq!(world.received(client), ["1 1"], "its answer is sent all the same");
    assert_eq!(world.run(id, "2", "t"), NextStep::Idle);
    assert_eq!(world.received(client), ["1 2"]);
}

#[test]
fn an_unchanged_result_sends_no_frame() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    assert_eq!(world.received(client), ["1 1"]);
    for answers in [&["1"][..], &["2", "1"]] {
        for answer in answers {
            world.change("t");
            world.run(id, answer, "t");
        }
        assert_eq!(world.received(client), Vec::<String>::new());
    }
    world.change("t");
    world.run(id, "2", "t");
    world.change("t");
    world.run(id, "3", "t");
    assert_eq!(world.received(client), ["1 3"], "a slow reader receives the newest");
}

#[test]
fn results_of_one_commit_share_a_frame_within_a_time_limit() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    for id in &ids {
        world.run(*id, "0", "t");
    }
    assert_eq!(world.received(client).len(), 2);
    world.change("t");
    world.run(ids[0], "1", "t");
    assert_eq!(world.received(client), Vec::<String>::new(), "the other query may have changed, too");
    world.run(ids[1], "1", "t");
    assert_eq!(world.received(client), ["1 1", "2 1"]);
    world.change("t");
    world.run(ids[0], "2", "t");
    world.now += Duration::from_millis(60);
    assert_eq!(world.received(client), ["1 2"]);
    world.run(ids[1], "2", "t");
    assert_eq!(world.received(client), ["2 2"]);
}

#[test]
fn a_mutation_is_acknowledged_once_its_changes_were_sent() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    world.run(ids[0], "0", "t");
    world.run(ids[1], "0", "u");
    world.received(client);
    world.registry.ack_when_visible(client.0, mutation("nothing"), None);
    assert_eq!(world.received(client), ["settled nothing"]);
    world.change("t");
    world.registry.ack_when_visible(client.0, mutation("one"), None);
    assert_eq!(world.received(client), Vec::<String>::new());
    world.run(ids[0], "1", "t");
    assert_eq!(world.received(client), ["1 1", "settled one"]);
    // Also where the answer stays the same.
    world.change("u");
    world.registry.ack_when_visible(client.0, mutation("two"), None);
    world.run(ids[1], "0", "u");
    assert_eq!(world.received(client), ["settled two"]);
}

#[test]
fn a_result_that_may_have_the_changes_of_a_commit_waits_for_the_result_that_has_them() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    world.run(ids[0], "0", "t");
    world.run(ids[1], "0", "u");
    world.received(client);
    // A run for another change ends while the commit is sent, and may have read it.
    world.change("t");
    let now = world.now();
    world.registry.committing(client.0, "mine", now);
    world.run(ids[0], "1", "t");
    assert_eq!(world.received(client), Vec::<String>::new());
    // Another query, whose answer is older than the commit or lacks it for certain.
    world.change("t");
    world.registry.ack_when_visible(client.0, mutation("mine"), None);
    assert_eq!(world.received(client), Vec::<String>::new());
    world.run(ids[0], "1", "t");
    assert_eq!(world.received(client), ["1 1", "settled mine"]);
}

#[test]
fn a_result_is_not_withheld_after_a_rolled_back_commit_nor_for_long() {
    let mut world = World::new();
    let client = world.open(None, &["1"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "0", "t");
    world.received(client);
    for (value, rolls_back) in [("1", true), ("2", false)] {
        let now = world.now();
        world.registry.committing(client.0, "mine", now);
        world.change("t");
        world.run(id, value, "t");
        assert_eq!(world.received(client), Vec::<String>::new());
        if rolls_back {
            world.registry.not_committed(client.0, "mine");
        } else {
            world.now += own_mutations::MAX_WITHHELD;
        }
        assert_eq!(world.received(client), [format!("1 {value}")]);
    }
}

#[test]
fn a_result_with_the_changes_does_not_wait_for_slower_queries() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    world.run(ids[0], "0", "t");
    world.run(ids[1], "0", "t");
    world.received(client);
    let now = world.now();
    world.registry.committing(client.0, "mine", now);
    world.change("t");
    world.registry.ack_when_visible(client.0, mutation("mine"), None);
    world.run(ids[0], "1", "t");
    world.now += Duration::from_millis(60);
    assert_eq!(world.received(client), ["1 1", "included mine [1]"]);
    world.run(ids[1], "1", "t");
    assert_eq!(world.received(client), ["2 1", "settled mine"]);
}

#[test]
fn a_session_with_too_many_unacknowledged_mutations_ends() {
    let mut world = World::new();
    let client = world.open(None, &["1"]);
    world.change("t");
    for n in 0..1_024 {
        world.registry.ack_when_visible(client.0, mutation(&n.to_string()), None);
    }
    assert!(!world.received(client).contains(&"end Overloaded".to_owned()));
    world.registry.ack_when_visible(client.0, mutation("one more"), None);
    assert_eq!(world.received(client).last().map(String::as_str), Some("end Overloaded"));
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
        let watch = SubscribeRequest { client_hash: hash, since: Some(since), ..request(1, "{}") };
        let opening =
            NewSession { format: StreamFormat::Protocol, caller: None, requests: vec![Ok(watch)], counted: None };
        let now = world.now();
        let client = Client(world.registry.open(opening, now).id);
        let last_sent = world.received(client);
        (client, last_sent)
    };
    // The run began before this moment, so it may lack commits until then.
    let (waiting, last_sent) = come_back(&mut world, early);
    assert_eq!(last_sent, Vec::<String>::new());
    assert_eq!(world.queued(), [id]);
    world.run(id, "[1]", "t");
    assert_eq!(world.received(waiting), ["1 same"]);
    let (_, last_sent) = come_back(&mut world, early);
    assert_eq!(last_sent, ["1 same"], "no run: the answer was current at a later moment");
    let now = world.now();
    world.registry.caught_up(now);
    let (_, last_sent) = come_back(&mut world, now);
    assert_eq!(last_sent, ["1 same"]);
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    assert_eq!(hash.map(hash_to_hex).map(|hash| hash.len()), Some(32));
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
    assert_eq!(world.registry.counts(), Counts { queries: 0, busy: 0, sessions: 0, subscriptions: 0 });
    let back = world.open(None, &["1", "2"]);
    assert_eq!(world.received(back), ["1 [1]", "2 [2]"]);
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    let now = world.now();
    world.registry.close(back.0, now);
    world.change("t");
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "a query without subscribers is not run");
    assert_eq!(world.registry.queries.len(), 1);
    world.now += RETENTION;
    let now = world.now();
    world.registry.caught_up(now);
    assert!(world.registry.is_empty());
}

#[test]
fn the_oldest_of_equal_results_without_subscribers_are_dropped_beyond_their_size() {
    let mut world = World::new();
    for at in 1..=MAX_IDLE + 1 {
        let client = world.open(None, &[&at.to_string()]);
        let ids = world.queued();
        world.run(ids[0], &format!("[{at}]"), "t");
        let now = world.now();
        world.registry.close(client.0, now);
        assert_eq!(world.registry.queries.len(), at.min(MAX_IDLE));
    }
    let back = world.open(None, &["2"]);
    assert_eq!((world.received(back), world.queued().len()), (vec!["1 [2]".to_owned()], 0));
    world.open(None, &["1"]);
    assert_eq!(world.queued().len(), 1, "the first was dropped");
}

#[test]
fn a_client_with_unread_refusals_is_disconnected() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let refuse = |world: &mut World, times: usize| {
        for _ in 0..times {
            let refused = Failure::new(Code::NotFound, "no such query");
            let now = world.now();
            world.registry.subscribe(client.0, Err((7, refused)), now);
        }
        world.received(client)
    };
    refuse(&mut world, 0);
    let of_the_limit = refuse(&mut world, 1_024);
    assert!(of_the_limit.len() == 1_024 && of_the_limit.last().is_some_and(|last| last != "end Overloaded"));
    let last_sent = refuse(&mut world, 5_000);
    assert_eq!((last_sent.len(), last_sent.last().map(String::as_str)), (1_026, Some("end Overloaded")));
    let now = world.now();
    assert!(world.registry.next_frame(client.0, now).ended);
}

#[test]
fn more_changes_than_are_kept_count_as_a_change_of_the_read_set() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    for _ in 0..=20_000 {
        world.change("other");
    }
    assert_eq!(world.finish(id, &ticket, "1", "t", &[]), NextStep::RunAgain);
}

#[test]
fn loading_code_reruns_every_query_and_discards_old_runs() {
    let mut world = World::new();
    let client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.registry.reloaded();
    assert_eq!(world.finish(id, &ticket, "1", "t", &[]), NextStep::RunAgain);
    assert_eq!(world.run(id, "2", "t"), NextStep::Idle);
    world.received(client);
    world.registry.reloaded();
    assert_eq!(world.queued(), [id]);
}

#[test]
fn an_expired_answer_runs_again_unless_it_has_been_replaced() {
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
    world.registry.schedule_refresh(id, first, at);
    assert_eq!(world.registry.next_due(), Some(at));
    world.registry.refresh_due(at - Duration::from_millis(1));
    assert_eq!(world.queued(), Vec::<QueryId>::new());
    world.registry.refresh_due(at);
    assert_eq!((world.queued(), world.registry.next_due()), (vec![id], None));
    // A change comes first: the expiry of the previous answer no longer applies.
    let second = run(&mut world);
    world.registry.schedule_refresh(id, second, at);
    world.change("t");
    run(&mut world);
    world.registry.schedule_refresh(id, second, at);
    assert_eq!(world.registry.next_due(), None);
}

#[test]
fn contexts_that_expire_are_made_again_after_the_clock_was_set() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("only its authentication") };
    world.admit(auth, &[], "users", Some(Duration::from_secs(60)));
    let [query] = world.queued()[..] else { panic!("one query") };
    world.run(query, "0", "t");
    assert_eq!(world.received(client), ["1 0"]);
    let (_forever, other) = world.open_as("bob", &[]);
    assert_eq!(other, Vec::<QueryId>::new(), "the result is shared");
    world.registry.check_expiring_contexts();
    assert_eq!(world.queued(), [auth]);
    world.change("t");
    world.queued();
    world.run(query, "1", "t");
    assert_eq!(world.received(client), Vec::<String>::new(), "delivery pauses until the context is made");
    world.admit(auth, &[], "users", Some(Duration::from_secs(60)));
    assert_eq!(world.received(client), ["1 1"]);
}

#[test]
fn a_query_that_fails_transiently_does_not_delay_others() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2"]);
    let ids = world.queued();
    world.run(ids[0], "0", "t");
    let ticket = world.begin(ids[1]);
    let stamp = AnswerStamp { ts: 0, position: "p".into(), cause: None };
    let away = Answer::new("f", Err(Failure::new(Code::Unavailable, "away")), stamp, None);
    let completed =
        CompletedRun { reads: ReadSet::default(), answer: Arc::new(away), share: None, suspect: true, pure: true };
    let now = world.now();
    world.registry.finish(ids[1], &ticket, completed, now);
    assert_eq!(world.received(client), ["1 0", "2 failed"]);
    world.change("t");
    world.registry.ack_when_visible(client.0, mutation("mine"), None);
    world.run(ids[0], "1", "t");
    assert_eq!(world.received(client), ["1 1", "settled mine"]);
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
    assert!(!world.registry.requeue(id, ticket.run, CauseKind::Retry), "a query without subscribers is not run");
    let back = world.open(None, &["{}"]);
    assert_eq!(world.received(back), Vec::<String>::new());
    assert_eq!(world.queued().len(), 1, "the old answer has expired");
}

#[test]
fn a_requeue_for_an_older_run_is_ignored() {
    let mut world = World::new();
    let _client = world.open(None, &["{}"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let first = world.begin(id);
    world.finish(id, &first, "1", "t", &[]);
    world.change("t");
    let second = world.begin(id);
    world.finish(id, &second, "2", "t", &[]);
    assert!(!world.registry.requeue(id, first.run, CauseKind::Retry), "the second run has its own expiry");
    assert!(world.registry.requeue(id, second.run, CauseKind::Retry));
    assert!(!world.registry.requeue(id, second.run, CauseKind::Retry), "once");
}

#[test]
fn a_withdrawn_result_does_not_shorten_the_frame_delay() {
    let mut world = World::new();
    let client = world.open(None, &["1", "2", "3"]);
    let ids = world.queued();
    for (id, table) in ids.iter().zip(["t", "t", "u"]) {
        world.run(*id, "0", table);
    }
    world.received(client);
    world.change("u");
    world.run(ids[2], "1", "u");
    let now = world.now();
    world.registry.unsubscribe(client.0, 3, now);
    world.now += Duration::from_secs(1);
    world.change("t");
    world.run(ids[0], "1", "t");
    assert_eq!(world.received(client), Vec::<String>::new(), "the other query may have changed, too");
    world.run(ids[1], "1", "t");
    assert_eq!(world.received(client), ["1 1", "2 1"]);
}
