//! Share keys, and the authentication of sessions.

use super::*;

#[test]
fn results_are_shared_by_callers_equal_in_the_observed_context() {
    let mut world = World::new();
    let roles = ["\"admin\"", "\"guest\"", "\"admin\""];
    let mut to_run = Vec::new();
    let clients = roles.map(|role| {
        let (client, run) = world.open_as(role, &[("role", Some(role))]);
        to_run.extend(run);
        client
    });
    // The fields that it will read are not known, so all wait for one run.
    let [id] = to_run[..] else { panic!("one query") };
    let ticket = world.begin(id);
    let caller = ticket.caller.clone().expect("a caller");
    world.finish(id, &ticket, &format!("[{caller}]"), "t", &[("role", Some(&caller))]);
    let [other] = world.queued()[..] else { panic!("another one for the others") };
    let ticket = world.begin(other);
    let caller = ticket.caller.clone().expect("a caller");
    world.finish(other, &ticket, &format!("[{caller}]"), "t", &[("role", Some(&caller))]);
    for (client, role) in clients.into_iter().zip(roles) {
        assert_eq!(world.received(client), [format!("1 [{role}]")]);
    }
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "two runs for three clients");
}

#[test]
fn queries_with_incomparable_context_run_per_caller() {
    let mut world = World::new();
    let mut to_run = Vec::new();
    let clients = ["a", "b"].map(|name| {
        let (client, run) = world.open_as(name, &[("tags", None)]);
        to_run.extend(run);
        client
    });
    while let Some(id) = to_run.pop() {
        let ticket = world.begin(id);
        let caller = format!("\"{}\"", ticket.caller.clone().expect("a caller"));
        world.finish(id, &ticket, &caller, "t", &[("tags", None)]);
        to_run.extend(world.queued());
    }
    assert_eq!(
        (world.received(clients[0]), world.received(clients[1])),
        (vec!["1 \"a\"".into()], vec!["1 \"b\"".into()])
    );
}

#[test]
fn a_session_receives_no_answers_while_its_context_is_made_again() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[("role", Some("1"))], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.finish(id, &ticket, "1", "t", &[("role", Some("1"))]);
    assert_eq!(world.received(client), ["1 1"]);
    world.change("users");
    world.change("t");
    let ran = world.queued();
    assert!(ran.contains(&auth) && ran.contains(&id));
    let ticket = world.begin(id);
    world.finish(id, &ticket, "2", "t", &[("role", Some("1"))]);
    assert_eq!(world.received(client), Vec::<String>::new());
    // The role has changed: results for the old one are never sent.
    world.admit(auth, &[("role", Some("2"))], "users", None);
    assert_eq!(world.received(client), Vec::<String>::new());
    let [next_query] = world.queued()[..] else { panic!("another query") };
    let ticket = world.begin(next_query);
    world.finish(next_query, &ticket, "3", "t", &[("role", Some("2"))]);
    assert_eq!(world.received(client), ["1 3"]);
}

#[test]
fn results_computed_under_an_old_context_are_discarded() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[("user", Some("\"ann\""))], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    let for_ann = world.begin(id);
    // Before that run ends, the session's token becomes another's.
    world.registry.replace_token(client.0, "bob".into());
    assert_eq!(world.queued(), [auth]);
    world.admit(auth, &[("user", Some("\"bob\""))], "users", None);
    world.finish(id, &for_ann, "\"ann's\"", "t", &[("user", Some("\"ann\""))]);
    assert_eq!(world.received(client), Vec::<String>::new());
    let [next_query] = world.queued()[..] else { panic!("a query for bob") };
    let for_bob = world.begin(next_query);
    assert_eq!(for_bob.caller.as_deref(), Some("bob"));
    world.finish(next_query, &for_bob, "\"bob's\"", "t", &[("user", Some("\"bob\""))]);
    assert_eq!(world.received(client), ["1 \"bob's\""]);
}

#[test]
fn delivery_stops_at_expiry_until_a_new_token_and_the_grace_period_is_limited() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", Some(Duration::from_secs(5)));
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    assert_eq!(world.received(client), ["1 1"]);
    world.now += Duration::from_secs(5);
    world.change("t");
    world.queued();
    world.run(id, "2", "t");
    assert_eq!(world.received(client), ["rejected"]);
    assert_eq!(world.received(client), Vec::<String>::new());
    world.registry.replace_token(client.0, "ann again".into());
    assert_eq!(world.queued(), [auth]);
    assert_eq!(world.received(client), Vec::<String>::new());
    world.admit(auth, &[], "users", Some(Duration::from_secs(5)));
    assert_eq!(world.received(client), ["1 2"]);
    world.now += Duration::from_secs(5);
    assert_eq!(world.received(client), ["rejected"]);
    world.now += Duration::from_secs(29);
    assert_eq!(world.received(client), Vec::<String>::new());
    world.now += Duration::from_secs(1);
    assert_eq!(world.received(client), ["end Auth"]);
    let now = world.now();
    assert!(world.registry.next_frame(client.0, now).ended);
}

