//! The clock of the machine is set, by an hour forwards and backwards, under a running server: no
//! stream ends and no call hangs, time limits are those of the monotonic clock, and tokens expire
//! by the time of day.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use convoy::Code;
use convoy_testkit::{
    Answers, App, Client, Ctx, Reader, ServerProcess, TestDb, Thrown, options_of_server, serve_until_input_ends, within,
};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::pairs::{functions, report, tables, with_limits};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const MINUTE: u64 = 60_000;
/// The time limit of a query.
const QUERY_MS: u64 = 1_500;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server of other tests, which start it"]
async fn serves_with_tokens_until_its_input_ends() {
    let Some(config) = options_of_server() else { return };
    let app = App::open(config, tables(), convoy_testkit::Functions::new()).await;
    let program = functions().context(authenticate).query("endless", |_, _| std::future::pending()).query(
        "short",
        |_, _| async {
            tokio::time::sleep(Duration::from_millis(QUERY_MS / 3)).await;
            Ok(Value::Null)
        },
    );
    app.load(program, true).await;
    // The time of day, as this process sees it.
    serve_until_input_ends(app, |_| time_of_day().to_string()).await;
}

fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_millis()).expect("it is long before the end of time")
}

/// The token is its expiry, if there is one.
async fn authenticate(ctx: Ctx) -> Result<Value, Thrown> {
    let caller = ctx.caller().expect("a caller");
    ctx.identify("someone");
    if let Some(expires) = caller["headers"]["authorization"].as_str() {
        let expires: u64 = expires.parse().expect("the test's own token");
        if expires <= time_of_day() {
            return Err(Thrown::Refused(Code::Unauthorized, "The token has expired; send a new one.".into()));
        }
        ctx.expires_at(expires as f64);
    }
    ctx.saw_nothing();
    Ok(Value::Null)
}

/// A server whose clock a file sets.
struct Machine {
    server: ServerProcess,
    clock: PathBuf,
    _db: TestDb,
}

impl Machine {
    /// `None` if there is no way to set the clock of a process, with the reason on standard error.
    async fn start(failpoints: Value) -> Option<Machine> {
        if !Path::new(LIBRARY).exists() {
            report(&format!("skipped: there is no {LIBRARY} (the package faketime)"));
            return None;
        }
        let db = TestDb::new().await;
        let clock = std::env::temp_dir().join(format!("convoy-clock-{}-{}", std::process::id(), time_of_day()));
        std::fs::write(&clock, "+0").expect("a new file");
        let options = json!({ "databaseUrl": db.url(), "failpoints": failpoints, "limits": { "queryMs": QUERY_MS } });
        let set = [
            format!("LD_PRELOAD={LIBRARY}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        let command: Vec<&str> = std::iter::once("env").chain(set.iter().map(String::as_str)).collect();
        let test = "clock::serves_with_tokens_until_its_input_ends";
        let server = block_in_place(|| ServerProcess::start_under(&command, test, &with_limits(options)));
        Some(Machine { server, clock, _db: db })
    }

    /// The time of day of the server.
    fn now(&mut self) -> u64 {
        let now = block_in_place(|| self.server.command("now"));
        now.parse().expect("a number of milliseconds")
    }

    /// Sets the clock to a difference to the real time.
    fn set_clock(&mut self, offset: &str, hours: i64) {
        // As a whole: the server reads it at any time.
        let next = self.clock.with_extension("next");
        std::fs::write(&next, offset).expect("a new file");
        std::fs::rename(&next, &self.clock).expect("the file of this test");
        let ahead = self.now().cast_signed() - time_of_day().cast_signed();
        let expected = hours * 3_600_000;
        assert!((ahead - expected).abs() < 60_000, "the clock is ahead by {ahead} ms after {offset}");
    }

    fn client(&self, expires: Option<u64>) -> Client {
        match expires {
            Some(expires) => self.server.client().with_header("authorization", &expires.to_string()),
            None => self.server.client(),
        }
    }

    async fn watch(&self, expires: Option<u64>) -> Reader<Answers> {
        let query = json!([{ "id": 0, "name": "of", "args": { "number": 0 } }]);
        let session = self.client(expires).live(query).await.read_continuously();
        session.until(|answers| answers.answered(0) > 0).await;
        session
    }

    /// Writes, and waits until a stream shows it.
    async fn write_and_show(&self, session: &Reader<Answers>, notes: usize) {
        self.client(None).mutate("notes.add", json!({ "number": 0 })).await.data();
        session.until(|answers| shows(answers, notes)).await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.clock));
    }
}

fn shows(answers: &Answers, notes: usize) -> bool {
    use convoy_testkit::StreamState;
    answers.latest(0) == Some(&json!([0, 0, notes]))
}

fn is_rejected(answers: &Answers) -> bool {
    answers.messages.iter().any(|message| message["type"] == "auth")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_ends_no_stream_and_no_call() {
    let Some(mut machine) = Machine::start(json!([])).await else { return };
    let session = machine.watch(None).await;
    let in_two_hours = machine.now() + 120 * MINUTE;
    let renewed = machine.watch(Some(in_two_hours)).await;
    let mut notes = 0;
    for (offset, hours) in [("+1h", 1), ("-1h", -1), ("+0", 0)] {
        let short = tokio::spawn({
            let client = machine.client(None);
            async move { client.query("short", json!({})).await }
        });
        let endless = tokio::spawn({
            let client = machine.client(None);
            async move { client.query("endless", json!({})).await }
        });
        machine.set_clock(offset, hours);
        notes += 1;
        machine.write_and_show(&session, notes).await;
        // It was checked again, and its token is valid by either clock.
        renewed.until(|answers| shows(answers, notes)).await;
        assert_eq!(within(short).await.expect("no panic").status, 200, "{offset}");
        assert_eq!(within(endless).await.expect("no panic").code(), "TIMEOUT", "{offset}");
    }
    assert!(!session.has_ended() && !renewed.has_ended());
    assert!(!renewed.inspect(is_rejected));
}

/// A stream whose token has expired since the clock was set forwards; on the monotonic clock, it
/// would be valid for half an hour.
async fn expired(failpoints: Value) -> Option<(Machine, Reader<Answers>)> {
    let mut machine = Machine::start(failpoints).await?;
    let in_half_an_hour = machine.now() + 30 * MINUTE;
    let expiring = machine.watch(Some(in_half_an_hour)).await;
    machine.set_clock("+1h", 1);
    let refused = machine.client(Some(in_half_an_hour)).try_live(json!([])).await.err().expect("it has expired");
    assert_eq!(refused.code(), "UNAUTHORIZED", "{}", refused.body);
    Some((machine, expiring))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_by_the_time_of_day() {
    let Some((_machine, expiring)) = expired(json!([])).await else { return };
    expiring.until(is_rejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_clock_that_goes_unnoticed_is_detected() {
    let Some((_machine, expiring)) = expired(json!(["ignoreClock"])).await else { return };
    // Four seconds: the clock is looked at each second, and the context is made each minute.
    for _ in 0..20 {
        expiring.reaches(0, |_| false).await;
    }
    assert!(!expiring.inspect(is_rejected), "the failpoint was not detected");
}
