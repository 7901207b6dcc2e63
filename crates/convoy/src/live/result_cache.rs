//! The result cache: calls of queries are answered from memory, without a run or a statement,
//! and without JavaScript if the program has no context.
//!
//! It has the results of live queries, and those of calls: from the second call of a query with
//! the same input on, its result is kept until a change concerns it. No answer is older than the
//! call, or than what the caller has seen if it says so.

mod admission;
mod flights;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer::{Answer, AnswerStamp, hash_of_result, hash_to_hex};
use super::registry::{CacheLookup, CacheRequest, KeptResult, MAX_FEED_AGE, QueryKey};
use super::{Live, QueryId, SharedRegistry, milliseconds};
use crate::dispatch::{Function, FunctionCall, Program, QueryRun, Seen};
use crate::error::Failure;
use crate::events::{Event, EventKind, LastRun};
pub(super) use admission::Admission;
use flights::Flight;
pub(super) use flights::Flights;

/// How long a call waits until the changes before it are known. Long, because a run waits for the
/// same connections and processors.
const FEED_READ_TIMEOUT: Duration = Duration::from_millis(200);
/// For how long calls do not wait after one has waited in vain: the log cannot be read, or a
/// commit is blocked.
const FEED_READ_PAUSE: Duration = Duration::from_millis(200);
/// How long a call waits for a run that another caller has begun.
const FLIGHT_TIMEOUT: Duration = Duration::from_millis(250);

/// A result from the cache.
#[derive(Debug)]
pub(crate) struct CachedResult {
    /// The result, JSON text.
    pub data: Bytes,
    /// The consistency token of a client that has seen it.
    pub position: String,
    /// Its hash, as clients name it.
    pub hash: String,
}

impl CachedResult {
    /// The result of an answer; `None` if it is a failure.
    pub(super) fn of(answer: &Answer, position: String) -> Option<CachedResult> {
        Some(CachedResult { data: answer.data()?.clone(), position, hash: hash_to_hex(answer.hash()) })
    }
}

/// A call of a query by a client.
pub(crate) struct CachedCall<'a> {
    /// The query's name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: &'a str,
    /// The client's consistency token, if it sent one.
    pub position: Option<&'a str>,
    /// Whether the answer must come from a run.
    pub no_cache: bool,
    /// Builds the caller, as JSON for the host.
    pub caller: &'a (dyn Fn() -> Arc<str> + Sync),
}

/// How a call of a query is answered.
pub(crate) enum CacheOutcome {
    /// With this result.
    Hit(CachedResult),
    /// By a run.
    Run(QueryCall),
    /// By a failure, once it is made: it is invalid.
    Invalid,
}

/// A call that runs.
pub(crate) struct QueryCall {
    program: Arc<Program>,
    function: Arc<Function>,
    query_key: QueryKey,
    /// Its caller may have seen later changes, on another server.
    uncached: bool,
    keep: Keep,
}

/// Whether the result of a run is kept.
enum Keep {
    No,
    /// Other calls may wait for the run.
    Yes {
        _flight: Option<Flight>,
    },
}

/// What a lookup has found.
enum Found {
    Result(CachedResult),
    /// Nothing, so the call runs.
    Run(Keep),
}

/// What is known about a call before it is answered.
struct Lookup<'a> {
    program: &'a Arc<Program>,
    query_key: QueryKey,
    since: Instant,
    caller: &'a (dyn Fn() -> Arc<str> + Sync),
    /// Its caller may have seen later changes, on another server.
    uncached: bool,
    /// The caller's context, once it was made.
    identity: Option<Arc<Seen>>,
}

