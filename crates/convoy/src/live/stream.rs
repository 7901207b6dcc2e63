//! The transport-facing API of a live session: open it, update it, and read its frames.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Live;
use super::answer::{Answer, Hash};
use super::message::{ClientQueryId, SessionId, SessionMessage};
use super::rate_limits::Refusals;
use super::registry::{
    Admission, NewSession, Registry, ResolvedRequest, SessionContext, SessionHandle, StreamFormat, SubscribeRequest,
};
use super::run::{context_of, requesting_fingerprint};
use crate::config::Limits;
use crate::dispatch::{FunctionCall, Program};
use crate::error::{Code, Failure};
use crate::events::{Event, EventKind, LastRun};
use crate::rate_limit::Per;
use crate::trusted_proxies::ClientNetwork;

/// A client's request for a query.
#[derive(Debug)]
pub(crate) struct QueryRequest {
    /// The id that the client has given to it.
    pub id: ClientQueryId,
    /// The function's name.
    pub name: String,
    /// Its input, JSON text.
    pub input: String,
    /// The hash of the result that the client has.
    pub client_hash: Option<Hash>,
}

/// A request to open a session.
#[derive(Debug)]
pub(crate) struct OpenSession<'a> {
    /// The wire format.
    pub format: StreamFormat,
    /// The queries to subscribe to.
    pub queries: Vec<QueryRequest>,
    /// The client's consistency token, if it sent one.
    pub position: Option<&'a str>,
    /// Who pays for the subscriptions.
    pub payer: Payer,
    /// The client, if its streams are counted.
    pub counted: Option<ClientNetwork>,
}

/// Who pays for subscriptions to queries with a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payer {
    /// They are free: this process subscribes, or the call was charged before.
    Free,
    /// A client with this address, if it is known.
    Client(Option<IpAddr>),
}

/// A request to update a session.
#[derive(Debug, Default)]
pub(crate) struct SessionUpdate {
    /// Queries to subscribe to.
    pub add: Vec<QueryRequest>,
    /// Subscriptions to remove.
    pub remove: Vec<ClientQueryId>,
    /// Whether the caller's token replaces the previous one.
    pub replace_token: bool,
}

/// An answer of a stream with a single query.
pub(crate) struct NextAnswer {
    /// The answer, or why there is none.
    pub answer: Result<Arc<Answer>, Failure>,
    /// No other one follows.
    pub is_last: bool,
}

/// An open session; dropping it closes the session.
pub(crate) struct Stream {
    live: Arc<Live>,
    opened: SessionHandle,
    /// When it was admitted; `None` before that.
    admitted: Option<Instant>,
    /// There is no frame until the session is woken, or until this moment.
    waits: Option<Wait>,
}

/// A wait for the next frame, with its end if a wake-up may not come.
#[derive(Debug, Clone, Copy)]
struct Wait {
    until: Option<Instant>,
}

impl Live {
    /// Opens a session; returns once it is authenticated or refused. `caller` builds the
    /// caller's description and is called only if the program has a context.
    pub(crate) async fn open(
        self: &Arc<Self>,
        request: OpenSession<'_>,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<Stream, Failure> {
        let program = self.loaded()?;
        if self.stop.is_cancelled() {
            return Err(shutting_down());
        }
        let now = Instant::now();
        let OpenSession { format, queries, position, payer, counted } = request;
        let mut refused = Refusals::new();
        self.charge(&program, &queries, (Per::Address, None, payer), &mut refused).await;
        let (later, queries): (Vec<_>, Vec<_>) = queries
            .into_iter()
            .partition(|query| !refused.contains_key(&query.id) && self.needs_identity(&program, query));
        self.charge(&program, &queries, (Per::Identity, None, payer), &mut refused).await;
        let requests = self.resolve_all(&program, queries, (0, &mut refused), position, now);
        if let (StreamFormat::Plain, [Err((_, failure))]) = (format, requests.as_slice()) {
            return Err(failure.clone());
        }
        let caller = program.has_context.then(caller);
        let opened = self.with(|registry| {
            // `end_streams` cancels before it ends all sessions: if the cancellation is not
            // visible here yet, this session ends with them.
            if self.stop.is_cancelled() {
                return Err(shutting_down());
            }
            if self.loaded()?.has_context != caller.is_some() {
                return Err(Failure::new(Code::Unavailable, "New code was just loaded; try again shortly."));
            }
            self.has_room(registry.sessions(), counted.map(|client| registry.sessions_of(client)))?;
            Ok::<_, Failure>(registry.open(NewSession { format, caller, requests, counted }, now))
        })?;
        let mut stream = Stream { live: self.clone(), opened, admitted: None, waits: None };
        loop {
            match self.with(|registry| registry.admission(stream.opened.id, Instant::now())) {
                Admission::Admitted => {
                    self.dispatcher.events().emit(|| Event::now(EventKind::SessionOpened));
                    stream.admitted = Some(Instant::now());
                    break;
                }
                Admission::Refused(failure) => return Err(failure),
                Admission::Pending => stream.opened.wake.notified().await,
            }
        }
        if !later.is_empty() {
            let user = self.lock().user_of(stream.opened.id);
            let mut refused = Refusals::new();
            self.charge(&program, &later, (Per::Identity, user.as_deref(), payer), &mut refused).await;
            if let (StreamFormat::Plain, Some(failure)) = (format, refused.remove(&0)) {
                return Err(failure);
            }
            self.with(|registry| self.add(registry, stream.opened.id, (&program, later, refused), position));
        }
        Ok(stream)
    }

