//! What a route is told about its request: an address that the client cannot choose, and a URL whose
//! path is the one that was matched.

use bytes::Bytes;
use convoy::{Exchange, ExchangeBody, ExchangeHead};
use convoy_testkit::{App, Functions, TestDb};
use serde_json::{Value, json};

use super::{exchange, request, serve, status, whole};

/// A program whose route answers with its request as the host gets it.
fn telling() -> Functions {
    Functions::new().route(("GET", "/who", json!({})), |ctx, _| async move {
        let caller = ctx.caller().expect("a caller").to_string();
        whole(&ctx, caller)
    })
}

/// What the route was told of the sender: its address, and the headers that name proxies.
fn told(answer: &str) -> Value {
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    let caller: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let mut told = json!({ "ip": caller["ip"] });
    for (name, value) in caller["headers"].as_object().expect("headers") {
        if name.starts_with("x-") || name == "forwarded" {
            told[name] = value.clone();
        }
    }
    told
}

async fn ask(app: &App, headers: &str) -> Value {
    told(&exchange(app, &request("GET /who", headers, "")).await)
}

const FORGED: [&str; 4] = [
    "x-forwarded-for: 203.0.113.1\r\n",
    "x-forwarded-for: 203.0.113.2\r\nx-forwarded-for: 203.0.113.3\r\n",
    "X-Real-IP: 203.0.113.4\r\nforwarded: for=203.0.113.4;host=evil.test\r\n",
    "x-forwarded-host: evil.test\r\nx-forwarded-proto: https\r\nx-forwarded-port: 1\r\nx-forwarded-user: ada\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_choose_the_address_that_a_route_is_told() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({}), telling()).await;
    for headers in ["", FORGED[0], FORGED[1], FORGED[2], FORGED[3], &FORGED.concat()] {
        let expected = json!({ "ip": "127.0.0.1", "x-forwarded-for": "127.0.0.1" });
        assert_eq!(ask(&app, headers).await, expected, "{headers}");
    }
    assert_eq!(ask(&app, "x-user: ada\r\n").await["x-user"], "ada");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_a_route_is_told_the_address_that_the_proxy_saw() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "trustProxy": true }), telling()).await;
    for (headers, address) in [
        ("", "127.0.0.1"),
        ("x-forwarded-for: 198.51.100.7\r\n", "198.51.100.7"),
        ("x-forwarded-for: 203.0.113.1, 198.51.100.7\r\n", "198.51.100.7"),
        ("x-forwarded-for: 203.0.113.2\r\nx-forwarded-for: 198.51.100.7\r\n", "198.51.100.7"),
        ("x-forwarded-for: 198.51.100.7, unknown\r\n", "127.0.0.1"),
        (FORGED[2], "127.0.0.1"),
    ] {
        assert_eq!(ask(&app, headers).await, json!({ "ip": address, "x-forwarded-for": address }), "{headers}");
    }
    let proxy = "x-forwarded-proto: https, http\r\nx-forwarded-host: a.test, b.test\r\nx-forwarded-user: ada\r\n";
    let expected = json!({
        "ip": "127.0.0.1",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "a.test",
        "x-forwarded-proto": "https",
        "x-forwarded-user": "ada",
    });
    assert_eq!(ask(&app, proxy).await, expected);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_know_its_peer_tells_a_route_no_address() {
    let db = TestDb::new().await;
    for (trusts, peer, expected) in [
        (false, None, json!({ "ip": null })),
        (false, Some("::ffff:192.0.2.1"), json!({ "ip": "192.0.2.1", "x-forwarded-for": "192.0.2.1" })),
        (true, None, json!({ "ip": "203.0.113.1", "x-forwarded-for": "203.0.113.1" })),
    ] {
        let app = serve(&db, json!({ "trustProxy": trusts }), telling()).await;
        let headers = ["host", "x", "x-forwarded-for", "203.0.113.1"].map(str::to_owned).to_vec();
        let (method, url) = ("GET".to_owned(), "/who".to_owned());
        let peer = peer.map(str::to_owned);
        let head = ExchangeHead { method, url, headers, peer, answers_unknown_paths: false };
        let exchange = Exchange::begin(&app.engine, head, ExchangeBody::Whole(Bytes::new())).expect("a route");
        let (_head, body) = exchange.respond().await.expect("an answer");
        assert_eq!(told(&String::from_utf8_lossy(&body)), expected);
        app.engine.close().await;
    }
}

