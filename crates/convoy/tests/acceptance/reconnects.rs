//! Acceptance 18: a server restarts, and all clients reconnect: spread over time, and each
//! converges to the table.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use convoy_testkit::{Client, LiveSession, TestDb, allow_open_files};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::chat::bodies;
use crate::members::{serve, token};
use crate::scale::{report, scale};

const CHANNELS: usize = 50;
/// The limit until all clients are current again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);
/// The maximum fraction of reconnects in the same tenth of a second.
const MAX_AT_ONCE: f64 = 0.3;

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_are_spread_and_every_client_converges_to_the_table() {
    let Measured { spread, unavailable, took } = restart(scale(300, 5_000), json!([])).await;
    assert!(spread.fullest() <= MAX_AT_ONCE, "too many reconnect at once");
    assert_eq!(unavailable, 0);
    assert!(took <= RECOVERY_LIMIT, "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_clients_that_reconnect_all_at_once_are_detected() {
    let Measured { spread, .. } = restart(60, json!(["noJitter"])).await;
    assert!(spread.fullest() > MAX_AT_ONCE, "the failpoint was not detected");
}

struct Measured {
    spread: Spread,
    /// How often the server answered `UNAVAILABLE`.
    unavailable: usize,
    /// The time from the server's start until all clients were current.
    took: Duration,
}

async fn restart(clients: usize, failpoints: Value) -> Measured {
    allow_open_files(2 * clients as u64 + 1_000);
    let db = TestDb::new().await;
    let options = json!({ "failpoints": failpoints, "poolSize": 10, "limits": { "heartbeatMs": 5_000 } });
    let before = serve(&db, options.clone()).await;
    let role = before.client().mutate("roles.give", json!({})).await.data();
    // A client of the running server; `None` while there is none.
    let server = watch::Sender::new(None);
    let mut all = Vec::new();
    for at in 0..clients {
        let token = token(&format!("user{at}"), None, role.as_str());
        let mut session = before.client().with_header("authorization", &token).live(list(at, None)).await;
        session.until(0, |list| bodies(list).is_empty()).await;
        all.push(tokio::spawn(reconnect(session, at, token, server.subscribe())));
    }
    let plain_delays = retry_delays(&before.client()).await;
    before.engine.close().await;
    // Half of the channels change before the server is restarted.
    let news = format!(
        "insert into messages (data)
         select jsonb_build_object('channel', 'c' || n, 'n', n, 'body', 'news') from generate_series(0, {CHANNELS} - 1, 2) as n"
    );
    db.psql().await.run(&news).await;
    let after = serve(&db, options).await;
    let began = Instant::now();
    server.send_replace(Some(after.client()));

    let (mut delays, mut unavailable) = (Vec::new(), 0);
    for client in all {
        let (retry_ms, refused) = client.await.expect("a client converges");
        delays.push(retry_ms);
        unavailable += refused;
    }
    let took = began.elapsed();
    let spread = Spread(delays);
    report(&format!(
        "{clients} of {clients} current {took:?} after the start, {unavailable} times unavailable; retry delays \
         of {:?} ms, at most {:.1} % in a tenth of a second",
        spread.range(),
        spread.fullest() * 100.0
    ));
    assert_eq!(
        Spread(plain_delays).fullest() > MAX_AT_ONCE,
        spread.fullest() > MAX_AT_ONCE,
        "both kinds of stream have the same spread"
    );
    after.engine.close().await;
    Measured { spread, unavailable, took }
}

/// Reconnects a client after its server has ended, until it is current. Returns the retry
/// delay that it received in milliseconds, and how often the server was unavailable.
async fn reconnect(
    mut session: LiveSession,
    at: usize,
    token: String,
    mut server: watch::Receiver<Option<Client>>,
) -> (u64, usize) {
    let end = session.until_message("end").await;
    assert_eq!(end["reason"], "shutdown");
    let retry_ms = end["retryMs"].as_u64().expect("milliseconds");
    let (mut answers, mut unavailable) = (session.disconnect(), 0);
    let mut session = loop {
        tokio::time::sleep(Duration::from_millis(retry_ms)).await;
        let found = server.wait_for(Option::is_some).await.expect("the server restarts").clone();
        let client = found.expect("there is one").with_header("authorization", &token);
        let queries = list(at, answers.hash(0));
        match client.resume(std::mem::take(&mut answers), queries).await {
            Ok(session) => break session,
            Err(refusal) => assert_eq!(refusal.code(), "UNAVAILABLE"),
        }
        unavailable += 1;
    };
    let expected: &[&str] = if (at % CHANNELS).is_multiple_of(2) { &["news"] } else { &[] };
    session.until(0, |list| bodies(list) == expected).await;
    (retry_ms, unavailable + session.answers().messages.iter().filter(|message| message["type"] == "error").count())
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

fn list(at: usize, hash: Option<&str>) -> Value {
    let mut query = json!({ "id": 0, "name": "messages.list", "args": { "channel": format!("c{}", at % CHANNELS) } });
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
