//! Each signal over each protocol: traces, metrics and the log.

use convoy::LogLine;
use convoy_testkit::TestDb;
use serde_json::json;
use tracing::Level;

use super::collector::{Collector, Signal};
use super::values::{text_of, value};
use super::{has, path, server_of, traced};

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_is_exported_over_each_protocol_until_the_engine_has_closed() {
    for protocol in ["http/protobuf", "grpc"] {
        let db = TestDb::new().await;
        let mut collector = if protocol == "grpc" { Collector::grpc().await } else { Collector::http().await };
        // Metrics are exported only when the engine closes.
        let otlp = json!({ "protocol": protocol, "headers": { "api-key": "k1" }, "intervalMs": 3_600_000 });
        let app = traced(&db, &collector, json!({ "otlp": otlp, "sampleRatio": 1 })).await;
        let (client, message) = (app.client(), json!({ "channel": "a", "n": 1, "body": "x" }));
        for _ in 0..3 {
            client.mutate("messages.sendNow", message.clone()).await.data();
        }
        client.query("messages.list", json!({ "channel": "a" })).await.data();
        client.mutate("messages.sendThenRefuse", message).await;
        let line = format!("a line over {protocol}");
        let fields = vec![("cause".into(), "postgres://user:s3cret@host/db is away".to_owned())];
        LogLine::new(Level::WARN, line.clone(), fields).export();
        app.engine.close().await;

        let spans = collector.until(has("POST /query/{name}")).await;
        let run = ["SELECT messages", "run messages.list", "query messages.list", "POST /query/{name}"];
        assert_eq!(path(&spans, "SELECT messages"), run, "{protocol}");

        let metrics = collector.metrics();
        let of = |name: &str, attributes: &[(&str, &str)]| value(&metrics, name, attributes);
        let calls = |function, code| of("convoy.calls", &[("function", function), ("code", code)]);
        assert_eq!(calls("messages.sendNow", "OK"), Some(3.0), "{protocol}");
        assert_eq!(calls("messages.list", "OK"), Some(1.0));
        assert_eq!(calls("messages.sendThenRefuse", "FORBIDDEN"), Some(1.0));
        assert_eq!(of("convoy.calls", &[]), Some(5.0));
        assert_eq!(of("convoy.call.duration", &[("function", "messages.sendNow"), ("kind", "mutation")]), Some(3.0));
        let (address, port) = server_of(&db);
        let insert = [
            ("db.system.name", "postgresql"),
            ("db.operation.name", "INSERT"),
            ("db.collection.name", "messages"),
            ("server.address", &*address),
            ("server.port", &*port),
        ];
        assert_eq!(of("db.client.operation.duration", &insert), Some(3.0));
        let posted = [("http.route", "/mutation/{name}"), ("http.response.status_code", "200")];
        assert_eq!(of("http.server.request.duration", &posted), Some(3.0));
        assert_eq!(of("convoy.live_queries", &[]), Some(0.0));
        assert!(of("process.memory.usage", &[]).is_some_and(|bytes| bytes > 1e6));
        assert_eq!(of("convoy.no_such_metric", &[]), None);

        // Other engines of this process export the same lines to their collectors.
        let logs = collector.logs();
        let line = logs.into_iter().find(|found| format!("{:?}", found.body).contains(&line));
        let line = line.unwrap_or_else(|| panic!("no line over {protocol}"));
        assert_eq!((line.severity_number, line.severity_text.as_str()), (13, "WARN"));
        let cause = text_of(&line.attributes, "cause").expect("a field");
        assert!(cause.contains("is away") && !cause.contains("s3cret"), "{cause}");

        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            assert_eq!(collector.headers(signal)["api-key"], "k1", "{protocol} {signal:?}");
        }
    }
}
