//! Cross-origin requests, contradictory headers, and bodies that are refused before they
//! are read: as bytes on the wire.

use convoy_testkit::{Functions, TestDb, within};
use serde_json::json;
use tokio::net::TcpStream;

use crate::shared::{chat, functions, tables};
use crate::wire::{exchange, header, send_request, status};

const CALL: &str = "POST /api/query/messages.all HTTP/1.1";
const UPGRADE: &str = "GET /api/ws HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_or_repeated_origin_is_always_refused() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let own = format!("origin: http://{}", app.address);
    let host = format!("host: {}", app.address);
    let json = "content-type: application/json";
    assert_eq!(status(&send_request(&app, CALL, &[&host, &own, json]).await), 200);
    assert_eq!(status(&send_request(&app, UPGRADE, &[&host, &own]).await), 101);
    let evil = "origin: http://evil.test";
    for lines in [
        vec!["origin: http://\u{e9}vil.test"],
        vec!["origin: \u{ff}"],
        vec!["origin:"],
        vec!["origin: http://evil.test/path"],
        vec![own.as_str(), evil],
        vec![evil, own.as_str()],
        vec![own.as_str(), own.as_str()],
        vec!["sec-fetch-site: same-origin", "sec-fetch-site: cross-site"],
        vec!["sec-fetch-site: cross-site", "sec-fetch-site: same-origin"],
        vec!["sec-fetch-site: same-origin, cross-site"],
        vec!["sec-fetch-site: same-site"],
        vec!["sec-fetch-site: cross-site"],
        vec!["sec-fetch-site: cross-site", own.as_str()],
        vec![evil],
        vec!["origin: null"],
    ] {
        let lines: Vec<&str> = [host.as_str(), json].into_iter().chain(lines).collect();
        for request in [CALL, UPGRADE, "POST /api/live HTTP/1.1", "POST /api/mutation/messages.send HTTP/1.1"] {
            let answer = send_request(&app, request, &lines).await;
            assert!(status(&answer) == 403 && answer.contains("FORBIDDEN"), "{lines:?} {answer}");
        }
    }
    // Sec-Fetch-Site of a browser is trusted even if a proxy has rewritten Host.
    let rewritten = ["host: 10.1.2.3:9", "origin: https://app.example", json];
    assert_eq!(status(&send_request(&app, CALL, &rewritten).await), 403);
    for trusted in ["sec-fetch-site: same-origin", "sec-fetch-site: none"] {
        let lines: Vec<&str> = rewritten.into_iter().chain([trusted]).collect();
        assert_eq!(status(&send_request(&app, CALL, &lines).await), 200);
        assert_eq!(status(&send_request(&app, UPGRADE, &lines).await), 101);
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_singleton_headers_are_refused() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    for [first, second] in [
        ["host: a", "host: b"],
        ["host: a", "host: a"],
        ["authorization: Bearer a", "authorization: Bearer b"],
        ["content-type: application/json", "content-type: text/plain"],
        ["idempotency-key: a", "idempotency-key: b"],
        ["convoy-session: a", "convoy-session: b"],
        ["convoy-position: a", "convoy-position: b"],
        ["last-event-id: a", "last-event-id: b"],
    ] {
        let answer = send_request(&app, CALL, &[first, second]).await;
        let name = first.split(':').next().expect("a name");
        assert!(status(&answer) == 400 && answer.contains(name), "{first}: {answer}");
    }
    // Of both lengths, the chunks count, and the connection ends: later bytes are no request.
    for lengths in
        ["content-length: 40\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let next = "GET /api/nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let sent = format!("{CALL}\r\nhost: a\r\n{lengths}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{next}");
        let answers = exchange(&app, sent.as_bytes()).await;
        assert!(status(&answers) == 200 && answers.matches("HTTP/1.1").count() == 1, "{answers}");
    }
    for lengths in ["content-length: 2\r\ncontent-length: 3", "content-length: 2, 3", "content-length: -2"] {
        let request = format!("{CALL}\r\nhost: a\r\nconnection: close\r\n{lengths}\r\n\r\n{{}}");
        assert_eq!(status(&exchange(&app, request.as_bytes()).await), 400, "{lengths}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_call_and_read() {
    let db = TestDb::new().await;
    let options = json!({ "cors": { "origins": ["https://partner.example"], "credentials": true } });
    let app = db.app_with(options, tables(), functions()).await;
    let (host, json) = ("host: app.example", "content-type: application/json");
    let listed = "origin: https://partner.example";
    let cross_site = "sec-fetch-site: cross-site";
    for (request, wanted) in [
        (CALL, 200),
        (UPGRADE, 101),
        ("POST /api/query/unknown HTTP/1.1", 404),
        ("POST /api/live HTTP/1.1", 400),
        ("GET /api/health HTTP/1.1", 200),
        ("GET /api/subscribe?name=unknown HTTP/1.1", 404),
        ("GET /api/nowhere HTTP/1.1", 404),
    ] {
        let answer = send_request(&app, request, &[host, json, listed, cross_site]).await;
        assert_eq!(status(&answer), wanted, "{request}: {answer}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("https://partner.example"), "{answer}");
        assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"));
        assert_eq!(header(&answer, "vary"), Some("Origin"));
        let exposed = header(&answer, "access-control-expose-headers");
        assert_eq!(
            exposed,
            Some(
                "Convoy-Hash, Convoy-Position, Convoy-Session, ETag, Idempotency-Replayed, Retry-After, traceresponse"
            )
        );
    }
    for other in [
        "origin: https://evil.test",
        "origin: http://partner.example",
        "origin: https://partner.example:8443",
        "origin: https://sub.partner.example",
        "origin: https://partner.example.evil.test",
        "origin: null",
    ] {
        for (request, wanted) in [(CALL, 403), (UPGRADE, 403), ("GET /api/health HTTP/1.1", 200)] {
            let answer = send_request(&app, request, &[host, json, other, cross_site]).await;
            assert_eq!(status(&answer), wanted, "{other} {answer}");
            assert_eq!(header(&answer, "access-control-allow-origin"), None);
            assert_eq!(header(&answer, "vary"), Some("Origin"));
        }
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_for_listed_origins_and_paths_that_exist() {
    let db = TestDb::new().await;
    let options = json!({ "cors": { "origins": ["https://partner.example"] } });
    let app = db.app_with(options, tables(), functions()).await;
    let preflight = |path: &str| format!("OPTIONS {path} HTTP/1.1");
    let (host, listed) = ("host: app.example", "origin: https://partner.example");
    let preflight_headers =
        ["access-control-request-method: POST", "access-control-request-headers: authorization,x-tenant"];
    let lines: Vec<&str> = [host, listed].into_iter().chain(preflight_headers).collect();
    for path in ["/api/query/messages.all", "/api/live", "/api/live/abc", "/api/mutation/messages.send"] {
        let granted = send_request(&app, &preflight(path), &lines).await;
        assert_eq!(status(&granted), 204, "{granted}");
        assert_eq!(header(&granted, "access-control-allow-origin"), Some("https://partner.example"));
        assert_eq!(header(&granted, "access-control-allow-methods"), Some("POST"));
        assert_eq!(header(&granted, "access-control-allow-headers"), Some("authorization,x-tenant"));
        assert_eq!(header(&granted, "access-control-allow-credentials"), None);
    }
    assert_eq!(status(&send_request(&app, &preflight("/api/auth/login"), &lines).await), 404);
    let evil: Vec<&str> = [host, "origin: https://evil.test"].into_iter().chain(preflight_headers).collect();
    let refused = send_request(&app, &preflight("/api/live"), &evil).await;
    assert!(status(&refused) == 403 && refused.contains("https://evil.test"), "{refused}");
    assert_eq!(header(&refused, "access-control-allow-origin"), None);
    // Without the headers of a preflight, OPTIONS is a method like any other.
    assert_eq!(status(&send_request(&app, &preflight("/api/live"), &[host, listed]).await), 405);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_a_listed_origin_are_removed_from_web_sockets_unless_credentials_are_allowed() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
    for (credentials, seen) in [(false, json!([null])), (true, json!(["who=ann"]))] {
        let db = TestDb::new().await;
        let options = json!({ "cors": { "origins": ["https://partner.example"], "credentials": credentials } });
        let app = db.app_with(options, tables(), Functions::new()).await;
        let cookie_of = |ctx: &convoy_testkit::Ctx| {
            let cookie = ctx.caller().expect("a caller")["headers"]["cookie"].clone();
            ctx.saw("cookie", Some(&cookie));
            cookie
        };
        let functions = Functions::new()
            .context(move |ctx| async move {
                cookie_of(&ctx);
                Ok(json!(null))
            })
            .query("me", move |ctx, _| async move { Ok(json!([cookie_of(&ctx)])) });
        app.load(functions, true).await;
        let mut request = format!("ws://{}/api/ws", app.address).into_client_request().expect("a request");
        for (name, value) in [("origin", "https://partner.example"), ("cookie", "who=ann")] {
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let socket = TcpStream::connect(app.address).await.expect("the server listens");
        let (mut socket, _) = tokio_tungstenite::client_async(request, socket).await.expect("it opens");
        let open = json!({ "type": "open", "protocol": 1, "queries": [{ "id": 1, "name": "me" }] });
        socket.send(Message::text(open.to_string())).await.expect("the server reads");
        let received = within(async {
            loop {
                let message = socket.next().await.expect("the socket is open").expect("it works");
                let Message::Text(text) = message else { panic!("{message:?}") };
                let messages = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
                for message in messages {
                    match message["type"].as_str() {
                        Some("session") => {}
                        Some("result") => return message["data"].clone(),
                        _ => panic!("{message}"),
                    }
                }
            }
        })
        .await;
        assert_eq!(received, seen);
        app.engine.close().await;
    }
}