    /// Changes the subscriptions or the token of a session. Fails unless `caller` is the
    /// one that opened it.
    pub(crate) async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        (position, address): (Option<&str>, Option<IpAddr>),
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<(), Failure> {
        let (program, payer) = (self.loaded()?, Payer::Client(address));
        let SessionUpdate { add, remove, replace_token } = update;
        let mut refused = Refusals::new();
        self.charge(&program, &add, (Per::Address, None, payer), &mut refused).await;
        let caller = program.has_context.then(caller);
        let context = match &caller {
            Some(caller) => self.make_context(&program, requesting_fingerprint(caller), false).await?,
            None => SessionContext::default(),
        };
        self.charge(&program, &add, (Per::Identity, context.user.as_deref(), payer), &mut refused).await;
        let now = Instant::now();
        self.with(|registry| {
            registry.authorize_update(id, &context)?;
            if replace_token && let Some(caller) = caller {
                registry.replace_token(id, caller);
            }
            remove.into_iter().for_each(|client_query| registry.unsubscribe(id, client_query, now));
            self.add(registry, id, (&program, add, refused), position);
            Ok(())
        })
    }

    /// Adds subscriptions to an open session.
    fn add(
        &self,
        registry: &mut Registry,
        id: SessionId,
        (program, queries, mut refused): (&Program, Vec<QueryRequest>, Refusals),
        position: Option<&str>,
    ) {
        let now = Instant::now();
        let existing = registry.subscription_count_of(id).unwrap_or_default();
        for request in self.resolve_all(program, queries, (existing, &mut refused), position, now) {
            let request = request.and_then(|request| match registry.has_subscription(id, request.id) {
                true => {
                    Err((request.id, Failure::new(Code::InvalidArgs, "This session already has a query of this id.")))
                }
                false => Ok(request),
            });
            registry.subscribe(id, request, now);
        }
    }

    /// Sends an error to a session whose client has sent an invalid message.
    pub(crate) fn refuse(&self, id: SessionId, failure: Failure) {
        self.with(|registry| registry.notify(id, SessionMessage::Refused { id: None, failure }));
    }

    /// Makes a caller's context. `uncached`: it has seen later changes, on another server.
    pub(super) async fn make_context(
        &self,
        program: &Arc<Program>,
        caller: Arc<str>,
        uncached: bool,
    ) -> Result<SessionContext, Failure> {
        let function = program.context.clone();
        let request = FunctionCall {
            function,
            input: "{}".into(),
            caller: Some(caller),
            key: None,
            observer: None,
            uncached,
            observed: false,
            route: None,
            last_run: LastRun::default(),
        };
        let (context, _reads) = context_of(self.dispatcher.query(program, &request).await);
        let context = context?;
        if context.expires_at.is_some_and(|expires_at| expires_at <= Instant::now()) {
            return Err(Failure::new(Code::Unauthorized, "The credentials have expired; send a new token."));
        }
        Ok(context)
    }

