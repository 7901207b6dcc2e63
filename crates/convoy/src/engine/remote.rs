//! Calls over the network: answered from the result cache if possible, and acknowledged
//! on the live session of the caller.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use crate::dispatch::{
    Answer, Caller, FunctionKind, HttpGet, IncomingCall, IncomingRoute, Key, Program, Route, StartedRoute,
};
use crate::error::{Code, Failure};
use crate::live::{Audience, CacheOutcome, CachedCall, CachedResult, PublicCall, SessionId, hash_of_result};
use crate::rate_limit::KeyedCall;

/// A call by a client.
pub struct RemoteCall<'a> {
    /// The kind of function.
    pub kind: FunctionKind,
    /// Its name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: String,
    /// Builds the caller, as JSON for the host; the argument is whether the call has a key.
    pub caller: &'a (dyn Fn(bool) -> Arc<str> + Sync),
    /// Its `Idempotency-Key`, if it has one.
    pub key: Option<Key>,
    /// Whether an earlier attempt with this key got no response, and may have taken effect.
    pub repeated: bool,
    /// The client's consistency token, if it sent one.
    pub position: Option<&'a str>,
    /// The live session on which a mutation is acknowledged once its changes were sent.
    pub session: Option<SessionId>,
    /// Whether the caller will subscribe to the query: its result is retained until then.
    pub preload: bool,
    /// Whether the answer must come from a run.
    pub no_cache: bool,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
}

/// The answer to a client.
pub struct RemoteAnswer {
    /// The result, JSON text.
    pub result: Bytes,
    /// The client's consistency token after this answer.
    pub position: String,
    /// Whether this is the stored response of an earlier call with the same key.
    pub replayed: bool,
    /// The live session on which a mutation is acknowledged. `None`: this process does not
    /// have the session.
    pub session: Option<SessionId>,
    /// The hash of a query's result, by which a live session names it.
    pub hash: Option<String>,
}

/// A query by GET.
pub(crate) struct RemoteRead<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: String,
    /// Builds the caller, as for [`RemoteCall`].
    pub caller: &'a (dyn Fn(bool) -> Arc<str> + Sync),
    /// Builds the same request without anything that tells who sends it.
    pub anonymous: &'a (dyn Fn() -> Arc<str> + Sync),
    /// The client's consistency token, if it sent one.
    pub position: Option<&'a str>,
    /// Whether the answer must come from a run.
    pub no_cache: bool,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
}

/// What caches may do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// The caller's own cache keeps it, and asks whether it is current before each use.
    Revalidate,
    /// All caches use it for this many seconds.
    Public(u32),
    /// None keeps it.
    Never,
}

impl Engine {
    /// How a query answers GET; `None` for names that cannot be called by GET.
    pub(crate) fn http_get(&self, name: &str) -> Result<Option<HttpGet>, Failure> {
        Ok(self.loaded()?.http_get(name))
    }

    /// Answers a query by GET. The context of the caller is made in each case, so a caller
    /// that it refuses is not even told that its cached answer is current.
    pub(crate) async fn read(&self, how: HttpGet, read: RemoteRead<'_>) -> Result<(RemoteAnswer, Caching), Failure> {
        let RemoteRead { name, input, caller, anonymous, position, no_cache, address } = read;
        let Some(max_age) = how.public_max_age else {
            let (kind, key) = (FunctionKind::Query, None);
            let (repeated, session, preload) = (false, None, false);
            let call =
                RemoteCall { kind, name, input, caller, key, repeated, position, session, preload, no_cache, address };
            return Ok((self.answer(call).await?, Caching::Revalidate));
        };
        self.expect_open()?;
        self.admit((FunctionKind::Query, name), address, (None, &input), &|| caller(false)).await?;
        let call = PublicCall { name, input, caller: caller(false), anonymous: anonymous() };
        let recorded = self.record_call(FunctionKind::Query, name, None);
        let result = recorded.scope().run(self.live.run_public(call)).await;
        let (data, audience) = recorded.end(result)?;
        let caching = match audience {
            Audience::Everyone => Caching::Public(max_age),
            Audience::Caller(reason) => {
                self.live.report_private(name, &reason);
                Caching::Never
            }
        };
        let hash = hash_of_result(&data);
        Ok((answer_of_query(CachedResult { data, position: self.live.position(), hash }), caching))
    }

