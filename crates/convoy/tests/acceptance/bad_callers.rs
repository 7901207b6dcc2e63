//! One caller for whom a query cannot be run does not keep the others from their
//! answers: neither where its runs take for ever, nor where they end their host.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use convoy_testkit::{App, Functions, Session, TestDb};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::chat::{bodies, functions, tables};
use crate::lane::{say, scale};
use crate::members::bearing;

/// Sessions of the bad caller, who come first.
const BAD: usize = 8;
/// How long a query may take.
const LIMIT: Duration = Duration::from_secs(4);

/// What the runs of the bad caller do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bad {
    NeverEnds,
    EndsItsHost,
}

/// Serves a query that anyone might share, as nothing is known of it before it has
/// run; `runs` counts those of the bad caller.
async fn serve(db: &TestDb, bad: Bad, mistakes: Value, runs: Arc<AtomicUsize>) -> App {
    let limits = json!({ "queryMs": LIMIT.as_millis() as u64 });
    let app = db.app_with(json!({ "mistakes": mistakes, "limits": limits }), tables(), Functions::new()).await;
    let program = functions()
        .context(|ctx| async move {
            let user = user(&ctx);
            ctx.saw("user", Some(&json!(user)));
            ctx.identify(&user);
            Ok(Value::Null)
        })
        .query("messages.cold", move |ctx, input| {
            let runs = runs.clone();
            async move {
                if user(&ctx) == "bad" {
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

/// What became of the honest ones.
struct Held {
    /// The longest that one has waited for an answer.
    longest: Duration,
    /// How many were told of a failure.
    failures: usize,
}

async fn play(bad: Bad, mistakes: Value) -> Held {
    let honest = scale(12, 200);
    let db = TestDb::new().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let app = serve(&db, bad, mistakes, runs.clone()).await;
    let query = json!([{ "id": 0, "name": "messages.cold", "args": { "channel": "c" } }]);
    let mut bad_ones = Vec::new();
    for _ in 0..BAD {
        bad_ones.push(bearing(&app, "bad", None, None).live(query.clone()).await);
    }
    while runs.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let came = Instant::now();
    let waiting = (0..honest).map(|at| {
        let (app, query) = (&app, query.clone());
        async move {
            let mut session: Session = bearing(app, &format!("user{at}"), None, None).live(query).await;
            session.until(0, |list| bodies(list).is_empty()).await;
            let failures = session.answers().told.iter().filter(|message| message["type"] == "error").count();
            (came.elapsed(), failures)
        }
    });
    let waited = join_all(waiting).await;
    let longest = waited.iter().map(|(waited, _)| *waited).max().expect("some");
    let failures = waited.iter().filter(|(_, failures)| *failures > 0).count();
    say(&format!("{honest} honest callers waited {longest:?} at most, {failures} were told of a failure"));
    app.engine.close().await;
    Held { longest, failures }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_runs_never_end_keeps_nobody_waiting_for_their_limit() {
    let Held { longest, failures } = play(Bad::NeverEnds, json!([])).await;
    assert_eq!(failures, 0);
    assert!(longest < LIMIT, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_runs_end_their_host_keeps_nobody_from_an_answer() {
    let Held { longest, failures } = play(Bad::EndsItsHost, json!([])).await;
    assert_eq!(failures, 0);
    assert!(longest < LIMIT, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_waiting_for_the_first_run_is_found() {
    for bad in [Bad::NeverEnds, Bad::EndsItsHost] {
        let Held { failures, .. } = play(bad, json!(["waitForTheFirst"])).await;
        assert!(failures > 0, "nobody noticed");
    }
}