#[test]
fn a_refused_context_fails_the_opening_and_rejects_an_open_session() {
    let mut world = World::new();
    let refused = || Err(Failure::new(Code::Unauthorized, "who?"));
    let opening = NewSession {
        format: StreamFormat::Plain,
        caller: Some("x".into()),
        requests: vec![Ok(request(1, "{}"))],
        counted: None,
    };
    let now = world.now();
    let opened = world.registry.open(opening, now);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.begin(auth);
    world.registry.finish_auth(auth, reading("users"), refused(), Duration::from_secs(60), now);
    assert!(matches!(world.registry.admission(opened.id, now), Admission::Refused(_)));
    assert_eq!(world.registry.counts(), Counts { queries: 0, busy: 0, sessions: 0, subscriptions: 0 });

    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", None);
    world.change("users");
    world.begin(auth);
    let now = world.now();
    world.registry.finish_auth(auth, reading("users"), refused(), Duration::from_secs(60), now);
    assert_eq!(world.received(client), ["rejected"]);
}

#[test]
fn an_incomparable_context_counts_as_changed_each_time_it_is_made() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[("rights", None)], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.finish(id, &ticket, "\"with all rights\"", "t", &[("rights", None)]);
    assert_eq!(world.received(client), ["1 \"with all rights\""]);
    // Its rights may not be in the database, so no other event would run the query.
    world.change("users");
    assert_eq!(world.queued(), [auth]);
    world.admit(auth, &[("rights", None)], "users", None);
    let [next_query] = world.queued()[..] else { panic!("a run for the present context") };
    let ticket = world.begin(next_query);
    world.finish(next_query, &ticket, "\"with none\"", "t", &[("rights", None)]);
    assert_eq!(world.received(client), ["1 \"with none\""]);
}

#[test]
fn rejection_of_an_old_token_does_not_affect_a_new_one() {
    let mut world = World::new();
    let client = world.open(Some("old"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    world.received(client);
    world.change("users");
    let _for_old = world.begin(auth);
    world.registry.replace_token(client.0, "new".into());
    let now = world.now();
    let expired = Err(Failure::new(Code::Unauthorized, "expired"));
    let next = world.registry.finish_auth(auth, reading("users"), expired, Duration::from_secs(60), now);
    assert_eq!(next.next, NextStep::RunAgain);
    assert_eq!(world.received(client), Vec::<String>::new());
}

#[test]
fn an_expired_context_does_not_reopen_a_session() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", Some(Duration::from_secs(5)));
    world.queued();
    world.now += Duration::from_secs(5);
    assert_eq!(world.received(client), ["rejected"]);
    // Otherwise each expiry would start another grace period.
    for _ in 0..2 {
        world.now += Duration::from_secs(14);
        world.change("users");
        world.admit(auth, &[], "users", Some(Duration::ZERO));
        assert_eq!(world.received(client), Vec::<String>::new());
    }
    world.now += Duration::from_secs(3);
    assert_eq!(world.received(client), ["end Auth"]);
}

#[test]
fn a_context_that_fails_transiently_keeps_its_read_set() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    world.received(client);
    // Its refresh is due, and the host is busy.
    world.now += Duration::from_secs(60);
    world.received(client);
    assert_eq!(world.queued(), [auth]);
    world.begin(auth);
    let now = world.now();
    let busy = Err(Failure::new(Code::Unavailable, "busy"));
    world.registry.finish_auth(auth, ReadSet::default(), busy, Duration::from_secs(60), now);
    world.change("users");
    world.change("t");
    world.run(id, "2", "t");
    assert_eq!(world.received(client), Vec::<String>::new(), "its rights may be gone");
}

