//! The interleavings of registering, invalidating, running, delivering and
//! unsubscribing, explored by a model checker.
//!
//! The database is one number per table. A commit and its notification are two steps, a
//! run is three (begin, read, finish), and every step takes the lock by itself, so other
//! steps may come between. At the end each session must have received the present
//! number, and no session may ever receive a smaller one than before. After each frame a
//! client has the changes of one of its own mutations exactly if it was told so. No frame
//! is due to a session that waits, unless it was woken.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::sync::{Arc as Shared, Mutex};
use shuttle::thread;

use super::*;
use crate::change::{Change, ChangeKind, ChangeSource, Changes, Commit};
use crate::live::answer::AnswerStamp;
use crate::live::message::{ReportedMutation, SessionMessage};

const TABLES: [&str; 2] = ["t", "u"];
/// How often each table is written from outside, and by each client.
const WRITES: usize = 2;
const MUTATIONS: usize = 2;

/// A caller for whom every other run fails.
const BAD: &str = "bad";

fn context_of(caller: &str) -> SessionContext {
    let identity = [("user".to_owned(), Some(caller.to_owned()))].into();
    SessionContext { identity: Arc::new(identity), fingerprint: Some(caller.to_owned()), user: None, expires_at: None }
}

/// A commit of another writer.
fn outside(changes: Arc<[Change]>) -> Arc<Commit> {
    Arc::new(Commit::new(Changes::Some(changes), ChangeSource::Outside))
}

struct World {
    registry: Mutex<Registry>,
    database: Mutex<HashMap<&'static str, u64>>,
    to_run: Mutex<VecDeque<QueryId>>,
    /// The sessions that were woken since their last frame.
    woken: Mutex<Vec<Arc<Notify>>>,
    /// The number that each mutation of a client has written, by its key.
    written: Mutex<HashMap<String, u64>>,
    start: Instant,
    ticks: Mutex<u64>,
}

impl World {
    fn new(failpoints: Failpoints) -> Shared<World> {
        Shared::new(World {
            registry: Mutex::new(Registry::new(Retention { time: Duration::from_secs(1), bytes: 1 << 20 }, failpoints)),
            database: Mutex::new(TABLES.map(|table| (table, 0)).into()),
            to_run: Mutex::default(),
            woken: Mutex::default(),
            written: Mutex::default(),
            start: Instant::now(),
            ticks: Mutex::new(0),
        })
    }

    /// A clock on which no two moments are the same.
    fn now(&self) -> Instant {
        let mut ticks = self.ticks.lock().expect("sound");
        *ticks += 1;
        self.start + Duration::from_micros(*ticks)
    }

    fn with<T>(&self, event: impl FnOnce(&mut Registry) -> T) -> T {
        let (result, effects) = {
            let mut registry = self.registry.lock().expect("sound");
            let (result, effects) = (event(&mut registry), registry.effects());
            self.woken.lock().expect("sound").extend(effects.wake);
            (result, effects.run)
        };
        self.to_run.lock().expect("sound").extend(effects);
        result
    }

    fn write(&self, table: &'static str) {
        *self.database.lock().expect("sound").get_mut(table).expect("a table") += 1;
        let change = Change { table: table.into(), kind: ChangeKind::Whole };
        self.with(|registry| registry.changed(&outside([change].into())));
    }

    /// A mutation by the client of a session. Of three commits one is rolled back first.
    fn mutate(&self, session: SessionId, key: &str, table: &'static str) {
        let committing = |world: &World| {
            let now = world.now();
            world.with(|registry| registry.committing(session, key, now));
        };
        committing(self);
        if shuttle::rand::thread_rng().gen_bool(0.3) {
            self.with(|registry| registry.not_committed(session, key));
            committing(self);
        }
        {
            let mut database = self.database.lock().expect("sound");
            let value = database.get_mut(table).expect("a table");
            *value += 1;
            self.written.lock().expect("sound").insert(key.to_owned(), *value);
        }
        let change = Change { table: table.into(), kind: ChangeKind::Whole };
        self.with(|registry| registry.changed(&outside([change].into())));
        let reported = ReportedMutation { key: key.to_owned(), result: None };
        self.with(|registry| registry.ack_when_visible(session, reported, None));
    }

