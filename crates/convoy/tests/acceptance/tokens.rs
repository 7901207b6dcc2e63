//! Acceptance 17: tokens that end, and rights that are taken away, while streams
//! are open. Nothing is delivered to those who may not have it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use convoy_testkit::{Answers, App, Holder, Reader, TestDb};
use futures_util::future::join_all;
use rand::RngExt;
use serde_json::{Value, json};

use crate::chat::{bodies, with_heartbeats};
use crate::lane::{say, scale, seeded};
use crate::members::{bearing, serve};

/// How long after its end a token may still have been served.
const LATE: Duration = Duration::from_secs(2);
/// How much later than that is written, so that there is something to deliver.
const BEYOND: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_delivered_after_a_token_has_ended() {
    let late = watch_beyond_the_end(scale(40, 500), json!([])).await;
    assert_eq!(late, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_an_end_that_is_not_looked_at_is_found() {
    let late = watch_beyond_the_end(8, json!(["ignoreExpiry"])).await;
    assert!(late > 0, "nobody noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_a_new_token_continues() {
    let db = TestDb::new().await;
    let app = serve(&db, with_heartbeats(json!({}))).await;
    let sessions = scale(20, 200);
    let all = (0..sessions).map(|at| {
        let app = &app;
        async move {
            let (user, channel) = (format!("user{at}"), format!("c{at}"));
            let ends = Instant::now() + Duration::from_millis(500);
            let mut session = bearing(app, &user, Some(ends), None).live(list(&channel)).await;
            session.until(0, |list| bodies(list).is_empty()).await;
            session.until_told("auth").await;
            send(app, &channel, "while it was shut").await;
            let other = bearing(app, "somebody else", None, None);
            let refused = other.change(session.id(), json!({ "add": [], "remove": [], "auth": true })).await;
            assert_eq!(refused.code(), "FORBIDDEN");
            let renewed = bearing(app, &user, None, None);
            renewed.change(session.id(), json!({ "add": [], "remove": [], "auth": true })).await.data();
            session.until(0, |list| bodies(list) == ["while it was shut"]).await;
        }
    });
    join_all(all).await;
    say(&format!("{sessions} of {sessions} went on with a new token"));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_written_after_a_role_was_taken_away_is_delivered() {
    let shown = watch_beyond_a_role(scale(4, 40), json!([])).await;
    assert_eq!(shown, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_context_whose_reads_are_not_watched_is_found() {
    let shown = watch_beyond_a_role(1, json!(["contextUnwatched"])).await;
    assert!(shown > 0, "nobody noticed");
}

/// How many of the streams are delivered anything so long after their token's end.
async fn watch_beyond_the_end(streams: usize, failpoints: Value) -> usize {
    let mut random = seeded();
    let db = TestDb::new().await;
    let app = serve(&db, with_heartbeats(json!({ "failpoints": failpoints }))).await;
    let lasting = bearing(&app, "lasting", None, None).live(list("c")).await.read_on();
    let (mut sessions, mut watches) = (Vec::new(), Vec::new());
    let mut last = Instant::now();
    for at in 0..streams {
        let ends = Instant::now() + Duration::from_millis(random.random_range(500..1_500));
        last = last.max(ends);
        let client = bearing(&app, &format!("user{at}"), Some(ends), None);
        // Some may end as they are opened.
        match at % 2 {
            0 => sessions.push((ends, client.live(list("c")).await.read_on())),
            _ => watches.push((ends, client.watch("messages.list", json!({ "channel": "c" })).await.read_on())),
        }
    }
    // There is news all the time, until nobody should hear of it.
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (mut connection, over) = (app.client().connect().await, over.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                connection
                    .mutate("messages.send", &json!({ "channel": "c", "n": n, "body": n.to_string() }))
                    .await
                    .data();
            }
            n.to_string()
        })
    };
    tokio::time::sleep_until((last + LATE + BEYOND).into()).await;
    over.store(true, Ordering::Relaxed);
    let newest = writer.await.expect("every mutation is acknowledged");
    // Who may, has seen all of it.
    lasting.until(|answers| answers.latest(0).is_some_and(|list| bodies(list)[0] == newest)).await;

    let in_sessions = sessions.iter().map(|(ends, reader)| (*ends, reader.look(|answers| answers.last_result)));
    let in_watches = watches.iter().map(|(ends, reader)| (*ends, reader.look(|answer| answer.last_result)));
    let delays: Vec<Duration> = in_sessions
        .chain(in_watches)
        .filter_map(|(ends, last_result)| Some(last_result?.saturating_duration_since(ends)))
        .collect();
    let late = delays.iter().filter(|delay| **delay > LATE).count();
    say(&format!(
        "{late} of {streams} streams were shown something {LATE:?} past their token's end, {newest} mutations; the latest result came {:?} past it",
        delays.iter().max().copied().unwrap_or_default()
    ));
    app.engine.close().await;
    late
}

/// How many sessions are shown what was written after, or with, the end of the
/// role that their context has read.
async fn watch_beyond_a_role(rounds: usize, failpoints: Value) -> usize {
    const AT_ONCE: usize = 25;
    let db = TestDb::new().await;
    let app = serve(&db, with_heartbeats(json!({ "failpoints": failpoints }))).await;
    let mut shown = 0;
    for round in 0..rounds {
        let all = (0..AT_ONCE).map(|at| {
            let (app, channel) = (&app, format!("{round}/{at}"));
            async move {
                let role = mutate(app, "roles.give", json!({})).await;
                let role = role.as_str().expect("an id");
                let member = bearing(app, "member", None, Some(role)).live(list(&channel)).await.read_on();
                let lasting = bearing(app, "lasting", None, None).live(list(&channel)).await.read_on();
                for reader in [&member, &lasting] {
                    reader.until(|answers| answers.latest(0).is_some()).await;
                }
                // In one commit, or one after the other.
                let message = json!({ "channel": channel, "n": 1, "body": "secret" });
                if at % 2 == 0 {
                    mutate(app, "roles.takeAndSend", json!({ "role": role, "message": message })).await;
                } else {
                    mutate(app, "roles.take", json!({ "role": role })).await;
                    mutate(app, "messages.send", message).await;
                }
                shows(&lasting).await;
                member
            }
        });
        let members = join_all(all).await;
        app.rest().await;
        let seen = join_all(members.iter().map(|member| member.comes_to(0, is_secret))).await;
        shown += seen.into_iter().filter(|seen| *seen).count();
    }
    say(&format!("{shown} of {} sessions were shown what was written when their role was gone", rounds * AT_ONCE));
    app.engine.close().await;
    shown
}

async fn shows(reader: &Reader<Answers>) {
    reader.until(|answers| answers.latest(0).is_some_and(is_secret)).await;
}

fn is_secret(list: &Value) -> bool {
    bodies(list) == ["secret"]
}

fn list(channel: &str) -> Value {
    json!([{ "id": 0, "name": "messages.list", "args": { "channel": channel } }])
}

async fn send(app: &App, channel: &str, body: &str) {
    mutate(app, "messages.send", json!({ "channel": channel, "n": 1, "body": body })).await;
}

async fn mutate(app: &App, name: &str, args: Value) -> Value {
    app.client().mutate(name, args).await.data()
}
