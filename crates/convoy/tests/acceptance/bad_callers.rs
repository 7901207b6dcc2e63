//! A caller whose runs hang or end their host does not delay the answers of other
//! callers: neither the first answer, nor those after a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use convoy_testkit::{App, Functions, LiveSession, TestDb};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::chat::{bodies, functions, tables};
use crate::members::client_with_token;
use crate::scale::{report, scale};

/// The sessions of the bad caller, which are opened first.
const BAD: usize = 8;
/// The time limit of a query.
const LIMIT: Duration = Duration::from_secs(4);

/// The behaviour of the bad caller's runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bad {
    NeverEnds,
    EndsItsHost,
}

/// Serves a query that all callers may share before its first run; `runs` counts the runs
/// of the bad caller.
async fn serve(db: &TestDb, bad: Bad, failpoints: Value, runs: Arc<AtomicUsize>) -> App {
    serve_switchable(db, bad, failpoints, runs, Arc::new(AtomicBool::new(true))).await
}

/// The same, where the bad caller is bad only while `is_bad` is set.
async fn serve_switchable(
    db: &TestDb,
    bad: Bad,
    failpoints: Value,
    runs: Arc<AtomicUsize>,
    is_bad: Arc<AtomicBool>,
) -> App {
    let limits = json!({ "queryMs": LIMIT.as_millis() as u64 });
    let app = db.app_with(json!({ "failpoints": failpoints, "limits": limits }), tables(), Functions::new()).await;
    let program = functions()
        .context(|ctx| async move {
            let user = user(&ctx);
            ctx.saw("user", Some(&json!(user)));
            ctx.identify(&user);
            Ok(Value::Null)
        })
        .query("messages.cold", move |ctx, input| {
            let (runs, is_bad) = (runs.clone(), is_bad.load(Ordering::Relaxed));
            async move {
                if is_bad && user(&ctx) == "bad" {
                    runs.fetch_add(1, Ordering::Relaxed);
                    match bad {
                        Bad::NeverEnds => std::future::pending().await,
                        Bad::EndsItsHost => ctx.end_host(),
                    }
                }
                ctx.saw_nothing();
                let scan = json!({
                    "op": "scan", "table": "messages", "index": "by_channel",
                    "eq": [input["channel"]], "order": "desc", "limit": 20,
                });
                ctx.op(scan).await
            }
        });
    app.load(program, true).await;
    app
}

fn user(ctx: &convoy_testkit::Ctx) -> String {
    let caller = ctx.caller().expect("a caller");
    let token = caller["headers"]["authorization"].as_str().unwrap_or("{}");
    let token: Value = serde_json::from_str(token).expect("the test's own token");
    token["user"].as_str().expect("a user").to_owned()
}

/// The measurements of the other callers.
struct Measured {
    /// The longest wait for an answer.
    longest: Duration,
    /// How many received an error.
    failures: usize,
}

