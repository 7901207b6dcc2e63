//! The results of calls that are kept, and what calls are answered from.

use super::*;
use crate::live::message::EndReason;

fn key(input: &str) -> QueryKey {
    QueryKey { function: "f".into(), input: input.into() }
}

fn answer(text: &str) -> Arc<Answer> {
    let stamp = AnswerStamp { ts: 0, position: "p".into(), cause: None };
    Arc::new(Answer::new("f", Ok(text.to_owned().into()), stamp, None))
}

fn result(input: &str, reads: ReadSet) -> KeptResult {
    KeptResult { query_key: key(input), share: ShareKey::public(), reads, answer: answer("[1]") }
}

impl World {
    fn begin_kept(&mut self) -> QueryId {
        let now = self.now();
        self.registry.begin_kept(now)
    }

    fn end_kept(&mut self, run: QueryId, result: KeptResult) -> bool {
        let now = self.now();
        self.registry.end_kept(run, Some(result), now)
    }

    /// Notes that the log was read just now.
    fn read_log(&mut self) {
        let now = self.now();
        self.registry.caught_up(now);
    }

    /// What a caller with this context, who calls at `since`, is answered.
    fn lookup_as(&mut self, input: &str, identity: &Seen, since: Instant) -> &'static str {
        let request = CacheRequest { query_key: &key(input), identity, since };
        match self.registry.lookup(&request, self.now) {
            CacheLookup::Hit(..) => "hit",
            CacheLookup::Unconfirmed => "unconfirmed",
            CacheLookup::Miss => "miss",
        }
    }

    fn lookup(&mut self, input: &str) -> &'static str {
        let since = self.now();
        self.lookup_as(input, &Seen::new(), since)
    }
}

#[test]
fn a_kept_result_answers_calls_once_the_log_was_read_and_until_a_change() {
    let mut world = World::new();
    let run = world.begin_kept();
    assert!(world.end_kept(run, result("1", reading("t"))));
    assert!(world.queued().is_empty(), "it has been run");
    let at = Now { instant: world.now, ms: 0 };
    assert!(world.registry.describe(None, at).is_empty(), "it is no live query");
    assert_eq!(world.lookup("1"), "unconfirmed");
    assert_eq!(world.lookup("2"), "miss");
    let called = world.now();
    world.read_log();
    assert_eq!(world.lookup_as("1", &Seen::new(), called), "hit");
    assert_eq!(world.lookup("1"), "unconfirmed", "a later call needs a later read");
    world.change("u");
    assert_eq!(world.lookup_as("1", &Seen::new(), called), "hit");
    world.change("t");
    assert_eq!(world.lookup_as("1", &Seen::new(), called), "miss");
    assert!(world.registry.is_empty() && world.queued().is_empty());
}

#[test]
fn a_result_that_was_read_from_nothing_needs_no_read_of_the_log() {
    let mut world = World::new();
    let run = world.begin_kept();
    assert!(world.end_kept(run, result("1", ReadSet::default())));
    assert_eq!(world.lookup("1"), "hit");
    world.change("t");
    assert_eq!(world.lookup("1"), "hit");
}

#[test]
fn a_result_that_changes_during_its_run_is_not_kept() {
    for table in ["t", "u"] {
        let mut world = World::new();
        let run = world.begin_kept();
        world.change(table);
        assert!(world.end_kept(run, result("1", reading("t"))));
        assert_eq!(world.lookup("1"), if table == "t" { "miss" } else { "unconfirmed" });
    }
}

#[test]
fn results_that_a_change_may_not_announce_are_refused() {
    let private = KeptResult { share: ShareKey::Private, ..result("1", reading("t")) };
    let of_the_time = ReadSet { refresh: Some(Duration::from_secs(1)), ..reading("t") };
    let of_everything = ReadSet { everything: true, ..reading("t") };
    let large = KeptResult { answer: answer(&format!("{:?}", "x".repeat(MAX_BYTES))), ..result("1", reading("t")) };
    let refused =
        [private, result("1", of_the_time), result("1", of_everything), result("1", reading("untracked")), large];
    for result in refused {
        let mut world = World::new();
        let run = world.begin_kept();
        let shown = format!("{result:?}");
        assert!(!world.end_kept(run, result), "{shown:.200}");
        assert!(world.registry.is_empty());
    }
}

