//! How many routes run at once, and how slowly a client may send: other calls never wait for either.

use std::time::Duration;

use convoy::{Exchange, ExchangeBody, ExchangeHead};
use convoy_testkit::{App, Functions, TestDb, within};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{connect, exchange, post, reporting_uploads, request, rest, serve, status, whole};

/// A program whose route answers after `released`, beside an action.
fn waiting(released: watch::Receiver<bool>) -> Functions {
    let functions = Functions::new().route(("GET", "/slow", json!({})), move |ctx, _| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.expect("the test runs");
            whole(&ctx, "old")
        }
    });
    functions.action("ping", |_, _| async { Ok(json!("pong")) })
}

/// Sends a request for the route, and waits until `running` of them run.
async fn begin(app: &App, headers: &str, running: usize) -> TcpStream {
    let mut socket = connect(app).await;
    socket.write_all(request("GET /slow", headers, "").as_bytes()).await.expect("sent");
    within(async {
        while app.engine.stats().running < running {
            tokio::task::yield_now().await;
        }
    })
    .await;
    socket
}

/// Waits until no route runs.
async fn all_end(app: &App) {
    within(async {
        while app.engine.stats().running > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_have_a_limit_of_their_own_and_end_on_the_code_they_began_with() {
    let db = TestDb::new().await;
    let (release, released) = watch::channel(false);
    let limits = json!({ "limits": { "maxPendingCalls": 1, "routes": 2 } });
    let app = serve(&db, limits, waiting(released)).await;
    let mut sockets = [begin(&app, "", 1).await, begin(&app, "", 2).await];
    let refused = exchange(&app, &request("GET /slow", "", "")).await;
    assert!(status(&refused) == "503" && refused.contains("limits.routes"), "{refused}");
    assert!(refused.contains("retry-after"), "{refused}");
    assert_eq!(status(&exchange(&app, &post("/api/action/ping", "", "{}")).await), "200");
    let new = Functions::new().route(("GET", "/new", json!({})), |ctx, _| async move { whole(&ctx, "new") });
    app.load(new, false).await;
    assert_eq!(status(&exchange(&app, &request("GET /slow", "", "")).await), "404");
    assert_eq!(status(&exchange(&app, &request("GET /new", "", "")).await), "503");
    let engine = app.engine.clone();
    let closing = tokio::spawn(async move { engine.close().await });
    release.send(true).expect("the routes wait");
    for socket in &mut sockets {
        assert!(rest(socket).await.ends_with("old"));
    }
    within(closing).await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_route_frees_its_place() {
    let db = TestDb::new().await;
    let functions = Functions::new()
        .route(("GET", "/page", json!({})), |ctx, _| async move { whole(&ctx, "page") })
        .route(("GET", "/silent", json!({})), |_, _| async { Ok(Value::Null) })
        .route(("GET", "/lost", json!({})), |ctx, _| async move {
            ctx.end_host();
            Ok(Value::Null)
        });
    let app = serve(&db, json!({ "limits": { "routes": 1 } }), functions).await;
    for (path, expected) in [("/silent", "500"), ("/lost", "503"), ("/page", "200"), ("/page", "200")] {
        all_end(&app).await;
        assert_eq!(status(&exchange(&app, &request(&format!("GET {path}"), "", "")).await), expected, "{path}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_behind_a_trusted_proxy_cannot_take_every_place() {
    let db = TestDb::new().await;
    let (release, released) = watch::channel(false);
    let options = json!({ "trustProxy": true, "limits": { "routes": 9, "routesPerAddress": 1 } });
    let app = serve(&db, options, waiting(released)).await;
    let from = |address: &str| format!("x-forwarded-for: {address}\r\n");
    let first = begin(&app, &from("198.51.100.1"), 1).await;
    for address in ["198.51.100.1", "203.0.113.9, 198.51.100.1", "::ffff:198.51.100.1"] {
        let refused = exchange(&app, &request("GET /slow", &from(address), "")).await;
        assert!(status(&refused) == "429" && refused.contains("limits.routesPerAddress"), "{refused}");
    }
    let others = [
        begin(&app, &from("198.51.100.2"), 2).await,
        // This machine is not counted.
        begin(&app, &from("127.0.0.1"), 3).await,
        begin(&app, "", 4).await,
        begin(&app, "", 5).await,
        begin(&app, &from("2001:db8:1:2::1"), 6).await,
        begin(&app, &from("2001:db8:1:3::1"), 7).await,
    ];
    // One customer has at least a network of IPv6 with a prefix of 64 bits.
    for address in ["2001:db8:1:2::1", "2001:db8:1:2:ffff::2"] {
        let refused = exchange(&app, &request("GET /slow", &from(address), "")).await;
        assert!(status(&refused) == "429" && refused.contains("limits.routesPerAddress"), "{address}: {refused}");
    }
    release.send(true).expect("the routes wait");
    for mut socket in [first].into_iter().chain(others) {
        assert_eq!(status(&rest(&mut socket).await), "200");
    }
    all_end(&app).await;
    assert_eq!(status(&exchange(&app, &request("GET /slow", &from("198.51.100.1"), "")).await), "200");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_fails_its_reader() {
    let db = TestDb::new().await;
    let (functions, mut reports) = reporting_uploads();
    let app = serve(&db, json!({ "limits": { "bodyMs": 300 } }), functions).await;
    let drip = Duration::from_millis(20);
    let mut socket = connect(&app).await;
    socket.write_all(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await.expect("sent");
    let read = within(async {
        loop {
            tokio::select! {
                read = reports.recv() => return read.expect("a report"),
                () = tokio::time::sleep(drip) => socket.write_all(b"x").await.expect("sent"),
            }
        }
    })
    .await;
    assert!(read.contains("Timeout") && read.contains("too slowly"), "{read}");
    // The same of another server.
    let headers = ["host", "x", "content-length", "1000000"].map(str::to_owned).to_vec();
    let (method, url) = ("POST".to_owned(), "/upload".to_owned());
    let head = ExchangeHead { method, url, headers, peer: None, answers_unknown_paths: false };
    let pushing = Exchange::begin(&app.engine, head, ExchangeBody::Pushed).expect("a route");
    let answer = within(async {
        let mut responding = std::pin::pin!(pushing.respond());
        loop {
            tokio::select! {
                answer = &mut responding => return answer.expect("an answer"),
                () = tokio::time::sleep(drip) => drop(pushing.push("x".into())),
            }
        }
    })
    .await;
    assert_eq!(answer.0.status, 504);
    app.engine.close().await;
}
