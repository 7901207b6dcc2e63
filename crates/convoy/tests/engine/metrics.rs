//! The metrics that Prometheus reads, on a port of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use convoy::{Config, Engine};
use convoy_testkit::{App, TestDb, within};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shared::{functions, raw, tables};

/// The metrics of an engine: the value of each series, as `name{labels}`.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) async fn of(app: &App) -> Metrics {
        let (head, body) = get(app, "GET /metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
        let series = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Metrics(series.collect())
    }

    /// The sum of the series of a name that have all of these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.series(name)
            .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }

    fn series(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let of_name = move |series: &str| series == name || series.starts_with(&format!("{name}{{"));
        self.0.iter().map(|(series, value)| (series.as_str(), *value)).filter(move |(series, _)| of_name(series))
    }
}

async fn get(app: &App, request: &str) -> (String, String) {
    get_with(app, request, "host: localhost").await
}

async fn get_with(app: &App, request: &str, headers: &str) -> (String, String) {
    let address = app.engine.metrics_address().expect("metrics are served");
    let mut socket = TcpStream::connect(address).await.expect("it accepts");
    let request = format!("{request} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

async fn measured(db: &TestDb) -> App {
    db.app_with(json!({ "telemetry": { "prometheus": { "port": 0 } } }), tables(), functions()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_function_and_outcome() {
    let db = TestDb::new().await;
    let app = measured(&db).await;
    let client = app.client();
    for n in 0..3 {
        client.mutate("messages.send", json!({ "channel": "a", "n": n, "body": "x" })).await.data();
    }
    client.query("messages.list", json!({ "channel": "a" })).await.data();
    client.mutate("messages.sendThenRefuse", json!({ "channel": "a", "n": 1, "body": "x" })).await;
    client.mutate("messages.sendThenThrow", json!({ "channel": "a", "n": 1, "body": "x" })).await;
    // A client cannot add labels.
    for name in ["no.such", "__proto__", "messages.list%22%7D%201%0Aforged%7Ba=%22"] {
        client.query(name, json!({})).await;
    }
    client.mutate("messages.list", json!({ "channel": "a" })).await;
    let metrics = Metrics::of(&app).await;
    let calls = |function: &str, kind: &str, code: &str| {
        let (function, kind, code) =
            (format!("function=\"{function}\""), format!("kind=\"{kind}\""), format!("code=\"{code}\""));
        metrics.sum("convoy_calls_total", &[&function, &kind, &code])
    };
    assert_eq!(calls("messages.send", "mutation", "OK"), 3.0);
    assert_eq!(calls("messages.list", "query", "OK"), 1.0);
    assert_eq!(calls("messages.sendThenRefuse", "mutation", "FORBIDDEN"), 1.0);
    assert_eq!(calls("messages.sendThenThrow", "mutation", "INTERNAL"), 1.0);
    assert_eq!(calls("_unknown", "query", "NOT_FOUND"), 3.0);
    assert_eq!(calls("_unknown", "mutation", "NOT_FOUND"), 1.0);
    assert_eq!(metrics.sum("convoy_calls_total", &[]), 10.0, "each call is counted once");
    assert_eq!(metrics.sum("convoy_call_duration_seconds_count", &["function=\"messages.send\""]), 3.0);
    let posted = ["http_request_method=\"POST\"", "http_response_status_code=\"200\""];
    assert_eq!(metrics.sum("http_server_request_duration_seconds_count", &posted), 4.0);
    assert_eq!(metrics.sum("http_server_request_duration_seconds_count", &["http_response_status_code=\"404\""]), 4.0);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_connections_and_live_queries_are_measured() {
    let db = TestDb::new().await;
    let app = measured(&db).await;
    let before = Metrics::of(&app).await;
    let inserted = |metrics: &Metrics| {
        let labels =
            ["db_operation_name=\"INSERT\"", "db_collection_name=\"messages\"", "db_system_name=\"postgresql\""];
        metrics.sum("db_client_operation_duration_seconds_count", &labels)
    };
    assert_eq!((inserted(&before), before.sum("convoy_live_queries", &[])), (0.0, 0.0));
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    list.next().await;
    let after = Metrics::of(&app).await;
    assert_eq!(inserted(&after), 1.0);
    assert_eq!(
        after.sum("db_client_operation_duration_seconds_count", &["db_operation_name=\"SELECT\"", "\"messages\""]),
        2.0
    );
    assert_eq!(after.sum("convoy_live_queries", &[]), 1.0);
    assert_eq!(after.sum("convoy_sessions", &[]), 1.0);
    assert_eq!(after.sum("convoy_frames_total", &[]), 2.0);
    assert!(after.sum("convoy_frame_bytes_total", &[]) > 100.0);
    assert!(after.sum("convoy_pool_wait_seconds_count", &["pool=\"readers\""]) >= 2.0);
    assert!(after.sum("convoy_pool_connections", &["pool=\"writers\"", "state=\"idle\""]) >= 1.0);
    assert!(after.sum("process_memory_usage_bytes", &[]) > 1e6);
    // A statement that fails names its SQLSTATE.
    db.psql().await.run("drop table messages cascade").await;
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 2, "body": "x" })).await;
    let failed = Metrics::of(&app).await;
    let sqlstate = ["error_type=\"42P01\"", "db_response_status_code=\"42P01\""];
    assert!(failed.sum("db_client_operation_duration_seconds_count", &sqlstate) >= 1.0);
    let status = ["http_response_status_code=\"500\"", "error_type=\"500\""];
    assert!(failed.sum("http_server_request_duration_seconds_count", &status) >= 1.0);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_live_queries_repeated_runs_and_lags_are_measured() {
    let db = TestDb::new().await;
    let attempts = Arc::new(AtomicU32::new(0));
    let functions = functions().mutation("conflict", move |ctx, _| {
        // The first attempt finds that `raw` needs a transaction, and the second one conflicts.
        let conflicts = attempts.fetch_add(1, Ordering::Relaxed) < 2;
        async move { if conflicts { ctx.op(raw("select conflict()", &json!([]))).await } else { Ok(Value::Null) } }
    });
    let raise = "begin raise exception 'a conflict' using errcode = '40001'; end";
    let create = format!("create function conflict() returns int language plpgsql as $$ {raise} $$");
    db.psql().await.run(&create).await;
    let app = db.app_with(json!({ "telemetry": { "prometheus": { "port": 0 } } }), tables(), functions).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    list.next().await;
    app.client().mutate("conflict", json!({})).await.data();
    // A write that leaves the answer as it was.
    db.psql().await.run("update messages set data = data").await;
    let runs = |metrics: &Metrics, cause: &str, equal: bool| {
        let labels =
            ["function=\"messages.list\"".to_owned(), format!("cause=\"{cause}\""), format!("equal=\"{equal}\"")];
        metrics.sum("convoy_query_runs_total", &labels.each_ref().map(String::as_str))
    };
    let metrics = within(async {
        loop {
            let metrics = Metrics::of(&app).await;
            if runs(&metrics, "outside", true) > 0.0 {
                return metrics;
            }
        }
    })
    .await;
    assert_eq!((runs(&metrics, "subscribed", false), runs(&metrics, "commit", false)), (1.0, 1.0));
    assert_eq!((runs(&metrics, "commit", true), runs(&metrics, "outside", false)), (0.0, 0.0));
    let retried = ["function=\"conflict\"", "cause=\"conflict\""];
    assert_eq!(metrics.sum("convoy_call_retries_total", &retried), 1.0);
    assert_eq!(metrics.sum("convoy_call_retries_total", &[]), 1.0);
    for stage in ["applied", "frame"] {
        let label = format!("stage=\"{stage}\"");
        assert!(metrics.sum("convoy_feed_lag_seconds_count", &[&label]) >= 1.0, "{stage}");
    }
    assert!(metrics.sum("convoy_feed_lag_seconds_sum", &["stage=\"frame\""]) > 0.0);
    assert_eq!(
        (metrics.sum("convoy_subscriptions", &[]), metrics.sum("convoy_worker_restarts_total", &[])),
        (1.0, 0.0)
    );
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_refused_and_the_api_has_no_metrics() {
    let db = TestDb::new().await;
    let app = measured(&db).await;
    assert!(get(&app, "GET /").await.0.starts_with("HTTP/1.1 404"));
    assert!(get(&app, "POST /metrics").await.0.starts_with("HTTP/1.1 405"));
    assert_eq!(app.client().send(Method::GET, "/api/metrics", "").await.status, 404);
    assert_eq!(app.client().send(Method::GET, "/metrics", "").await.status, 404);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_queries_are_listed_beside_the_metrics_to_this_machine_only() {
    let db = TestDb::new().await;
    let app = measured(&db).await;
    let query = json!({ "id": 1, "name": "messages.list", "args": { "channel": "a" } });
    let mut session = app.client().live(json!([query])).await;
    session.until(1, |_| true).await;
    let (head, body) = get(&app, "GET /_live?name=messages.list").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let listed: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(listed["data"]["queries"][0]["function"], "messages.list");
    assert_eq!(listed["data"]["queries"][0]["history"][0]["cause"]["kind"], "subscribed");
    let none = get(&app, "GET /_live?name=messages.none").await.1;
    let unknown: Value = serde_json::from_str(&none).expect("JSON");
    assert_eq!(unknown["data"]["queries"], json!([]));
    for headers in ["host: metrics.example", "host: localhost\r\nx-forwarded-for: 10.0.0.7"] {
        let (head, body) = get_with(&app, "GET /_live", headers).await;
        assert!(head.starts_with("HTTP/1.1 403") && !body.contains("messages.list"), "{headers}: {head} {body}");
    }
    assert!(get(&app, "POST /_live").await.0.starts_with("HTTP/1.1 405"));
    assert_eq!(app.client().send(Method::GET, "/api/_live", "").await.status, 404);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_connections_are_served_at_once_and_the_next_waits_for_a_place() {
    let db = TestDb::new().await;
    let app = measured(&db).await;
    let address = app.engine.metrics_address().expect("metrics are served");
    let request = b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = async |socket: &mut TcpStream| {
        let mut begin = [0; 12];
        within(socket.read_exact(&mut begin)).await.expect("it answers");
        assert_eq!(&begin, b"HTTP/1.1 404");
    };
    let mut sockets = Vec::new();
    for _ in 0..16 {
        let mut socket = TcpStream::connect(address).await.expect("it accepts");
        socket.write_all(request).await.expect("it reads");
        answer(&mut socket).await;
        sockets.push(socket);
    }
    let mut next = TcpStream::connect(address).await.expect("the system accepts");
    next.write_all(request).await.expect("sent");
    // Meanwhile the others are answered again.
    for socket in &mut sockets {
        socket.write_all(request).await.expect("it reads");
        let mut rest = vec![0; 4_096];
        within(socket.read(&mut rest)).await.expect("the rest of the first answer");
    }
    assert!(next.try_read(&mut [0]).is_err(), "no place is free");
    drop(sockets.pop());
    answer(&mut next).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named_when_the_engine_opens() {
    let db = TestDb::new().await;
    let app = measured(&db).await;
    let port = app.engine.metrics_address().expect("an address").port();
    let options = json!({ "databaseUrl": db.url(), "telemetry": { "prometheus": { "port": port } } });
    let config: Config = serde_json::from_value(options).expect("options");
    let refused = Engine::open(config).await.err().expect("the port is in use").to_failure();
    assert!(refused.message.contains(&format!("127.0.0.1:{port}")), "{}", refused.message);
    app.engine.close().await;
    let unmeasured = db.app(tables(), functions()).await;
    assert_eq!(unmeasured.engine.metrics_address(), None);
    unmeasured.engine.close().await;
}