#[test]
fn an_impure_live_result_does_not_answer_calls() {
    for pure in [true, false] {
        let mut world = World::new();
        world.open(None, &["1"]);
        let [id] = world.queued()[..] else { panic!("one query") };
        let ticket = world.begin(id);
        let now = world.now();
        let share = Some(ShareKey::public());
        let completed = CompletedRun { reads: reading("t"), answer: answer("[1]"), share, suspect: false, pure };
        world.registry.finish(id, &ticket, completed, now);
        assert_eq!(world.lookup("1"), if pure { "unconfirmed" } else { "miss" });
    }
}

#[test]
fn a_live_result_of_the_time_does_not_answer_calls() {
    let mut world = World::new();
    world.open(None, &["1"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    let (now, reads) = (world.now(), ReadSet { refresh: Some(Duration::from_secs(1)), ..reading("t") });
    let share = Some(ShareKey::public());
    world.registry.finish(
        id,
        &ticket,
        CompletedRun { reads, answer: answer("[1]"), share, suspect: false, pure: true },
        now,
    );
    assert_eq!(world.lookup("1"), "miss");
}

#[test]
fn a_result_is_kept_for_callers_with_the_same_context_only() {
    let mut world = World::new();
    let (ann, bob) = (seen_as(&[("user", Some("1")), ("at", None)]), seen_as(&[("user", Some("2"))]));
    let run = world.begin_kept();
    let share = ShareKey::of_run(Some(seen_as(&[("user", Some("1"))])));
    world.end_kept(run, KeptResult { share, ..result("1", reading("t")) });
    let called = world.now();
    world.read_log();
    assert_eq!(world.lookup_as("1", &ann, called), "hit");
    assert_eq!(world.lookup_as("1", &bob, called), "miss");
    assert_eq!(world.lookup_as("1", &Seen::new(), called), "miss");
    // The keys are known now, so callers who will not share do not wait for each other.
    assert_ne!(world.registry.expected_share(&key("1"), &ann), world.registry.expected_share(&key("1"), &bob));
}

#[test]
fn a_client_that_subscribes_receives_a_kept_result_without_a_run() {
    let mut world = World::new();
    let run = world.begin_kept();
    world.end_kept(run, result("1", reading("t")));
    let client = world.open(None, &["1"]);
    assert_eq!((world.received(client), world.queued().len()), (vec!["1 [1]".to_owned()], 0));
    world.change("t");
    let [id] = world.queued()[..] else { panic!("it is a live query now") };
    world.run(id, "[2]", "t");
    assert_eq!(world.received(client), ["1 [2]"]);
}

#[test]
fn a_call_does_not_replace_a_live_query() {
    let mut world = World::new();
    let client = world.open(None, &["1"]);
    let [id] = world.queued()[..] else { panic!("one query") };
    let run = world.begin_kept();
    world.end_kept(run, result("1", reading("t")));
    world.run(id, "[2]", "t");
    assert_eq!(world.received(client), ["1 [2]"]);
    assert_eq!(world.registry.cache_size().results, 0);
}

#[test]
fn new_code_and_a_reset_end_runs_without_keeping_their_results() {
    let mut world = World::new();
    let run = world.begin_kept();
    world.registry.reloaded();
    assert!(world.end_kept(run, result("1", reading("t"))));
    assert!(world.registry.is_empty());
    let run = world.begin_kept();
    world.registry.end_all(EndReason::Reload);
    assert!(world.end_kept(run, result("1", reading("t"))));
    assert!(world.registry.is_empty(), "the new code may make other contexts");
    let run = world.begin_kept();
    world.registry.restart();
    assert!(world.end_kept(run, result("1", reading("t"))));
    assert!(world.registry.is_empty());
    // A change is no longer kept for them.
    world.change("t");
    let run = world.begin_kept();
    assert!(world.end_kept(run, result("1", reading("t"))));
    assert_eq!(world.lookup("1"), "unconfirmed");
}

#[test]
fn a_result_is_dropped_after_its_retention_however_often_it_is_used() {
    let mut world = World::new();
    let run = world.begin_kept();
    world.end_kept(run, result("1", reading("t")));
    for _ in 0..9 {
        world.now += RETENTION / 10;
        let called = world.now();
        world.read_log();
        assert_eq!(world.lookup_as("1", &Seen::new(), called), "hit");
    }
    world.now += RETENTION / 10;
    world.read_log();
    assert_eq!(world.lookup("1"), "miss");
}
