//! Acceptance 15: many idle streams, and some slow readers. Both have bounded memory, and
//! neither delays other streams.

use std::time::{Duration, Instant};

use convoy_testkit::{Answers, Client, Reader, ServerProcess, StreamState, TestDb, allow_open_files, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::scale::{report, scale};
use crate::server_process::{self, PADDING};

/// The limit of resident memory per idle stream.
const BYTES_PER_IDLE_STREAM: u64 = 16 << 10;
/// The factor for a build without optimisation.
const UNOPTIMISED_FACTOR: u64 = 2;
/// The limit of buffered data per slow reader, and the uncertainty of the measurement.
const BYTES_PER_SLOW_READER: u64 = 256 << 10;
const UNCERTAINTY: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_takes_little_memory() {
    let streams = scale(1_000, 10_000);
    allow_open_files(streams as u64 + 1_000);
    let db = TestDb::new().await;
    let server = server_process::start(&db, json!({}));
    let channel = |at: usize| json!({ "channel": format!("c{}", at % 100) });
    // The first streams allocate memory that is reused.
    drop(open_idle(&server, 200, channel).await);
    let before = server.resident();
    let open = open_idle(&server, streams, channel).await;
    let each = server.resident().saturating_sub(before) / open.len() as u64;
    report(&format!("{streams} idle streams take {each} bytes each"));
    assert!(each <= BYTES_PER_IDLE_STREAM * UNOPTIMISED_FACTOR);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_use_no_memory_and_delay_no_other() {
    let Measured { growth, slow, alone, beside } = write_beside_slow_readers(json!([])).await;
    assert!(growth <= slow * BYTES_PER_SLOW_READER + UNCERTAINTY, "the server has grown by {growth} bytes");
    assert!(beside <= alone * 10 + Duration::from_secs(1), "{beside:?} beside slow readers, {alone:?} without");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_queue_per_stream_is_detected() {
    let Measured { growth, slow, .. } = write_beside_slow_readers(json!(["queuePerStream"])).await;
    assert!(growth > slow * BYTES_PER_SLOW_READER + UNCERTAINTY, "the failpoint was not detected");
}

async fn open_idle(server: &ServerProcess, streams: usize, args: impl Fn(usize) -> Value) -> Vec<TcpStream> {
    let mut opening = JoinSet::new();
    let mut open = Vec::with_capacity(streams);
    for at in 0..streams {
        let (client, query) = (server.client(), query("messages.list", args(at)));
        opening.spawn(async move { within(first_result(&client, &query)).await });
        if opening.len() == 50 {
            open.push(opening.join_next().await.expect("one is opening").expect("it opens"));
        }
    }
    while let Some(one) = opening.join_next().await {
        open.push(one.expect("it opens"));
    }
    open
}

/// Opens a session on a bare socket, and waits for its first result.
async fn first_result(client: &Client, queries: &Value) -> TcpStream {
    let mut socket = TcpStream::connect(client.address).await.expect("the server listens");
    socket.write_all(&request(client, queries)).await.expect("the server reads");
    let (mut received, mut buffer) = (String::new(), [0; 4_096]);
    while !received.contains(r#""type":"result""#) {
        let read = socket.read(&mut buffer).await.expect("the server answers");
        assert_ne!(read, 0, "{received}");
        received.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    socket
}

fn request(client: &Client, queries: &Value) -> Vec<u8> {
    let body = json!({ "protocol": 1, "queries": queries }).to_string();
    let (host, length) = (client.address, body.len());
    format!("POST /api/live HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn query(name: &str, args: Value) -> Value {
    json!([{ "id": 0, "name": name, "args": args }])
}

struct Measured {
    /// The growth of the server's memory during the writes, in bytes.
    growth: u64,
    slow: u64,
    /// The median time until every active reader has seen a write, without and with slow
    /// readers.
    alone: Duration,
    beside: Duration,
}

async fn write_beside_slow_readers(failpoints: Value) -> Measured {
    let (slow, active, writes) = (scale(20, 100), scale(100, 1_000), scale(120, 300));
    allow_open_files((slow + active) as u64 + 1_000);
    let db = TestDb::new().await;
    let server = server_process::start(&db, json!({ "failpoints": failpoints }));
    let mut active_readers = Readers { client: server.client(), all: Vec::new(), last: 0 };
    for _ in 0..active {
        active_readers
            .all
            .push((1, active_readers.client.live(query("marks.last", json!({}))).await.read_continuously()));
    }
    let alone = active_readers.write(20).await;

    // Each slow reader has a query of its own. Active readers subscribe to the same
    // queries, so the test knows that there were results to send.
    let mut slow_readers = JoinSet::new();
    for at in 0..slow {
        slow_readers.spawn(read_slowly(active_readers.client.clone(), query("padded", json!({ "reader": at }))));
    }
    for some in (0..slow).collect::<Vec<_>>().chunks(10) {
        let queries =
            some.iter().zip(0..).map(|(at, id)| json!({ "id": id, "name": "padded", "args": { "reader": at } }));
        active_readers.all.push((
            some.len(),
            active_readers.client.live(json!(queries.collect::<Vec<_>>())).await.read_continuously(),
        ));
    }
    // Fills the buffers of the network.
    active_readers.write(20).await;
    let before = server.resident();
    let beside = active_readers.write(writes).await;
    let growth = server.resident().saturating_sub(before);
    report(&format!(
        "{slow} slow readers had {} MiB to receive, the server has grown by {} KiB; {active} others saw a write after \
         {beside:?}, before that after {alone:?}",
        (slow * writes * PADDING) >> 20,
        growth >> 10
    ));
    slow_readers.shutdown().await;
    Measured { growth, slow: slow as u64, alone, beside }
}

/// The active readers, each with its number of queries, and the last mark.
struct Readers {
    client: Client,
    all: Vec<(usize, Reader<Answers>)>,
    last: u64,
}

impl Readers {
    /// Writes marks, each until all readers have seen it; returns the median time.
    async fn write(&mut self, writes: usize) -> Duration {
        let mut connection = self.client.connect().await;
        let mut delays = Vec::with_capacity(writes);
        for _ in 0..writes {
            self.last += 1;
            connection.mutate("marks.leave", &json!({ "n": self.last })).await.data();
            let written = Instant::now();
            for (queries, reader) in &self.all {
                reader.until(|answers| (0..*queries as u64).all(|query| shows(answers.latest(query), self.last))).await;
            }
            delays.push(written.elapsed());
        }
        delays.sort();
        delays[writes / 2]
    }
}

/// Whether an answer has this mark: `marks.last` returns a list, `padded` an object.
fn shows(answer: Option<&Value>, mark: u64) -> bool {
    answer.is_some_and(|answer| answer[0]["n"] == mark || answer["n"] == mark)
}

/// Reads one byte per second, with the smallest possible receive buffer.
async fn read_slowly(client: Client, queries: Value) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1_024).expect("a small buffer");
    let mut socket = socket.connect(client.address).await.expect("the server listens");
    socket.write_all(&request(&client, &queries)).await.expect("the server reads");
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    while socket.read_u8().await.is_ok() {
        pace.tick().await;
    }
}
