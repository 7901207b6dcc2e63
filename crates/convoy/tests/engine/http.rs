//! HTTP: refused requests, limits, and the behaviour of a closing server.

use std::time::Duration;

use crate::shared::{bodies, chat};
use crate::wire::exchange;
use convoy::{Gate, Part, Place, Stop};
use convoy_testkit::{Client, Functions, TestDb, within};
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn post(client: &Client, path: &str, body: &str) -> (u16, String) {
    let reply = client.send(Method::POST, path, body.to_owned()).await;
    (reply.status, reply.code().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_internal_and_wrong_kind_names_are_answered_alike() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions()
        .add(json!({ "name": "secret", "kind": "query", "internal": true }), |_, _| async { Ok(json!("leak")) });
    let app = db.app(crate::shared::tables(), functions).await;
    let mut answers = Vec::new();
    for name in ["unknown", "constructor", "__proto__", "toString", "secret", "messages.send", "messages.list%00"] {
        let reply = app.client().send(Method::POST, &format!("/api/query/{name}"), "{}").await;
        let message = reply.body["error"]["message"].as_str().expect("a message").to_owned();
        let decoded = name.replace("%00", "\0");
        assert_eq!((reply.status, reply.code()), (404, "NOT_FOUND"), "{name}");
        answers.push(message.replace(&format!("`{decoded}`"), "`…`"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_bodies_are_refused_with_their_reason() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    let path = "/api/query/messages.list";
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    assert_eq!(post(&client, path, "{\"channel\": ").await, refused(400, "INVALID_ARGS"));
    assert_eq!(post(&client, path, &deep).await, refused(400, "INVALID_ARGS"));
    assert_eq!(post(&client, path, &format!("\"{}\"", "x".repeat(1 << 20))).await, refused(413, "PAYLOAD_TOO_LARGE"));
    let not_text = client.send(Method::POST, path, vec![b'"', 0xff, b'"']).await;
    assert_eq!((not_text.status, not_text.code()), (400, "INVALID_ARGS"));
    let put = client.send(Method::PUT, path, "{}").await;
    assert_eq!((put.status, put.code()), (405, "METHOD_NOT_ALLOWED"));
    // A value of another type than the index, and one that Postgres cannot store.
    assert_eq!(post(&client, path, "{\"channel\": 5}").await, refused(400, "INVALID_ARGS"));
    assert_eq!(post(&client, path, "{\"channel\": \"\\u0000\"}").await, refused(400, "INVALID_ARGS"));
    assert_eq!(client.send(Method::GET, "/api/health", "").await.data()["status"], "up");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_javascript_cannot_represent_is_refused_with_its_path_by_every_endpoint() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions()
        .query("echo", |_, input| async move { Ok(input) })
        .action("act", |_, input| async move { Ok(input) });
    let app = db.app_with(json!({}), crate::shared::tables(), functions).await;
    let client = app.client();
    let wrong = |error: &serde_json::Value| {
        assert_eq!(error["code"], "INVALID_ARGS", "{error}");
        assert_eq!(error["details"]["issues"][0]["path"], json!(["a", "b", 1, "n"]), "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains("a.b[1].n")), "{error}");
    };
    for number in ["1e400", "-1e400", "1E+309"] {
        let args = format!(r#"{{"a": {{"b": [1, {{"n": {number}}}]}}}}"#);
        for path in ["/api/query/echo", "/api/mutation/messages.send", "/api/action/act"] {
            let reply = client.send(Method::POST, path, args.clone()).await;
            assert_eq!(reply.status, 400, "{path} {reply:?}");
            wrong(&reply.body["error"]);
        }
        let positioned = client.with_header("convoy-position", "x.1");
        wrong(&positioned.send(Method::POST, "/api/query/echo", args.clone()).await.body["error"]);
        let args_in_url = percent_encoding::utf8_percent_encode(&args, percent_encoding::NON_ALPHANUMERIC);
        let subscribed = client.send(Method::GET, &format!("/api/subscribe?name=echo&args={args_in_url}"), "").await;
        assert_eq!(subscribed.status, 400);
        wrong(&subscribed.body["error"]);
    }
    let fits = client.send(Method::POST, "/api/query/echo", r#"{"n": 1e308, "small": 1e-400, "text": "1e400"}"#).await;
    assert_eq!(fits.status, 200, "{fits:?}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_declared_too_large_is_refused_at_once_with_a_readable_answer() {
    let db = TestDb::new().await;
    // Bodies have no effective time limit, so only an immediate refusal ends this test.
    let options = json!({ "limits": { "bodyMs": 3_600_000, "bodyBytes": 1000 } });
    let app = db.app_with(options, crate::shared::tables(), crate::shared::functions()).await;
    let request = |path: &str, headers: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n");
    for path in ["/api/query/messages.all", "/api/live", "/api/live/ab", "/api/mutation/messages.send"] {
        let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
        socket.write_all(request(path, "content-length: 1001").as_bytes()).await.expect("sent");
        let mut answer = [0; 12];
        within(socket.read_exact(&mut answer)).await.expect("an answer before any of the body");
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
    // A client that sends the whole body before it reads is not reset.
    let large = vec![b'x'; 8 << 20];
    for (path, headers, status) in [
        ("/api/query/messages.all", format!("content-length: {}", large.len()), "413"),
        ("/api/query/messages.all", format!("origin: http://evil.test\r\ncontent-length: {}", large.len()), "403"),
        ("/api/nowhere", format!("content-length: {}", large.len()), "404"),
        ("/api/health", format!("content-length: {}", large.len()), "405"),
    ] {
        let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
        socket.write_all(request(path, &headers).as_bytes()).await.expect("sent");
        within(socket.write_all(&large)).await.expect("the server receives it");
        let mut answer = String::new();
        within(socket.read_to_string(&mut answer)).await.expect("the connection ends without a reset");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
    // A chunked body has no declared length.
    let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
    let chunked = request("/api/query/messages.all", "transfer-encoding: chunked");
    socket.write_all(chunked.as_bytes()).await.expect("sent");
    let chunk = format!("{:x}\r\n{}\r\n", 2000, "x".repeat(2000));
    socket.write_all(format!("{chunk}{chunk}0\r\n\r\n").as_bytes()).await.expect("sent");
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.expect("the connection ends without a reset");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // A client that waits for 100 Continue does not receive it.
    let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
    let waiting = request("/api/query/messages.all", "content-length: 1001\r\nexpect: 100-continue");
    socket.write_all(waiting.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.expect("the connection ends without a reset");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_origin_requests_are_refused() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    let own = format!("http://{}", app.address);
    let path = "/api/query/messages.all";
    let forbidden = refused(403, "FORBIDDEN");
    assert_eq!(post(&client.with_header("origin", "https://evil.test"), path, "{}").await, forbidden);
    assert_eq!(post(&client.with_header("origin", "null"), path, "{}").await, forbidden);
    assert_eq!(post(&client.with_header("sec-fetch-site", "cross-site"), path, "{}").await, forbidden);
    let same_origin = client.with_header("origin", &own);
    let form = same_origin.with_header("content-type", "text/plain");
    assert_eq!(post(&form, path, "{}").await, refused(400, "INVALID_ARGS"));
    let json = same_origin.with_header("content-type", "application/json; charset=utf-8");
    assert_eq!(post(&json, path, "{}").await.0, 200);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_development_only_this_machine_is_served_and_causes_are_shown() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "dev": true }), crate::shared::tables(), crate::shared::functions()).await;
    let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
    socket.write_all(b"GET /api/health HTTP/1.1\r\nhost: evil.test\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let threw = app.client().mutate("messages.sendThenThrow", json!({ "body": "x" })).await;
    assert!(threw.body["error"]["message"].as_str().is_some_and(|m| m.contains("secret cause")), "{threw:?}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_subscription_is_refused_with_its_status() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    for (query, status, code) in [
        ("name=unknown", 404, "NOT_FOUND"),
        ("name=messages.send", 404, "NOT_FOUND"),
        ("name=messages.list&args={", 400, "INVALID_ARGS"),
        ("name=messages.list&args=%7B%22channel%22:5%7D", 400, "INVALID_ARGS"),
        ("args=1", 400, "INVALID_ARGS"),
    ] {
        let path = format!("/api/subscribe?{}", query.replace('{', "%7B"));
        let reply = app.client().send(Method::GET, &path, "").await;
        assert_eq!((reply.status, reply.code()), (status, code), "{query}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_trailers_is_refused_and_ends_its_connection() {
    let db = TestDb::new().await;
    let functions = crate::shared::functions().route(("POST", "/read", json!({})), |ctx, _| async move {
        while ctx.exchange().read().await.is_ok_and(|chunk| chunk.is_some()) {}
        ctx.exchange().begin(convoy::RouteHead { status: 200, headers: vec![] }, Some("read".into()));
        Ok(json!(null))
    });
    let app = db.app_with(json!({}), crate::shared::tables(), functions).await;
    let smuggled = "GET /api/health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    // By the second, a parser that takes LF for the end of a line sees another request than hyper.
    for trailers in ["x: y\r\n\r\n", "x: y\n\r\nGET /api/ready HTTP/1.1\r\nhost: a\r\n\r\n", "x\n: y\r\n\r\n"] {
        for path in ["/api/query/messages.all", "/read"] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
            let answers = exchange(&app, format!("{head}2\r\n{{}}\r\n0\r\n{trailers}{smuggled}").as_bytes()).await;
            assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{trailers:?} {answers}");
            assert!(!answers.contains("\"status\""), "{trailers:?} {answers}");
        }
    }
    app.engine.close().await;
}

/// Clients of a busy process are connected before it accepts them. With a short queue, Linux
/// forgets some of these connections, and their clients learn nothing of it.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_connect_at_once_are_all_accepted_later() {
    let db = TestDb::new().await;
    let limits = json!({ "limits": { "headerMs": 200 } });
    let app = db.app_with(limits, crate::shared::tables(), crate::shared::functions()).await;
    let gate = Gate::default();
    app.engine.config().failpoints.stop_once(Place::Task(Part::Accept), Stop::Pause(gate.clone()));
    within(gate.reached()).await;
    let connecting: Vec<_> = (0..500).map(|_| tokio::spawn(TcpStream::connect(app.address))).collect();
    let mut sockets = Vec::new();
    for connecting in connecting {
        sockets.push(within(connecting).await.expect("no panic").expect("the server listens"));
    }
    gate.release();
    for mut socket in sockets {
        let mut answer = Vec::new();
        within(socket.read_to_end(&mut answer)).await.expect("the server ends a silent connection");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_function_times_out_and_its_connection_is_returned() {
    let db = TestDb::new().await;
    let stuck = crate::shared::functions().mutation("stuck", |ctx, input| async move {
        ctx.insert("messages", input).await?;
        std::future::pending().await
    });
    let options = json!({ "poolSize": 1, "limits": { "mutationMs": 1_500 } });
    let app = db.app_with(options, crate::shared::tables(), stuck).await;
    let reply = app.client().mutate("stuck", json!({ "channel": "a", "n": 1, "body": "never" })).await;
    assert_eq!((reply.status, reply.code()), (504, "TIMEOUT"));
    let message = reply.body["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("`stuck` did not finish within 1.5 s (limits.mutationMs)"), "{message}");
    app.client().mutate("messages.sendNow", json!({ "channel": "a", "n": 1, "body": "after" })).await.data();
    let list = app.client().query("messages.list", json!({ "channel": "a" })).await.data();
    assert_eq!(bodies(&list), ["after"]);
    let idle = "select count(*)::text from pg_stat_activity
        where application_name = 'convoy' and state = 'idle in transaction' and datname = current_database()";
    assert_eq!(db.psql().await.column(idle).await, ["0"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_max_pending_calls_are_refused() {
    let db = TestDb::new().await;
    let functions = Functions::new().query("stuck", |_, _| std::future::pending());
    let limits = json!({ "limits": { "maxPendingCalls": 2, "queryMs": 2000 } });
    let app = db.app_with(limits, crate::shared::tables(), functions).await;
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let client = app.client();
            tokio::spawn(async move { client.query("stuck", json!({})).await.status })
        })
        .collect();
    within(async {
        while app.engine.stats().running < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let refused = app.client().query("stuck", json!({})).await;
    assert_eq!((refused.status, refused.code()), (503, "UNAVAILABLE"));
    for call in stuck {
        assert_eq!(call.await.expect("an answer"), 504);
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_streams_and_lets_calls_in_flight_finish() {
    let db = TestDb::new().await;
    let (release, released) = tokio::sync::watch::channel(false);
    let functions = crate::shared::functions().mutation("slow", move |ctx, input| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.expect("the test runs");
            Ok(json!(ctx.insert("messages", input).await?))
        }
    });
    let app = db.app(crate::shared::tables(), functions).await;
    let mut stream = app.client().watch("messages.all", json!({})).await;
    stream.next().await;
    let client = app.client();
    let call = tokio::spawn(async move { client.mutate("slow", json!({ "channel": "a", "n": 1, "body": "x" })).await });
    within(async {
        while app.engine.stats().running < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let engine = app.engine.clone();
    let closing = tokio::spawn(async move { engine.close().await });
    assert!(stream.message().await.is_none(), "the stream ends while the call is still in flight");
    release.send(true).expect("the call waits");
    assert_eq!(call.await.expect("an answer").status, 200);
    within(closing).await.expect("it closes");
    assert_eq!(db.psql().await.column("select data ->> 'body' from messages").await, ["x"]);
    assert!(
        tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(app.address)).await.is_ok_and(|c| c.is_err())
    );
}
