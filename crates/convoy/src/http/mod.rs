//! The HTTP server: parses requests, and encodes results and errors. The only module
//! that uses hyper.

mod body;
mod conditional;
mod cors;
mod cross_origin;
mod dev_page;
mod event_stream;
mod exchange;
mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod get_query;
mod guard;
mod health;
mod listen;
mod metrics_endpoint;
mod openapi;
mod record;
mod request_url;
mod respond;
mod route;
mod router;
mod routes;
mod security_headers;
mod socket;
mod static_files;
mod stream;
mod this_machine;
mod upload;
mod write_timeout;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::Method;
use hyper::body::{Body, Incoming};
use hyper::header::EXPECT;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Engine;
use crate::dispatch::{Answer, FunctionKind};
use crate::engine::{RemoteAnswer, RemoteCall};
use crate::error::{Code, Failure};
use crate::live::{OpenSession, Payer, SessionId, StreamFormat, client_messages};
use crate::lossy;
use crate::telemetry::Route as Template;
use crate::trusted_proxies::ClientNetwork;
use body::{RequestBody, WithoutTrailers};
use cors::Grant;
pub use dev_page::{DevAnswer, DevPage, DevRequest};
use event_stream::{EventStream, Handover};
pub use exchange::{Exchange, ExchangeBody, ExchangeHead, Pushed, ResponseHead};
pub use listen::Server;
pub(crate) use metrics_endpoint::MetricsEndpoint;
use record::RequestRecord;
use respond::{HttpAnswer, failure, method_not_allowed, success};
use route::{Route, RouteError};
use router::Found;
pub use router::RoutesError;
pub(crate) use router::{Router, Routes};
use routes::RouteRequest;
use security_headers::Content;
pub(crate) use security_headers::SecurityHeaders;
use socket::Upgrading;
pub(crate) use static_files::{StaticError, StaticFiles};
use stream::SubscribeParams;
use write_timeout::WriteTimeout;

/// The body that an HTTP client would receive for a call, plus the parts of the result
/// that JavaScript cannot represent.
pub fn envelope_of(result: &Result<Answer, Failure>) -> String {
    match result {
        Ok(answer) => {
            let data = String::from_utf8_lossy(&answer.result);
            let lossy = if lossy::may_be_lossy(&data) { lossy::members(&data) } else { None }.unwrap_or_default();
            format!(r#"{{"ok":true,"data":{data}{lossy}}}"#)
        }
        Err(failure) => failure.to_envelope(),
    }
}

/// Headers of a request; the default of hyper.
const MAX_HEADERS: usize = 100;
/// The part of a connection's read buffer beside the URL and the names and values of headers: the
/// method, the version, and four bytes of separators for each header.
const SYNTAX_BYTES: usize = 4 * MAX_HEADERS + 100;

async fn serve(socket: TcpStream, peer: SocketAddr, engine: Arc<Engine>, stop: CancellationToken, tasks: TaskTracker) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(cause = %error, "TCP_NODELAY could not be set");
    }
    let limits = &engine.config().limits;
    let (header_timeout, write_timeout) =
        (Duration::from_millis(limits.header_ms), Duration::from_millis(limits.slow_reader_ms));
    let buffer_bytes = guard::MAX_URL_BYTES + limits.header_bytes + SYNTAX_BYTES;
    let (socket, handover) = Handover::lend(WriteTimeout::new(socket, write_timeout));
    let (streams, offering) = (tasks.clone(), handover.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (engine, tasks, handover) = (engine.clone(), tasks.clone(), offering.clone());
        // Boxed, so that its memory is freed when the answer begins: a connection that
        // then streams for hours does not keep it.
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let (method, version) = (head.method.clone(), head.version);
            let upgrading = head.extensions.remove::<OnUpgrade>().map(upgraded);
            let body = WithoutTrailers::wrap(body);
            let files = engine.static_files();
            let connection = Connection { peer: Some(peer.ip()), upgrading, tasks: &tasks, files };
            let answer = answer(&engine, head, body, connection).await;
            match handover.offer((&method, version), answer) {
                Some(answer) => Ok::<_, std::convert::Infallible>(answer),
                None => std::future::pending().await,
            }
        })
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(buffer_bytes)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    {
        let mut connection = std::pin::pin!(connection);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = handover.offered() => break Ok(()),
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(cause = %error, "a connection ended with an error");
        }
    }
    // A task of its own is smaller than this one.
    if let Some((socket, answer)) = handover.take() {
        streams.spawn(event_stream::send(socket, answer));
    }
}

