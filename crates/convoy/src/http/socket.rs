//! Live sessions over WebSocket (`GET /api/ws`): the messages of `POST /api/live`. Each
//! frame is one text message with one line for each of its messages.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Text};

use super::respond::{self, HttpAnswer};
use crate::Engine;
use crate::error::{Code, Failure};
use crate::failpoints::Point;
use crate::live::client_messages::{self, ClientUpdate, Hello};
use crate::live::{OpenSession, Payer, SessionMessage, Stream, StreamFormat};
use crate::trusted_proxies::ClientNetwork;

/// Builds the caller, as JSON for the host, from a bearer token.
pub(super) type CallerOf = Box<dyn Fn(Option<&str>) -> Arc<str> + Send + Sync>;

/// The client's address, if it is known, and the client by which its streams are counted.
pub(super) type Addresses = (Option<IpAddr>, Option<ClientNetwork>);

/// A connection that becomes a WebSocket.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Resolves to the connection once the answer to its upgrade request has been sent.
pub(super) type Upgrading = BoxFuture<'static, Result<Box<dyn Connection>, hyper::Error>>;

/// Answers a WebSocket upgrade request.
pub(super) fn accept(headers: &HeaderMap) -> Result<HttpAnswer, Failure> {
    let has_token = |name, token: &str| {
        let all = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let is_upgrade =
        has_token(UPGRADE, "websocket") && has_token(CONNECTION, "upgrade") && has_token(SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_upgrade);
    let Some(key) = key else {
        return Err(Failure {
            status: Some(StatusCode::UPGRADE_REQUIRED.as_u16()),
            ..Failure::new(Code::InvalidArgs, "This endpoint requires a WebSocket upgrade (version 13).")
        });
    };
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Failure::internal("websocket", &error))?;
    let mut answer = respond::empty(StatusCode::SWITCHING_PROTOCOLS);
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accepted);
    Ok(answer)
}

/// The failure for a server that received the request, but does not pass its connection.
pub(super) fn not_upgradable() -> Failure {
    Failure {
        status: Some(StatusCode::UPGRADE_REQUIRED.as_u16()),
        ..Failure::new(
            Code::InvalidArgs,
            "This server does not pass WebSocket upgrades to Convoy; with node:http, register \
             server.on('upgrade', convoy.upgradeHandler()).",
        )
    }
}

/// Serves the connection until either side ends it.
pub(super) async fn serve(engine: Arc<Engine>, upgrading: Upgrading, caller: CallerOf, addresses: Addresses) {
    let upgraded = match upgrading.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(cause = %error, "a connection was not upgraded"),
    };
    let max = engine.config().limits.body_bytes;
    let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    let mut socket = Socket { socket, next: 0 };
    let ended = match socket.run(&engine, &caller, addresses).await {
        Err(Error::Capacity(_)) => {
            let failure = Failure::new(Code::PayloadTooLarge, format!("A message is larger than {max} bytes."));
            socket.refuse(failure, CloseCode::Size).await
        }
        ended => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(cause = %error, "a WebSocket ended with an error");
    }
}

/// A connected client.
struct Client<'a> {
    stream: Stream,
    caller: &'a CallerOf,
    /// The last token of the client that was accepted.
    token: Option<String>,
    address: Option<IpAddr>,
}

impl Client<'_> {
    /// Applies an update message with the client's token.
    async fn apply_update(&mut self, engine: &Engine, message: &str) -> Result<(), Failure> {
        let ClientUpdate { update, token } = client_messages::parse_update(message)?;
        let token = token.or_else(|| self.token.clone());
        let caller = || (self.caller)(token.as_deref());
        engine.live().update(self.stream.id(), update, (None, self.address), caller).await?;
        self.token = token;
        Ok(())
    }
}

struct Socket {
    socket: WebSocketStream<Box<dyn Connection>>,
    /// The sequence number of the next message.
    next: u64,
}

