//! A client of the HTTP API: calls, and server-sent events.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::EVENT_TIMEOUT;
use crate::events::{Events, data_of};
use crate::reader::{Reader, StreamState};

/// Sends requests, each on a connection of its own.
#[derive(Clone)]
pub struct Client {
    /// The address of the server.
    pub address: SocketAddr,
    pub(crate) headers: Vec<(String, String)>,
}

/// A response: status and JSON body.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The envelope.
    pub body: Value,
    headers: HeaderMap,
}

impl Reply {
    pub(crate) fn new(head: &Parts, body: &[u8]) -> Reply {
        let body = serde_json::from_slice(body).expect("answers are JSON");
        Reply { status: head.status.as_u16(), body, headers: head.headers.clone() }
    }

    pub(crate) async fn read(response: Response<Incoming>) -> Reply {
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("the answer arrives whole").to_bytes();
        Reply::new(&head, &body)
    }

    /// The result; panics if the call failed.
    pub fn data(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["data"].clone()
    }

    /// One of its headers.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The error's code, if it is an error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("none")
    }
}

impl Client {
    /// A client of the server at this address.
    pub fn of(address: SocketAddr) -> Client {
        Client { address, headers: Vec::new() }
    }

    /// The same client with one more header on everything it sends.
    #[must_use]
    pub fn with_header(&self, name: &str, value: &str) -> Client {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// Calls a query.
    pub async fn query(&self, name: &str, args: Value) -> Reply {
        self.send(Method::POST, &format!("/api/query/{name}"), args.to_string()).await
    }

    /// Calls a mutation.
    pub async fn mutate(&self, name: &str, args: Value) -> Reply {
        self.send(Method::POST, &format!("/api/mutation/{name}"), args.to_string()).await
    }

    /// Calls an action.
    pub async fn act(&self, name: &str, args: Value) -> Reply {
        self.send(Method::POST, &format!("/api/action/{name}"), args.to_string()).await
    }

    /// Sends any request; reads the whole response.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        let exchange = async { Reply::read(self.request(method, path, body.into()).await).await };
        tokio::time::timeout(EVENT_TIMEOUT, exchange).await.expect("the server answers")
    }

    /// Watches a query by server-sent events.
    pub async fn watch(&self, name: &str, args: Value) -> Watch {
        let args = args.to_string();
        let args = utf8_percent_encode(&args, NON_ALPHANUMERIC);
        let path = format!("/api/subscribe?name={name}&args={args}");
        let response = self.request(Method::GET, &path, Bytes::new()).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        Watch { events: Events::new(response.into_body()) }
    }

    /// Opens a session that watches `queries`, and reads its raw events.
    pub async fn watch_session(&self, queries: Value) -> Watch {
        let body = json!({ "protocol": 1, "queries": queries }).to_string();
        let response = self.request(Method::POST, "/api/live", Bytes::from(body)).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        Watch { events: Events::new(response.into_body()) }
    }

    pub(crate) async fn request(&self, method: Method, path: &str, body: Bytes) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.expect("the server listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("the server speaks HTTP");
        tokio::spawn(connection);
        let request = self.head(method, path).body(Full::new(body)).expect("a request");
        sender.send_request(request).await.expect("the server answers")
    }
}

/// An open stream of one query.
pub struct Watch {
    events: Events,
}

/// The last result of a stream of one query.
#[derive(Default)]
pub struct Answer {
    /// When the last result arrived.
    pub last_result: Option<Instant>,
    latest: Option<Value>,
}

impl Watch {
    /// The next message, comments left out; `None` when the stream ended.
    pub async fn message(&mut self) -> Option<Value> {
        loop {
            let event = self.events.next().await?;
            if let Some(message) = message_of(&event) {
                return Some(message);
            }
        }
    }

    /// The data of the next result; panics on an error frame.
    pub async fn next(&mut self) -> Value {
        let message = self.message().await.expect("the stream is open");
        assert_eq!(message["type"], "result", "{message}");
        message["data"].clone()
    }

    /// Reads results until one satisfies `wanted`.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut latest = Value::Null;
        let found = tokio::time::timeout(EVENT_TIMEOUT, async {
            loop {
                latest = self.message().await.expect("the stream is open");
                if latest["type"] == "result" && wanted(&latest["data"]) {
                    return latest["data"].clone();
                }
            }
        });
        // Heartbeats reset the timeout of an event, so the whole wait has one.
        found.await.unwrap_or_else(|_| panic!("no result matched; the last message was {latest}"))
    }

    /// The next raw event, comments included.
    pub async fn event(&mut self) -> Option<String> {
        self.events.next().await
    }

    /// Whether no more events have arrived. Call it only while the server is idle.
    pub fn is_quiet(&mut self) -> bool {
        self.events.is_quiet()
    }

    /// Reads in a task from now on.
    pub fn read_continuously(self) -> Reader<Answer> {
        Reader::new(self.events, Answer::default())
    }
}

impl StreamState for Answer {
    fn on_event(&mut self, event: &str) {
        if let Some(mut message) = message_of(event).filter(|message| message["type"] == "result") {
            self.last_result = Some(Instant::now());
            self.latest = Some(message["data"].take());
        }
    }

    fn latest(&self, _query: u64) -> Option<&Value> {
        self.latest.as_ref()
    }
}

/// The message of an event; comments have none.
fn message_of(event: &str) -> Option<Value> {
    data_of(event).next().map(|data| serde_json::from_str(data).expect("frames are JSON"))
}