    /// Starts a route; see [`Dispatcher::start_route`](crate::dispatch::Dispatcher::start_route).
    pub(crate) fn start_route(
        &self,
        route: (&Arc<Program>, &Route),
        request: IncomingRoute,
    ) -> Result<StartedRoute, Failure> {
        self.expect_open()?;
        self.dispatcher.start_route(route, request)
    }

    /// Charges a request to a route to its caller, if it has a rate limit.
    pub(crate) async fn admit_request(
        &self,
        (program, route): (&Arc<Program>, &Route),
        address: Option<IpAddr>,
        caller: &Arc<str>,
    ) -> Result<(), Failure> {
        self.live.admit(program, &route.function, (address, None), || caller.clone()).await
    }

    /// Charges a call to its caller, if the function has a rate limit. Unknown names fail when
    /// they are called.
    async fn admit(
        &self,
        (kind, name): (FunctionKind, &str),
        address: Option<IpAddr>,
        (key, input): (Option<&Key>, &str),
        caller: &(dyn Fn() -> Arc<str> + Sync),
    ) -> Result<(), Failure> {
        let program = self.loaded()?;
        if !self.dispatcher.has_rate_limits(&program) {
            return Ok(());
        }
        let Ok(function) = program.public(kind, name) else { return Ok(()) };
        let keyed =
            key.filter(|_| function.keeps_keys()).map(|key| KeyedCall { function: name, key: key.as_str(), input });
        self.live.admit(&program, &function, (address, keyed), caller).await
    }

    /// Answers a call over the network.
    pub async fn answer(&self, call: RemoteCall<'_>) -> Result<RemoteAnswer, Failure> {
        let recorded = self.record_call(call.kind, call.name, None);
        let result = recorded.scope().run(self.answer_call(call)).await;
        recorded.end(result)
    }

    async fn answer_call(&self, call: RemoteCall<'_>) -> Result<RemoteAnswer, Failure> {
        let RemoteCall { kind, name, input, caller, key, repeated, position, session, preload, no_cache, address } =
            call;
        self.admit((kind, name), address, (key.as_ref(), &input), &|| caller(false)).await?;
        if kind == FunctionKind::Query {
            let call = CachedCall { name, input: &input, position, no_cache, caller: &|| caller(false) };
            let outcome = self.live.cached(call).await?;
            if preload && !matches!(outcome, CacheOutcome::Hit(_)) {
                let position = position.filter(|_| !no_cache);
                return self.live.preload(name, input, position, || caller(false)).await.map(answer_of_query);
            }
            match outcome {
                CacheOutcome::Hit(cached) => return Ok(answer_of_query(cached)),
                CacheOutcome::Run(_) if repeated => return Err(not_repeatable()),
                CacheOutcome::Run(call) => {
                    self.expect_open()?;
                    return self.live.run_call(call, caller(false)).await.map(answer_of_query);
                }
                CacheOutcome::Invalid => {}
            }
        }
        if repeated && !self.loaded()?.public(kind, name)?.keeps_keys() {
            return Err(not_repeatable());
        }
        let mutation = session.zip(key.clone()).filter(|_| kind == FunctionKind::Mutation);
        let observer = mutation.and_then(|(session, key)| self.live.observe_mutation(session, key.as_str(), name));
        let session = session.filter(|_| observer.is_some());
        let uncached = position.is_some_and(|position| !self.live.is_own_position(position));
        let call =
            IncomingCall { kind, name, input, caller: Caller::Network(caller), key, uncached, traceparent: None };
        let Answer { result, replayed } = self.call_observed(call, observer).await?;
        let hash = (kind == FunctionKind::Query).then(|| hash_of_result(&result));
        Ok(RemoteAnswer { result, position: self.live.position(), replayed, session, hash })
    }
}

fn answer_of_query(CachedResult { data, position, hash }: CachedResult) -> RemoteAnswer {
    RemoteAnswer { result: data, position, replayed: false, session: None, hash: Some(hash) }
}

/// The answer to a repeated call that may have taken effect, where that cannot be found out.
fn not_repeatable() -> Failure {
    let message = "This call was sent before and may have taken effect. It does not keep idempotency keys, so it was \
                   not run again.";
    Failure::new(Code::Conflict, message).with_repeatable(false)
}