impl Socket {
    async fn run(
        &mut self,
        engine: &Arc<Engine>,
        caller: &CallerOf,
        (address, counted): Addresses,
    ) -> Result<(), Error> {
        let limits = &engine.config().limits;
        let timeout = Duration::from_millis(limits.header_ms);
        let message = match tokio::time::timeout(timeout, self.next_message()).await {
            Ok(message) => message?,
            Err(_elapsed) => {
                let failure = Failure::new(Code::Timeout, "No opening message arrived in time.");
                return self.refuse(failure, CloseCode::Policy).await;
            }
        };
        let Some(message) = message else { return Ok(()) };
        let (queries, token, position) = match client_messages::parse_hello(&message) {
            Ok(Hello { queries, token, position }) => (queries, token, position),
            Err(failure) => return self.refuse(failure, CloseCode::Policy).await,
        };
        let (format, position) = (StreamFormat::Protocol, position.as_deref());
        let request = OpenSession { format, queries, position, payer: Payer::Client(address), counted };
        match engine.live().open(request, || caller(token.as_deref())).await {
            Ok(stream) => self.session(engine, Client { stream, caller, token, address }).await,
            Err(failure) => self.refuse(failure, CloseCode::Policy).await,
        }
    }

    async fn session(&mut self, engine: &Arc<Engine>, mut client: Client<'_>) -> Result<(), Error> {
        let heartbeat = Duration::from_millis(engine.config().limits.heartbeat_ms);
        // Counted from the last frame; messages of the client do not postpone it.
        let mut next_heartbeat = Instant::now() + heartbeat;
        loop {
            tokio::select! {
                frame = tokio::time::timeout_at(next_heartbeat, client.stream.next()) => {
                    next_heartbeat = Instant::now() + heartbeat;
                    match frame {
                        Ok(Some(messages)) => {
                            engine.config().failpoints.pass(Point::StreamWrite).await;
                            let bytes = self.send(&messages).await?;
                            engine.record_frame(client.stream.id(), &messages, bytes);
                        }
                        Ok(None) => return self.close(CloseCode::Away).await,
                        // Pages do not receive pings, so the heartbeat is a message.
                        Err(_elapsed) => self.socket.send(Text::text("\n")).await?,
                    }
                }
                message = self.next_message() => {
                    let Some(message) = message? else { return Ok(()) };
                    if let Err(failure) = client.apply_update(engine, &message).await {
                        engine.live().refuse(client.stream.id(), failure);
                    }
                }
            }
        }
    }

    /// Waits for the next message; `None` when the client has closed. Cancel-safe.
    async fn next_message(&mut self) -> Result<Option<String>, Error> {
        loop {
            match self.socket.next().await {
                // The client's heartbeat.
                Some(Ok(Text::Text(text))) if text.trim().is_empty() => {}
                Some(Ok(Text::Text(text))) => return Ok(Some(text.as_str().to_owned())),
                // Empty text, which is refused as a malformed message.
                Some(Ok(Text::Binary(_))) => return Ok(Some(String::new())),
                // Sends the reply to the close frame before the socket is dropped.
                Some(Ok(Text::Close(_))) => return self.socket.flush().await.map(|()| None),
                None => return Ok(None),
                Some(Ok(Text::Ping(_) | Text::Pong(_) | Text::Frame(_))) => {}
                Some(Err(Error::ConnectionClosed)) => return Ok(None),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Sends a frame; returns its size in bytes.
    async fn send(&mut self, messages: &[SessionMessage]) -> Result<usize, Error> {
        let mut frame = Vec::new();
        for message in messages {
            if !frame.is_empty() {
                frame.push(b'\n');
            }
            message.write(self.next, &mut frame);
            self.next += 1;
        }
        // Messages are valid UTF-8.
        let text = String::from_utf8(frame).map_err(|error| Error::Utf8(error.to_string()))?;
        let bytes = text.len();
        self.socket.send(Text::text(text)).await?;
        Ok(bytes)
    }

    /// Sends the reason that there is no session, and closes.
    async fn refuse(&mut self, failure: Failure, code: CloseCode) -> Result<(), Error> {
        self.send(&[SessionMessage::Refused { id: None, failure }]).await?;
        self.close(code).await
    }

    async fn close(&mut self, code: CloseCode) -> Result<(), Error> {
        self.socket.close(Some(CloseFrame { code, reason: "".into() })).await
    }
}