fn pages() -> Functions {
    let functions = Functions::new();
    let functions = super::echo(functions, "GET", "/auth/*rest", json!({}));
    let functions = super::echo(functions, "GET", "/admin", json!({}));
    super::echo(functions, "GET", "/*page", json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_a_url_would_change_reaches_no_route() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({}), pages()).await;
    for path in [
        "/auth/../admin",
        "/auth/./x",
        "/auth/x/..",
        "/auth/%2e%2e/admin",
        "/auth/.%2E/admin",
        "/auth/%2e/x",
        "/auth/..%2fadmin",
        "/auth/..\\admin",
        "/auth/..%5Cadmin",
        "/auth/a%5cb",
        "/auth//x",
        "/auth/x//",
        "//etc/x",
        "//evil.test",
        "/./admin",
    ] {
        let refused = exchange(&app, &request(&format!("GET {path}"), "", "")).await;
        assert!(status(&refused) == "400" && refused.contains("INVALID_ARGS"), "{path}: {refused}");
    }
    for (path, rest) in [
        ("/auth/x/", "x/"),
        ("/auth/a%2Fb", "a/b"),
        ("/auth/..x/.well-known", "..x/.well-known"),
        ("/auth/https%3A%2F%2Fa.test", "https://a.test"),
        ("/auth/x?to=../../a//b\\c", "x"),
        ("/auth/%252e%252e/x", "%2e%2e/x"),
    ] {
        let answer = exchange(&app, &request(&format!("GET {path}"), "", "")).await;
        assert_eq!(status(&answer), "200", "{path}: {answer}");
        assert!(answer.ends_with(&format!("{{\"rest\":\"{rest}\"}} http://app.example{path} ")), "{path}: {answer}");
    }
    for path in ["/", "/api/../x", "/api/health/../x"] {
        assert_eq!(status(&exchange(&app, &request(&format!("GET {path}"), "", "")).await), "404", "{path}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_more_than_a_name_and_a_port_reaches_no_route() {
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "trustProxy": true }), pages()).await;
    let get = |headers: &str| format!("GET /auth/x HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
    for host in [
        "app.example/admin?",
        "app.example/admin#",
        "app.example?",
        "app.example#",
        "app.example\\admin?",
        "ada@app.example",
        "ada:secret@app.example:80",
        "app.example:80/",
        "app.example:port",
        "app.example:99999",
        "a b",
        "%61pp.example",
        "[::1",
        "b\u{fc}cher.example",
    ] {
        for headers in [format!("host: {host}\r\n"), format!("host: app.example\r\nx-forwarded-host: {host}\r\n")] {
            let refused = exchange(&app, &get(&headers)).await;
            assert!(status(&refused) == "400" && refused.contains("INVALID_ARGS"), "{headers}: {refused}");
        }
    }
    for host in ["app.example", "APP.example:8080", "localhost", "127.0.0.1:3000", "[::1]:3000", "a_b.example"] {
        let answer = exchange(&app, &get(&format!("host: {host}\r\n"))).await;
        assert!(status(&answer) == "200" && answer.contains(&format!("http://{host}/auth/x")), "{host}: {answer}");
    }
    let nameless = exchange(&app, "GET /auth/x HTTP/1.0\r\n\r\n").await;
    assert!(status(&nameless) == "200" && nameless.contains("http://localhost/auth/x"), "{nameless}");
    let odd = get("host: app.example/x\r\n").replace("/auth/x", "/api/health");
    assert_eq!(status(&exchange(&app, &odd).await), "200", "no route is concerned");
    app.engine.close().await;
}
