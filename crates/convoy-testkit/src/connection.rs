//! One keep-alive connection for many calls, one after another, like a browser's. It does not
//! use up the ports of the machine.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::http::request::Builder;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::{Client, Reply};
use crate::within;

/// A connection that stays open between calls.
pub struct Connection {
    client: Client,
    sender: SendRequest<Full<Bytes>>,
}

/// The connection ended before the answer: the request may have been processed or not.
#[derive(Debug)]
pub struct ConnectionLost(String);

impl std::fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the connection ended before the answer: {}", self.0)
    }
}

impl std::error::Error for ConnectionLost {}

impl Client {
    /// Connects, and stays connected.
    pub async fn connect(&self) -> Connection {
        self.try_connect().await.expect("the server listens")
    }

    /// Like [`Client::connect`], to a server that may have ended.
    pub async fn try_connect(&self) -> Result<Connection, ConnectionLost> {
        let lost = |error: std::io::Error| ConnectionLost(error.to_string());
        let socket = TcpStream::connect(self.address).await.map_err(lost)?;
        socket.set_nodelay(true).map_err(lost)?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
        let (sender, connection) = shaken.map_err(|error| ConnectionLost(error.to_string()))?;
        tokio::spawn(connection);
        Ok(Connection { client: self.clone(), sender })
    }

    /// The head of a request with the headers of this client.
    pub(crate) fn head(&self, method: Method, path: &str) -> Builder {
        let request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

impl Connection {
    /// Calls a query.
    pub async fn query(&mut self, name: &str, args: &Value) -> Reply {
        self.send(&format!("/api/query/{name}"), args).await
    }

    /// Calls a mutation.
    pub async fn mutate(&mut self, name: &str, args: &Value) -> Reply {
        self.send(&format!("/api/mutation/{name}"), args).await
    }

    /// Calls `/api/<path>`, with an idempotency key if it has one. The server may end meanwhile.
    pub async fn try_call(&mut self, path: &str, args: &Value, key: Option<&str>) -> Result<Reply, ConnectionLost> {
        let mut head = self.client.head(Method::POST, &format!("/api/{path}"));
        if let Some(key) = key {
            head = head.header("idempotency-key", key);
        }
        self.exchange(head, args).await
    }

    async fn send(&mut self, path: &str, args: &Value) -> Reply {
        let head = self.client.head(Method::POST, path);
        self.exchange(head, args).await.expect("the server answers")
    }

    async fn exchange(&mut self, head: Builder, args: &Value) -> Result<Reply, ConnectionLost> {
        let request = head.body(Full::new(Bytes::from(args.to_string()))).expect("a request");
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok(Reply::new(&head, &body.collect().await?.to_bytes()))
        };
        within(exchange).await.map_err(|error: hyper::Error| ConnectionLost(error.to_string()))
    }
}
