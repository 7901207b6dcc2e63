//! Live sessions over `POST /api/live`: many queries on one stream, in consistent frames.

use convoy_testkit::{Functions, StreamState, TestDb, Thrown};
use hyper::Method;
use serde_json::{Value, json};

use crate::shared::{bodies, chat, tables};

fn message(channel: &str, n: i64, body: &str) -> Value {
    json!({ "channel": channel, "n": n, "body": body })
}

fn list(id: u64, channel: &str) -> Value {
    json!({ "id": id, "name": "messages.list", "args": { "channel": channel } })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_carries_all_queries_as_they_are_added_and_removed() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    let mut session = client.live(json!([list(1, "a"), list(2, "b")])).await;
    assert_eq!((session.until(1, |_| true).await, session.until(2, |_| true).await), (json!([]), json!([])));
    client.mutate("messages.send", message("b", 1, "for b")).await.data();
    assert_eq!(bodies(&session.until(2, |list| *list != json!([])).await), ["for b"]);
    client.change(session.id(), json!({ "add": [list(3, "c")], "remove": [2] })).await.data();
    session.until(3, |_| true).await;
    client.mutate("messages.send", message("b", 2, "not subscribed")).await.data();
    client.mutate("messages.send", message("c", 1, "for c")).await.data();
    assert_eq!(bodies(&session.until(3, |list| *list != json!([])).await), ["for c"]);
    assert_eq!(bodies(session.answers().latest(2).expect("an answer")), ["for b"], "the removed query was not updated");
    assert_eq!((app.engine.stats().sessions, app.engine.stats().subscribers), (1, 2));
    app.engine.close().await;
    session.until_message("end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_cannot_be_served_is_refused_by_itself() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions()
        .add(json!({ "name": "secret", "kind": "query", "internal": true }), |_, _| async { Ok(json!(1)) })
        .query("broken", |_, _| async { Err(Thrown::Broke("a cause for the log".into())) })
        .query("large", |_, _| async { Ok(json!("x".repeat(2_000))) });
    let options = json!({ "limits": { "queriesPerStream": 8, "resultBytes": 1_000 } });
    let app = db.app_with(options, tables(), functions).await;
    let named = |id: u64, name: &str| json!({ "id": id, "name": name, "args": {} });
    let queries = json!([
        list(1, "a"),
        named(2, "messages.send"),
        named(3, "secret"),
        named(4, "no.such"),
        { "id": 5, "name": "messages.list", "args": { "channel": "\u{0}" } },
        named(6, "broken"),
        named(7, "large"),
        list(1, "again"),
        list(8, "b"),
        list(9, "one too many"),
    ]);
    let mut session = app.client().live(queries).await;
    session.until(1, |_| true).await;
    session.until(8, |_| true).await;
    // Errors are sent once the queries have run, in any order.
    convoy_testkit::within(async {
        while ![5, 6, 7].iter().all(|id| session.answers().messages.iter().any(|message| message["id"] == *id)) {
            assert!(session.receive().await, "the stream is open");
        }
    })
    .await;
    let error_of = |id: u64| {
        let found = session.answers().messages.iter().find(|message| message["id"] == id).cloned();
        found.map(|message| message["error"].clone())
    };
    let same_as_unknown = |name: &str| {
        json!(format!("No public query is called `{name}`; is it exported from a file in convoy/functions?"))
    };
    for (id, name) in [(2, "messages.send"), (3, "secret"), (4, "no.such")] {
        let error = error_of(id).expect("it is refused");
        assert_eq!((&error["code"], &error["message"]), (&json!("NOT_FOUND"), &same_as_unknown(name)));
    }
    assert_eq!(error_of(5).expect("refused")["code"], "INVALID_ARGS");
    assert_eq!(error_of(1).expect("the second with that id")["code"], "INVALID_ARGS");
    assert_eq!(error_of(9).expect("refused")["code"], "PAYLOAD_TOO_LARGE");
    let broken = error_of(6).expect("an error");
    assert_eq!(broken["code"], "INTERNAL");
    assert!(!broken.to_string().contains("a cause for the log"), "{broken}");
    let large = error_of(7).expect("an error");
    assert!(large["code"] == "PAYLOAD_TOO_LARGE" && large["message"].to_string().contains("`large`"), "{large}");
    app.client().mutate("messages.send", message("a", 1, "it goes on")).await.data();
    assert_eq!(bodies(&session.until(1, |list| *list != json!([])).await), ["it goes on"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_upgrades_are_refused_with_their_status() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    for (path, body, status) in [
        ("/api/live", "", 400),
        ("/api/live", "[]", 400),
        ("/api/live", r#"{"protocol":2,"queries":[]}"#, 400),
        ("/api/live", r#"{"protocol":1,"queries":[{"id":"x","name":"a"}]}"#, 400),
        ("/api/live/0123456789abcdef0123456789abcdef", "{}", 404),
        ("/api/live/nonsense", "{}", 404),
    ] {
        let reply = client.send(Method::POST, path, body).await;
        assert_eq!(reply.status, status, "{path} {body} {}", reply.body);
    }
    let session = client.live(json!([])).await;
    assert_eq!(client.send(Method::POST, &format!("/api/live/{}", session.id()), "[1]").await.status, 400);
    assert_eq!(client.send(Method::GET, "/api/ws", "").await.status, 426);
    let overview = client.send(Method::GET, "/api/_live", "").await;
    assert_eq!(overview.status, 404, "live queries are listed in development only");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_is_sent_as_a_delta() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(client.mutate("messages.send", message("a", n, &"text ".repeat(20))).await.data());
    }
    let mut session = client.live(json!([list(1, "a")])).await;
    session.until(1, |_| true).await;
    let edit = json!({ "id": ids[7], "set": { "body": "edited" }, "unset": [] });
    client.mutate("messages.edit", edit).await.data();
    let now = session.until(1, |list| list.to_string().contains("edited")).await;
    let truth = client.query("messages.list", json!({ "channel": "a" })).await.data();
    assert_eq!(now, truth);
    assert_eq!(session.answers().deltas, 1);
    // A new one pushes the oldest out.
    client.mutate("messages.send", message("a", 20, "new")).await.data();
    let now = session.until(1, |list| list[0]["body"] == "new").await;
    assert_eq!(now, client.query("messages.list", json!({ "channel": "a" })).await.data());
    assert_eq!(session.answers().deltas, 2);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_commit_arrive_in_one_frame() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    let all = json!({ "id": 9, "name": "messages.all", "args": {} });
    let mut session = client.live(json!([list(1, "a"), all])).await;
    session.until(1, |_| true).await;
    session.until(9, |_| true).await;
    for n in 0..20 {
        client.mutate("messages.send", message("a", n, &format!("m{n}"))).await.data();
        while session.answers().latest(1).and_then(|list| list[0]["n"].as_i64()) != Some(n) {
            assert!(session.receive().await);
        }
        let both = [1, 9].map(|id| session.answers().latest(id).and_then(Value::as_array).map(Vec::len));
        assert_eq!(both, [Some(n as usize + 1); 2], "after every frame both queries agree");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_is_acknowledged_after_its_effects_were_sent() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut session = app.client().live(json!([list(1, "a")])).await;
    session.until(1, |_| true).await;
    let own = app.client().with_header("convoy-session", session.id()).with_header("idempotency-key", "k-1");
    let response = own.mutate("messages.send", message("a", 1, "mine")).await;
    assert_eq!(response.header("convoy-session"), Some(session.id()), "this process has the session");
    let result = response.data();
    let settled = session.until_message("settled").await;
    assert_eq!((&settled["key"], &settled["result"]), (&json!("k-1"), &result));
    assert_eq!(bodies(session.answers().latest(1).expect("an answer")), ["mine"], "the effect came first");
    let elsewhere = app.client().with_header("convoy-session", &"0".repeat(32)).with_header("idempotency-key", "k-0");
    let response = elsewhere.mutate("messages.send", message("other", 1, "x")).await;
    assert_eq!(response.header("convoy-session"), None, "another process has this session, or none");
    // A mutation that affects no subscription is acknowledged, too.
    let other = app.client().with_header("convoy-session", session.id()).with_header("idempotency-key", "k-2");
    other.mutate("messages.send", message("elsewhere", 1, "x")).await.data();
    while session.answers().messages.len() < 2 {
        assert!(session.receive().await);
    }
    assert_eq!(session.answers().messages[1]["key"], "k-2");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_client_gets_unchanged_without_a_run() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    app.client().mutate("messages.send", message("a", 1, "there")).await.data();
    let mut session = app.client().live(json!([list(1, "a")])).await;
    session.until(1, |_| true).await;
    let answers = session.read_continuously().stop().await;
    let (hash, position) = (answers.hash(1).expect("a hash").to_owned(), answers.position.clone().expect("a position"));
    let before = app.engine.stats().handler_runs;
    // The token is of the end of that run: the log must have been read since.
    let client = app.client().with_header("convoy-position", &position);
    let mut query = list(1, "a");
    query["hash"] = json!(hash);
    let mut again = client.resume(answers, json!([query])).await.expect("it opens");
    assert!(again.receive().await || again.answers().results == 0);
    let stats = app.engine.stats();
    assert!(stats.handler_runs - before <= 1, "at most one run, if the log has not been read since");
    assert_eq!(again.answers().results, 0, "the result itself was not sent");
    app.client().mutate("messages.send", message("a", 2, "news")).await.data();
    assert_eq!(bodies(&again.until(1, |list| list[0]["body"] == "news").await), ["news", "there"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_code_reruns_live_queries_and_a_changed_context_ends_streams() {
    let db = TestDb::new().await;
    let version = |n: i64| Functions::new().query("version", move |_, _| async move { Ok(json!([n])) });
    let app = db.app(tables(), version(1)).await;
    let mut session = app.client().live(json!([{ "id": 1, "name": "version" }])).await;
    session.until(1, |is| *is == json!([1])).await;
    app.load(version(2), false).await;
    session.until(1, |is| *is == json!([2])).await;
    app.load(version(3), true).await;
    let end = session.until_message("end").await;
    assert_eq!(end["reason"], "reload");
    assert!(end["retryMs"].as_u64().is_some_and(|ms| ms > 0), "{end}");
    assert!(!session.receive().await);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited_per_process_and_per_proxied_address() {
    let db = TestDb::new().await;
    let options = json!({ "trustProxy": true, "limits": { "streams": 4, "streamsPerAddress": 2 } });
    let app = db.app_with(options, tables(), crate::shared::functions()).await;
    // The proxy appends the address that it sees to what the client has sent.
    let from = |address: &str| app.client().with_header("x-forwarded-for", &format!("10.9.9.9, {address}"));
    let first = [from("10.0.0.1").live(json!([])).await, from("10.0.0.1").live(json!([])).await];
    let refused = from("10.0.0.1").try_live(json!([])).await.map(|_| ()).expect_err("the third of this address");
    assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"));
    let mut others = vec![from("10.0.0.2").live(json!([])).await, from("127.0.0.1").live(json!([])).await];
    let refused = from("10.0.0.3").try_live(json!([])).await.map(|_| ()).expect_err("the fifth of all");
    assert_eq!((refused.status, refused.code()), (503, "UNAVAILABLE"));
    drop(first);
    convoy_testkit::within(async {
        while app.engine.stats().sessions > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    others.push(from("10.0.0.1").live(json!([])).await);
    assert_eq!(app.engine.stats().sessions, 3);
    app.engine.close().await;
}

/// One customer has at least a network of IPv6 with a prefix of 64 bits.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_network_of_ipv6_are_counted_together() {
    let db = TestDb::new().await;
    let options = json!({ "trustProxy": true, "limits": { "streams": 9, "streamsPerAddress": 2 } });
    let app = db.app_with(options, tables(), crate::shared::functions()).await;
    let from = |address: &str| app.client().with_header("x-forwarded-for", address);
    let mut open = Vec::new();
    for pair in [["2001:db8:1:2::1", "2001:db8:1:2:ffff::1"], ["192.0.2.1", "::ffff:192.0.2.1"]] {
        for address in pair {
            open.push(from(address).live(json!([])).await);
        }
        for address in pair {
            let refused = from(address).try_live(json!([])).await.map(|_| ()).expect_err("the third of this client");
            assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"), "{address}");
        }
        let refused = from(pair[0]).send(Method::GET, "/api/subscribe?name=messages.all", "").await;
        assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"));
    }
    for other in ["2001:db8:1:3::1", "192.0.2.2"] {
        open.push(from(other).live(json!([])).await);
    }
    assert_eq!(app.engine.stats().sessions, 6);
    drop(open);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_with_raw_writes_is_acknowledged_after_these_were_sent() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions().mutation("messages.byRaw", |ctx, _| async move {
        let text =
            r#"insert into messages (data) values ('{"channel": "a", "n": 1, "body": "raw"}') returning 1 as one"#;
        ctx.op(json!({ "op": "raw", "text": text, "values": [], "tables": null })).await
    });
    let app = db.app(tables(), functions).await;
    let mut session = app.client().live(json!([list(1, "a")])).await;
    session.until(1, |_| true).await;
    let own = app.client().with_header("convoy-session", session.id()).with_header("idempotency-key", "k-1");
    own.mutate("messages.byRaw", json!({})).await.data();
    session.until_message("settled").await;
    assert_eq!(bodies(session.answers().latest(1).expect("an answer")), ["raw"], "the effect came first");
    app.engine.close().await;
}
