//! Limits that are times, and intervals. Each test has a server with a short time, and one where
//! the time is a day: what the first does again and again, the second must not do meanwhile. So
//! no test depends on the speed of the machine, and each fails if the option has no effect.

use convoy_testkit::{App, Client, Functions, TestDb, Watch, table, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::routes;
use crate::shared::{bodies, functions, tables};

const DAY_MS: u64 = 86_400_000;
const SHORT_MS: u64 = 50;

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.address).await.expect("the server listens")
}

/// A connection on which this was sent.
async fn sent(app: &App, text: &str) -> TcpStream {
    let mut socket = connect(app).await;
    socket.write_all(text.as_bytes()).await.expect("sent");
    socket
}

/// What arrives until the connection ends.
async fn rest(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    within(socket.read_to_end(&mut answer)).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn web_socket(app: &App) -> WebSocketStream<TcpStream> {
    let url = format!("ws://{}/api/ws", app.address);
    client_async(url, connect(app).await).await.expect("it opens").0
}

/// The first message of a WebSocket.
fn opening() -> Message {
    let list = json!({ "id": 1, "name": "messages.list", "args": { "channel": "a" } });
    Message::text(json!({ "type": "open", "protocol": 1, "queries": [list] }).to_string())
}

/// The next text of a WebSocket; `None` at its end.
async fn text(socket: &mut WebSocketStream<TcpStream>) -> Option<String> {
    loop {
        match within(socket.next()).await {
            Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_a_first_message_are_waited_for_as_long_as_the_limit() {
    let db = TestDb::new().await;
    let within_ms = async |ms: u64| db.app_with(json!({ "limits": { "headerMs": ms } }), tables(), functions()).await;
    let (short, long) = (within_ms(SHORT_MS).await, within_ms(DAY_MS).await);
    let begun = "POST /api/query/messages.all HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let (mut patient, mut patient_web) = (sent(&long, begun).await, web_socket(&long).await);
    for _ in 0..2 {
        assert_eq!(rest(sent(&short, begun).await).await, "");
        let mut web = web_socket(&short).await;
        let refused = text(&mut web).await.expect("the reason");
        assert!(refused.contains("TIMEOUT"), "{refused}");
        assert_eq!(text(&mut web).await, None);
    }
    patient.write_all(b"content-length: 2\r\n\r\n{}").await.expect("the connection is open");
    let answer = rest(patient).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    patient_web.send(opening()).await.expect("the connection is open");
    let session = text(&mut patient_web).await.expect("a session");
    assert!(session.contains("\"session\""), "{session}");
    short.engine.close().await;
    long.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_waited_for_as_long_as_the_limit() {
    let db = TestDb::new().await;
    let within_ms = async |ms: u64| {
        let functions = routes::echo(functions(), "POST", "/route", json!({}));
        db.app_with(json!({ "limits": { "bodyMs": ms } }), tables(), functions).await
    };
    let (short, long) = (within_ms(SHORT_MS).await, within_ms(DAY_MS).await);
    let begun = |path| format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{");
    let paths = ["/api/query/messages.all", "/route"];
    let mut patient = Vec::new();
    for path in paths {
        patient.push(sent(&long, &begun(path)).await);
    }
    for path in [paths, paths].concat() {
        let answer = rest(sent(&short, &begun(path)).await).await;
        assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("TIMEOUT"), "{path}: {answer}");
    }
    for (mut socket, path) in patient.into_iter().zip(paths) {
        socket.write_all(b"}").await.expect("the connection is open");
        let answer = rest(socket).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    short.engine.close().await;
    long.engine.close().await;
}

/// A live query by each transport.
struct Streams {
    session: Watch,
    query: Watch,
    web: WebSocketStream<TcpStream>,
}

impl Streams {
    /// Opens them, and reads their first results.
    async fn open(app: &App) -> Streams {
        let client: Client = app.client();
        let mut query = client.watch("messages.list", json!({ "channel": "a" })).await;
        query.next().await;
        let list = json!([{ "id": 1, "name": "messages.list", "args": { "channel": "a" } }]);
        let mut session = client.watch_session(list).await;
        while !session.event().await.expect("it is open").contains("\"result\"") {}
        let mut web = web_socket(app).await;
        web.send(opening()).await.expect("sent");
        while !text(&mut web).await.expect("it is open").contains("\"result\"") {}
        Streams { session, query, web }
    }

    /// Whether the next that arrives is a heartbeat, by stream.
    async fn next_are_heartbeats(&mut self) -> [bool; 3] {
        let is_comment = |event: Option<String>| event.expect("it is open").starts_with(':');
        let (session, query) = (within(self.session.event()).await, within(self.query.event()).await);
        let message = text(&mut self.web).await.expect("it is open");
        [is_comment(session), is_comment(query), message.trim().is_empty()]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_streams_get_a_heartbeat_at_the_interval_and_not_before() {
    let (db, other) = (TestDb::new().await, TestDb::new().await);
    let options = |ms: u64| json!({ "limits": { "heartbeatMs": ms } });
    let long = other.app_with(options(DAY_MS), tables(), functions()).await;
    let short = db.app_with(options(SHORT_MS), tables(), functions()).await;
    let mut quiet = Streams::open(&long).await;
    let mut streams = Streams::open(&short).await;
    for _ in 0..2 {
        assert_eq!(streams.next_are_heartbeats().await, [true; 3]);
    }
    long.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "x" })).await.data();
    assert_eq!(quiet.next_are_heartbeats().await, [false; 3]);
    short.engine.close().await;
    long.engine.close().await;
}

/// Functions that read and write any table.
fn of_any_table() -> Functions {
    Functions::new()
        .query("all", |ctx, input| async move {
            let table = &input["table"];
            ctx.op(json!({ "op": "scan", "table": table, "index": null, "eq": [], "order": "asc", "limit": null }))
                .await
        })
        .mutation("add", |ctx, input| async move {
            let table = input["table"].as_str().expect("a table").to_owned();
            Ok(json!(ctx.insert(&table, json!({ "body": "own" })).await?))
        })
}

/// An engine on a database of its own, which no other process notifies.
struct Server {
    db: TestDb,
    app: App,
}

impl Server {
    async fn of(limits: Value, tables: &Value, before: &str) -> Server {
        let db = TestDb::new().await;
        db.psql().await.run(before).await;
        let app = db.app_with(json!({ "limits": limits }), tables.clone(), of_any_table()).await;
        Server { db, app }
    }

    async fn watch(&self, table: &str) -> Watch {
        let mut watch = self.app.client().watch("all", json!({ "table": table })).await;
        assert_eq!(watch.next().await, json!([]));
        watch
    }

    async fn write_from_outside(&self, table: &str, body: &str) {
        let insert = format!("insert into {table} (id, data) values (gen_random_uuid(), '{{\"body\": \"{body}\"}}')");
        self.db.psql().await.run(&insert).await;
    }

    /// How many results arrived before that of a write by this engine, which all subscribers see.
    async fn results_before_an_own_write(&self, table: &str, watch: &mut Watch) -> usize {
        self.app.client().mutate("add", json!({ "table": table })).await.data();
        let mut results = 0;
        while !bodies(&within(watch.next()).await).contains(&"own") {
            results += 1;
        }
        results
    }
}

/// Writes from outside to both servers, one at a time, each of which the first must see before
/// the next. Returns how many the second saw.
async fn seen_meanwhile([short, long]: [&Server; 2], table: &str, writes: usize) -> usize {
    let (mut seeing, mut unseeing) = (short.watch(table).await, long.watch(table).await);
    for n in 0..writes {
        let body = format!("write {n}");
        long.write_from_outside(table, &body).await;
        short.write_from_outside(table, &body).await;
        seeing.until(|list| bodies(list).contains(&&*body)).await;
    }
    long.results_before_an_own_write(table, &mut unseeing).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_change_log_is_read_at_the_interval_and_not_before() {
    let tables = json!([table("notes", &[])]);
    let server = async |ms: u64| Server::of(json!({ "pollMs": ms }), &tables, "").await;
    let (long, short) = (server(DAY_MS).await, server(1).await);
    // The log is read once when the first subscriber appears.
    let seen = seen_meanwhile([&short, &long], "notes", 20).await;
    assert!(seen <= 1, "{seen} of 20 writes, long before the interval was over");
    for server in [short, long] {
        server.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_triggers_is_polled_at_the_interval_and_not_before() {
    let mut audit = table("audit", &[]);
    audit["managed"] = json!(false);
    let tables = json!([audit]);
    let create = "create table audit (id uuid primary key, data jsonb not null)";
    let server = async |ms: u64| Server::of(json!({ "untrackedPollMs": ms }), &tables, create).await;
    let (long, short) = (server(DAY_MS).await, server(SHORT_MS).await);
    // The table is polled once when the engine has opened.
    let seen = seen_meanwhile([&short, &long], "audit", 4).await;
    assert!(seen <= 1, "{seen} of 4 writes, long before the interval was over");
    for server in [short, long] {
        server.app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_checked_at_the_interval_and_not_before() {
    let names = ["first", "second", "third"];
    let tables = json!(names.map(|name| table(name, &[])));
    let server =
        async |ms: u64| Server::of(json!({ "triggerCheckMs": ms, "untrackedPollMs": SHORT_MS }), &tables, "").await;
    let (long, short) = (server(DAY_MS).await, server(SHORT_MS).await);
    let mut noticed = Vec::new();
    let mut watches = Vec::new();
    for name in names {
        let (mut seeing, unseeing) = (short.watch(name).await, long.watch(name).await);
        for server in [&long, &short] {
            server.db.psql().await.run(&format!("alter table {name} disable trigger _convoy_insert")).await;
            server.write_from_outside(name, "unlogged").await;
        }
        // Seen only once the check has found that the trigger is disabled.
        seeing.until(|list| bodies(list) == ["unlogged"]).await;
        watches.push((name, unseeing));
    }
    for (name, mut watch) in watches {
        if long.results_before_an_own_write(name, &mut watch).await > 0 {
            noticed.push(name);
        }
    }
    // The triggers are checked once when the tables are loaded.
    assert!(noticed.len() <= 1, "{noticed:?}, long before the interval was over");
    for server in [short, long] {
        server.app.engine.close().await;
    }
}
