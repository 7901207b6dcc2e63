//! Acceptance 15: many who only listen, and some who hardly read. Neither costs
//! more memory than its share, nor anybody else their news.

use std::time::{Duration, Instant};

use convoy_testkit::{Answers, Client, Holder, Reader, TestDb, allow_open_files, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::lane::{say, scale};
use crate::server_process::{PADDING, ServerProcess};

/// Resident memory of the server for each stream that is idle.
const EACH_IDLE: u64 = 16 << 10;
/// How many times as much an engine takes that was built without optimisation.
const UNOPTIMISED: u64 = 2;
/// What may wait for each slow reader, and what measuring memory is uncertain by.
const EACH_SLOW: u64 = 256 << 10;
const UNCERTAIN: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_takes_little_memory() {
    let streams = scale(1_000, 10_000);
    allow_open_files(streams as u64 + 1_000);
    let db = TestDb::new().await;
    let server = ServerProcess::start(&db, json!({}));
    let channel = |at: usize| json!({ "channel": format!("c{}", at % 100) });
    // What the first ones take is taken once.
    drop(open_idle(&server, 200, channel).await);
    let before = server.resident();
    let open = open_idle(&server, streams, channel).await;
    let each = server.resident().saturating_sub(before) / open.len() as u64;
    say(&format!("{streams} idle streams take {each} bytes each"));
    assert!(each <= EACH_IDLE * UNOPTIMISED);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_use_no_memory_and_delay_no_other() {
    let Found { growth, slow, alone, beside } = write_beside_slow_readers(json!([])).await;
    assert!(growth <= slow * EACH_SLOW + UNCERTAIN, "the server has grown by {growth} bytes");
    assert!(beside <= alone * 10 + Duration::from_secs(1), "{beside:?} beside slow readers, {alone:?} without");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_queue_for_each_stream_is_found() {
    let Found { growth, slow, .. } = write_beside_slow_readers(json!(["queuePerStream"])).await;
    assert!(growth > slow * EACH_SLOW + UNCERTAIN, "nobody noticed");
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

/// A bare socket with a session's stream on it, once its first result has come.
async fn first_result(client: &Client, queries: &Value) -> TcpStream {
    let mut socket = TcpStream::connect(client.address).await.expect("the server listens");
    socket.write_all(&request(client, queries)).await.expect("the server reads");
    let (mut said, mut buffer) = (String::new(), [0; 4_096]);
    while !said.contains(r#""type":"result""#) {
        let read = socket.read(&mut buffer).await.expect("the server answers");
        assert_ne!(read, 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..read]));
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

struct Found {
    /// By how much the server's memory has grown while there was news, in bytes.
    growth: u64,
    slow: u64,
    /// The median time until everyone who reads has seen a write, and the same
    /// beside those who do not.
    alone: Duration,
    beside: Duration,
}

async fn write_beside_slow_readers(failpoints: Value) -> Found {
    let (slow, active, writes) = (scale(20, 100), scale(100, 1_000), scale(120, 300));
    allow_open_files((slow + active) as u64 + 1_000);
    let db = TestDb::new().await;
    let server = ServerProcess::start(&db, json!({ "failpoints": failpoints }));
    let mut room = Room { client: server.client(), readers: Vec::new(), last: 0 };
    for _ in 0..active {
        room.readers.push((1, room.client.live(query("marks.last", json!({}))).await.read_on()));
    }
    let alone = room.write(20).await;

    // Each watches something of its own. Others, who read, watch the same: by them
    // the test knows that there was something to send.
    let mut readers = JoinSet::new();
    for at in 0..slow {
        readers.spawn(read_slowly(room.client.clone(), query("padded", json!({ "reader": at }))));
    }
    for some in (0..slow).collect::<Vec<_>>().chunks(10) {
        let queries =
            some.iter().zip(0..).map(|(at, id)| json!({ "id": id, "name": "padded", "args": { "reader": at } }));
        room.readers.push((some.len(), room.client.live(json!(queries.collect::<Vec<_>>())).await.read_on()));
    }
    // Fills what the network itself holds.
    room.write(20).await;
    let before = server.resident();
    let beside = room.write(writes).await;
    let growth = server.resident().saturating_sub(before);
    say(&format!(
        "{slow} slow readers were to be sent {} MiB, the server has grown by {} KiB; {active} others saw a write after \
         {beside:?}, before that after {alone:?}",
        (slow * writes * PADDING) >> 20,
        growth >> 10
    ));
    readers.shutdown().await;
    Found { growth, slow: slow as u64, alone, beside }
}

/// Those who read, each so many queries from 0 on, and what was written last.
struct Room {
    client: Client,
    readers: Vec<(usize, Reader<Answers>)>,
    last: u64,
}

impl Room {
    /// Writes so often, each time until all have seen it; the median of how long
    /// that took.
    async fn write(&mut self, writes: usize) -> Duration {
        let mut connection = self.client.connect().await;
        let mut delays = Vec::with_capacity(writes);
        for _ in 0..writes {
            self.last += 1;
            connection.mutate("marks.leave", &json!({ "n": self.last })).await.data();
            let written = Instant::now();
            for (queries, reader) in &self.readers {
                reader.until(|answers| (0..*queries as u64).all(|query| shows(answers.latest(query), self.last))).await;
            }
            delays.push(written.elapsed());
        }
        delays.sort();
        delays[writes / 2]
    }
}

/// `marks.last` gives a list, `padded` an object.
fn shows(answer: Option<&Value>, mark: u64) -> bool {
    answer.is_some_and(|answer| answer[0]["n"] == mark || answer["n"] == mark)
}

/// Reads a byte a second, with as little room in between as there may be.
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
