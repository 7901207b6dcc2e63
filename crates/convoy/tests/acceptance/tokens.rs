//! Acceptance 17: tokens expire and roles are revoked while streams are open. No answers are
//! delivered to callers who have lost access.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use convoy_testkit::{Answers, App, Reader, StreamState, TestDb};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::chat::{bodies, with_heartbeats};
use crate::members::{client_with_token, serve};
use crate::scale::{report, scale, seeded, with_seeds};

/// The tolerance for deliveries after a token's expiry.
const TOLERANCE: Duration = Duration::from_secs(2);
/// How long writes continue after that, so that there are changes to deliver.
const WRITE_BEYOND: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn no_answers_are_delivered_after_a_token_has_expired() {
    with_seeds("tokens", async |mut random| {
        assert_eq!(watch_past_expiry(scale(40, 500), &mut random, json!([])).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_an_ignored_expiry_is_detected() {
    let late = watch_past_expiry(8, &mut seeded(), json!(["ignoreExpiry"])).await;
    assert!(late > 0, "the failpoint was not detected");
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
            // Long enough for all sessions to be open before.
            let expires = Instant::now() + Duration::from_secs(3);
            let mut session = client_with_token(app, &user, Some(expires), None).live(list(&channel)).await;
            session.until(0, |list| bodies(list).is_empty()).await;
            session.until_message("auth").await;
            send(app, &channel, "while it was rejected").await;
            let other = client_with_token(app, "another user", None, None);
            let refused = other.change(session.id(), json!({ "add": [], "remove": [], "auth": true })).await;
            assert_eq!(refused.code(), "FORBIDDEN");
            let renewed = client_with_token(app, &user, None, None);
            renewed.change(session.id(), json!({ "add": [], "remove": [], "auth": true })).await.data();
            session.until(0, |list| bodies(list) == ["while it was rejected"]).await;
        }
    });
    join_all(all).await;
    report(&format!("{sessions} of {sessions} continued with a new token"));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_writes_after_a_role_was_revoked_are_delivered() {
    let shown = watch_past_revocation(scale(4, 40), json!([])).await;
    assert_eq!(shown, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_an_untracked_context_is_detected() {
    let shown = watch_past_revocation(1, json!(["contextUnwatched"])).await;
    assert!(shown > 0, "the failpoint was not detected");
}

/// How many of the streams receive an answer later than [`TOLERANCE`] after the expiry.
async fn watch_past_expiry(streams: usize, random: &mut StdRng, failpoints: Value) -> usize {
    let db = TestDb::new().await;
    let app = serve(&db, with_heartbeats(json!({ "failpoints": failpoints }))).await;
    let lasting = client_with_token(&app, "lasting", None, None).live(list("c")).await.read_continuously();
    let (mut sessions, mut watches) = (Vec::new(), Vec::new());
    let mut last = Instant::now();
    for at in 0..streams {
        let expires = Instant::now() + Duration::from_millis(random.random_range(500..1_500));
        last = last.max(expires);
        let client = client_with_token(&app, &format!("user{at}"), Some(expires), None);
        // Some may expire while they are opened.
        match at % 2 {
            0 => sessions.push((expires, client.live(list("c")).await.read_continuously())),
            _ => watches
                .push((expires, client.watch("messages.list", json!({ "channel": "c" })).await.read_continuously())),
        }
    }
    // Writes continue until after the last expiry.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (mut connection, stop) = (app.client().connect().await, stop.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                connection
                    .mutate("messages.send", &json!({ "channel": "c", "n": n, "body": n.to_string() }))
                    .await
                    .data();
            }
            n.to_string()
        })
    };
    tokio::time::sleep_until((last + TOLERANCE + WRITE_BEYOND).into()).await;
    stop.store(true, Ordering::Relaxed);
    let newest = writer.await.expect("every mutation is acknowledged");
    // The session without an expiry has received all writes.
    lasting.until(|answers| answers.latest(0).is_some_and(|list| bodies(list)[0] == newest)).await;

    let in_sessions =
        sessions.iter().map(|(expires, reader)| (*expires, reader.inspect(|answers| answers.last_result)));
    let in_watches = watches.iter().map(|(expires, reader)| (*expires, reader.inspect(|answer| answer.last_result)));
    let delays: Vec<Duration> = in_sessions
        .chain(in_watches)
        .filter_map(|(expires, last_result)| Some(last_result?.saturating_duration_since(expires)))
        .collect();
    let late = delays.iter().filter(|delay| **delay > TOLERANCE).count();
    report(&format!(
        "{late} of {streams} streams received an answer later than {TOLERANCE:?} after the expiry, {newest} mutations; the latest result was {:?} after it",
        delays.iter().max().copied().unwrap_or_default()
    ));
    app.engine.close().await;
    late
}

/// How many sessions receive writes that were committed with or after the removal of the
/// role that their context has read.
async fn watch_past_revocation(rounds: usize, failpoints: Value) -> usize {
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
                let member =
                    client_with_token(app, "member", None, Some(role)).live(list(&channel)).await.read_continuously();
                let lasting =
                    client_with_token(app, "lasting", None, None).live(list(&channel)).await.read_continuously();
                for reader in [&member, &lasting] {
                    reader.until(|answers| answers.latest(0).is_some()).await;
                }
                // In one commit, or in two.
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
        app.until_idle().await;
        let seen = join_all(members.iter().map(|member| member.reaches(0, is_secret))).await;
        shown += seen.into_iter().filter(|seen| *seen).count();
    }
    report(&format!("{shown} of {} sessions received writes after their role was revoked", rounds * AT_ONCE));
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