    /// Runs one queued query until it is idle. `false`: none is queued.
    fn run_one(&self) -> bool {
        let Some(id) = self.to_run.lock().expect("sound").pop_front() else { return false };
        loop {
            let began = self.now();
            let begin = |registry: &mut Registry| {
                let ticket = registry.begin(id, began)?;
                assert_ne!(registry.queries[&id].cause.0.kind(), CauseKind::Unknown, "every run has a cause");
                Some(ticket)
            };
            let Some(ticket) = self.with(begin) else { return true };
            let query_key = match &ticket.target {
                RunTarget::Query(query_key) => query_key,
                RunTarget::Auth(_) => {
                    let now = self.now();
                    let context = context_of(ticket.caller.as_deref().expect("a caller"));
                    let recheck = Duration::from_secs(60);
                    self.with(|registry| registry.finish_auth(id, ReadSet::default(), Ok(context), recheck, now));
                    return true;
                }
            };
            if ticket.can_isolate && shuttle::rand::thread_rng().gen_bool(0.3) {
                let now = self.now();
                self.with(|registry| registry.isolate_runner(id, now));
            }
            if ticket.caller.as_deref() == Some(BAD) && shuttle::rand::thread_rng().gen_bool(0.5) {
                let failure = crate::error::Failure::new(crate::error::Code::Timeout, "it took too long");
                let answer =
                    Answer::new("f", Err(failure), AnswerStamp { ts: 0, position: "".into(), cause: None }, None);
                let completed = CompletedRun {
                    reads: ReadSet::default(),
                    answer: Arc::new(answer),
                    share: None,
                    suspect: true,
                    pure: true,
                };
                let now = self.now();
                let next = self.with(|registry| registry.finish(id, &ticket, completed, now)).next;
                if next == NextStep::Idle && !self.with(|registry| registry.requeue(id, ticket.run, CauseKind::Retry)) {
                    return true;
                }
                continue;
            }
            let value = self.database.lock().expect("sound")[&*query_key.input];
            let mut reads = ReadSet::default();
            reads.table(&query_key.input);
            let stamp = AnswerStamp { ts: 0, position: "".into(), cause: None };
            let answer = Arc::new(Answer::new("f", Ok(value.to_string().into()), stamp, None));
            let completed = CompletedRun { reads, answer, share: Some(ShareKey::public()), suspect: false, pure: true };
            let now = self.now();
            if self.with(|registry| registry.finish(id, &ticket, completed, now)).next == NextStep::Idle {
                return true;
            }
        }
    }
}

/// A client that subscribes, perhaps resubscribes, and keeps the newest answer.
struct Client {
    world: Shared<World>,
    session: SessionId,
    wake: Arc<Notify>,
    /// No frame is due until it is woken.
    waits: bool,
    table: &'static str,
    /// The last number that it received.
    latest: Option<u64>,
    /// It has received an error since.
    has_failed: bool,
    /// The keys of its mutations whose changes it was told to have.
    reported: HashSet<String>,
}

impl Client {
    fn open(world: &Shared<World>, table: &'static str, caller: Option<&str>) -> Client {
        let (world, now) = (world.clone(), world.now());
        let (caller, requests) = (caller.map(Into::into), vec![Ok(watch(0, table, None))]);
        let opening = NewSession { format: StreamFormat::Protocol, caller, requests, counted: None };
        let SessionHandle { id: session, wake } = world.with(|registry| registry.open(opening, now));
        Client { world, session, wake, waits: false, table, latest: None, has_failed: false, reported: HashSet::new() }
    }

    fn take(&mut self) {
        let now = self.world.now();
        let frame = self.world.with(|registry| {
            let mut woken = self.world.woken.lock().expect("sound");
            let before = woken.len();
            woken.retain(|wake| !Arc::ptr_eq(wake, &self.wake));
            let is_woken = woken.len() < before;
            drop(woken);
            let frame = registry.next_frame(self.session, now);
            assert!(is_woken || !self.waits || frame.messages.is_empty(), "a stream that waits was not woken");
            frame
        });
        let is_timed = frame.wake_at.is_some_and(|at| at < now + Duration::from_secs(30));
        self.waits = !is_timed && (frame.complete || frame.messages.is_empty());
        for message in frame.messages {
            let answer = match message {
                SessionMessage::Answer { answer, .. } => answer,
                SessionMessage::Settled { mutation } | SessionMessage::Included { mutation, .. } => {
                    self.reported.insert(mutation.key);
                    continue;
                }
                _ => continue,
            };
            self.has_failed = answer.data().is_none();
            let Some(data) = answer.data() else { continue };
            let text = String::from_utf8_lossy(data).into_owned();
            let value = text.parse().expect("a number");
            assert!(
                self.latest.is_none_or(|latest| latest <= value),
                "the answers went back from {:?} to {value}",
                self.latest
            );
            self.latest = Some(value);
        }
        self.check_reports();
    }