impl Live {
    /// Answers a call from the cache, or says how to run it. If the program has a context, it is
    /// made for each call, and may refuse it.
    pub(crate) async fn cached(&self, call: CachedCall<'_>) -> Result<CacheOutcome, Failure> {
        let CachedCall { name, input, position, no_cache, caller } = call;
        let Ok(program) = self.loaded() else { return Ok(CacheOutcome::Invalid) };
        let Ok((function, query_key)) = self.resolve(&program, name, input) else { return Ok(CacheOutcome::Invalid) };
        let uncached = position.is_some_and(|position| !self.is_own_position(position));
        if no_cache || !function.cached || !function.share {
            return Ok(CacheOutcome::Run(QueryCall { program, function, query_key, uncached, keep: Keep::No }));
        }
        let now = Instant::now();
        let since = position.map_or(now, |position| self.clock.decode(position, now));
        let mut lookup = Lookup { program: &program, query_key, since, caller, uncached, identity: None };
        let found = self.look_up_or_wait(&mut lookup).await;
        if !matches!(found, Ok(Found::Run(_))) {
            // A run reports itself.
            let (of_run, events) = (LastRun::default(), self.dispatcher.events());
            events.emit(|| Event::ended(EventKind::Call, Some(&function.name), (&of_run, now), &found));
        }
        let found = found?;
        self.metrics.cached(matches!(found, Found::Result(_)));
        let query_key = lookup.query_key;
        Ok(match found {
            Found::Result(result) => CacheOutcome::Hit(result),
            Found::Run(keep) => CacheOutcome::Run(QueryCall { program, function, query_key, uncached, keep }),
        })
    }

    async fn look_up_or_wait(&self, lookup: &mut Lookup<'_>) -> Result<Found, Failure> {
        if let Some(hit) = self.look_up(lookup).await? {
            return Ok(Found::Result(hit));
        }
        if self.limits.idle_query_ms == 0 || !self.admission.admits(&lookup.query_key) {
            return Ok(Found::Run(Keep::No));
        }
        let identity = lookup.identity.clone().unwrap_or_default();
        let share = self.lock().expected_share(&lookup.query_key, &identity);
        let flight = match self.flights.join((lookup.query_key.clone(), share)) {
            Ok(flight) => Some(flight),
            Err(other) => {
                // Without a result in time it runs by itself: the other one may never end.
                if tokio::time::timeout(FLIGHT_TIMEOUT, other.ended()).await.is_ok()
                    && let Some(hit) = self.look_up(lookup).await?
                {
                    return Ok(Found::Result(hit));
                }
                None
            }
        };
        Ok(Found::Run(Keep::Yes { _flight: flight }))
    }

    /// The result of a call, if one is kept that is current.
    async fn look_up(&self, lookup: &mut Lookup<'_>) -> Result<Option<CachedResult>, Failure> {
        if !self.lock().has_shared(&lookup.query_key) {
            return Ok(None);
        }
        let identity = match (&lookup.identity, lookup.program.has_context) {
            (Some(identity), _) => identity.clone(),
            (None, true) => self.make_context(lookup.program, (lookup.caller)(), lookup.uncached).await?.identity,
            (None, false) => Arc::default(),
        };
        lookup.identity = Some(identity.clone());
        let request = CacheRequest { query_key: &lookup.query_key, identity: &identity, since: lookup.since };
        let mut found = self.lock().lookup(&request, Instant::now());
        if matches!(found, CacheLookup::Unconfirmed) && self.read_feed_until(lookup.since).await {
            found = self.lock().lookup(&request, Instant::now());
        }
        let CacheLookup::Hit(answer, valid_at) = found else { return Ok(None) };
        // The result may have changes from after the start of its run, until when it is known to
        // be current. Tokens of one process compare as text like their moments.
        let position = self.clock.encode(valid_at.max(lookup.since)).max(answer.position().to_owned());
        Ok(CachedResult::of(&answer, position))
    }