#[test]
fn after_a_failure_the_next_run_is_made_for_another_caller() {
    let mut world = World::new();
    let mut to_run = Vec::new();
    for name in ["ann", "bob"] {
        to_run.extend(world.open_as(name, &[]).1);
    }
    let [id] = to_run[..] else { panic!("one query for both") };
    let first = world.begin(id);
    let failure = Failure::new(Code::Timeout, "its context took too long");
    let stamp = AnswerStamp { ts: 0, position: "p".into(), cause: None };
    let answer = Arc::new(Answer::new("f", Err(failure), stamp, None));
    let now = world.now();
    world.registry.finish(
        id,
        &first,
        CompletedRun { reads: ReadSet::default(), answer, share: None, suspect: true, pure: true },
        now,
    );
    assert!(world.registry.requeue(id, first.run, CauseKind::Retry));
    let second = world.begin(id);
    assert_ne!(first.caller, second.caller);
}

/// A run that fails, perhaps because of its caller.
fn fail(world: &mut World, id: QueryId, ticket: &Ticket) -> NextStep {
    fail_for(world, id, ticket, true)
}

fn fail_for(world: &mut World, id: QueryId, ticket: &Ticket, suspect: bool) -> NextStep {
    let failure = Failure::new(Code::Timeout, "it took too long");
    let stamp = AnswerStamp { ts: 0, position: "p".into(), cause: None };
    let answer = Arc::new(Answer::new("f", Err(failure), stamp, None));
    let now = world.now();
    world
        .registry
        .finish(id, ticket, CompletedRun { reads: ReadSet::default(), answer, share: None, suspect, pure: true }, now)
        .next
}

/// A session of a user with the role of a guest.
fn join(world: &mut World, user: &str) -> Client {
    let client = world.open(Some(user), &["{}"]);
    let auth = *world.queued().last().expect("its auth");
    let _ticket = world.begin(auth);
    let now = world.now();
    let name = format!("\"{user}\"");
    let identity = Arc::new(seen_as(&[("user", Some(&name)), ("role", Some("\"guest\""))]));
    let context = SessionContext { identity, fingerprint: Some(user.into()), user: None, expires_at: None };
    world.registry.finish_auth(auth, reading("users"), Ok(context), Duration::from_secs(60), now);
    client
}

