//! The headers by which browsers protect answers, on each kind of answer.

use bytes::Bytes;
use convoy::RouteHead;
use convoy_testkit::{App, TestDb};
use serde_json::{Value, json};

use crate::shared::{functions, tables};
use crate::static_files::front_end;
use crate::wire::{header, send_request, status};

const NAMES: [&str; 5] = [
    "x-content-type-options",
    "content-security-policy",
    "referrer-policy",
    "cross-origin-resource-policy",
    "strict-transport-security",
];

fn of_api(hsts: Option<&'static str>) -> [Option<&'static str>; 5] {
    let policy = "default-src 'none'; frame-ancestors 'none'";
    [Some("nosniff"), Some(policy), Some("no-referrer"), Some("same-origin"), hsts]
}

fn of_pages(hsts: Option<&'static str>) -> [Option<&'static str>; 5] {
    [Some("nosniff"), Some("frame-ancestors 'self'"), Some("strict-origin-when-cross-origin"), None, hsts]
}

fn protection(answer: &str) -> [Option<&str>; 5] {
    NAMES.map(|name| header(answer, name))
}

async fn serve(db: &TestDb, options: Value) -> App {
    let answer_with = |kind: &'static str| {
        move |ctx: convoy_testkit::Ctx, _: Value| async move {
            let head = RouteHead { status: 200, headers: vec![("content-type".into(), kind.into())] };
            ctx.exchange().begin(head, Some(Bytes::from_static(b"1")));
            Ok(Value::Null)
        }
    };
    let functions = functions()
        .route(("GET", "/html", json!({})), answer_with("text/html"))
        .route(("GET", "/json", json!({})), answer_with("application/json"));
    db.app_with(options, tables(), functions).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_the_headers_of_its_kind() {
    let db = TestDb::new().await;
    let folder = front_end();
    let app = serve(&db, json!({ "static": folder.path(), "cors": { "origins": ["https://partner.example"] } })).await;
    let (host, listed) = ("host: a", "origin: https://partner.example");
    let preflight = "access-control-request-method: POST";
    for (request, lines, wanted) in [
        ("POST /api/query/messages.all HTTP/1.1", vec![host], 200),
        ("POST /api/query/unknown HTTP/1.1", vec![host], 404),
        ("POST /api/query/messages.all HTTP/1.1", vec![host, "origin: https://evil.test"], 403),
        ("POST /api/query/messages.all HTTP/1.1", vec![host, "host: b"], 400),
        ("GET /api/query/messages.all HTTP/1.1", vec![host], 405),
        ("GET /api/health HTTP/1.1", vec![host], 200),
        ("GET /api/ready HTTP/1.1", vec![host], 200),
        ("GET /api/_live HTTP/1.1", vec![host], 404),
        ("GET /api/nowhere HTTP/1.1", vec![host], 404),
        ("GET /missing.js HTTP/1.1", vec![host], 404),
        ("GET /api/subscribe?name=unknown HTTP/1.1", vec![host], 404),
        ("GET /api/ws HTTP/1.1", vec![host], 426),
        ("OPTIONS /api/live HTTP/1.1", vec![host, listed, preflight], 204),
        ("OPTIONS /api/live HTTP/1.1", vec![host, "origin: https://evil.test", preflight], 403),
    ] {
        let answer = send_request(&app, request, &lines).await;
        assert_eq!(status(&answer), wanted, "{request} {lines:?} {answer}");
        assert_eq!(protection(&answer), of_api(None), "{request} {lines:?} {answer}");
        if wanted != 204 {
            assert_eq!(header(&answer, "cache-control"), Some("no-store"), "{request} {lines:?}");
        }
    }
    for path in ["/", "/docs/", "/docs", "/film.mp4", "/html"] {
        let answer = send_request(&app, &format!("GET {path} HTTP/1.1"), &[host]).await;
        assert_eq!(protection(&answer), of_pages(None), "{path} {answer}");
    }
    let data = send_request(&app, "GET /json HTTP/1.1", &[host]).await;
    assert_eq!(protection(&data), [Some("nosniff"), None, None, None, None], "{data}");
    assert_eq!(header(&data, "cache-control"), Some("no-store"));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hsts_is_for_browsers_that_use_https() {
    let db = TestDb::new().await;
    let folder = front_end();
    let hsts = "max-age=31536000";
    let app =
        serve(&db, json!({ "static": folder.path(), "trustProxy": true, "securityHeaders": { "hsts": hsts } })).await;
    for (proto, wanted) in [
        ("x-forwarded-proto: https", Some(hsts)),
        ("x-forwarded-proto: HTTPS, http", Some(hsts)),
        ("x-forwarded-proto: http", None),
        ("x-other: 1", Some(hsts)),
    ] {
        for path in ["/", "/api/health", "/api/nowhere", "/html"] {
            let answer = send_request(&app, &format!("GET {path} HTTP/1.1"), &["host: a", proto]).await;
            assert_eq!(header(&answer, "strict-transport-security"), wanted, "{proto} {answer}");
        }
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_replace_and_remove_headers() {
    let db = TestDb::new().await;
    let folder = front_end();
    let security_headers = json!({
        "pages": { "content-security-policy": "default-src 'self'", "referrer-policy": null },
        "api": { "cross-origin-resource-policy": "cross-origin" },
    });
    let app = serve(&db, json!({ "static": folder.path(), "securityHeaders": security_headers })).await;
    let page = send_request(&app, "GET / HTTP/1.1", &["host: a"]).await;
    assert_eq!(protection(&page), [Some("nosniff"), Some("default-src 'self'"), None, None, None]);
    let data = send_request(&app, "GET /api/health HTTP/1.1", &["host: a"]).await;
    assert_eq!(header(&data, "cross-origin-resource-policy"), Some("cross-origin"));
    assert_eq!(header(&data, "referrer-policy"), Some("no-referrer"));
    app.engine.close().await;
}
