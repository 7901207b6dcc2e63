//! Who is sent what, and when that is in doubt.

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
    // Not knowing what will be looked at, all wait for one run.
    let [id] = to_run[..] else { panic!("one query") };
    let ticket = world.begin(id);
    let caller = ticket.caller.clone().expect("a caller");
    world.finish(id, &ticket, &format!("[{caller}]"), "t", &[("role", Some(&caller))]);
    let [other] = world.queued()[..] else { panic!("another one for the others") };
    let ticket = world.begin(other);
    let caller = ticket.caller.clone().expect("a caller");
    world.finish(other, &ticket, &format!("[{caller}]"), "t", &[("role", Some(&caller))]);
    for (client, role) in clients.into_iter().zip(roles) {
        assert_eq!(world.told(client), [format!("1 [{role}]")]);
    }
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "two runs for three");
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
    assert_eq!((world.told(clients[0]), world.told(clients[1])), (vec!["1 \"a\"".into()], vec!["1 \"b\"".into()]));
}

#[test]
fn a_session_is_sent_nothing_while_its_context_is_in_doubt() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[("role", Some("1"))], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.finish(id, &ticket, "1", "t", &[("role", Some("1"))]);
    assert_eq!(world.told(client), ["1 1"]);
    world.change("users");
    world.change("t");
    let ran = world.queued();
    assert!(ran.contains(&auth) && ran.contains(&id));
    let ticket = world.begin(id);
    world.finish(id, &ticket, "2", "t", &[("role", Some("1"))]);
    assert_eq!(world.told(client), Vec::<String>::new());
    // The role is another one: what was made for the old one is never shown.
    world.admit(auth, &[("role", Some("2"))], "users", None);
    assert_eq!(world.told(client), Vec::<String>::new());
    let [anew] = world.queued()[..] else { panic!("another query") };
    let ticket = world.begin(anew);
    world.finish(anew, &ticket, "3", "t", &[("role", Some("2"))]);
    assert_eq!(world.told(client), ["1 3"]);
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
    world.registry.renew(client.0, "bob".into());
    assert_eq!(world.queued(), [auth]);
    world.admit(auth, &[("user", Some("\"bob\""))], "users", None);
    world.finish(id, &for_ann, "\"ann's\"", "t", &[("user", Some("\"ann\""))]);
    assert_eq!(world.told(client), Vec::<String>::new());
    let [anew] = world.queued()[..] else { panic!("a query for bob") };
    let for_bob = world.begin(anew);
    assert_eq!(for_bob.caller.as_deref(), Some("bob"));
    world.finish(anew, &for_bob, "\"bob's\"", "t", &[("user", Some("\"bob\""))]);
    assert_eq!(world.told(client), ["1 \"bob's\""]);
}

#[test]
fn nothing_is_sent_past_expiry_until_a_new_token_has_come_and_not_for_ever() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", Some(Duration::from_secs(5)));
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    assert_eq!(world.told(client), ["1 1"]);
    world.now += Duration::from_secs(5);
    world.change("t");
    world.queued();
    world.run(id, "2", "t");
    assert_eq!(world.told(client), ["barred"]);
    assert_eq!(world.told(client), Vec::<String>::new());
    world.registry.renew(client.0, "ann again".into());
    assert_eq!(world.queued(), [auth]);
    assert_eq!(world.told(client), Vec::<String>::new());
    world.admit(auth, &[], "users", Some(Duration::from_secs(5)));
    assert_eq!(world.told(client), ["1 2"]);
    world.now += Duration::from_secs(5);
    assert_eq!(world.told(client), ["barred"]);
    world.now += Duration::from_secs(31);
    assert_eq!(world.told(client), ["end"]);
    let now = world.now();
    assert!(world.registry.take(client.0, now).over);
}

#[test]
fn a_refused_context_ends_the_opening_and_bars_a_living_session() {
    let mut world = World::new();
    let refused = || Err(Failure::new(Code::Unauthorized, "who?"));
    let opening =
        Opening { style: Style::Plain, caller: Some("x".into()), wanted: vec![Ok(watching(1, "{}"))], address: None };
    let now = world.now();
    let opened = world.registry.open(opening, now);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.begin(auth);
    world.registry.admitted(auth, reading("users"), refused(), Duration::from_secs(60), now);
    assert!(matches!(world.registry.admission(opened.id, now), Admission::Refused(_)));
    assert_eq!(world.registry.counts(), Counts { queries: 0, busy: 0, sessions: 0, watching: 0 });

    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", None);
    world.change("users");
    world.begin(auth);
    let now = world.now();
    world.registry.admitted(auth, reading("users"), refused(), Duration::from_secs(60), now);
    assert_eq!(world.told(client), ["barred"]);
}

