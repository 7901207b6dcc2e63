//! Traces, as a collector receives them.

mod collector;
mod frames;
mod picture;
mod signals;
mod values;

use std::collections::HashMap;

use convoy_testkit::{App, Functions, TestDb};
use hyper::Method;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use crate::shared::{functions, raw, tables};
use collector::Collector;
use values::attribute;

const THEIRS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn traced(db: &TestDb, collector: &Collector, telemetry: Value) -> App {
    traced_with(db, collector, telemetry, json!({}), functions()).await
}

/// The same with further options of the engine, and other functions.
async fn traced_with(
    db: &TestDb,
    collector: &Collector,
    mut telemetry: Value,
    mut options: Value,
    functions: Functions,
) -> App {
    let otlp = telemetry.as_object_mut().expect("options").remove("otlp").unwrap_or_else(|| json!({}));
    let mut to = json!({ "endpoint": format!("http://{}", collector.address), "protocol": "http/protobuf" });
    otlp.as_object().expect("options").iter().for_each(|(key, value)| to[key] = value.clone());
    telemetry["otlp"] = to;
    options["telemetry"] = telemetry;
    db.app_with(options, tables(), functions).await
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The host and the port of the server of a database.
fn server_of(db: &TestDb) -> (String, String) {
    let url: hyper::Uri = db.url().parse().expect("a URL");
    (url.host().expect("a host").to_owned(), url.port_u16().expect("a port").to_string())
}

/// The spans of the trace that has the first span of this name.
fn of_trace_with(name: &str, spans: &[Span]) -> Vec<Span> {
    let id = &find(spans, name).trace_id;
    spans.iter().filter(|span| span.trace_id == *id).cloned().collect()
}

fn find<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let all = || spans.iter().map(|span| span.name.clone()).collect::<Vec<_>>();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} in {:?}", all()))
}

fn has(name: &str) -> impl Fn(&[Span]) -> bool {
    move |spans| spans.iter().any(|span| span.name == name)
}