async fn open_beside(bad: Bad, failpoints: Value) -> Measured {
    let honest = scale(12, 200);
    let db = TestDb::new().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let app = serve(&db, bad, failpoints, runs.clone()).await;
    let query = json!([{ "id": 0, "name": "messages.cold", "args": { "channel": "c" } }]);
    let mut bad_ones = Vec::new();
    for _ in 0..BAD {
        bad_ones.push(client_with_token(&app, "bad", None, None).live(query.clone()).await);
    }
    while runs.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    let waiting = (0..honest).map(|at| {
        let (app, query) = (&app, query.clone());
        async move {
            let mut session: LiveSession = client_with_token(app, &format!("user{at}"), None, None).live(query).await;
            session.until(0, |list| bodies(list).is_empty()).await;
            let failures = session.answers().messages.iter().filter(|message| message["type"] == "error").count();
            (began.elapsed(), failures)
        }
    });
    let waited = join_all(waiting).await;
    let longest = waited.iter().map(|(waited, _)| *waited).max().expect("some");
    let failures = waited.iter().filter(|(_, failures)| *failures > 0).count();
    report(&format!("{honest} other callers waited {longest:?} at most, {failures} received an error"));
    app.engine.close().await;
    Measured { longest, failures }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_runs_hang_delays_no_other_caller_to_the_limit() {
    let Measured { longest, failures } = open_beside(Bad::NeverEnds, json!([])).await;
    assert_eq!(failures, 0);
    assert!(longest < LIMIT, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_runs_end_the_worker_blocks_no_other_caller() {
    let Measured { longest, failures } = open_beside(Bad::EndsItsHost, json!([])).await;
    assert_eq!(failures, 0);
    assert!(longest < LIMIT, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_waiting_for_the_first_run_is_detected() {
    for bad in [Bad::NeverEnds, Bad::EndsItsHost] {
        let Measured { failures, .. } = open_beside(bad, json!(["waitForTheFirst"])).await;
        assert!(failures > 0, "the failpoint was not detected");
    }
}

/// Measures the other callers after a change, where the bad caller's runs succeeded
/// before.
async fn change_beside(bad: Bad, failpoints: Value) -> Measured {
    let db = TestDb::new().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let is_bad = Arc::new(AtomicBool::new(false));
    let app = serve_switchable(&db, bad, failpoints, runs.clone(), is_bad.clone()).await;
    let query = json!([{ "id": 0, "name": "messages.cold", "args": { "channel": "w" } }]);
    let users = (0..BAD).map(|_| "bad".to_owned()).chain((0..12).map(|at| format!("user{at}")));
    let mut sessions = Vec::new();
    for user in users {
        let mut session: LiveSession = client_with_token(&app, &user, None, None).live(query.clone()).await;
        session.until(0, |list| bodies(list).is_empty()).await;
        sessions.push(session);
    }
    is_bad.store(true, Ordering::Relaxed);
    let wrote = Instant::now();
    db.psql().await.run(r#"insert into messages (data) values ('{"channel": "w", "n": 1, "body": "news"}')"#).await;
    let mut failures = 0;
    for session in &mut sessions[BAD..] {
        session.until(0, |list| bodies(list).len() == 1).await;
        failures += usize::from(session.answers().messages.iter().any(|message| message["type"] == "error"));
    }
    let longest = wrote.elapsed();
    assert!(runs.load(Ordering::Relaxed) > 0, "the run was made for the bad caller first");
    report(&format!("after a change other callers waited {longest:?} at most, {failures} received an error"));
    app.engine.close().await;
    Measured { longest, failures }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_runs_start_to_hang_blocks_no_update() {
    for bad in [Bad::NeverEnds, Bad::EndsItsHost] {
        let Measured { longest, failures } = change_beside(bad, json!([])).await;
        assert_eq!(failures, 0);
        assert!(longest < LIMIT, "{longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_waiting_for_a_caller_whose_runs_start_to_fail_is_detected() {
    for bad in [Bad::NeverEnds, Bad::EndsItsHost] {
        let Measured { failures, .. } = change_beside(bad, json!(["waitForTheFirst"])).await;
        assert!(failures > 0, "the failpoint was not detected");
    }
}

/// How long other callers wait for a first answer while the bad caller has far more
/// hanging queries than can run at once; `None` if that is longer than the time limit of a
/// query.
async fn measure_starvation(failpoints: Value) -> Option<Duration> {
    let db = TestDb::new().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let app = serve(&db, Bad::NeverEnds, failpoints, runs.clone()).await;
    let many: Vec<Value> = (0..64)
        .map(|at| json!({ "id": at, "name": "messages.cold", "args": { "channel": format!("bad{at}") } }))
        .collect();
    let _bad = client_with_token(&app, "bad", None, None).live(json!(many)).await;
    while runs.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    // Slots are returned after a second; until then other callers have some, too.
    let mut longest = Some(Duration::ZERO);
    for user in 0..3 {
        let began = Instant::now();
        let query = json!([{ "id": 0, "name": "messages.cold", "args": { "channel": format!("of{user}") } }]);
        let answered = tokio::time::timeout(LIMIT, async {
            let client = client_with_token(&app, &format!("user{user}"), None, None);
            client.live(query).await.until(0, |list| bodies(list).is_empty()).await;
        });
        longest = longest.max(answered.await.ok().map(|()| began.elapsed())).filter(|_| began.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    report(&format!("beside 64 hanging queries a first answer took {longest:?} at most"));
    app.engine.close().await;
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_many_hanging_queries_starves_no_other_caller() {
    let waited = measure_starvation(json!([])).await;
    assert!(waited.is_some_and(|waited| waited < Duration::from_secs(1)), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_runs_that_keep_their_slot_starve_other_callers() {
    assert_eq!(measure_starvation(json!(["waitForTheFirst"])).await, None);
}
