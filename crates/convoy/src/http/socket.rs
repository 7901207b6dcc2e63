//! Sessions over WebSocket (`GET /api/ws`): the messages of `POST /api/live`, one
//! frame a text message, its messages on lines of their own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Text};

use super::respond::{self, HttpAnswer};
use crate::Engine;
use crate::error::{Code, Failure};
use crate::live::client_messages::{self, ClientUpdate, Hello};
use crate::live::{Message, OpenSession, Stream, Style};

/// Who asks, as text for the host, given the bearer token they bring.
pub(super) type CallerWith = Box<dyn Fn(Option<&str>) -> Arc<str> + Send + Sync>;

/// The answer to a request to speak WebSocket, or why not.
pub(super) fn accept(headers: &HeaderMap) -> Result<HttpAnswer, Failure> {
    let names = |name, word: &str| {
        let all = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let fits = names(UPGRADE, "websocket") && names(CONNECTION, "upgrade") && names(SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| fits);
    let Some(key) = key else {
        return Err(Failure {
            status: Some(StatusCode::UPGRADE_REQUIRED.as_u16()),
            ..Failure::new(Code::InvalidArgs, "this endpoint requires a WebSocket upgrade (version 13)")
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

/// Serves the connection until either side ends it.
pub(super) async fn serve(engine: Arc<Engine>, upgrading: OnUpgrade, caller: CallerWith, address: Option<IpAddr>) {
    let upgraded = match upgrading.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(cause = %error, "a connection was not upgraded"),
    };
    let most = engine.config().limits.body_bytes;
    let config = WebSocketConfig::default().max_message_size(Some(most)).max_frame_size(Some(most));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let mut socket = Socket { socket, next: 0 };
    let ended = match socket.run(&engine, &caller, address).await {
        Err(Error::Capacity(_)) => {
            let failure = Failure::new(Code::PayloadTooLarge, format!("a message is larger than {most} bytes"));
            socket.refuse(failure, CloseCode::Size).await
        }
        ended => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(cause = %error, "a WebSocket ended with an error");
    }
}

/// Who is served.
struct Client<'a> {
    stream: Stream,
    caller: &'a CallerWith,
    /// The token it brought last that held.
    token: Option<String>,
}

impl Client<'_> {
    /// Does what it says it wishes, in the name of its token.
    async fn wishes(&mut self, engine: &Engine, said: &str) -> Result<(), Failure> {
        let ClientUpdate { alteration, token } = client_messages::wish(said)?;
        let token = token.or_else(|| self.token.clone());
        let caller = || (self.caller)(token.as_deref());
        engine.live().alter(self.stream.id(), alteration, None, caller).await?;
        self.token = token;
        Ok(())
    }
}

struct Socket {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    /// The place of the next message.
    next: u64,
}

impl Socket {
    async fn run(&mut self, engine: &Arc<Engine>, caller: &CallerWith, address: Option<IpAddr>) -> Result<(), Error> {
        let limits = &engine.config().limits;
        let patience = Duration::from_millis(limits.header_ms);
        let said = match tokio::time::timeout(patience, self.text()).await {
            Ok(said) => said?,
            Err(_elapsed) => {
                let failure = Failure::new(Code::Timeout, "no opening message arrived in time");
                return self.refuse(failure, CloseCode::Policy).await;
            }
        };
        let Some(said) = said else { return Ok(()) };
        let (queries, token, position) = match client_messages::greeting(&said) {
            Ok(Hello { queries, token, position }) => (queries, token, position),
            Err(failure) => return self.refuse(failure, CloseCode::Policy).await,
        };
        let asks = OpenSession { style: Style::Protocol, queries, position: position.as_deref(), address };
        match engine.live().open(asks, || caller(token.as_deref())).await {
            Ok(stream) => self.session(engine, Client { stream, caller, token }).await,
            Err(failure) => self.refuse(failure, CloseCode::Policy).await,
        }
    }

    async fn session(&mut self, engine: &Arc<Engine>, mut client: Client<'_>) -> Result<(), Error> {
        let heartbeat = Duration::from_millis(engine.config().limits.heartbeat_ms);
        // From the last frame on, however much the client says meanwhile.
        let mut next_sign = Instant::now() + heartbeat;
        loop {
            tokio::select! {
                frame = tokio::time::timeout_at(next_sign, client.stream.next()) => {
                    next_sign = Instant::now() + heartbeat;
                    match frame {
                        Ok(Some(messages)) => self.send(&messages).await?,
                        Ok(None) => return self.close(CloseCode::Away).await,
                        // A page cannot see pings, and should see that we live.
                        Err(_elapsed) => self.socket.send(Text::text("\n")).await?,
                    }
                }
                said = self.text() => {
                    let Some(said) = said? else { return Ok(()) };
                    if let Err(failure) = client.wishes(engine, &said).await {
                        engine.live().refuse(client.stream.id(), failure);
                    }
                }
            }
        }
    }

    /// The next text; `None` when the other side has ended. Nothing is lost where
    /// the future is dropped.
    async fn text(&mut self) -> Result<Option<String>, Error> {
        loop {
            match self.socket.next().await {
                // A sign of life, as we give one too.
                Some(Ok(Text::Text(text))) if text.trim().is_empty() => {}
                Some(Ok(Text::Text(text))) => return Ok(Some(text.as_str().to_owned())),
                // It stands for a message that is none of ours, and is refused as such.
                Some(Ok(Text::Binary(_))) => return Ok(Some(String::new())),
                // What was answered to that goes out before the socket goes.
                Some(Ok(Text::Close(_))) => return self.socket.flush().await.map(|()| None),
                None => return Ok(None),
                Some(Ok(Text::Ping(_) | Text::Pong(_) | Text::Frame(_))) => {}
                Some(Err(Error::ConnectionClosed)) => return Ok(None),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    async fn send(&mut self, messages: &[Message]) -> Result<(), Error> {
        let mut frame = Vec::new();
        for message in messages {
            if !frame.is_empty() {
                frame.push(b'\n');
            }
            message.write(self.next, &mut frame);
            self.next += 1;
        }
        // Messages are made of text.
        let text = String::from_utf8(frame).map_err(|error| Error::Utf8(error.to_string()))?;
        self.socket.send(Text::text(text)).await
    }

    /// Says why there is no session, and ends.
    async fn refuse(&mut self, failure: Failure, code: CloseCode) -> Result<(), Error> {
        self.send(&[Message::Refused { id: None, failure }]).await?;
        self.close(code).await
    }

    async fn close(&mut self, code: CloseCode) -> Result<(), Error> {
        self.socket.close(Some(CloseFrame { code, reason: "".into() })).await
    }
}
