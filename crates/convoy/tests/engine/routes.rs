//! HTTP routes over sockets: which route answers, bodies in both directions at the pace of the
//! other side, limits, and every way in which a request or a response can end early.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use convoy::{Code, Exchange, ExchangeBody, ExchangeHead, RouteExchange, RouteHead};
use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

fn head(status: u16) -> RouteHead {
    RouteHead { status, headers: vec![("content-type".into(), "text/plain".into())] }
}

fn whole(ctx: &Ctx, text: impl Into<String>) -> Result<Value, Thrown> {
    ctx.exchange().begin(head(200), Some(Bytes::from(text.into())));
    Ok(Value::Null)
}

/// Reads the body of a request; an error becomes that of the route, as where a handler does
/// not catch it.
async fn text_of(exchange: &RouteExchange) -> Result<String, Thrown> {
    let mut text = Vec::new();
    loop {
        match exchange.read().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => return Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(failure) => return Err(Thrown::Refused(failure.code, failure.message)),
        }
    }
}

/// A route that answers with what it received.
fn echo(functions: Functions, method: &str, path: &str, options: Value) -> Functions {
    functions.route((method, path, options), |ctx, input| async move {
        let body = text_of(&ctx.exchange()).await?;
        whole(&ctx, format!("{} {} {body}", input["params"], input["url"].as_str().unwrap_or_default()))
    })
}

async fn serve(db: &TestDb, options: Value, functions: Functions) -> App {
    db.app_with(options, json!([]), functions).await
}

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.address).await.expect("the server listens")
}

