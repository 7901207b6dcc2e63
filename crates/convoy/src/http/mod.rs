//! Bytes into requests, results and errors into bytes: the native server. The
//! only place that names hyper.

mod guard;
mod respond;
mod route;
mod socket;
mod stall;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Engine;
use crate::dispatch::{Answer, CallOf, Caller, FunctionKind};
use crate::error::{Code, Failure};
use crate::live::{Asks, Held, SessionId, Style, incoming};
use crate::lossy;
use respond::{HttpAnswer, failure, method_not_allowed, success};
use route::{Route, RouteError};
use stall::Stalling;
use stream::Subscribing;

/// A call's result as the body an HTTP client would get, and beside it what
/// JavaScript cannot hold of the result.
pub fn envelope_of(result: &Result<Answer, Failure>) -> String {
    match result {
        Ok(answer) => {
            let data = String::from_utf8_lossy(&answer.result);
            let lossy = if lossy::may_be_lossy(&data) { lossy::members(&data) } else { None }.unwrap_or_default();
            format!(r#"{{"ok":true,"data":{data}{lossy}}}"#)
        }
        Err(failure) => respond::failure_envelope(failure),
    }
}

/// Bytes of a connection's read buffer: room for the headers that are allowed
/// and for the first line.
const BUFFER: usize = guard::MOST_HEADERS + (16 << 10);

/// A listening server. Dropping it does not stop it; [`Server::close`] does.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Binds and begins to serve.
    pub async fn start(engine: Arc<Engine>, host: &str, port: u16) -> std::io::Result<Server> {
        let listener = TcpListener::bind((host, port)).await?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, engine, stop.clone(), tasks.clone()));
        Ok(Server { address, stop, tasks })
    }

    /// Stops accepting, lets requests in flight end, and closes what is idle.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn accept(listener: TcpListener, engine: Arc<Engine>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                tasks.spawn(serve(socket, peer, engine.clone(), stop.clone(), tasks.clone()));
            }
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to come free.
                tracing::warn!(cause = %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, peer: SocketAddr, engine: Arc<Engine>, stop: CancellationToken, tasks: TaskTracker) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(cause = %error, "TCP_NODELAY could not be set");
    }
    let limits = &engine.config().limits;
    let (header_time, stall_time) = (Duration::from_millis(limits.header_ms), Duration::from_millis(limits.stall_ms));
    let service = service_fn(move |request| {
        let (engine, tasks) = (engine.clone(), tasks.clone());
        // In a box of its own, which goes when the answer begins: a connection that
        // then streams for hours does not keep room for all that may happen before.
        Box::pin(async move { Ok::<_, std::convert::Infallible>(answer(&engine, request, peer, &tasks).await) })
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Stalling::new(socket, stall_time)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(cause = %error, "a connection ended with an error");
    }
}

type Request = hyper::Request<Incoming>;

/// Answers one request, whatever happens inside.
async fn answer(engine: &Arc<Engine>, request: Request, peer: SocketAddr, tasks: &TaskTracker) -> HttpAnswer {
    let handled = std::panic::AssertUnwindSafe(handle(engine, request, peer, tasks)).catch_unwind().await;
    match handled {
        Ok(Ok(answer)) => answer,
        Ok(Err(refused)) => failure(&refused),
        Err(_panic) => failure(&Failure::internal("http", &"a request panicked")),
    }
}

