//! Acceptance 18: a server shuts down or is killed, and all clients reconnect: spread over time,
//! and each converges to the table. Each distinct query runs once, and what has not changed is not
//! sent again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use convoy_testkit::{Answers, Client, LiveSession, TestDb, allow_open_files};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::block_in_place;

use crate::chat::bodies;
use crate::members::token;
use crate::scale::{report, scale};
use crate::server_process::start_members;

const CHANNELS: usize = 50;
/// The limit until all clients are current again; larger for a build without optimisation, whose
/// clients are slow as well.
const RECOVERY_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 5 });
/// How long there is no server.
const AWAY: Duration = Duration::from_secs(1);
/// The maximum fraction of reconnects in the same tenth of a second.
const MAX_AT_ONCE: f64 = 0.3;
/// What a client receives at most if nothing has changed: the start of a session, and a hash.
const MAX_BYTES_UNCHANGED: usize = 400;
/// The upper bounds of the first delays of the client of JavaScript, and of all. Between them the
/// bound is the sum of those before.
const BASE_DELAY_MS: u64 = 500;
const MAX_DELAY_MS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_are_spread_and_every_client_converges_to_the_table() {
    let clients = scale(300, 10_000);
    let measured = restart(clients, json!([]), Ends::ByShutdown, Keeps::Results).await;
    assert!(measured.spread.fullest() <= MAX_AT_ONCE, "too many reconnect at once");
    assert_recovered(clients, &measured);
}

/// The clients choose their delays themselves.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_of_a_server_that_was_killed_converges_to_the_table() {
    let clients = scale(300, 10_000);
    assert_recovered(clients, &restart(clients, json!([]), Ends::BySigkill, Keeps::Results).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_clients_that_reconnect_all_at_once_are_detected() {
    let Measured { spread, .. } = restart(60, json!(["noJitter"]), Ends::ByShutdown, Keeps::Results).await;
    assert!(spread.fullest() > MAX_AT_ONCE, "the failpoint was not detected");
}

/// Clients that have lost their results, with queries that no two clients share.
#[tokio::test(flavor = "multi_thread")]
async fn control_clients_that_share_and_keep_nothing_are_detected() {
    let clients = 4 * CHANNELS;
    let Measured { runs, resent, .. } = restart(clients, json!([]), Ends::ByShutdown, Keeps::Nothing).await;
    assert!(runs > max_runs(clients), "{runs} runs");
    assert_eq!(resent, clients / 2, "results without a hash are sent again");
}

fn assert_recovered(clients: usize, measured: &Measured) {
    let Measured { unavailable, took, runs, resent, bytes_unchanged, .. } = *measured;
    assert_eq!(unavailable, 0);
    assert!(took <= RECOVERY_LIMIT, "it took {took:?}");
    assert!(runs <= max_runs(clients), "{runs} runs");
    assert_eq!(resent, 0, "results that have not changed are sent as hashes");
    assert!(bytes_unchanged <= MAX_BYTES_UNCHANGED, "{bytes_unchanged} bytes although nothing has changed");
}

/// One run for each distinct query, and one for the context of each session. In a build without
/// optimisation one more for a query that takes long on a busy machine: the callers that wait for
/// it get a run of their own.
fn max_runs(clients: usize) -> u64 {
    let for_each_query = if cfg!(debug_assertions) { 2 } else { 1 };
    (for_each_query * CHANNELS + clients) as u64
}

/// How the server ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It tells each client when to return.
    ByShutdown,
    BySigkill,
}

/// What a client has of its former connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Results,
    /// Its arguments are its own, too.
    Nothing,
}

struct Measured {
    spread: Spread,
    /// How often the server answered `UNAVAILABLE`.
    unavailable: usize,
    /// The time from the server's start until all clients were current.
    took: Duration,
    /// Runs of functions by the new server.
    runs: u64,
    /// Clients that received a result although it has not changed.
    resent: usize,
    /// The most that a client received whose result has not changed.
    bytes_unchanged: usize,
}

async fn restart(clients: usize, failpoints: Value, ends: Ends, keeps: Keeps) -> Measured {
    allow_open_files(clients as u64 + 1_000);
    let db = TestDb::new().await;
    let options = json!({ "failpoints": failpoints, "poolSize": 10, "limits": { "heartbeatMs": 5_000 } });
    let start = || block_in_place(|| start_members(&db, options.clone()));
    let mut before = start();
    let role = before.client().mutate("roles.give", json!({})).await.data();
    // A client of the running server; `None` while there is none.
    let server = watch::Sender::new(None);
    let mut all = Vec::new();
    for at in 0..clients {
        let token = token(&format!("user{at}"), None, role.as_str());
        let mut session = before.client().with_header("authorization", &token).live(list(at, keeps, None)).await;
        session.until(0, |list| bodies(list).is_empty()).await;
        all.push(tokio::spawn(reconnect(session, (at, ends, keeps), token, server.subscribe())));
    }
    let plain_delays = retry_delays(&before.client()).await;
    let ended = Instant::now();
    match ends {
        Ends::ByShutdown => block_in_place(|| before.close()),
        Ends::BySigkill => before.kill(),
    }
    // Half of the channels change before the server is restarted.
    let news = format!(
        "insert into messages (data)
         select jsonb_build_object('channel', 'c' || n, 'n', n, 'body', 'news') from generate_series(0, {CHANNELS} - 1, 2) as n"
    );
    db.psql().await.run(&news).await;
    tokio::time::sleep_until((ended + AWAY).into()).await;
    let mut after = start();
    let began = Instant::now();
    server.send_replace(Some(after.client()));

    let (mut delays, mut unavailable, mut resent, mut bytes_unchanged) = (Vec::new(), 0, 0, 0);
    for client in all {
        let client = client.await.expect("a client converges");
        delays.push(client.delay_ms);
        unavailable += client.refused;
        if !client.has_changed {
            resent += usize::from(client.results > 0);
            bytes_unchanged = bytes_unchanged.max(client.bytes);
        }
    }
    let took = began.elapsed();
    let runs = block_in_place(|| after.command("runs")).parse().expect("a number of runs");
    let spread = Spread(delays);
    report(&format!(
        "{clients} of {clients} current {took:?} after the start, {unavailable} times unavailable, {runs} runs, \
         {resent} results sent again, at most {bytes_unchanged} bytes where nothing has changed; first delays of {:?} ms, \
         at most {:.1} % in a tenth of a second",
        spread.range(),
        spread.fullest() * 100.0
    ));
    if ends == Ends::ByShutdown {
        assert_eq!(
            Spread(plain_delays).fullest() > MAX_AT_ONCE,
            spread.fullest() > MAX_AT_ONCE,
            "both kinds of stream have the same spread"
        );
    }
    block_in_place(|| after.close());
    Measured { spread, unavailable, took, runs, resent, bytes_unchanged }
}

