//! What the streams of clients tell of others: in production neither the trace nor the cause of a result.

use convoy_testkit::{App, TestDb, within};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::collector::Collector;
use super::{has, hex, of_trace_with, traced_with};
use crate::shared::functions;

const WRITER: &str = "messages.sendNow";
const QUERIES: &str = r#"[{"id":1,"name":"messages.count","args":{"channel":"a"}}]"#;

/// How a client watches the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// A session by server-sent events.
    Session,
    /// A session by WebSocket.
    Socket,
    /// A stream of the one query.
    Subscribe,
}

/// The bytes that a client has received.
struct Received {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Received {
    /// Watches the query.
    async fn open(app: &App, transport: Transport) -> Received {
        let socket = TcpStream::connect(app.address).await.expect("the server listens");
        let mut received = Received { socket, bytes: Vec::new() };
        match transport {
            Transport::Session => {
                let body = format!(r#"{{"protocol":1,"queries":{QUERIES}}}"#);
                let headers = format!("content-type: application/json\r\ncontent-length: {}", body.len());
                received.send(format!("POST /api/live HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n\r\n{body}")).await;
            }
            Transport::Socket => {
                let headers = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
                received.send(format!("GET /api/ws HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n\r\n")).await;
                received.until("\r\n\r\n").await;
                let message = format!(r#"{{"type":"open","protocol":1,"queries":{QUERIES}}}"#);
                let length = u8::try_from(message.len()).ok().filter(|length| *length < 126).expect("a short message");
                // One text frame. A mask of zeros leaves the message as it is.
                let head = [0x81, 0x80 | length, 0, 0, 0, 0];
                received.send([&head[..], message.as_bytes()].concat()).await;
            }
            Transport::Subscribe => {
                let path = "/api/subscribe?name=messages.count&args=%7B%22channel%22%3A%22a%22%7D";
                received.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
            }
        }
        received
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.expect("it is open");
    }

    /// Whether it has received this.
    fn has(&self, part: &[u8]) -> bool {
        self.bytes.windows(part.len()).any(|window| window == part)
    }

    /// Reads until it has received this.
    async fn until(&mut self, text: &str) {
        while !self.has(text.as_bytes()) {
            let read = within(self.socket.read_buf(&mut self.bytes)).await.expect("it is open");
            assert!(read > 0, "it ended without {text}: {}", String::from_utf8_lossy(&self.bytes));
        }
    }

    /// Reads to the end.
    async fn rest(&mut self) {
        within(self.socket.read_to_end(&mut self.bytes)).await.expect("it ends");
    }
}

/// What clients have received of a commit of another one.
struct Observed {
    streams: Vec<(Transport, Received)>,
    /// The spans of the commit's trace, with those of the frames.
    spans: Vec<Span>,
    /// The document that was written, which the query counts only.
    document: String,
}

async fn observe(dev: bool) -> Observed {
    let db = TestDb::new().await;
    let mut collector = Collector::http().await;
    let functions = functions().query("messages.count", |ctx, input| async move {
        let scan = json!({
            "op": "scan", "table": "messages", "index": "by_channel", "eq": [input["channel"]], "order": "asc", "limit": null,
        });
        Ok(json!(ctx.op(scan).await?.as_array().map_or(0, Vec::len)))
    });
    let app = traced_with(&db, &collector, json!({ "sampleRatio": 1 }), json!({ "dev": dev }), functions).await;
    let mut streams = Vec::new();
    for transport in [Transport::Session, Transport::Socket, Transport::Subscribe] {
        let mut received = Received::open(&app, transport).await;
        received.until(r#""data":0"#).await;
        streams.push((transport, received));
    }
    let sent = app.client().mutate(WRITER, json!({ "channel": "a", "n": 1, "body": "x" })).await;
    let answered = sent.header("traceresponse").expect("the trace of the request").to_owned();
    let document = sent.data().as_str().expect("an id").to_owned();
    for (_, received) in &mut streams {
        received.until(r#""data":1"#).await;
    }
    let of_mutation = |spans: &[Span]| of_trace_with("POST /mutation/{name}", spans);
    let frames = |spans: &[Span]| of_mutation(spans).iter().filter(|span| span.name == "frame").count();
    let enough = |spans: &[Span]| has("POST /mutation/{name}")(spans) && frames(spans) == 3;
    let spans = of_mutation(&collector.until(enough).await);
    assert_eq!(answered.split('-').nth(1), Some(&*hex(&spans[0].trace_id)));
    app.engine.close().await;
    for (_, received) in &mut streams {
        received.rest().await;
    }
    Observed { streams, spans, document }
}

/// The ids of these spans in every form: as text and as bytes.
fn ids(spans: &[Span]) -> Vec<Vec<u8>> {
    let ids = spans.iter().flat_map(|span| [&span.trace_id, &span.span_id]);
    ids.flat_map(|id| [id.clone(), hex(id).into_bytes(), hex(id).to_uppercase().into_bytes()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_production_tell_neither_the_trace_nor_the_cause_of_a_result() {
    let Observed { streams, spans, document } = observe(false).await;
    let all_names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    for name in ["POST /mutation/{name}", "commit", "live messages.count", "frame"] {
        assert!(all_names.contains(&name), "{name} in {all_names:?}");
    }
    for (transport, received) in &streams {
        let text = String::from_utf8_lossy(&received.bytes);
        for foreign in ids(&spans) {
            assert!(!received.has(&foreign), "{transport:?}: {} in {text}", String::from_utf8_lossy(&foreign));
        }
        for foreign in [&*document, WRITER, r#""cause""#, "traceparent"] {
            assert!(!received.has(foreign.as_bytes()), "{transport:?}: {foreign} in {text}");
        }
    }
}

/// Causes name documents and functions.
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_sessions_have_the_cause_of_a_result_in_development() {
    let Observed { streams, spans, document } = observe(true).await;
    for (transport, received) in &streams {
        let text = String::from_utf8_lossy(&received.bytes);
        let is_session = *transport != Transport::Subscribe;
        for of_cause in [&*document, WRITER, r#""cause""#] {
            assert_eq!(received.has(of_cause.as_bytes()), is_session, "{transport:?}: {of_cause} in {text}");
        }
        assert!(ids(&spans).iter().all(|id| !received.has(id)), "{transport:?}: {text}");
    }
}
