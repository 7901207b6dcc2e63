//! The bodies of routes: both directions at the pace of the other side, their limits, and every
//! way in which a request or a response can end early.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use convoy::RouteHead;
use convoy_testkit::{Functions, TestDb, Thrown, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{connect, echo, exchange, head, post, reporting_uploads, request, rest, serve, status, text_of, whole};

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
    let (functions, mut reports) = reporting_uploads();
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