#[test]
fn a_failed_first_run_is_sent_only_to_its_caller_and_the_others_run_at_once() {
    let mut world = World::new();
    let bad = join(&mut world, "bad");
    let [id] = world.queued()[..] else { panic!("one query") };
    let more = [join(&mut world, "bad"), join(&mut world, "bad")];
    let honest = ["ann", "bob"].map(|user| join(&mut world, user));
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "all wait for one run");
    let ticket = world.begin(id);
    assert!(ticket.can_isolate);
    fail(&mut world, id, &ticket);
    let [others] = world.queued()[..] else { panic!("one run for the others") };
    for client in [bad, more[0], more[1]] {
        assert_eq!(world.received(client), ["1 failed"]);
    }
    for client in honest {
        assert_eq!(world.received(client), Vec::<String>::new(), "the failure is not sent to other callers");
    }
    let ticket = world.begin(others);
    assert!(["ann", "bob"].contains(&ticket.caller.as_deref().expect("a caller")));
    world.finish(others, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    for client in honest {
        assert_eq!(world.received(client), ["1 1"]);
    }
    // The failed caller shares with them once a run has returned the same share key.
    assert!(world.registry.requeue(id, 1, CauseKind::Retry));
    let ticket = world.begin(id);
    world.finish(id, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!(world.registry.counts().queries, 1, "it is served by the same query");
    assert_eq!(world.queued(), [others], "whose answer is older than that run");
    let ticket = world.begin(others);
    world.finish(others, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!(world.received(bad), ["1 1"]);
}

#[test]
fn a_slow_first_run_delays_only_its_caller() {
    let mut world = World::new();
    let bad = join(&mut world, "bad");
    let [id] = world.queued()[..] else { panic!("one query") };
    let slow = world.begin(id);
    let ann = join(&mut world, "ann");
    let now = world.now();
    world.registry.isolate_runner(id, now);
    let [other] = world.queued()[..] else { panic!("one for the others") };
    let late = join(&mut world, "late");
    let ticket = world.begin(other);
    world.finish(other, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!((world.received(ann), world.received(late)), (vec!["1 1".to_owned()], vec!["1 1".to_owned()]));
    assert_eq!(world.received(bad), Vec::<String>::new());
    world.registry.isolate_runner(id, now);
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "no subscriber is left to isolate from");
    // Once it has run, it shares with callers of the same share key.
    world.finish(id, &slow, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!(world.received(bad), ["1 1"]);
    assert_eq!(world.registry.counts().queries, 1);
}

#[test]
fn a_failed_or_slow_later_run_affects_only_its_caller_too() {
    for is_slow in [false, true] {
        let mut world = World::new();
        let bad = join(&mut world, "bad");
        let [id] = world.queued()[..] else { panic!("one query") };
        let ann = join(&mut world, "ann");
        world.run(id, "1", "t");
        assert_eq!((world.received(bad), world.received(ann)), (vec!["1 1".to_owned()], vec!["1 1".to_owned()]));
        world.change("t");
        world.queued();
        let ticket = world.begin(id);
        assert_eq!((ticket.caller.as_deref(), ticket.can_isolate), (Some("bad"), true));
        if is_slow {
            let now = world.now();
            world.registry.isolate_runner(id, now);
        } else {
            fail(&mut world, id, &ticket);
        }
        let [other] = world.queued()[..] else { panic!("one for the others") };
        assert_eq!(world.received(ann), Vec::<String>::new(), "the failure is not sent to another caller");
        world.run(other, "2", "t");
        assert_eq!(world.received(ann), ["1 2"]);
    }
}

#[test]
fn a_query_failing_for_several_callers_fails_for_all() {
    let mut world = World::new();
    let first = join(&mut world, "0");
    let [mut id] = world.queued()[..] else { panic!("one query") };
    let clients: Vec<_> = std::iter::once(first).chain((1..9).map(|n| join(&mut world, &n.to_string()))).collect();
    world.run(id, "1", "t");
    world.change("t");
    world.queued();
    let mut runs = 0;
    loop {
        let ticket = world.begin(id);
        fail(&mut world, id, &ticket);
        runs += 1;
        let [next] = world.queued()[..] else { break };
        id = next;
    }
    assert_eq!(runs, 5);
    for client in clients {
        assert!(world.received(client).contains(&"1 failed".to_owned()));
    }
    assert_eq!(world.registry.counts().queries, 5);
}

proptest::proptest! {
    /// In any order and with any number of sessions: each bad caller has at most one run
    /// before another caller has one.
    #[test]
    fn each_bad_caller_delays_the_others_at_most_once(
        callers in proptest::collection::vec(0..5_usize, 1..40),
        bad in proptest::collection::vec(proptest::bool::ANY, 5),
        slow in proptest::collection::vec(proptest::bool::ANY, 5),
    ) {
        let mut world = World::new();
        let mut clients = Vec::new();
        let mut waiting = std::collections::VecDeque::new();
        for caller in &callers {
            clients.push((*caller, join(&mut world, &caller.to_string())));
            waiting.extend(world.queued());
        }
        let mut failures = std::collections::HashMap::new();
        while let Some(id) = waiting.pop_front() {
            let now = world.now();
            let Some(ticket) = world.registry.begin(id, now) else { continue };
            let caller: usize = ticket.caller.as_deref().expect("a caller").parse().expect("a number");
            if bad[caller] {
                *failures.entry(caller).or_insert(0) += 1;
                if slow[caller] {
                    let now = world.now();
                    world.registry.isolate_runner(id, now);
                } else {
                    fail(&mut world, id, &ticket);
                }
            } else {
                world.finish(id, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
            }
            waiting.extend(world.queued());
        }
        for (caller, client) in clients {
            let last_sent = world.received(client);
            // A bad caller has an answer, too, if another caller ran first.
            proptest::prop_assert!(bad[caller] || last_sent == ["1 1"], "{:?}", last_sent);
        }
        proptest::prop_assert!(failures.values().all(|times| *times == 1), "{:?}", failures);
    }

    /// The runs of a shared query go round all callers before one is tried again.
    #[test]
    fn runners_rotate_over_callers_and_not_over_sessions(
        sessions in proptest::collection::vec(0..6_usize, 2..40),
    ) {
        let mut world = World::new();
        let mut to_run = Vec::new();
        for caller in &sessions {
            join(&mut world, &caller.to_string());
            to_run.extend(world.queued());
        }
        let id = to_run[0];
        world.run(id, "1", "t");
        let distinct = sessions.iter().collect::<std::collections::HashSet<_>>().len();
        world.change("t");
        for _ in 0..3 {
            let mut tried = std::collections::HashSet::new();
            for _ in 0..distinct {
                let ticket = world.begin(id);
                tried.insert(ticket.caller.clone());
                fail_for(&mut world, id, &ticket, false);
                world.registry.requeue(id, ticket.run, CauseKind::Retry);
            }
            proptest::prop_assert_eq!(tried.len(), distinct);
        }
    }
}