    /// Checks the limits of streams; `of_client`: the number that the client has.
    fn has_room(&self, streams: usize, of_client: Option<usize>) -> Result<(), Failure> {
        let Limits { streams: max, streams_per_address: max_per_address, .. } = self.limits;
        if streams >= max {
            let message = format!("This server already serves {max} live streams, its limit.");
            return Err(Failure::new(Code::Unavailable, message));
        }
        if of_client.is_some_and(|streams| streams >= max_per_address) {
            let message = format!(
                "This address, or its IPv6 network (/64), already has {max_per_address} live streams, its limit."
            );
            return Err(Failure::new(Code::RateLimited, message));
        }
        Ok(())
    }

    /// Resolves and checks requested queries, except those that are refused; the session has
    /// `existing` subscriptions.
    fn resolve_all(
        &self,
        program: &Program,
        queries: Vec<QueryRequest>,
        (existing, refused): (usize, &mut Refusals),
        position: Option<&str>,
        now: Instant,
    ) -> Vec<ResolvedRequest> {
        let since = position.map(|position| self.clock.decode(position, now));
        let max = self.limits.queries_per_stream;
        let mut ids = std::collections::HashSet::new();
        let mut total = existing;
        let resolve_one = |QueryRequest { id, name, input, client_hash }: QueryRequest| {
            if !ids.insert(id) {
                return Err((id, Failure::new(Code::InvalidArgs, "Two queries of this message have the same id.")));
            }
            if let Some(failure) = refused.remove(&id) {
                return Err((id, failure));
            }
            total += 1;
            if total > max {
                let message = format!("This session already watches {max} queries, its limit.");
                return Err((id, Failure::new(Code::PayloadTooLarge, message)));
            }
            let (function, query_key) = self.resolve(program, &name, &input).map_err(|failure| (id, failure))?;
            Ok(SubscribeRequest { id, query_key, shareable: function.share, client_hash, since })
        };
        queries.into_iter().map(resolve_one).collect()
    }
}

impl Stream {
    /// The session's id.
    pub(crate) fn id(&self) -> SessionId {
        self.opened.id
    }

    /// Waits for the next frame: the newest answers; a slow reader skips older ones.
    /// `None` when the session has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Vec<SessionMessage>> {
        loop {
            if let Some(Wait { until }) = self.waits {
                let woken = self.opened.wake.notified();
                match until {
                    Some(at) => tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    },
                    None => woken.await,
                }
            }
            let frame = self.live.with(|registry| registry.next_frame(self.opened.id, Instant::now()));
            if frame.messages.is_empty() {
                if frame.ended {
                    return None;
                }
                self.waits = Some(Wait { until: frame.wake_at });
                continue;
            }
            self.waits = frame.complete.then_some(Wait { until: frame.wake_at });
            return Some(frame.messages);
        }
    }

    /// Waits for the next answer of a stream with a single query; skips those that a slow
    /// reader has missed. `None` when the session has ended. Cancel-safe.
    pub(crate) async fn next_answer(&mut self) -> Option<NextAnswer> {
        while let Some(messages) = self.next().await {
            let (mut newest, mut is_last) = (None, false);
            for message in messages {
                match message {
                    // One query has one answer in a frame.
                    SessionMessage::Answer { answer, .. } => newest = Some(Ok(answer)),
                    SessionMessage::Rejected(failure) | SessionMessage::Refused { failure, .. } => {
                        (newest, is_last) = (Some(Err(failure)), true);
                    }
                    SessionMessage::End { .. } => is_last = true,
                    SessionMessage::Session(_) | SessionMessage::Settled { .. } | SessionMessage::Included { .. } => {}
                }
            }
            if let Some(answer) = newest {
                return Some(NextAnswer { answer, is_last });
            }
            if is_last {
                return None;
            }
        }
        None
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.live.with(|registry| registry.close(self.opened.id, Instant::now()));
        if let Some(admitted) = self.admitted {
            self.live.dispatcher.events().emit(|| Event::now(EventKind::SessionClosed).since(admitted));
        }
    }
}

fn shutting_down() -> Failure {
    Failure::new(Code::Unavailable, "The server is shutting down; try again shortly.")
}