/// How a client came back.
struct Reconnected {
    /// The delay before its first attempt, in milliseconds.
    delay_ms: u64,
    /// How often the server was unavailable.
    refused: usize,
    /// Whether the result of its query has changed meanwhile.
    has_changed: bool,
    /// The results that it received, and the bytes of all events.
    results: usize,
    bytes: usize,
}

/// Reconnects a client after its server has ended, until it is current. It waits as the client of
/// JavaScript does: for the time that the server has given to it, otherwise and after each failed
/// attempt for a random part of the delays before.
async fn reconnect(
    mut session: LiveSession,
    (at, ends, keeps): (usize, Ends, Keeps),
    token: String,
    server: watch::Receiver<Option<Client>>,
) -> Reconnected {
    let backoff_ms = |delayed_ms: u64| rand::random_range(0..=delayed_ms.clamp(BASE_DELAY_MS, MAX_DELAY_MS));
    let delay_ms = match ends {
        Ends::ByShutdown => {
            let end = session.until_message("end").await;
            assert_eq!(end["reason"], "shutdown");
            end["retryMs"].as_u64().expect("milliseconds")
        }
        Ends::BySigkill => {
            while session.receive().await {}
            backoff_ms(0)
        }
    };
    let (mut answers, mut refused, mut wait_ms, mut delayed_ms) = (session.disconnect(), 0, delay_ms, 0);
    if keeps == Keeps::Nothing {
        answers = Answers::default();
    }
    let mut session = loop {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        delayed_ms += wait_ms;
        wait_ms = backoff_ms(delayed_ms);
        let Some(client) = server.borrow().clone() else { continue };
        let queries = list(at, keeps, answers.hash(0));
        match client.with_header("authorization", &token).resume(std::mem::take(&mut answers), queries).await {
            Ok(session) => break session,
            Err(refusal) => assert_eq!(refusal.code(), "UNAVAILABLE"),
        }
        refused += 1;
    };
    let has_changed = (at % CHANNELS).is_multiple_of(2);
    let expected: &[&str] = if has_changed { &["news"] } else { &[] };
    while session.answers().answered(0) == 0 {
        assert!(session.receive().await, "the stream goes on");
    }
    session.until(0, |list| bodies(list) == expected).await;
    let answers = session.answers();
    let errors = answers.messages.iter().filter(|message| message["type"] == "error").count();
    let (results, bytes) = (answers.results, answers.bytes);
    Reconnected { delay_ms, refused: refused + errors, has_changed, results, bytes }
}

/// The `retry:` delays at the start of plain streams.
async fn retry_delays(client: &Client) -> Vec<u64> {
    let mut delays = Vec::new();
    for _ in 0..50 {
        let mut watch = client.watch("messages.list", json!({ "channel": "c0" })).await;
        let preamble = watch.event().await.expect("a preamble");
        let retry = preamble.lines().find_map(|line| line.strip_prefix("retry: ")).expect("a delay");
        delays.push(retry.parse().expect("milliseconds"));
    }
    delays
}

fn list(at: usize, keeps: Keeps, hash: Option<&str>) -> Value {
    let mut args = json!({ "channel": format!("c{}", at % CHANNELS) });
    if keeps == Keeps::Nothing {
        args["client"] = json!(at);
    }
    let mut query = json!({ "id": 0, "name": "messages.list", "args": args });
    if let Some(hash) = hash {
        query["hash"] = json!(hash);
    }
    json!([query])
}

/// The retry delays of clients in milliseconds.
struct Spread(Vec<u64>);

impl Spread {
    /// The maximum fraction of clients in the same tenth of a second.
    fn fullest(&self) -> f64 {
        let mut tenths: HashMap<u64, usize> = HashMap::new();
        for delay in &self.0 {
            *tenths.entry(delay / 100).or_default() += 1;
        }
        let max = tenths.values().max().copied().unwrap_or_default();
        max as f64 / self.0.len() as f64
    }

    fn range(&self) -> std::ops::RangeInclusive<u64> {
        let (min, max) = (self.0.iter().min(), self.0.iter().max());
        min.copied().unwrap_or_default()..=max.copied().unwrap_or_default()
    }
}
