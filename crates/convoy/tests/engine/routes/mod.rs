//! HTTP routes over sockets: which route answers, by which checks, and what its client gets if it
//! does not.

mod bodies;
mod limits;
mod requests;

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

pub(crate) fn whole(ctx: &Ctx, text: impl Into<String>) -> Result<Value, Thrown> {
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
pub(crate) fn echo(functions: Functions, method: &str, path: &str, options: Value) -> Functions {
    functions.route((method, path, options), |ctx, input| async move {
        let body = text_of(&ctx.exchange()).await?;
        whole(&ctx, format!("{} {} {body}", input["params"], input["url"].as_str().unwrap_or_default()))
    })
}

/// A route `POST /upload`, which reads its body, and what it has read or why it failed.
fn reporting_uploads() -> (Functions, mpsc::UnboundedReceiver<String>) {
    let (report, reports) = mpsc::unbounded_channel();
    let functions = Functions::new().route(("POST", "/upload", json!({})), move |ctx, _| {
        let report = report.clone();
        async move {
            let read = text_of(&ctx.exchange()).await;
            report.send(format!("{read:?}")).expect("the test runs");
            read?;
            whole(&ctx, "")
        }
    });
    (functions, reports)
}

async fn serve(db: &TestDb, options: Value, functions: Functions) -> App {
    db.app_with(options, json!([]), functions).await
}

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.address).await.expect("the server listens")
}

/// Sends text on a connection of its own, and reads to the end of the connection.
pub(crate) async fn exchange(app: &App, request: &str) -> String {
    let mut socket = connect(app).await;
    socket.write_all(request.as_bytes()).await.expect("sent");
    rest(&mut socket).await
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    within(socket.read_to_end(&mut answer)).await.expect("the connection ends without a reset");
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn request(line: &str, headers: &str, body: &str) -> String {
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
async fn a_route_at_a_path_of_convoy_is_refused_and_the_program_before_stays() {
    let db = TestDb::new().await;
    let functions = Functions::new().route(("GET", "/page", json!({})), |ctx, _| async move { whole(&ctx, "page") });
    let app = serve(&db, json!({}), functions).await;
    let program = json!({
        "schema": { "tables": [] },
        "functions": [],
        "routes": [{ "name": "hook", "method": "POST", "path": "/api/query/hook" }],
        "hasContext": false,
        "sync": true,
    });
    let program = serde_json::from_value(program).expect("a description");
    let refused = app.engine.load(program, Functions::new().host()).await.expect_err("it is refused").to_failure();
    assert_eq!(refused.code, Code::InvalidArgs);
    assert!(refused.message.contains("`hook` of convoy/http.ts (POST /api/query/hook)"), "{refused}");
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
