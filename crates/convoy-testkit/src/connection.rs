//! One keep-alive connection for many calls, one after another, like a browser's. It does not
//! use up the ports of the machine.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
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

impl Client {
    /// Connects, and stays connected.
    pub async fn connect(&self) -> Connection {
        let socket = TcpStream::connect(self.address).await.expect("the server listens");
        socket.set_nodelay(true).expect("a socket");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("the server speaks HTTP");
        tokio::spawn(connection);
        Connection { client: self.clone(), sender }
    }

    /// The head of a request with the headers of this client.
    pub(crate) fn head(&self, method: Method, path: &str) -> hyper::http::request::Builder {
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

    async fn send(&mut self, path: &str, args: &Value) -> Reply {
        let request = self.client.head(Method::POST, path).body(Full::new(Bytes::from(args.to_string())));
        let request = request.expect("a request");
        within(async {
            self.sender.ready().await.expect("the connection is kept");
            let response = self.sender.send_request(request).await.expect("the server answers");
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("the answer arrives whole").to_bytes();
            Reply::new(&head, &body)
        })
        .await
    }
}
