//! What a route is told about its request: a URL whose path is the one that was matched.

use convoy_testkit::{Functions, TestDb};
use serde_json::json;

use super::{exchange, request, serve, status};

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