/// The socket of an upgraded connection.
fn upgraded(upgrading: OnUpgrade) -> Upgrading {
    Box::pin(async move { Ok(Box::new(TokioIo::new(upgrading.await?)) as Box<dyn socket::Connection>) })
}

/// The connection of a request.
struct Connection<'a> {
    /// The address of the client, or of a proxy, if it is known.
    peer: Option<IpAddr>,
    /// If the request asks for an upgrade, and the connection can be upgraded.
    upgrading: Option<Upgrading>,
    /// Owns the tasks that outlive the answer.
    tasks: &'a TaskTracker,
    /// The static files, where the request has come by a listener of the engine.
    files: Option<&'a StaticFiles>,
}

/// Answers one request, also after a panic.
async fn answer(engine: &Arc<Engine>, head: Parts, mut body: RequestBody, connection: Connection<'_>) -> HttpAnswer {
    let record = RequestRecord::begin(engine, &head, connection.peer);
    let tasks = connection.tasks;
    let found = find(engine, &head);
    let cors = found.as_ref().and_then(|found| found.options()?.cors.as_ref());
    let config = engine.config();
    let grant = Grant::of(&head.headers, cors.unwrap_or(&config.cors));
    let content = if found.is_some() { Content::Route } else { Content::Api };
    let scheme = cross_origin::scheme_of(&head.headers, connection.peer, config);
    // A client that waits for 100 Continue has not sent the body.
    let expects_continue = head.headers.contains_key(EXPECT);
    let handling = handle(engine, head, &mut body, (connection, &grant, found), &record);
    let mut answer = match record.scope().run(std::panic::AssertUnwindSafe(handling).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(refused)) => failure(&refused),
        Err(_panic) => failure(&Failure::internal("http", &"a request panicked")),
    };
    grant.apply(&mut answer);
    let content = answer.extensions_mut().remove().unwrap_or(content);
    engine.security_headers().apply(&mut answer, content, scheme.as_deref());
    if let Some(trace) = record.trace_response() {
        respond::mark_trace(&mut answer, &trace);
    }
    record.end(answer.status());
    if !body.is_end_stream() {
        answer.extensions_mut().remove::<EventStream>();
        respond::mark_last(&mut answer);
        if !expects_continue {
            tasks.spawn(body::discard(body));
        }
    }
    answer
}

/// Finds the HTTP route of a request.
fn find(engine: &Engine, head: &Parts) -> Option<Found> {
    engine.router().as_ref()?.find(head, &engine.config().base_path)
}

