//! Event streams on the connections of clients that send more than one request.

use crate::shared::chat;
use convoy_testkit::{App, TestDb, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SUBSCRIBE: &str = "/api/subscribe?name=messages.list&args=%7B%22channel%22%3A%22a%22%7D";

/// A connection, and what was read from it.
struct Wire {
    socket: TcpStream,
    read: String,
}

impl Wire {
    async fn connect(app: &App) -> Wire {
        Wire { socket: TcpStream::connect(app.address).await.expect("the server listens"), read: String::new() }
    }

    async fn send(&mut self, request: &str) {
        self.socket.write_all(request.as_bytes()).await.expect("it is open");
    }

    async fn get(&mut self, path: &str, version: &str) {
        self.send(&format!("GET {path} HTTP/{version}\r\nhost: localhost\r\n\r\n")).await;
    }

    /// Reads until `times` occurrences of the text.
    async fn until(&mut self, text: &str, times: usize) {
        let reading = async {
            while self.read.matches(text).count() < times {
                let mut bytes = Vec::with_capacity(1 << 16);
                let read = self.socket.read_buf(&mut bytes).await.expect("it is open");
                assert!(read > 0, "it ended without {times} × {text}: {}", self.read);
                self.read += &String::from_utf8(bytes).expect("text");
            }
        };
        within(reading).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_follows_requests_on_the_same_connection_and_closes_it() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut wire = Wire::connect(&app).await;
    for n in 1..=3 {
        wire.get("/api/health", "1.1").await;
        wire.until(r#""status":"up""#, n).await;
    }
    wire.get(SUBSCRIBE, "1.1").await;
    wire.until(r#""data":[]"#, 1).await;
    let streamed = wire.read.rsplit("HTTP/1.1 200 OK").next().expect("the last answer").to_lowercase();
    for header in ["connection: close", "transfer-encoding: chunked", "content-type: text/event-stream", "date: "] {
        assert!(streamed.contains(header), "{streamed}");
    }
    // What follows is not answered, and the stream goes on.
    wire.get("/api/health", "1.1").await;
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "new" })).await.data();
    wire.until(r#""body":"new""#, 1).await;
    assert_eq!(wire.read.matches(r#""status":"up""#).count(), 3);
    app.engine.close().await;
    wire.until("\r\n0\r\n\r\n", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_asked_for_together_with_calls_is_sent_after_their_answers() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let body = "x".repeat(100_000);
    for n in 0..8 {
        app.client().mutate("messages.send", json!({ "channel": "a", "n": n, "body": &body })).await.data();
    }
    let mut wire = Wire::connect(&app).await;
    const ANSWERS: usize = 20;
    for _ in 0..ANSWERS {
        let head = "POST /api/query/messages.list HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
        wire.send(&format!("{head}\r\ncontent-length: 15\r\n\r\n{{\"channel\":\"a\"}}")).await;
    }
    wire.get(SUBSCRIBE, "1.1").await;
    wire.until("id: ", 1).await;
    assert_eq!(wire.read.matches(r#""ok":true"#).count(), ANSWERS);
    assert_eq!(wire.read.matches(&body).count(), ANSWERS * 8);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut wire = Wire::connect(&app).await;
    wire.get(SUBSCRIBE, "1.0").await;
    wire.until("\"data\":[]}\n\n", 1).await;
    assert!(!wire.read.to_lowercase().contains("chunked"), "{}", wire.read);
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "new" })).await.data();
    wire.until(r#""body":"new""#, 1).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_client_closes_the_connection() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut wire = Wire::connect(&app).await;
    wire.get(SUBSCRIBE, "1.1").await;
    wire.until(r#""data":[]"#, 1).await;
    assert_eq!(app.engine.stats().subscribers, 1);
    drop(wire);
    // Without a heartbeat, which would come after 15 s.
    within(async {
        while app.engine.stats().subscribers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    app.engine.close().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn results_that_a_client_has_not_read_are_replaced_by_newer_ones() {
    const WRITES: usize = 400;
    const BODY_BYTES: usize = 10_000;
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let client = app.client();
    let id = client.mutate("messages.send", json!({ "channel": "a", "n": 0, "body": "first" })).await.data();
    let (mut slow, mut quick) = (Wire::connect(&app).await, Wire::connect(&app).await);
    for wire in [&mut slow, &mut quick] {
        wire.get(SUBSCRIBE, "1.1").await;
        wire.until(r#""body":"first""#, 1).await;
    }
    for n in 1..=WRITES {
        let set = json!({ "body": format!("{n}:{}", "x".repeat(BODY_BYTES)) });
        client.mutate("messages.edit", json!({ "id": id, "set": set, "unset": [] })).await.data();
        // One client has received each result; the other had it to receive, too.
        quick.until(&format!(r#""body":"{n}:"#), 1).await;
        quick.read.clear();
    }
    slow.until(&format!(r#""body":"{WRITES}:"#), 1).await;
    let received = slow.read.matches(r#""data":["#).count();
    // The buffers of the client's own system have most of them.
    assert!(received * BODY_BYTES < 1 << 20, "it has received {received} of {WRITES} results");
    app.engine.close().await;
}