    /// After each frame, a client whose last answer is a number has the changes of a mutation
    /// exactly if it was told so. An error has no changes, and what it hides may be reported.
    fn check_reports(&self) {
        let Some(latest) = self.latest.filter(|_| !self.has_failed) else { return };
        let own = format!("{} ", self.session);
        let written = self.world.written.lock().expect("sound");
        for (key, value) in written.iter().filter(|(key, _)| key.starts_with(&own)) {
            let is_reported = self.reported.contains(key);
            assert_eq!(latest >= *value, is_reported, "the answer has {latest}, the mutation wrote {value}");
        }
    }

    fn resubscribe(&mut self) {
        let now = self.world.now();
        // It has seen the last answer, so it needs one that is as new.
        let since = self.latest.map(|_| now);
        self.world.with(|registry| {
            registry.unsubscribe(self.session, 0, now);
            registry.subscribe(self.session, Ok(watch(0, self.table, since)), now);
        });
    }
}

fn watch(id: u64, table: &str, since: Option<Instant>) -> SubscribeRequest {
    let query_key = QueryKey { function: "f".into(), input: table.into() };
    SubscribeRequest { id, query_key, shareable: true, client_hash: None, since }
}

/// `callers`: the callers of the three clients.
fn every_session_converges(failpoints: &Failpoints, callers: [Option<&'static str>; 3]) {
    let world = World::new(failpoints.clone());
    let writers = TABLES.map(|table| {
        let world = world.clone();
        thread::spawn(move || (0..WRITES).for_each(|_| world.write(table)))
    });
    let clients: Vec<_> = (0..3)
        .map(|n| {
            let world = world.clone();
            thread::spawn(move || {
                let mut client = Client::open(&world, TABLES[n % 2], callers[n]);
                let (session, table) = (client.session, client.table);
                let mutations = thread::spawn(move || {
                    (0..MUTATIONS).for_each(|n| world.mutate(session, &format!("{session} {n}"), table));
                });
                for _ in 0..3 {
                    client.take();
                    if shuttle::rand::thread_rng().gen_bool(0.3) {
                        client.resubscribe();
                    }
                }
                mutations.join().expect("it ends");
                client
            })
        })
        .collect();
    let runners = [(); 2].map(|()| {
        let world = world.clone();
        thread::spawn(move || {
            for _ in 0..6 {
                world.run_one();
                thread::yield_now();
            }
        })
    });
    writers.into_iter().chain(runners).for_each(|thread| thread.join().expect("it ends"));
    let mut clients: Vec<Client> = clients.into_iter().map(|thread| thread.join().expect("it ends")).collect();
    while world.run_one() {}
    for client in &mut clients {
        client.take();
        let writers = (0..3).filter(|n| TABLES[n % 2] == client.table).count();
        let written = WRITES + writers * MUTATIONS;
        assert_eq!(client.latest, Some(written as u64), "a session has an outdated answer");
    }
}

fn cases() -> usize {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

#[test]
fn in_every_interleaving_every_session_converges() {
    let failpoints = Failpoints::default();
    let run = failpoints.clone();
    shuttle::check_random(move || every_session_converges(&run, [None; 3]), cases() * 2);
    shuttle::check_pct(move || every_session_converges(&failpoints, [None; 3]), cases() * 2, 4);
}

#[test]
fn in_every_interleaving_separated_callers_converge() {
    let callers = [Some(BAD), Some("ann"), Some("bob")];
    let (run, same) = (Failpoints::default(), [Some(BAD), Some("ann"), Some(BAD)]);
    let failpoints = run.clone();
    shuttle::check_random(move || every_session_converges(&run, callers), cases() * 2);
    shuttle::check_pct(move || every_session_converges(&failpoints, same), cases() * 2, 4);
}

/// Whether some interleaving breaks an invariant with this failpoint.
fn is_detected(failpoint: &str) -> bool {
    let failpoints: Failpoints = serde_json::from_str(failpoint).expect("a known failpoint");
    let check = move || shuttle::check_random(move || every_session_converges(&failpoints, [None; 3]), 2_000);
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

#[test]
fn the_checker_detects_a_registration_after_the_run() {
    assert!(is_detected(r#"["registerAfterRun"]"#), "in some order, a session has an outdated answer");
}

#[test]
fn the_checker_detects_a_result_with_unreported_changes() {
    assert!(
        is_detected(r#"["noWithholding"]"#),
        "in some order, an answer has changes of a mutation before its report"
    );
}