async fn handle(
    engine: &Arc<Engine>,
    mut head: Parts,
    body: &mut RequestBody,
    (Connection { peer, upgrading, tasks, files }, grant, found): (Connection<'_>, &Grant, Option<Found>),
    record: &RequestRecord<'_>,
) -> Result<HttpAnswer, Failure> {
    let config = engine.config();
    if let Some(found) = found {
        record.found(Template::Program);
        guard::check_route(&mut head, peer, config, found.options())?;
        let url = request_url::of(&head, peer, config)?;
        forwarded::restrict(&mut head.headers, peer, config);
        return routes::answer(engine, found, RouteRequest { head: &head, url, peer, body, tasks }, grant).await;
    }
    guard::check(&mut head, peer, config)?;
    if let (Some(page), Some(path), Some(peer)) = (engine.dev_page(), dev_page::path_of(&head), peer) {
        return dev_page::answer(page, path, (&head, body), (peer, &config.limits)).await;
    }
    let address = guard::address(&head.headers, peer, config);
    let counted = guard::counted(address, peer, config);
    let route = match Route::parse(&head.method, &head.uri, &config.base_path) {
        Ok(route) => route,
        Err(RouteError::Unknown(refused)) => {
            record.found(Template::Files);
            return files.and_then(|files| files.answer(&head)).ok_or(refused);
        }
        Err(RouteError::Refused(refused)) => return Err(refused),
        Err(RouteError::Method { allowed }) => return other_method(&head, grant, allowed),
    };
    record.found(route.template());
    match route {
        Route::Health => Ok(health::health(engine)),
        Route::Ready => Ok(health::ready(engine).await),
        Route::Call { kind, name } => call(engine, (&head, body), address, (kind, &name)).await,
        Route::Query { name, input } => match get_query::method_of(engine, &name, &head.method)? {
            Ok(how) => get_query::answer(engine, &head, address, (how, &name, input)).await,
            Err(allowed) => other_method(&head, grant, allowed),
        },
        Route::OpenApi if engine.config().openapi.is_none() => Err(route::unknown(&config.base_path)),
        Route::OpenApi if !matches!(head.method, Method::GET | Method::HEAD) => {
            other_method(&head, grant, openapi::METHODS)
        }
        Route::OpenApi => openapi::answer(engine, &head).await,
        Route::Subscribe { name, input } => {
            let last_seen = head.headers.get("last-event-id").and_then(|value| value.to_str().ok());
            let params =
                SubscribeParams { name, input, last_seen, position: guard::position(&head.headers), address, counted };
            stream::subscribe(engine, params, || guard::caller(&head, address, false)).await
        }
        Route::Live => open_session(engine, (&head, body), address, counted).await,
        Route::UpdateSession { session } => update_session(engine, (&head, body), address, &session).await,
        Route::Socket => {
            let answer = socket::accept(&head.headers)?;
            let Some(upgrading) = upgrading else { return Err(socket::not_upgradable()) };
            tasks.spawn(socket::serve(
                engine.clone(),
                upgrading,
                guard::caller_with_token(head, address),
                (address, counted),
            ));
            Ok(answer)
        }
        Route::Overview { function }
            if config.dev && peer.is_some_and(|peer| this_machine::check(&head.headers, peer).is_ok()) =>
        {
            engine.live_overview(function.as_deref()).map(|overview| success(overview.into()))
        }
        Route::Overview { .. } => Err(Failure::new(Code::NotFound, OVERVIEW_ELSEWHERE)),
    }
}

const OVERVIEW_ELSEWHERE: &str = "Live queries are listed here in development only, and to this machine only. A server \
    in production lists them at /_live of the port of its metrics, to its own machine only.";

/// The answer to a method that a path does not take: to a preflight, what it takes.
fn other_method(head: &Parts, grant: &Grant, allowed: &'static str) -> Result<HttpAnswer, Failure> {
    let preflight = grant.preflight(&head.method, &head.headers, allowed);
    preflight.unwrap_or_else(|| Ok(method_not_allowed(&head.method, allowed)))
}

async fn open_session(
    engine: &Arc<Engine>,
    (head, body): (&Parts, &mut RequestBody),
    address: Option<IpAddr>,
    counted: Option<ClientNetwork>,
) -> Result<HttpAnswer, Failure> {
    guard::check_content_type(&head.headers)?;
    let queries = client_messages::parse_queries(&body::read(body, &engine.config().limits).await?)?;
    let request = OpenSession {
        format: StreamFormat::Protocol,
        queries,
        position: guard::position(&head.headers),
        payer: Payer::Client(address),
        counted,
    };
    let opened = engine.live().open(request, || guard::caller(head, address, false)).await?;
    Ok(stream::session(engine, opened))
}

async fn update_session(
    engine: &Engine,
    (head, body): (&Parts, &mut RequestBody),
    address: Option<IpAddr>,
    session: &str,
) -> Result<HttpAnswer, Failure> {
    guard::check_content_type(&head.headers)?;
    let update = client_messages::parse_session_update(&body::read(body, &engine.config().limits).await?)?;
    let unknown = || Failure::new(Code::NotFound, "This server has no such session; open a new stream.");
    let session = SessionId::parse(session).ok_or_else(unknown)?;
    let caller = || guard::caller(head, address, false);
    engine.live().update(session, update, (guard::position(&head.headers), address), caller).await?;
    Ok(success(Bytes::from_static(b"{}")))
}

async fn call(
    engine: &Engine,
    (head, body): (&Parts, &mut RequestBody),
    address: Option<IpAddr>,
    (kind, name): (FunctionKind, &str),
) -> Result<HttpAnswer, Failure> {
    guard::check_content_type(&head.headers)?;
    let input = body::read(body, &engine.config().limits).await?;
    let call = RemoteCall {
        kind,
        name,
        input,
        caller: &|keyed| guard::caller(head, address, keyed),
        key: guard::idempotency_key(&head.headers)?,
        repeated: guard::is_repeated(&head.headers),
        position: guard::position(&head.headers),
        session: guard::session(&head.headers),
        preload: guard::is_preload(&head.headers),
        no_cache: guard::is_no_cache(&head.headers),
        address,
    };
    let RemoteAnswer { result, position, replayed, session, hash } = engine.answer(call).await?;
    let mut answer = success(result);
    respond::mark_position(&mut answer, &position);
    if let Some(hash) = hash {
        respond::mark_hash(&mut answer, &hash);
    }
    if let Some(session) = session {
        respond::mark_session(&mut answer, session);
    }
    if replayed {
        respond::mark_replayed(&mut answer);
    }
    Ok(answer)
}
