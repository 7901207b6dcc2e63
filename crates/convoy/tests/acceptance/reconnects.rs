//! Acceptance 18: a server starts again, and everybody comes back: not all at
//! once, and each ends at what is true.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use convoy_testkit::{Client, Session, TestDb, allow_open_files};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::chat::bodies;
use crate::lane::{say, scale};
use crate::members::{serve, token};

const CHANNELS: usize = 50;
/// How soon everyone is to be right again.
const SOON: Duration = Duration::from_secs(30);
/// Of the times at which clients are told to come back, the most that may lie in
/// the same tenth of a second.
const MOST_AT_ONCE: f64 = 0.3;

#[tokio::test(flavor = "multi_thread")]
async fn everyone_comes_back_spread_out_and_ends_at_the_table() {
    let Found { spread, unavailable, took } = restart(scale(300, 5_000), json!([])).await;
    assert!(spread.fullest() <= MOST_AT_ONCE, "too many come back at once");
    assert_eq!(unavailable, 0);
    assert!(took <= SOON, "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_clients_that_all_come_back_at_once_are_found() {
    let Found { spread, .. } = restart(60, json!(["noJitter"])).await;
    assert!(spread.fullest() > MOST_AT_ONCE, "nobody noticed");
}

struct Found {
    spread: Spread,
    /// How often the server said that it cannot.
    unavailable: usize,
    /// From the server's start until all were right.
    took: Duration,
}

async fn restart(clients: usize, failpoints: Value) -> Found {
    allow_open_files(2 * clients as u64 + 1_000);
    let db = TestDb::new().await;
    let options = json!({ "failpoints": failpoints, "poolSize": 10, "limits": { "heartbeatMs": 5_000 } });
    let before = serve(&db, options.clone()).await;
    let role = before.client().mutate("roles.give", json!({})).await.data();
    // Where the server is; nowhere while there is none.
    let place = watch::Sender::new(None);
    let mut all = Vec::new();
    for at in 0..clients {
        let token = token(&format!("user{at}"), None, role.as_str());
        let mut session = before.client().with_header("authorization", &token).live(list(at, None)).await;
        session.until(0, |list| bodies(list).is_empty()).await;
        all.push(tokio::spawn(come_back(session, at, token, place.subscribe())));
    }
    let greeted = greetings(&before.client()).await;
    before.engine.close().await;
    // Half of the channels have news when the server is there again.
    let news = format!(
        "insert into messages (data)
         select jsonb_build_object('channel', 'c' || n, 'n', n, 'body', 'news') from generate_series(0, {CHANNELS} - 1, 2) as n"
    );
    db.psql().await.run(&news).await;
    let after = serve(&db, options).await;
    let began = Instant::now();
    place.send_replace(Some(after.client()));

    let (mut told, mut unavailable) = (Vec::new(), 0);
    for client in all {
        let (retry_ms, refused) = client.await.expect("a client ends at what is true");
        told.push(retry_ms);
        unavailable += refused;
    }
    let took = began.elapsed();
    let spread = Spread(told);
    say(&format!(
        "{clients} of {clients} right again {took:?} after the start, {unavailable} times unavailable; told to come back \
         after {:?} ms, at most {:.1} % in a tenth of a second",
        spread.range(),
        spread.fullest() * 100.0
    ));
    assert_eq!(Spread(greeted).fullest() > MOST_AT_ONCE, spread.fullest() > MOST_AT_ONCE, "both kinds of stream alike");
    after.engine.close().await;
    Found { spread, unavailable, took }
}

/// A client's way from its server's end to being right again: after how many
/// milliseconds it was told to come back, and how often it was told that the
/// server cannot.
async fn come_back(
    mut session: Session,
    at: usize,
    token: String,
    mut place: watch::Receiver<Option<Client>>,
) -> (u64, usize) {
    let end = session.until_told("end").await;
    assert_eq!(end["reason"], "shutdown");
    let retry_ms = end["retryMs"].as_u64().expect("milliseconds");
    let (mut answers, mut unavailable) = (session.leave(), 0);
    let mut session = loop {
        tokio::time::sleep(Duration::from_millis(retry_ms)).await;
        let found = place.wait_for(Option::is_some).await.expect("the server starts again").clone();
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
    (retry_ms, unavailable + session.answers().told.iter().filter(|message| message["type"] == "error").count())
}

/// What streams of one query are told when they begin, for `EventSource`.
async fn greetings(client: &Client) -> Vec<u64> {
    let mut told = Vec::new();
    for _ in 0..50 {
        let mut watch = client.watch("messages.list", json!({ "channel": "c0" })).await;
        let greeting = watch.event().await.expect("a greeting");
        let retry = greeting.lines().find_map(|line| line.strip_prefix("retry: ")).expect("how long to wait");
        told.push(retry.parse().expect("milliseconds"));
    }
    told
}

fn list(at: usize, hash: Option<&str>) -> Value {
    let mut query = json!({ "id": 0, "name": "messages.list", "args": { "channel": format!("c{}", at % CHANNELS) } });
    if let Some(hash) = hash {
        query["hash"] = json!(hash);
    }
    json!([query])
}

/// After how many milliseconds clients are told to come back.
struct Spread(Vec<u64>);

impl Spread {
    /// The share of them who come in the same tenth of a second, where that is
    /// greatest.
    fn fullest(&self) -> f64 {
        let mut tenths: HashMap<u64, usize> = HashMap::new();
        for told in &self.0 {
            *tenths.entry(told / 100).or_default() += 1;
        }
        let most = tenths.values().max().copied().unwrap_or_default();
        most as f64 / self.0.len() as f64
    }

    fn range(&self) -> std::ops::RangeInclusive<u64> {
        let (least, most) = (self.0.iter().min(), self.0.iter().max());
        least.copied().unwrap_or_default()..=most.copied().unwrap_or_default()
    }
}