#[test]
fn a_context_that_cannot_be_compared_may_be_another_each_time_it_is_made() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[("rights", None)], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    let ticket = world.begin(id);
    world.finish(id, &ticket, "\"with all rights\"", "t", &[("rights", None)]);
    assert_eq!(world.told(client), ["1 \"with all rights\""]);
    // Its rights may be in no database, so nothing else would make the query run.
    world.change("users");
    assert_eq!(world.queued(), [auth]);
    world.admit(auth, &[("rights", None)], "users", None);
    let [anew] = world.queued()[..] else { panic!("a run for who it is now") };
    let ticket = world.begin(anew);
    world.finish(anew, &ticket, "\"with none\"", "t", &[("rights", None)]);
    assert_eq!(world.told(client), ["1 \"with none\""]);
}

#[test]
fn rejection_of_an_old_token_does_not_affect_a_new_one() {
    let mut world = World::new();
    let client = world.open(Some("old"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    world.told(client);
    world.change("users");
    let _for_old = world.begin(auth);
    world.registry.renew(client.0, "new".into());
    let now = world.now();
    let expired = Err(Failure::new(Code::Unauthorized, "expired"));
    let next = world.registry.admitted(auth, reading("users"), expired, Duration::from_secs(60), now);
    assert_eq!(next, Next::Again);
    assert_eq!(world.told(client), Vec::<String>::new());
}

#[test]
fn a_context_that_is_made_again_and_has_expired_opens_nothing() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", Some(Duration::from_secs(5)));
    world.queued();
    world.now += Duration::from_secs(5);
    assert_eq!(world.told(client), ["barred"]);
    // Each time it would be told again, and be given another half minute.
    for _ in 0..2 {
        world.now += Duration::from_secs(14);
        world.change("users");
        world.admit(auth, &[], "users", Some(Duration::ZERO));
        assert_eq!(world.told(client), Vec::<String>::new());
    }
    world.now += Duration::from_secs(3);
    assert_eq!(world.told(client), ["end"]);
}

#[test]
fn a_context_that_cannot_be_made_for_now_is_watched_as_before() {
    let mut world = World::new();
    let client = world.open(Some("ann"), &["{}"]);
    let [auth] = world.queued()[..] else { panic!("its auth") };
    world.admit(auth, &[], "users", None);
    let [id] = world.queued()[..] else { panic!("one query") };
    world.run(id, "1", "t");
    world.told(client);
    // It is made again by the clock, and the host is busy.
    world.now += Duration::from_secs(60);
    world.told(client);
    assert_eq!(world.queued(), [auth]);
    world.begin(auth);
    let now = world.now();
    let busy = Err(Failure::new(Code::Unavailable, "busy"));
    world.registry.admitted(auth, ReadSet::default(), busy, Duration::from_secs(60), now);
    world.change("users");
    world.change("t");
    world.run(id, "2", "t");
    assert_eq!(world.told(client), Vec::<String>::new(), "its rights may be gone");
}

#[test]
fn one_caller_in_whose_name_nothing_runs_does_not_keep_the_others_from_an_answer() {
    let mut world = World::new();
    let mut to_run = Vec::new();
    for name in ["ann", "bob"] {
        to_run.extend(world.open_as(name, &[]).1);
    }
    let [id] = to_run[..] else { panic!("one query for both") };
    let first = world.begin(id);
    let failure = Failure::new(Code::Timeout, "its context took too long");
    let made = Made { ts: 0, position: "p".into() };
    let answer = Arc::new(Answer::new("f", Err(failure), made, None));
    let now = world.now();
    world.registry.finish(id, &first, Ended { reads: ReadSet::default(), answer, share: None, suspect: true }, now);
    assert!(world.registry.requeue(id, first.run));
    let second = world.begin(id);
    assert_ne!(first.caller, second.caller);
}

/// A run that gives nothing, for a reason that may be its caller's.
fn fail(world: &mut World, id: QueryId, ticket: &Ticket) -> Next {
    fail_for(world, id, ticket, true)
}

fn fail_for(world: &mut World, id: QueryId, ticket: &Ticket, suspect: bool) -> Next {
    let failure = Failure::new(Code::Timeout, "it took too long");
    let made = Made { ts: 0, position: "p".into() };
    let answer = Arc::new(Answer::new("f", Err(failure), made, None));
    let now = world.now();
    world.registry.finish(id, ticket, Ended { reads: ReadSet::default(), answer, share: None, suspect }, now)
}

/// A session of this user, whose context says who they are and that they are a guest.
fn join(world: &mut World, user: &str) -> Client {
    let client = world.open(Some(user), &["{}"]);
    let auth = *world.queued().last().expect("its auth");
    let _ticket = world.begin(auth);
    let now = world.now();
    let name = format!("\"{user}\"");
    let identity = Arc::new(seen_as(&[("user", Some(&name)), ("role", Some("\"guest\""))]));
    let known = Known { identity, fingerprint: Some(user.into()), expires: None };
    world.registry.admitted(auth, reading("users"), Ok(known), Duration::from_secs(60), now);
    client
}

#[test]
fn a_first_run_that_fails_is_its_callers_failure_and_the_others_run_at_once() {
    let mut world = World::new();
    let bad = join(&mut world, "bad");
    let [id] = world.queued()[..] else { panic!("one query") };
    let more = [join(&mut world, "bad"), join(&mut world, "bad")];
    let honest = ["ann", "bob"].map(|user| join(&mut world, user));
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "all wait for one run");
    let ticket = world.begin(id);
    assert!(ticket.may_part);
    fail(&mut world, id, &ticket);
    let [others] = world.queued()[..] else { panic!("one run for the others") };
    for client in [bad, more[0], more[1]] {
        assert_eq!(world.told(client), ["1 failed"]);
    }
    for client in honest {
        assert_eq!(world.told(client), Vec::<String>::new(), "it is not their failure");
    }
    let ticket = world.begin(others);
    assert!(["ann", "bob"].contains(&ticket.caller.as_deref().expect("a caller")));
    world.finish(others, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    for client in honest {
        assert_eq!(world.told(client), ["1 1"]);
    }
    // Who could not be run for shares with them as soon as a run shows that they may.
    assert!(world.registry.requeue(id, 1));
    let ticket = world.begin(id);
    world.finish(id, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!(world.registry.counts().queries, 1, "it is served by the same query");
    assert_eq!(world.queued(), [others], "whose answer is older than that run");
    let ticket = world.begin(others);
    world.finish(others, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!(world.told(bad), ["1 1"]);
}

#[test]
fn a_first_run_that_takes_long_keeps_only_its_caller_waiting() {
    let mut world = World::new();
    let bad = join(&mut world, "bad");
    let [id] = world.queued()[..] else { panic!("one query") };
    let slow = world.begin(id);
    let ann = join(&mut world, "ann");
    let now = world.now();
    world.registry.part(id, now);
    let [other] = world.queued()[..] else { panic!("one for the others") };
    let late = join(&mut world, "late");
    let ticket = world.begin(other);
    world.finish(other, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!((world.told(ann), world.told(late)), (vec!["1 1".to_owned()], vec!["1 1".to_owned()]));
    assert_eq!(world.told(bad), Vec::<String>::new());
    world.registry.part(id, now);
    assert_eq!(world.queued(), Vec::<QueryId>::new(), "there is nobody left to part from");
    // In the end it shares with those it may share with.
    world.finish(id, &slow, "1", "t", &[("role", Some("\"guest\""))]);
    assert_eq!(world.told(bad), ["1 1"]);
    assert_eq!(world.registry.counts().queries, 1);
}

#[test]
fn a_later_run_that_fails_or_takes_long_is_its_callers_alone_too() {
    for is_slow in [false, true] {
        let mut world = World::new();
        let bad = join(&mut world, "bad");
        let [id] = world.queued()[..] else { panic!("one query") };
        let ann = join(&mut world, "ann");
        world.run(id, "1", "t");
        assert_eq!((world.told(bad), world.told(ann)), (vec!["1 1".to_owned()], vec!["1 1".to_owned()]));
        world.change("t");
        world.queued();
        let ticket = world.begin(id);
        assert_eq!((ticket.caller.as_deref(), ticket.may_part), (Some("bad"), true));
        if is_slow {
            let now = world.now();
            world.registry.part(id, now);
        } else {
            fail(&mut world, id, &ticket);
        }
        let [other] = world.queued()[..] else { panic!("one for the others") };
        assert_eq!(world.told(ann), Vec::<String>::new(), "it is not her failure");
        world.run(other, "2", "t");
        assert_eq!(world.told(ann), ["1 2"]);
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
        assert!(world.told(client).contains(&"1 failed".to_owned()));
    }
    assert_eq!(world.registry.counts().queries, 5);
}

proptest::proptest! {
    /// Whoever comes first, and however many sessions they have: a run is made for
    /// each bad caller at most once before one is made for another.
    #[test]
    fn each_bad_caller_is_waited_for_at_most_once(
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
                    world.registry.part(id, now);
                } else {
                    fail(&mut world, id, &ticket);
                }
            } else {
                world.finish(id, &ticket, "1", "t", &[("role", Some("\"guest\""))]);
            }
            waiting.extend(world.queued());
        }
        for (caller, client) in clients {
            let told = world.told(client);
            // Bad ones are served, too, where another has run before.
            proptest::prop_assert!(bad[caller] || told == ["1 1"], "{:?}", told);
        }
        proptest::prop_assert!(failures.values().all(|times| *times == 1), "{:?}", failures);
    }

    /// Runs of a query that is shared go round all callers before one is tried again.
    #[test]
    fn runners_change_over_callers_and_not_over_sessions(
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
                world.registry.requeue(id, ticket.run);
            }
            proptest::prop_assert_eq!(tried.len(), distinct);
        }
    }
}
