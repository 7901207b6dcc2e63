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
/// The limit of buffered data per slow reader, and the uncertainty of the measurement.
const BYTES_PER_SLOW_READER: u64 = 256 << 10;
const UNCERTAINTY: u64 = 16 << 20;
/// The limit of the time until others see a write beside slow readers: a multiple of the time
/// beside quick ones, and the uncertainty of the measurement.
const SLOWDOWN: u32 = 2;
const PAUSE: Duration = Duration::from_millis(50);

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
    assert!(each <= BYTES_PER_IDLE_STREAM);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_use_no_memory_and_delay_no_other() {
    let Measured { growth, slow, beside_quick, beside_slow } = write_beside_readers(json!([])).await;
    assert!(growth <= slow * BYTES_PER_SLOW_READER + UNCERTAINTY, "the server has grown by {growth} bytes");
    let limit = beside_quick * SLOWDOWN + PAUSE;
    assert!(beside_slow <= limit, "{beside_slow:?} beside slow readers, {beside_quick:?} beside quick ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_queue_per_stream_is_detected() {
    let Measured { growth, slow, .. } = write_beside_readers(json!(["queuePerStream"])).await;
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
    /// The growth of the server's memory during the writes beside slow readers, in bytes.
    growth: u64,
    slow: u64,
    /// The median time until every active reader has seen a write, while others read the results
    /// of as many queries at once, and slowly.
    beside_quick: Duration,
    beside_slow: Duration,
}

async fn write_beside_readers(failpoints: Value) -> Measured {
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
    // Each of the others has a query of its own. Active readers subscribe to the same queries, so
    // the test knows that there were results to send.
    for some in (0..slow).collect::<Vec<_>>().chunks(10) {
        let queries =
            some.iter().zip(0..).map(|(at, id)| json!({ "id": id, "name": "padded", "args": { "reader": at } }));
        active_readers.all.push((
            some.len(),
            active_readers.client.live(json!(queries.collect::<Vec<_>>())).await.read_continuously(),
        ));
    }
    // Before and after, because the load of the machine may change meanwhile.
    let (before, _) = active_readers.write_beside(&server, slow, Pace::AtOnce, writes / 4).await;
    let (beside_slow, growth) = active_readers.write_beside(&server, slow, Pace::Slow, writes).await;
    let (after, _) = active_readers.write_beside(&server, slow, Pace::AtOnce, writes / 4).await;
    let beside_quick = before.max(after);
    report(&format!(
        "{slow} slow readers had {} MiB to receive, the server has grown by {} KiB; {active} others saw a write after \
         {beside_slow:?}, and beside quick readers after {before:?} and {after:?}",
        (slow * writes * PADDING) >> 20,
        growth >> 10
    ));
    Measured { growth, slow: slow as u64, beside_quick, beside_slow }
}

/// The active readers, each with its number of queries, and the last mark.
struct Readers {
    client: Client,
    all: Vec<(usize, Reader<Answers>)>,
    last: u64,
}

impl Readers {
    /// Writes marks while others read `padded` at this pace. Returns the median time, and the growth
    /// of the server's memory in bytes.
    async fn write_beside(
        &mut self,
        server: &ServerProcess,
        others: usize,
        pace: Pace,
        writes: usize,
    ) -> (Duration, u64) {
        let mut reading = JoinSet::new();
        for at in 0..others {
            reading.spawn(read(self.client.clone(), query("padded", json!({ "reader": at })), pace));
        }
        // Fills the buffers of the network.
        self.write(20).await;
        let before = server.resident();
        let delay = self.write(writes).await;
        let growth = server.resident().saturating_sub(before);
        assert_eq!(reading.len(), others);
        assert!(reading.try_join_next().is_none(), "the others are still connected");
        reading.shutdown().await;
        (delay, growth)
    }

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

/// How fast a reader reads.
#[derive(Clone, Copy)]
enum Pace {
    AtOnce,
    /// One byte per second, with the smallest possible receive buffer.
    Slow,
}

/// Reads until the server ends the stream.
async fn read(client: Client, queries: Value, pace: Pace) {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Pace::Slow = pace {
        socket.set_recv_buffer_size(1_024).expect("a small buffer");
    }
    let mut socket = socket.connect(client.address).await.expect("the server listens");
    socket.write_all(&request(&client, &queries)).await.expect("the server reads");
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut buffer = vec![0; if let Pace::Slow = pace { 1 } else { PADDING }];
    while let Ok(1..) = socket.read(&mut buffer).await {
        if let Pace::Slow = pace {
            ticks.tick().await;
        }
    }
}