    /// Requests a read of the change log now, and waits until the changes before `since` are
    /// known. One read serves all waiting calls, which costs less than a run for each. `false` on
    /// timeout.
    async fn read_feed_until(&self, since: Instant) -> bool {
        let now = Instant::now();
        if self.feed_read_failed.lock().is_some_and(|at| now < at + FEED_READ_PAUSE) {
            return false;
        }
        // The log must have been read recently, even if the caller has seen nothing new.
        let until = now.checked_sub(MAX_FEED_AGE).map_or(since, |oldest| since.max(oldest));
        self.read_requests.make();
        let is_read = tokio::time::timeout(FEED_READ_TIMEOUT, self.registry.caught_up_with(until)).await.is_ok();
        if !is_read {
            *self.feed_read_failed.lock() = Some(Instant::now());
        }
        is_read
    }

    /// Runs a call.
    pub(crate) async fn run_call(&self, call: QueryCall, caller: Arc<str>) -> Result<CachedResult, Failure> {
        let QueryCall { program, function, query_key, uncached, keep } = call;
        let request = FunctionCall {
            function,
            input: query_key.input.clone(),
            caller: program.has_context.then_some(caller),
            key: None,
            observer: None,
            uncached,
            observed: matches!(keep, Keep::Yes { .. }),
            route: None,
            last_run: self.dispatcher.events().last_run(),
        };
        let run = request.observed.then(|| RegisteredRun::begin(&self.registry));
        // After the registration: a later load ends the run without keeping its result.
        let is_loaded = self.loaded().is_ok_and(|loaded| Arc::ptr_eq(&loaded, &program));
        let began = Instant::now();
        let ended = self.dispatcher.query(&program, &request).await;
        self.dispatcher.call_ended(&request, began, &ended.result);
        let Some(run) = run else {
            let data = ended.result?;
            let (position, hash) = (self.position(), hash_of_result(&data));
            return Ok(CachedResult { data, position, hash });
        };
        let pure = ended.pure;
        let (result, kept) = self.result_to_keep(&program, &query_key, ended);
        let may_be_kept = run.end(kept.filter(|_| is_loaded)) && pure;
        // Results for other callers may be kept.
        if !may_be_kept && result.is_ok() && !self.lock().has_shared(&query_key) {
            self.admission.refuse(&query_key);
        }
        result
    }

    /// The result of a run for its caller, and for the cache.
    fn result_to_keep(
        &self,
        program: &Program,
        query_key: &QueryKey,
        run: QueryRun,
    ) -> (Result<CachedResult, Failure>, Option<KeptResult>) {
        let QueryRun { result, reads, seen, host_reported, pure, .. } = run;
        let position = self.clock.encode(Instant::now());
        let stamp = AnswerStamp { ts: milliseconds(), position: position.clone().into(), cause: None };
        let answer = Arc::new(Answer::new(&query_key.function, result, stamp, None));
        let result = match answer.failure() {
            Some(failure) => Err(failure.clone()),
            None => CachedResult::of(&answer, position).ok_or_else(|| Failure::internal("result cache", &"no result")),
        };
        let is_kept = result.is_ok() && host_reported && pure;
        let kept = is_kept.then(|| KeptResult {
            query_key: query_key.clone(),
            share: self.share_key(program, &query_key.function, seen),
            reads,
            answer,
        });
        (result, kept)
    }
}

/// The run of a call in the registry. Dropped, it ends without a result.
struct RegisteredRun<'a> {
    registry: &'a SharedRegistry,
    id: QueryId,
    ended: bool,
}

impl<'a> RegisteredRun<'a> {
    fn begin(registry: &'a SharedRegistry) -> RegisteredRun<'a> {
        let id = registry.with(|registry| registry.begin_kept(Instant::now()));
        RegisteredRun { registry, id, ended: false }
    }

    /// Ends it with its result. `false`: such results are not kept.
    fn end(mut self, result: Option<KeptResult>) -> bool {
        self.ended = true;
        self.registry.with(|registry| registry.end_kept(self.id, result, Instant::now()))
    }
}

impl Drop for RegisteredRun<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.registry.with(|registry| registry.end_kept(self.id, None, Instant::now()));
        }
    }
}