/// The names of a span and of those above it, the nearest first.
fn path(spans: &[Span], name: &str) -> Vec<String> {
    let by_id: HashMap<&[u8], &Span> = spans.iter().map(|span| (span.span_id.as_slice(), span)).collect();
    let mut span = find(spans, name);
    let mut path = vec![span.name.clone()];
    while let Some(parent) = by_id.get(span.parent_span_id.as_slice()) {
        span = parent;
        path.push(span.name.clone());
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_a_request_over_its_commit_to_the_frames_of_others() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let app = traced(&db, &collector, json!({ "sampleRatio": 1 })).await;
    // So that the commit below is not the first one.
    app.client().mutate("messages.sendNow", json!({ "channel": "b", "n": 1, "body": "x" })).await.data();
    let list = json!({ "id": 1, "name": "messages.list", "args": { "channel": "a" } });
    let mut session = app.client().live(json!([list])).await;
    session.until(1, |_| true).await;
    let sent = app.client().mutate("messages.sendNow", json!({ "channel": "a", "n": 1, "body": "x" })).await;
    let answered = sent.header("traceresponse").expect("the trace of the request").to_owned();
    let document = sent.data();
    session.until(1, |list| *list != json!([])).await;
    let of_trace = |spans: &[Span]| -> Vec<Span> {
        let is_answered = |span: &&Span| answered.contains(&hex(&span.trace_id));
        spans.iter().filter(is_answered).cloned().collect()
    };
    let enough = |spans: &[Span]| ["POST /mutation/{name}", "frame"].iter().all(|name| has(name)(&of_trace(spans)));
    let spans = of_trace(&collector.until(enough).await);
    let request = find(&spans, "POST /mutation/{name}");
    assert_eq!(answered, format!("00-{}-{}-01", hex(&request.trace_id), hex(&request.span_id)));
    let call = ["mutation messages.sendNow", "POST /mutation/{name}"];
    assert_eq!(path(&spans, "run messages.sendNow"), [&["run messages.sendNow"], &call[..]].concat());
    assert_eq!(path(&spans, "INSERT messages"), [&["INSERT messages", "commit"], &call[..]].concat());
    let run = ["frame", "live messages.list", "commit"];
    assert_eq!(path(&spans, "frame"), [&run, &call[..]].concat());
    assert_eq!(
        path(&spans, "SELECT messages")[..4],
        ["SELECT messages", "run messages.list", "live messages.list", "commit"]
    );
    let live = find(&spans, "live messages.list");
    assert_eq!(attribute(live, "convoy.cause").as_deref(), Some("commit"));
    assert_eq!(attribute(live, "convoy.cause.table").as_deref(), Some("messages"));
    assert_eq!(attribute(live, "convoy.cause.read").as_deref(), Some("range of by_channel"));
    assert_eq!(attribute(live, "convoy.cause.function").as_deref(), Some("messages.sendNow"));
    assert_eq!(attribute(live, "convoy.equal").as_deref(), Some("false"));
    assert_eq!(attribute(live, "convoy.cause.document").as_deref(), document.as_str());
    // The commit, the run and the frame can be joined by their ids.
    let (commit, frame) = (find(&spans, "commit"), find(&spans, "frame"));
    let number = attribute(commit, "convoy.commit.number").expect("the number of the commit");
    assert_ne!(number, "0");
    assert_eq!(attribute(live, "convoy.cause.commit"), Some(number));
    let run = attribute(find(&spans, "run messages.list"), "convoy.run.id").expect("the id of the run");
    assert_eq!(attribute(live, "convoy.run.id"), Some(run.clone()));
    assert_eq!(attribute(frame, "convoy.run.id"), Some(run.clone()));
    assert_ne!(attribute(find(&spans, "run messages.sendNow"), "convoy.run.id"), Some(run));
    assert_eq!(attribute(frame, "convoy.session.id").as_deref(), session.id().get(..12));
    let insert = find(&spans, "INSERT messages");
    let database: Vec<_> = ["db.system.name", "db.operation.name", "db.collection.name"]
        .map(|key| attribute(insert, key).expect("a field of the semantic conventions"))
        .into();
    assert_eq!(database, ["postgresql", "INSERT", "messages"]);
    let server = |span| {
        ["server.address", "server.port"].map(|key| attribute(span, key).expect("a field of the semantic conventions"))
    };
    assert_eq!(server(insert), <[String; 2]>::from(server_of(&db)));
    assert_eq!(server(request), [app.address.ip().to_string(), app.address.port().to_string()]);
    let http = ["http.request.method", "http.route", "http.response.status_code", "url.scheme", "url.path"]
        .map(|key| attribute(request, key).expect("a field of the semantic conventions"));
    assert_eq!(http, ["POST", "/mutation/{name}", "200", "http", "/mutation/{name}"]);
    app.engine.close().await;
    // The picture of the documentation: CONVOY_TRACE_PICTURE=docs/trace.svg
    if let Some(path) = std::env::var_os("CONVOY_TRACE_PICTURE") {
        std::fs::write(path, picture::draw(&spans)).expect("the picture is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_to_the_live_queries_of_another_process() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let writer = traced(&db, &collector, json!({ "sampleRatio": 1 })).await;
    // It samples none itself, so what it exports belongs to a trace of the other one.
    let reader = traced(&db, &collector, json!({ "sampleRatio": 0, "slowMs": 600_000 })).await;
    let mut list = reader.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    let of_trace = |spans: &[Span]| -> Option<Vec<Span>> {
        let notifications = spans.iter().filter(|span| span.name == "notification");
        let mut traces = notifications.map(|notification| {
            spans.iter().filter(|span| span.trace_id == notification.trace_id).cloned().collect::<Vec<_>>()
        });
        traces.find(|trace| has("frame")(trace) && has("mutation messages.sendNow")(trace))
    };
    // The first commits may be found in the log: neither process knows the other yet.
    let write = async {
        for n in 1.. {
            let message = json!({ "channel": "a", "n": n, "body": "x" });
            writer.client().mutate("messages.sendNow", message).await.data();
            list.until(move |messages| messages.as_array().is_some_and(|messages| messages.len() >= n)).await;
        }
    };
    let spans = tokio::select! {
        spans = collector.until(|spans| of_trace(spans).is_some()) => of_trace(&spans).expect("it is complete"),
        () = write => unreachable!("it goes on"),
    };
    let frame = ["frame", "live messages.list", "notification", "commit", "mutation messages.sendNow"];
    assert_eq!(path(&spans, "frame")[..5], frame);
    writer.engine.close().await;
    reader.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_begin_traces_of_their_own() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let app = traced(&db, &collector, json!({ "sampleRatio": 1 })).await;
    let mut list = app.client().watch("messages.list", json!({ "channel": "a" })).await;
    list.next().await;
    let jobs = ["job log.read", "job tables.check"];
    let spans = collector.until(|spans: &[Span]| jobs.iter().all(|job| has(job)(spans))).await;
    for job in jobs {
        let span = find(&spans, job);
        assert!(span.parent_span_id.is_empty(), "{job} begins a trace");
        let below = |other: &&Span| other.parent_span_id == span.span_id;
        assert!(spans.iter().filter(below).any(|other| other.name == "SELECT"), "{job} has its statements");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_has_spans_of_its_statements_and_of_its_commit() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let app = traced(&db, &collector, json!({ "sampleRatio": 1 })).await;
    app.load(
        functions().mutation("count", |ctx, _| async move { ctx.op(raw("select 1 as one", &json!([]))).await }),
        false,
    )
    .await;
    app.client().mutate("count", json!({})).await.data();
    let spans = collector.until(has("POST /mutation/{name}")).await;
    let call = ["mutation count", "POST /mutation/{name}"];
    assert_eq!(path(&spans, "BEGIN"), [&["BEGIN", "run count"], &call[..]].concat());
    assert_eq!(path(&spans, "EXECUTE"), [&["EXECUTE", "run count"], &call[..]].concat());
    assert_eq!(path(&spans, "COMMIT"), [&["COMMIT", "commit"], &call[..]].concat());
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_that_share_a_statement_are_in_the_traces_of_their_calls() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let app = traced(&db, &collector, json!({ "sampleRatio": 1 })).await;
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    let spans = collector.until(|spans| has("POST /mutation/{name}")(spans) && has("INSERT messages")(spans)).await;
    let above = ["INSERT messages", "commit", "mutation messages.send", "POST /mutation/{name}"];
    assert_eq!(path(&spans, "INSERT messages"), above);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_with_an_error_is_exported_whole_and_others_are_not() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let app = traced(&db, &collector, json!({ "sampleRatio": 0 })).await;
    let client = app.client();
    client.query("messages.list", json!({ "channel": "a" })).await.data();
    client.query("no.such", json!({})).await;
    client.mutate("messages.sendThenThrow", json!({ "channel": "a", "n": 1, "body": "x" })).await;
    let spans = collector.until(has("POST /mutation/{name}")).await;
    let run = ["run messages.sendThenThrow", "mutation messages.sendThenThrow", "POST /mutation/{name}"];
    assert_eq!(path(&spans, run[0]), run);
    let call = find(&spans, "mutation messages.sendThenThrow");
    assert_eq!(attribute(call, "error.type").as_deref(), Some("INTERNAL"));
    app.engine.close().await;
    let requests: Vec<_> = spans.iter().filter(|span| span.name.starts_with("POST")).map(|span| &span.name).collect();
    assert_eq!(requests, ["POST /mutation/{name}"], "mistakes of clients are no errors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traceparent_is_a_link_and_a_parent_only_if_it_is_trusted() {
    let db = TestDb::new().await;
    for trusted in [false, true] {
        let mut collector = Collector::http().await;
        let app = traced(&db, &collector, json!({ "sampleRatio": 1, "trustTraceparent": trusted })).await;
        let client = app.client().with_header("traceparent", THEIRS).with_header("baggage", "user=canary");
        client.query("messages.list", json!({ "channel": "a" })).await.data();
        let spans = collector.until(has("POST /query/{name}")).await;
        let request = find(&spans, "POST /query/{name}");
        let theirs = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let is_theirs = theirs(&request.trace_id) == "0af7651916cd43dd8448eb211c80319c";
        assert_eq!((is_theirs, request.links.len()), (trusted, usize::from(!trusted)));
        if !trusted {
            assert_eq!(theirs(&request.links[0].span_id), "b7ad6b7169203331");
        }
        app.engine.close().await;
        assert!(!String::from_utf8_lossy(&collector.bytes()).contains("canary"), "baggage is dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_results_and_errors_are_not_exported() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let app = traced(&db, &collector, json!({ "sampleRatio": 1 })).await;
    let client = app.client().with_header("authorization", "Bearer canary1");
    let client = client.with_header("cookie", "s=canary2").with_header("sec-fetch-site", "same-origin");
    let message = json!({ "channel": "canary3", "n": 1, "body": "canary4" });
    let mut list = client.watch("messages.list", json!({ "channel": "canary3" })).await;
    list.next().await;
    client.mutate("messages.send", message.clone()).await.data();
    list.next().await;
    client.mutate("messages.sendThenThrow", message).await;
    client.query("canary5", json!({ "canary6": 1 })).await;
    collector.until(|spans| spans.iter().filter(|span| span.name == "POST /mutation/{name}").count() == 2).await;
    app.engine.close().await;
    let exported = collector.bytes();
    let exported = String::from_utf8_lossy(&exported);
    assert!(exported.contains("messages.list"), "names of functions are");
    assert!(!exported.contains("canary"), "{exported}");
}

/// It is the host of the client's request, and never more than a host.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_host_that_its_client_requested() {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let options = json!({ "trustProxy": true });
    let app = traced_with(&db, &collector, json!({ "sampleRatio": 1 }), options, functions()).await;
    let cases = [
        ("App.Example:8443, proxy.internal", Some("App.Example"), Some("8443")),
        ("[2001:db8::1]", Some("2001:db8::1"), None),
        ("app.example/secret", None, None),
        (&*"a".repeat(254), None, None),
    ];
    for (at, (host, ..)) in cases.iter().enumerate() {
        let client = app.client().with_header("x-forwarded-host", host);
        client.query("messages.list", json!({ "channel": "a" })).await.data();
        let requests = |spans: &[Span]| spans.iter().filter(|span| span.name == "POST /query/{name}").count();
        collector.until(|spans| requests(spans) == at + 1).await;
    }
    let spans = collector.until(|_| true).await;
    let requests = spans.iter().filter(|span| span.name == "POST /query/{name}");
    for (request, (host, address, port)) in requests.zip(cases) {
        assert_eq!(attribute(request, "server.address").as_deref(), address, "{host}");
        assert_eq!(attribute(request, "server.port").as_deref(), port, "{host}");
    }
    app.engine.close().await;
    // Without a trusted proxy, `Host` counts. A path that does not exist has no other attributes.
    let mut collector = Collector::http().await;
    let app = traced(&db, &collector, json!({ "sampleRatio": 1 })).await;
    app.client().with_header("x-forwarded-host", "forged.example").send(Method::GET, "/nowhere", "").await;
    let spans = collector.until(has("GET {file}")).await;
    let address = attribute(find(&spans, "GET {file}"), "server.address");
    assert_eq!(address, Some(app.address.ip().to_string()));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_no_call() {
    let db = TestDb::new().await;
    let collector = Collector::http().await;
    for protocol in ["http/protobuf", "grpc"] {
        // A port without a listener.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("one");
        let otlp = json!({ "endpoint": format!("http://{closed}"), "protocol": protocol });
        let app = traced(&db, &collector, json!({ "otlp": otlp, "sampleRatio": 1 })).await;
        for _ in 0..100 {
            app.client().query("messages.list", json!({ "channel": "a" })).await.data();
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_telemetry_a_response_names_no_trace() {
    let db = TestDb::new().await;
    let app = db.app(tables(), functions()).await;
    let client = app.client().with_header("traceparent", THEIRS);
    let reply = client.query("messages.list", json!({ "channel": "a" })).await;
    assert_eq!(reply.header("traceresponse"), None);
    app.engine.close().await;
}
