//! Live sessions over WebSocket.

use std::net::SocketAddr;

use convoy_testkit::{Functions, TestDb, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::shared::{bodies, by_token, chat, tables, token_of};

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(address: SocketAddr, origin: Option<&str>) -> Result<Socket, Error> {
        let mut request = format!("ws://{address}/api/ws").into_client_request()?;
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("an origin"));
        }
        let socket = TcpStream::connect(address).await.expect("the server listens");
        Ok(Socket(client_async(request, socket).await?.0))
    }

    async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.expect("the server reads");
    }

    /// The messages of the next frame; empty when the server has closed.
    async fn next_frame(&mut self) -> Vec<Value> {
        within(async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) if text.trim().is_empty() => {}
                    Some(Ok(Message::Text(text))) => {
                        return text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
                    }
                    Some(Ok(Message::Close(_))) | None => return Vec::new(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => panic!("{error}"),
                }
            }
        })
        .await
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let messages = self.next_frame().await;
            assert!(!messages.is_empty(), "the server has closed");
            if let Some(found) = messages.into_iter().find(&wanted) {
                return found;
            }
        }
    }
}

fn list(id: u64, channel: &str) -> Value {
    json!({ "id": id, "name": "messages.list", "args": { "channel": channel } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_carries_the_messages_of_a_live_session() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut socket = Socket::open(app.address, None).await.expect("it opens");
    socket.send(json!({ "type": "open", "protocol": 1, "queries": [list(1, "a")] })).await;
    let first = socket.next_frame().await;
    assert_eq!((&first[0]["type"], &first[0]["seq"]), (&json!("session"), &json!(0)));
    let session = first[0]["session"].as_str().expect("an id").to_owned();
    if first.len() == 1 {
        socket.until(|message| message["type"] == "result").await;
    }
    let own = app.client().with_header("convoy-session", &session).with_header("idempotency-key", "k");
    own.mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "hello" })).await.data();
    let mut messages = Vec::new();
    while !messages.iter().any(|message: &Value| message["type"] == "settled") {
        messages.extend(socket.next_frame().await);
    }
    assert_eq!(bodies(&messages[0]["data"]), ["hello"]);
    socket.send(json!({ "type": "change", "add": [list(2, "b")], "remove": [1] })).await;
    let added = socket.until(|message| message["type"] == "result").await;
    assert_eq!(added["id"], 2);
    app.engine.close().await;
    assert_eq!(socket.until(|message| message["type"] == "end").await["reason"], "shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_refused_and_the_stream_continues() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    for first in [json!("x"), json!({ "type": "open", "protocol": 9, "queries": [] }), json!({ "type": "change" })] {
        let mut socket = Socket::open(app.address, None).await.expect("it opens");
        socket.send(first).await;
        let refused = socket.until(|message| message["type"] == "error").await;
        assert_eq!(refused["error"]["code"], "INVALID_ARGS");
        assert!(socket.next_frame().await.is_empty(), "there is no session to continue");
    }
    let mut socket = Socket::open(app.address, None).await.expect("it opens");
    socket.send(json!({ "type": "open", "protocol": 1, "queries": [list(1, "a")] })).await;
    socket.until(|message| message["type"] == "result").await;
    // A heartbeat of the client is not answered.
    socket.0.send(Message::text("\n")).await.expect("the server reads");
    for odd in ["{", "[]", r#"{"type":"dance"}"#] {
        socket.0.send(Message::text(odd)).await.expect("the server reads");
        let refused = socket.until(|message| message["type"] == "error").await;
        assert_eq!((&refused["error"]["code"], refused.get("id")), (&json!("INVALID_ARGS"), None));
    }
    app.client().mutate("messages.send", json!({ "channel": "a", "n": 1, "body": "still here" })).await.data();
    let result = socket.until(|message| message["type"] == "result").await;
    assert_eq!(bodies(&result["data"]), ["still here"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_large_is_refused_and_a_close_frame_is_answered() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "limits": { "bodyBytes": 1_000 } }), tables(), crate::shared::functions()).await;
    let mut socket = Socket::open(app.address, None).await.expect("it opens");
    socket.send(json!({ "type": "open", "protocol": 1, "queries": [list(1, &"x".repeat(2_000))] })).await;
    let refused = socket.until(|message| message["type"] == "error").await;
    assert_eq!(refused["error"]["code"], "PAYLOAD_TOO_LARGE");
    let mut socket = Socket::open(app.address, None).await.expect("it opens");
    socket.send(json!({ "type": "open", "protocol": 1, "queries": [] })).await;
    socket.until(|message| message["type"] == "session").await;
    socket.0.send(Message::Close(None)).await.expect("the server reads");
    let answered = within(async {
        loop {
            match socket.0.next().await {
                Some(Ok(Message::Close(_))) => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
    })
    .await;
    assert!(answered, "the close frame is answered");
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_cannot_open_a_web_socket() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let foreign = Socket::open(app.address, Some("https://evil.test")).await.err().expect("refused");
    assert!(matches!(&foreign, Error::Http(answer) if answer.status() == 403), "{foreign}");
    assert!(Socket::open(app.address, Some(&format!("http://{}", app.address))).await.is_ok());
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_sent_in_messages() {
    let db = TestDb::new().await;
    let functions = by_token().query("me", |ctx, _| async move { Ok(json!([token_of(&ctx)])) });
    let app = db.app(tables(), Functions::new()).await;
    app.load(functions, true).await;
    let me = json!([{ "id": 1, "name": "me" }]);
    let mut anonymous = Socket::open(app.address, None).await.expect("it opens");
    anonymous.send(json!({ "type": "open", "protocol": 1, "queries": me })).await;
    assert_eq!(anonymous.until(|message| message["type"] == "error").await["error"]["code"], "UNAUTHORIZED");
    let mut ann = Socket::open(app.address, None).await.expect("it opens");
    ann.send(json!({ "type": "open", "protocol": 1, "queries": me, "token": "ann-1" })).await;
    let first = ann.until(|message| message["type"] == "result").await;
    assert_eq!(first["data"], json!(["Bearer ann-1"]));
    // Later messages are authenticated by that token.
    ann.send(json!({ "type": "change", "add": [{ "id": 2, "name": "me" }] })).await;
    let added = ann.until(|message| message["type"] != "same").await;
    assert_eq!((&added["id"], &added["data"]), (&json!(2), &json!(["Bearer ann-1"])));
    ann.send(json!({ "type": "change", "token": "ann-2" })).await;
    let second = ann.until(|message| message["type"] == "result").await;
    assert_eq!(second["data"], json!(["Bearer ann-2"]));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_javascript_cannot_represent_is_refused_with_its_path() {
    let db = TestDb::new().await;
    let app = chat(&db).await;
    let mut socket = Socket::open(app.address, None).await.expect("it opens");
    let query = |id: u64| format!(r#"[{{"id":{id},"name":"messages.list","args":{{"channel":[1e400]}}}}]"#);
    for (id, message) in [
        (1, format!(r#"{{"type":"open","protocol":1,"queries":{}}}"#, query(1))),
        (2, format!(r#"{{"type":"change","add":{}}}"#, query(2))),
    ] {
        socket.0.send(Message::text(message)).await.expect("the server reads");
        let refused = socket.until(|message| message["type"] == "error").await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(id), &json!("INVALID_ARGS")));
        assert_eq!(refused["error"]["details"]["issues"][0]["path"], json!(["channel", 0]), "{refused}");
    }
    app.engine.close().await;
}