async fn handle(
    engine: &Arc<Engine>,
    mut request: Request,
    peer: SocketAddr,
    tasks: &TaskTracker,
) -> Result<HttpAnswer, Failure> {
    let config = engine.config();
    guard::check(&request, config.dev)?;
    let address = guard::address(request.headers(), peer.ip(), config.trust_proxy);
    let counted = guard::counted(address, config.trust_proxy);
    let route = match Route::parse(request.method(), request.uri(), &config.base_path) {
        Ok(route) => route,
        Err(RouteError::Refused(refused)) => return Err(refused),
        Err(RouteError::Method { allowed }) => return Ok(method_not_allowed(request.method(), allowed)),
    };
    match route {
        Route::Health => Ok(success(Bytes::from_static(br#"{"status":"up"}"#))),
        Route::Call { kind, name } => call(engine, request, address, (kind, &name)).await,
        Route::Subscribe { name, input } => {
            let (head, _body) = request.into_parts();
            let last_seen = head.headers.get("last-event-id").and_then(|value| value.to_str().ok());
            let subscribing =
                Subscribing { name, input, last_seen, position: guard::position(&head.headers), address: counted };
            stream::subscribe(engine, subscribing, || guard::caller(&head, address, false)).await
        }
        Route::Live => {
            guard::check_content_type(&request)?;
            let (head, body) = request.into_parts();
            let queries = incoming::opening(&read_body(engine, body).await?)?;
            let asks =
                Asks { style: Style::Protocol, queries, position: guard::position(&head.headers), address: counted };
            let opened = engine.live().open(asks, || guard::caller(&head, address, false)).await?;
            Ok(stream::session(engine, opened))
        }
        Route::Alter { session } => {
            guard::check_content_type(&request)?;
            let (head, body) = request.into_parts();
            let alteration = incoming::alteration(&read_body(engine, body).await?)?;
            let unknown = || Failure::new(Code::NotFound, "this server has no such session; open a new stream");
            let session = SessionId::parse(&session).ok_or_else(unknown)?;
            let caller = || guard::caller(&head, address, false);
            engine.live().alter(session, alteration, guard::position(&head.headers), caller).await?;
            Ok(success(Bytes::from_static(b"{}")))
        }
        Route::Socket => {
            let answer = socket::accept(request.headers())?;
            let upgrading = hyper::upgrade::on(&mut request);
            let (head, _body) = request.into_parts();
            tasks.spawn(socket::serve(engine.clone(), upgrading, guard::caller_with_token(head, address), counted));
            Ok(answer)
        }
        Route::Overview if config.dev && peer.ip().is_loopback() => {
            let overview = serde_json::to_vec(&engine.live().overview());
            Ok(success(overview.map_err(|error| Failure::internal("_live", &error))?.into()))
        }
        Route::Overview => {
            Err(Failure::new(Code::NotFound, "what is live is shown in development, and to this machine only"))
        }
    }
}

/// A call, answered from memory where that is possible.
async fn call(
    engine: &Engine,
    request: Request,
    address: IpAddr,
    (kind, name): (FunctionKind, &str),
) -> Result<HttpAnswer, Failure> {
    guard::check_content_type(&request)?;
    let (head, body) = request.into_parts();
    let input = read_body(engine, body).await?;
    let live = engine.live();
    if kind == FunctionKind::Query {
        let position = guard::position(&head.headers);
        let held = live.held(name, &input, position, || guard::caller(&head, address, false)).await;
        if let Some(held) = held {
            let Held { data, position } = held?;
            let mut answer = success(data);
            respond::mark_position(&mut answer, &position);
            return Ok(answer);
        }
    }
    let key = guard::idempotency_key(&head.headers)?;
    let settles = guard::session(&head.headers).zip(key.clone()).filter(|_| kind == FunctionKind::Mutation);
    let caller = |keyed| guard::caller(&head, address, keyed);
    let caller = Caller::Network(&caller);
    let Answer { result, replayed } = engine.call(CallOf { kind, name, input, caller, key }).await?;
    if let Some((session, key)) = settles {
        live.settle(session, key.as_str().to_owned(), name, replayed);
    }
    let mut answer = success(result);
    respond::mark_position(&mut answer, &live.position());
    if replayed {
        respond::mark_replayed(&mut answer);
    }
    Ok(answer)
}

/// The whole body as text, within its limits.
async fn read_body(engine: &Engine, body: Incoming) -> Result<String, Failure> {
    let limits = &engine.config().limits;
    let reading = Limited::new(body, limits.body_bytes).collect();
    let collected = tokio::time::timeout(Duration::from_millis(limits.body_ms), reading)
        .await
        .map_err(|_elapsed| Failure::new(Code::Timeout, "the request's body took too long to arrive"))?
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                let limit = limits.body_bytes;
                Failure::new(Code::PayloadTooLarge, format!("the request's body is larger than {limit} bytes"))
            } else {
                Failure::new(Code::InvalidArgs, "the request's body did not arrive whole")
            }
        })?;
    let bytes = Vec::from(collected.to_bytes());
    if bytes.is_empty() {
        return Ok("{}".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| Failure::new(Code::InvalidArgs, "the request's body is not UTF-8"))
}