/// Sends text on a connection of its own, and reads to the end of the connection.
async fn exchange(app: &App, request: &str) -> String {
    let mut socket = connect(app).await;
    socket.write_all(request.as_bytes()).await.expect("sent");
    rest(&mut socket).await
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    within(socket.read_to_end(&mut answer)).await.expect("the connection ends without a reset");
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(line: &str, headers: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn post(path: &str, headers: &str, body: &str) -> String {
    request(&format!("POST {path}"), &format!("content-length: {}\r\n{headers}", body.len()), body)
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_gets_parameters_url_and_body_and_its_answer_is_sent_as_it_is() {
    let db = TestDb::new().await;
    let functions = echo(Functions::new(), "POST", "/hooks/:id/*rest", json!({}));
    let app = serve(&db, json!({}), functions).await;
    let answer = exchange(&app, &post("/hooks/a%20b/c/d%2Fe?x=1", "", "the body")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"), "{answer}");
    assert!(
        answer.ends_with(
            "\r\n\r\n{\"id\":\"a b\",\"rest\":\"c/d/e\"} http://app.example/hooks/a%20b/c/d%2Fe?x=1 the body"
        ),
        "{answer}"
    );
    let invalid = exchange(&app, &post("/hooks/%ff/x", "", "")).await;
    assert!(status(&invalid) == "400" && invalid.contains("`id`"), "{invalid}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_answered_for_a_path_and_other_paths_as_before() {
    let db = TestDb::new().await;
    let functions = Functions::new().route(("GET", "/page", json!({})), |ctx, _| async move { whole(&ctx, "page") });
    let functions = echo(functions, "PUT", "/page", json!({}));
    let app = serve(&db, json!({}), functions).await;
    let answer = exchange(&app, &request("HEAD /page", "", "")).await;
    assert!(answer.contains("content-length: 4\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    for method in ["POST", "DELETE", "PROPFIND"] {
        let answer = exchange(&app, &request(&format!("{method} /page"), "", "")).await;
        assert_eq!(status(&answer), "405", "{answer}");
        assert!(
            answer.contains("allow: GET, HEAD, PUT, OPTIONS\r\n") && answer.contains("METHOD_NOT_ALLOWED"),
            "{answer}"
        );
    }
    let options = exchange(&app, &request("OPTIONS /page", "", "")).await;
    assert_eq!(status(&options), "204");
    assert!(options.contains("allow: GET, HEAD, PUT, OPTIONS\r\n"), "{options}");
    for path in ["/", "/page/", "/pages", "/api/page"] {
        assert_eq!(status(&exchange(&app, &request(&format!("GET {path}"), "", "")).await), "404", "{path}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_granted_by_the_origins_of_the_engine_or_of_the_route() {
    let db = TestDb::new().await;
    let functions = echo(Functions::new(), "PUT", "/open", json!({}));
    let own = json!({ "cors": { "origins": ["https://other.example"], "credentials": true } });
    let functions = echo(functions, "PUT", "/own", own);
    let app = serve(&db, json!({ "cors": { "origins": ["https://app.test"] } }), functions).await;
    let preflight = |path: &str, origin: &str| {
        let headers = format!("origin: {origin}\r\naccess-control-request-method: PUT\r\n");
        request(&format!("OPTIONS {path}"), &headers, "")
    };
    let granted = |answer: &str, origin: &str| answer.contains(&format!("access-control-allow-origin: {origin}\r\n"));
    for (path, origin, is_granted) in [
        ("/open", "https://app.test", true),
        ("/open", "https://other.example", false),
        ("/own", "https://app.test", false),
        ("/own", "https://other.example", true),
    ] {
        let answer = exchange(&app, &preflight(path, origin)).await;
        assert_eq!((status(&answer), granted(&answer, origin)), (if is_granted { "204" } else { "403" }, is_granted));
        assert_eq!(answer.contains("access-control-allow-credentials"), path == "/own" && is_granted, "{answer}");
        let sent = request(&format!("PUT {path}"), &format!("origin: {origin}\r\ncookie: a=1\r\n"), "");
        let answer = exchange(&app, &sent).await;
        assert_eq!((status(&answer), granted(&answer, origin)), (if is_granted { "200" } else { "403" }, is_granted));
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_by_its_declared_and_by_its_real_length() {
    let db = TestDb::new().await;
    let functions = echo(Functions::new(), "POST", "/small", json!({ "bodyBytes": 4 }));
    let functions = echo(functions, "POST", "/large", json!({ "bodyBytes": 2_000_000 }));
    let app = serve(&db, json!({ "limits": { "bodyBytes": 10 } }), functions).await;
    let declared = exchange(&app, &post("/small", "", "12345")).await;
    assert!(status(&declared) == "413" && declared.contains("larger than 4 bytes"), "{declared}");
    let chunked = |body: &str| request("POST /small", "transfer-encoding: chunked\r\n", body);
    let sent = exchange(&app, &chunked("3\r\n123\r\n2\r\n45\r\n0\r\n\r\n")).await;
    assert!(status(&sent) == "413" && sent.contains("larger than 4 bytes"), "{sent}");
    assert_eq!(status(&exchange(&app, &chunked("4\r\n1234\r\n0\r\n\r\n")).await), "200");
    let large = exchange(&app, &post("/large", "", &"x".repeat(1_500_000))).await;
    assert!(status(&large) == "200" && large.len() > 1_500_000);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_whole_fails_its_reader() {
    let db = TestDb::new().await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let functions = Functions::new().route(("POST", "/upload", json!({})), move |ctx, _| {
        let report = report.clone();
        async move {
            let read = text_of(&ctx.exchange()).await;
            report.send(format!("{read:?}")).expect("the test runs");
            read?;
            whole(&ctx, "")
        }
    });
    let app = serve(&db, json!({ "limits": { "bodyMs": 300 } }), functions).await;
    let start = "POST /upload HTTP/1.1\r\nhost: x\r\n";
    // Cut off; cut off within a chunk; a length that is too large; and no end.
    for (body, closes) in [
        ("content-length: 10\r\n\r\n12345", true),
        ("transfer-encoding: chunked\r\n\r\n5\r\n123", true),
        ("transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", true),
        ("transfer-encoding: chunked\r\n\r\nnonsense\r\n", false),
        ("content-length: 10\r\n\r\n12345", false),
    ] {
        let mut socket = connect(&app).await;
        socket.write_all(format!("{start}{body}").as_bytes()).await.expect("sent");
        if closes {
            socket.shutdown().await.expect("half-closed");
        }
        let read = within(reports.recv()).await.expect("a report");
        let expected = if closes || body.contains("nonsense") { "InvalidArgs" } else { "Timeout" };
        assert!(read.contains(expected), "{body:?}: {read}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_faster_than_the_route_reads_is_held_back() {
    let db = TestDb::new().await;
    let (next, steps) = mpsc::channel::<()>(1);
    let steps = Arc::new(tokio::sync::Mutex::new(steps));
    let functions = Functions::new().route(("POST", "/upload", json!({ "bodyBytes": 1u64 << 30 })), move |ctx, _| {
        let steps = steps.clone();
        async move {
            steps.lock().await.recv().await.expect("the test runs");
            whole(&ctx, text_of(&ctx.exchange()).await?.len().to_string())
        }
    });
    let app = serve(&db, json!({}), functions).await;
    let (mut receiver, mut sender) = connect(&app).await.into_split();
    const SIZE: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let sending = tokio::spawn(async move {
        let start = format!("POST /upload HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {SIZE}\r\n\r\n");
        sender.write_all(start.as_bytes()).await.expect("sent");
        let chunk = vec![b'x'; 1 << 16];
        for _ in 0..SIZE / chunk.len() {
            sender.write_all(&chunk).await.expect("sent");
            counter.fetch_add(chunk.len(), Ordering::Relaxed);
        }
        sender
    });
    within(async {
        while app.engine.stats().running == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The kernel buffers what the route does not read; the engine adds less than a megabyte.
    let (mut before, mut still) = (usize::MAX, 0);
    within(async {
        while still < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let now = sent.load(Ordering::Relaxed);
            still = if now == before { still + 1 } else { 0 };
            before = now;
        }
    })
    .await;
    assert!(before < SIZE / 2, "{before} bytes were taken, and none was read");
    next.send(()).await.expect("the route waits");
    let _sender = within(sending).await.expect("all is sent");
    let mut answer = String::new();
    within(receiver.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.ends_with(&format!("\r\n\r\n{SIZE}")), "{answer}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_writes_faster_than_its_client_reads_is_held_back() {
    let db = TestDb::new().await;
    const CHUNKS: usize = 1_024;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    let functions = Functions::new().route(("GET", "/stream", json!({})), move |ctx, _| {
        let written = counter.clone();
        async move {
            let exchange = ctx.exchange();
            exchange.begin(head(200), None);
            for _ in 0..CHUNKS {
                assert!(exchange.write(vec![b'x'; 1 << 16].into()).await);
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Value::Null)
        }
    });
    let app = serve(&db, json!({}), functions).await;
    let mut socket = connect(&app).await;
    socket.write_all(request("GET /stream", "", "").as_bytes()).await.expect("sent");
    let (mut before, mut still) = (0, 0);
    within(async {
        while still < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let now = written.load(Ordering::Relaxed);
            still = if now == before && now > 0 { still + 1 } else { 0 };
            before = now;
        }
    })
    .await;
    assert!(before < CHUNKS / 2, "{before} chunks were taken, and none was read");
    assert!(rest(&mut socket).await.ends_with("\r\n0\r\n\r\n"));
    assert_eq!(written.load(Ordering::Relaxed), CHUNKS);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_chunk_is_sent_at_once() {
    let db = TestDb::new().await;
    let (send, chunks) = mpsc::channel::<&'static str>(1);
    let chunks = Arc::new(tokio::sync::Mutex::new(chunks));
    let functions = Functions::new().route(("GET", "/events", json!({ "timeoutMs": 200 })), move |ctx, _| {
        let chunks = chunks.clone();
        async move {
            let exchange = ctx.exchange();
            exchange.begin(head(200), None);
            while let Some(chunk) = chunks.lock().await.recv().await {
                assert!(exchange.write(Bytes::from_static(chunk.as_bytes())).await);
            }
            Ok(Value::Null)
        }
    });
    let app = serve(&db, json!({}), functions).await;
    let mut socket = connect(&app).await;
    socket.write_all(request("GET /events", "", "").as_bytes()).await.expect("sent");
    let mut received = String::new();
    let mut buffer = [0; 4_096];
    for chunk in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        send.send(chunk).await.expect("the route waits");
        while !received.contains(chunk) {
            let length = within(socket.read(&mut buffer)).await.expect("a chunk");
            assert!(length > 0, "{received}");
            received.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        // The time limit is for the start of the response.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    drop(send);
    assert!(rest(&mut socket).await.ends_with("0\r\n\r\n"));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_a_whole_response_has_not_left() {
    let db = TestDb::new().await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let functions = Functions::new().route(("GET", "/whole", json!({})), move |ctx, _| {
        let report = report.clone();
        async move {
            let exchange = ctx.exchange();
            report.send(tokio::spawn(async move { exchange.client_gone().await })).expect("the test runs");
            whole(&ctx, "whole")
        }
    });
    let app = serve(&db, json!({}), functions).await;
    assert!(exchange(&app, &request("GET /whole", "", "")).await.ends_with("whole"));
    let gone = within(reports.recv()).await.expect("a report");
    assert!(!within(gone).await.expect("it ends"));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_all_bytes_of_a_declared_length_has_not_left() {
    let db = TestDb::new().await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(false);
    let functions = Functions::new().route(("GET", "/exact", json!({})), move |ctx, _| {
        let (report, mut released) = (report.clone(), released.clone());
        async move {
            let exchange = ctx.exchange();
            let headers = vec![("content-length".into(), "4".into())];
            exchange.begin(RouteHead { status: 200, headers }, None);
            assert!(exchange.write(Bytes::from_static(b"done")).await);
            let gone = tokio::spawn(async move { exchange.client_gone().await });
            released.wait_for(|released| *released).await.expect("the test runs");
            report.send(gone).expect("the test runs");
            Ok(Value::Null)
        }
    });
    let app = serve(&db, json!({}), functions).await;
    assert!(exchange(&app, &request("GET /exact", "", "")).await.ends_with("done"));
    release.send(true).expect("the route waits");
    let gone = within(reports.recv()).await.expect("a report");
    assert!(!within(gone).await.expect("it ends"), "the run ended before");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_reported_to_the_route_which_runs_on() {
    let db = TestDb::new().await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let functions = Functions::new()
        .route(("GET", "/wait", json!({})), {
            let report = report.clone();
            move |ctx, _| {
                let report = report.clone();
                async move {
                    report.send("waits").expect("the test runs");
                    assert!(ctx.exchange().client_gone().await);
                    report.send("is gone").expect("the test runs");
                    whole(&ctx, "to nobody")
                }
            }
        })
        .route(("GET", "/stream", json!({})), move |ctx, _| {
            let report = report.clone();
            async move {
                let exchange = ctx.exchange();
                exchange.begin(head(200), None);
                report.send("streams").expect("the test runs");
                assert!(exchange.client_gone().await);
                assert!(!exchange.write(Bytes::from_static(b"x")).await);
                report.send("is gone").expect("the test runs");
                Ok(Value::Null)
            }
        });
    let app = serve(&db, json!({}), functions).await;
    for (path, begun) in [("/wait", "waits"), ("/stream", "streams")] {
        let mut socket = connect(&app).await;
        socket.write_all(request(&format!("GET {path}"), "", "").as_bytes()).await.expect("sent");
        assert_eq!(within(reports.recv()).await, Some(begun));
        drop(socket);
        assert_eq!(within(reports.recv()).await, Some("is gone"));
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_without_an_answer_is_an_error_for_its_client() {
    let db = TestDb::new().await;
    let functions = Functions::new()
        .route(("GET", "/endless", json!({ "timeoutMs": 200 })), |_, _| std::future::pending())
        .route(("GET", "/silent", json!({})), |_, _| async { Ok(Value::Null) })
        .route(("GET", "/lost", json!({})), |ctx, _| async move {
            ctx.end_host();
            Ok(Value::Null)
        })
        .route(("GET", "/refused", json!({})), |_, _| async { Err(Thrown::Refused(Code::Forbidden, "No.".into())) })
        .route(("GET", "/broken", json!({})), |_, _| async { Err(Thrown::Broke("secret cause".into())) })
        .route(("GET", "/header", json!({})), |ctx, _| async move {
            let headers = vec![("bad name".into(), "x".into())];
            ctx.exchange().begin(RouteHead { status: 200, headers }, Some(Bytes::new()));
            Ok(Value::Null)
        });
    let app = serve(&db, json!({}), functions).await;
    for (path, expected, part) in [
        ("/endless", "504", "`GET /endless` did not answer within 200 ms"),
        ("/silent", "500", "INTERNAL"),
        ("/lost", "503", "UNAVAILABLE"),
        ("/refused", "403", "No."),
        ("/broken", "500", "errorId"),
        ("/header", "500", "INTERNAL"),
    ] {
        let answer = exchange(&app, &request(&format!("GET {path}"), "", "")).await;
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(answer.contains(part) && !answer.contains("secret"), "{answer}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_fails_half_way_is_broken_off() {
    let db = TestDb::new().await;
    let functions = Functions::new()
        .route(("GET", "/throws", json!({})), |ctx, _| async move {
            let exchange = ctx.exchange();
            exchange.begin(head(200), None);
            assert!(exchange.write(Bytes::from_static(b"half")).await);
            Err(Thrown::Broke("the rest is missing".into()))
        })
        .route(("GET", "/loses", json!({})), |ctx, _| async move {
            let exchange = ctx.exchange();
            exchange.begin(head(200), None);
            assert!(exchange.write(Bytes::from_static(b"half")).await);
            ctx.end_host();
            Ok(Value::Null)
        });
    let declares = |path: &'static str, length: &'static str| {
        move |functions: Functions| {
            functions.route(("GET", path, json!({})), move |ctx, _| async move {
                let exchange = ctx.exchange();
                let headers = vec![("content-length".into(), length.into())];
                exchange.begin(RouteHead { status: 200, headers }, None);
                exchange.write(Bytes::from_static(b"half")).await;
                Ok(Value::Null)
            })
        }
    };
    let functions = declares("/exact", "4")(declares("/longer", "3")(declares("/shorter", "5")(functions)));
    let app = serve(&db, json!({}), functions).await;
    assert!(exchange(&app, &request("GET /exact", "", "")).await.ends_with("\r\n\r\nhalf"));
    for (path, sent) in [("/longer", ""), ("/shorter", "half")] {
        let answer = exchange(&app, &request(&format!("GET {path}"), "", "")).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{sent}")), "{path} {answer}");
    }
    for path in ["/throws", "/loses"] {
        let answer = exchange(&app, &request(&format!("GET {path}"), "", "")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("half"), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "it looks whole: {answer}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_body_does_not_reset_the_connection() {
    let db = TestDb::new().await;
    let functions =
        Functions::new().route(("POST", "/ignores", json!({ "bodyBytes": 1u64 << 30 })), |ctx, _| async move {
            whole(&ctx, "ignored")
        });
    let app = serve(&db, json!({}), functions).await;
    let answer = exchange(&app, &post("/ignores", "", &"x".repeat(8 << 20))).await;
    assert!(status(&answer) == "200" && answer.ends_with("ignored"), "{answer}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_need_a_proof_of_the_page_they_come_from() {
    let db = TestDb::new().await;
    let functions = echo(Functions::new(), "POST", "/hook", json!({}));
    let functions = echo(functions, "POST", "/callback", json!({ "crossSite": true }));
    let functions = echo(functions, "GET", "/page", json!({}));
    let app = serve(&db, json!({ "trustProxy": true }), functions).await;
    let own = "origin: https://app.example\r\n";
    for (headers, expected) in [
        ("", "200"),
        ("content-type: application/x-www-form-urlencoded\r\n", "200"),
        ("cookie: a=1\r\n", "403"),
        ("cookie: a=1\r\ncontent-type: text/plain\r\n", "403"),
        ("cookie: a=1\r\ncontent-type: application/jsonp\r\n", "403"),
        ("cookie: a=1\r\ncontent-type: Application/JSON; charset=utf-8\r\n", "200"),
        ("cookie: a=1\r\nsec-fetch-site: same-origin\r\n", "200"),
        ("cookie: a=1\r\nsec-fetch-site: same-site\r\n", "403"),
        ("cookie: a=1\r\nsec-fetch-site: \r\n", "403"),
        ("sec-fetch-site: cross-site\r\n", "403"),
        ("origin: https://evil.test\r\n", "403"),
        ("origin: null\r\ncookie: a=1\r\n", "403"),
        (&format!("cookie: a=1\r\n{own}"), "200"),
        (&format!("cookie: a=1\r\nx-forwarded-proto: https\r\n{own}"), "200"),
        (&format!("cookie: a=1\r\nx-forwarded-proto: http\r\n{own}"), "403"),
    ] {
        assert_eq!(status(&exchange(&app, &post("/hook", headers, "x")).await), expected, "{headers}");
        let cross_site = exchange(&app, &post("/callback", headers, "x")).await;
        assert_eq!(status(&cross_site), "200", "{headers}");
        let safe = exchange(&app, &request("GET /page", headers, "")).await;
        assert_eq!(status(&safe), "200", "{headers}");
    }
    let url =
        exchange(&app, &request("GET /page", "x-forwarded-proto: https\r\nx-forwarded-host: a.test\r\n", "")).await;
    assert!(url.contains(" https://a.test/page "), "{url}");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_route_counts_as_a_call_and_ends_on_the_code_it_began_with() {
    let db = TestDb::new().await;
    let (release, released) = tokio::sync::watch::channel(false);
    let functions = Functions::new().route(("GET", "/slow", json!({})), move |ctx, _| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.expect("the test runs");
            whole(&ctx, "old")
        }
    });
    let app = serve(&db, json!({ "limits": { "maxPendingCalls": 1 } }), functions).await;
    let mut socket = connect(&app).await;
    socket.write_all(request("GET /slow", "", "").as_bytes()).await.expect("sent");
    within(async {
        while app.engine.stats().running == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(status(&exchange(&app, &request("GET /slow", "", "")).await), "503");
    let new = Functions::new().route(("GET", "/new", json!({})), |ctx, _| async move { whole(&ctx, "new") });
    app.load(new, false).await;
    assert_eq!(status(&exchange(&app, &request("GET /slow", "", "")).await), "404");
    let engine = app.engine.clone();
    let closing = tokio::spawn(async move { engine.close().await });
    release.send(true).expect("the route waits");
    assert!(rest(&mut socket).await.ends_with("old"));
    within(closing).await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_at_a_path_of_convoy_is_refused_and_the_program_before_stays() {
    let db = TestDb::new().await;
    let functions = Functions::new().route(("GET", "/page", json!({})), |ctx, _| async move { whole(&ctx, "page") });
    let app = serve(&db, json!({}), functions).await;
    let program = json!({
        "schema": { "tables": [] },
        "functions": [],
        "routes": [{ "name": "hook", "method": "POST", "path": "/api/hook" }],
        "hasContext": false,
        "sync": true,
    });
    let program = serde_json::from_value(program).expect("a description");
    let refused = app.engine.load(program, Functions::new().host()).await.expect_err("it is refused").to_failure();
    assert_eq!(refused.code, Code::InvalidArgs);
    assert!(refused.message.contains("`hook` of convoy/http.ts (POST /api/hook)"), "{refused}");
    assert_eq!(status(&exchange(&app, &request("GET /page", "", "")).await), "200");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_other_servers_reach_routes_but_their_upgrades_do_not() {
    let db = TestDb::new().await;
    let functions = Functions::new()
        .route(("GET", "/*path", json!({})), |ctx, input| async move { whole(&ctx, input.to_string()) });
    let app = serve(&db, json!({}), functions).await;
    let begin = |url: &str, body: ExchangeBody| {
        let (method, url, headers) = ("GET".to_owned(), url.to_owned(), vec!["host".to_owned(), "x".to_owned()]);
        let head = ExchangeHead { method, url, headers, peer: None, answers_unknown_paths: false };
        Exchange::begin(&app.engine, head, body)
    };
    let none = || ExchangeBody::Whole(Bytes::new());
    let (head, body) = begin("/chat", none()).expect("a route").respond().await.expect("an answer");
    assert_eq!((head.status, head.streams), (200, false));
    assert!(String::from_utf8_lossy(&body).contains("http://x/chat"), "{body:?}");
    assert!(begin("/chat", ExchangeBody::Upgrade).is_none());
    assert!(begin("/", none()).is_none());
    assert!(begin("/api/nothing", none()).is_none());
    app.engine.close().await;
}
