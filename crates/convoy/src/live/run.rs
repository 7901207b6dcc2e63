//! Runs live queries and the contexts of sessions: one task per query, which exists
//! only while the query is not idle.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::time::MissedTickBehavior;

use super::answer::{Answer, AnswerOrigin, AnswerStamp, TracedRun};
use super::cause::{CauseKind, RunCause};
use super::clock_watch::{self, ClockWatch};
use super::describe_cause::CauseInfo;
use super::registry::{CompletedRun, EndedRun, NextStep, Registry, RunTarget, SessionContext, Ticket};
use super::share_key::ShareKey;
use super::{Live, QueryId, milliseconds};
use crate::change::ChangeSource;
use crate::db::ReadSet;
use crate::dispatch::{FunctionCall, FunctionKind, Program, QueryRun};
use crate::error::Failure;
use crate::events::{Event, EventKind, LastRun};
use crate::failpoints::{Failpoint, Point};
use crate::supervise::Part;
use crate::telemetry::{Scope, Span, SpanKind};

/// The first and the longest pause before a query that failed transiently is retried.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

/// How long subscribers wait for a run made for another caller: this long at least, and
/// this many times as long as the previous run took.
const MIN_ISOLATION_TIMEOUT: Duration = Duration::from_secs(1);
const ISOLATION_TIMEOUT_FACTOR: u32 = 3;

/// A query that changed during this many runs in a row then pauses after each run for
/// this many times as long as a run takes, so that frequent writers keep nine tenths of
/// the processor.
const COOLDOWN_AFTER: u32 = 3;
const COOLDOWN_FACTOR: u32 = 9;
/// The approximate cost of delivering an answer to one session.
const DELIVERY_COST: Duration = Duration::from_micros(8);
/// The longest such pause.
const MAX_COOLDOWN: Duration = Duration::from_millis(500);

/// The end of one run.
struct RunEnd {
    next: NextStep,
    /// The run failed transiently, or panicked.
    transient: bool,
    /// The time after which the answer expires, if it does.
    refresh: Option<Duration>,
}

impl Live {
    /// Runs the queries that the registry queues, until shutdown.
    pub(crate) async fn run_all(self: &Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                id = self.registry.next_to_run() => self.run(id),
            }
        }
    }

    fn run(self: &Arc<Self>, id: QueryId) {
        let live = self.clone();
        self.tasks.spawn(async move {
            let mut again = false;
            let running = live.supervisor.keep(Part::LiveQuery, &live.stop, || {
                if std::mem::replace(&mut again, true) {
                    live.with(|registry| registry.interrupted(id));
                }
                live.run_until_idle(id)
            });
            tokio::select! {
                () = live.stop.cancelled() => {}
                () = running => {}
            }
        });
    }

    /// Runs a queued query until it is idle. There is at most one task per query.
    async fn run_until_idle(self: &Arc<Self>, id: QueryId) {
        let (mut delay, mut hits) = (MIN_RETRY_DELAY, 0);
        loop {
            let caller = self.lock().likely_caller(id);
            let Some(slot) = self.slots.acquire(caller).await else { return };
            let began = Instant::now();
            let Some(ticket) = self.with(|registry| registry.begin(id, began)) else { return };
            let (subscribers, run) = (ticket.subscribers, ticket.run);
            // A session waits for its context, so these runs do not pause.
            let is_auth = matches!(ticket.target, RunTarget::Auth(_));
            let RunEnd { next, transient, refresh } = slot.run(self.run_for_all(id, ticket)).await;
            if transient {
                // No change announces that the cause is gone, so it is retried by time.
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(MAX_RETRY_DELAY);
                if next == NextStep::Idle && !self.with(|registry| registry.requeue(id, run, CauseKind::Retry)) {
                    return;
                }
                continue;
            }
            delay = MIN_RETRY_DELAY;
            if next == NextStep::Idle {
                if let Some(refresh) = refresh {
                    self.with(|registry| registry.schedule_refresh(id, run, Instant::now() + refresh));
                    self.due.notify_one();
                }
                return;
            }
            hits += 1;
            if hits < COOLDOWN_AFTER || is_auth {
                continue;
            }
            let cost = began.elapsed() + DELIVERY_COST * u32::try_from(subscribers).unwrap_or(u32::MAX);
            tokio::time::sleep((cost * COOLDOWN_FACTOR).min(MAX_COOLDOWN)).await;
        }
    }

    /// Runs queries again when their answers expire, and contexts when the clock was set, until
    /// shutdown. One task serves all queries and sessions.
    pub(crate) async fn run_refresh_timer(&self) {
        let mut clock = ClockWatch::new();
        let mut check_clock = tokio::time::interval(clock_watch::INTERVAL);
        check_clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.failpoints.reach(Part::Timer);
            let due = self.lock().next_due();
            let until_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.due.notified() => {}
                _ = check_clock.tick() => if clock.was_set() && !self.failpoints.has(Failpoint::IgnoreClock) {
                    tracing::info!("the clock of this machine was set, or the machine slept; tokens of open streams are checked again");
                    self.with(Registry::check_expiring_contexts);
                },
                () = until_due => self.with(|registry| registry.refresh_due(Instant::now())),
            }
        }
    }

    /// Runs a query. If the run takes much longer than usual, subscribers with another
    /// identity than its caller move to a query of their own.
    async fn run_for_all(self: &Arc<Self>, id: QueryId, ticket: Ticket) -> RunEnd {
        let timeout = MIN_ISOLATION_TIMEOUT.max(ticket.last_duration * ISOLATION_TIMEOUT_FACTOR);
        let can_isolate = ticket.can_isolate;
        // Boxed, because each function that takes the future by value would hold it twice.
        let mut run = Box::pin(self.run_once(id, ticket));
        if !can_isolate {
            return run.await;
        }
        match tokio::time::timeout(timeout, &mut run).await {
            Ok(end) => end,
            Err(_elapsed) => {
                self.with(|registry| registry.isolate_runner(id, Instant::now()));
                run.await
            }
        }
    }

    async fn run_once(self: &Arc<Self>, id: QueryId, ticket: Ticket) -> RunEnd {
        // A panic is a defect of Convoy: subscribers receive an error, and it may run again.
        let panicked = |_| QueryRun::refused(Failure::internal("live query", &"its run panicked"));
        self.failpoints.pass(Point::BeforeSnapshot).await;
        let span = self.span_of(id, &ticket);
        let telemetry = Scope::default().within(&span);
        let last_run = if span.is_some() { LastRun::recorded() } else { self.dispatcher.events().last_run() };
        let began = Instant::now();
        let ran = telemetry.run(AssertUnwindSafe(self.execute(&ticket, &last_run)).catch_unwind()).await;
        let has_panicked = ran.is_err();
        let end = match &ticket.target {
            RunTarget::Query(query_key) => {
                let (run, program) = ran.unwrap_or_else(|panic| (panicked(panic), None));
                let (function, of_run) = (&query_key.function, (&last_run, began));
                let ended = || Event::ended(EventKind::LiveRun, Some(function), of_run, &run.result);
                self.dispatcher.events().emit(ended);
                self.failpoints.pass(Point::BeforeDelivery).await;
                self.finish_query(id, &ticket, (run, program), (span, &last_run))
            }
            RunTarget::Auth(_) => self.finish_auth(id, ran.map_or_else(panicked, |(run, _)| run), span),
        };
        // No change would replace the error.
        RunEnd { transient: end.transient || has_panicked, ..end }
    }

    /// A span of a run, in the trace of the commit that it is made for.
    fn span_of(&self, id: QueryId, ticket: &Ticket) -> Span {
        if !self.tracer.is_on() {
            return Span::default();
        }
        let function = match &ticket.target {
            RunTarget::Query(query_key) => &query_key.function,
            RunTarget::Auth(_) => &self.context_name,
        };
        let cause = ticket.cause.origin().and_then(|origin| origin.span);
        let mut span = self.tracer.caused(SpanKind::Internal, "live", cause);
        span.name("live", function.clone());
        span.set("convoy.function", function.clone());
        span.set("convoy.query.id", id as i64);
        span.set("convoy.query.run", ticket.run as i64);
        span.set("convoy.query.subscribers", ticket.subscribers as i64);
        span
    }

    /// Runs the function in the host, with the loaded program.
    async fn execute(&self, ticket: &Ticket, last_run: &LastRun) -> (QueryRun, Option<Arc<Program>>) {
        let found = self.loaded().and_then(|program| {
            Ok(match &ticket.target {
                RunTarget::Query(query_key) => {
                    (program.public(FunctionKind::Query, &query_key.function)?, query_key.input.clone(), program)
                }
                RunTarget::Auth(_) => (program.context.clone(), "{}".into(), program),
            })
        });
        match found {
            Ok((function, input, program)) => {
                let caller = match ticket.target {
                    RunTarget::Query(_) => ticket.caller.clone(),
                    RunTarget::Auth(_) => ticket.caller.as_deref().map(requesting_fingerprint),
                };
                let last_run = last_run.clone();
                let request = FunctionCall {
                    function,
                    input,
                    caller,
                    key: None,
                    observer: None,
                    uncached: false,
                    observed: true,
                    route: None,
                    last_run,
                };
                (self.dispatcher.query(&program, &request).await, Some(program))
            }
            Err(failure) => (QueryRun::refused(failure), None),
        }
    }

    fn finish_query(
        self: &Arc<Self>,
        id: QueryId,
        ticket: &Ticket,
        (run, program): (QueryRun, Option<Arc<Program>>),
        (mut span, last_run): (Span, &LastRun),
    ) -> RunEnd {
        let RunTarget::Query(query_key) = &ticket.target else { unreachable!("an authentication has no answer") };
        let suspect = run.is_suspect();
        let QueryRun { result, reads, seen, host_reported, pure, .. } = run;
        let refresh = reads.refresh;
        self.failpoints.reach(Part::LiveQuery);
        if self.dev {
            self.warn_about_full_scan(&query_key.function, &reads);
        }
        let share =
            program.filter(|_| host_reported).map(|program| self.share_key(&program, &query_key.function, seen));
        let now = Instant::now();
        // Text always serializes.
        let cause = self.dev.then(|| serde_json::to_string(&CauseInfo::of(&ticket.cause).text).unwrap_or_default());
        let stamp = AnswerStamp { ts: milliseconds(), position: self.clock.encode(now).into(), cause };
        let answer = Answer::new(&query_key.function, result, stamp, ticket.before.as_deref());
        if let Some(failure) = answer.failure() {
            span.fail(failure.code.as_str());
        }
        let committed_at = ticket.cause.origin().map(|origin| origin.at);
        let run = span.remote().map(|span| TracedRun { span, id: last_run.get() });
        last_run.get().into_iter().for_each(|id| span.set("convoy.run.id", id as i64));
        let answer = answer.made_for(AnswerOrigin::new(committed_at, run));
        let transient = answer.is_transient();
        let completed = CompletedRun { reads, answer: Arc::new(answer), share, suspect, pure };
        let ended = self.with(|registry| registry.finish(id, ticket, completed, now));
        let next = self.run_ended(&query_key.function, ended, span);
        if self.dev && ticket.caller.is_some() && next == NextStep::Idle {
            self.audit_sharing(id, ticket);
        }
        RunEnd { next, transient, refresh }
    }

    /// The share key of a run's result.
    pub(super) fn share_key(&self, program: &Program, function: &str, seen: Option<crate::dispatch::Seen>) -> ShareKey {
        let shareable = program.public(FunctionKind::Query, function).is_ok_and(|function| function.share);
        match (shareable, program.has_context) {
            _ if self.failpoints.has(Failpoint::ShareRegardless) => ShareKey::public(),
            (false, _) => ShareKey::Private,
            // Without a context there are no fields to read; but a function that it calls
            // may opt out of sharing.
            (true, false) if seen.is_none() => ShareKey::public(),
            (true, _) => ShareKey::of_run(seen),
        }
    }

    /// Reports the end of a run: the one place that has its cause and whether its answer was equal.
    fn run_ended(&self, function: &Arc<str>, EndedRun { next, record }: EndedRun, mut span: Span) -> NextStep {
        if let Some(record) = record {
            let cause = record.cause.kind().name();
            span.set("convoy.cause", cause);
            span.set("convoy.equal", record.equal == Some(true));
            if let RunCause::Change(hit) = &*record.cause {
                span.set("convoy.cause.commit", hit.commit as i64);
                span.set("convoy.cause.table", hit.table.clone());
                span.set("convoy.cause.read", hit.read.name());
                if let ChangeSource::Function(name) = &hit.by {
                    span.set("convoy.cause.function", name.clone());
                }
                hit.document.into_iter().for_each(|id| span.set("convoy.cause.document", id.to_string()));
            }
            self.metrics.query_run(function, cause, record.equal == Some(true));
            tracing::debug!(function = &**function, cause, equal = record.equal, took = ?record.took, "a live query ran");
        }
        next
    }

    fn finish_auth(&self, id: QueryId, run: QueryRun, span: Span) -> RunEnd {
        let transient = run.is_transient();
        let (result, reads) = context_of(run);
        let (now, refresh) = (Instant::now(), reads.refresh);
        let ended = self.with(|registry| registry.finish_auth(id, reads, result, self.context_refresh(), now));
        let next = self.run_ended(&self.context_name, ended, span);
        RunEnd { next, transient, refresh }
    }
}

impl Live {
    /// An answer of `name` with this failure.
    pub(crate) fn error_answer(&self, name: &str, failure: Failure) -> Answer {
        let stamp = AnswerStamp { ts: milliseconds(), position: self.position().into(), cause: None };
        Answer::new(name, Err(failure), stamp, None)
    }
}

/// The result of a context run.
pub(super) fn context_of(run: QueryRun) -> (Result<SessionContext, Failure>, ReadSet) {
    let QueryRun { result, reads, seen, expires_at, identity, user, .. } = run;
    let context = result.and_then(|_null| {
        let missing = || Failure::internal("createContext", &"the host did not report the members of the context");
        let members = Arc::new(seen.ok_or_else(missing)?);
        let (user, expires_at) = (user.map(Arc::from), expires_at.map(instant_of));
        Ok(SessionContext { identity: members, fingerprint: identity, user, expires_at })
    });
    (context, reads)
}

/// The caller's JSON with a request for its fingerprint.
pub(super) fn requesting_fingerprint(caller: &str) -> Arc<str> {
    match caller.strip_suffix('}') {
        Some(open) => format!(r#"{open},"keyed":true}}"#).into(),
        None => caller.into(),
    }
}

/// The instant of a time in milliseconds since 1970.
fn instant_of(ms: f64) -> Instant {
    let left = ms - milliseconds() as f64;
    let now = Instant::now();
    // Capped at about three years; NaN means now.
    let left = Duration::try_from_secs_f64((left / 1_000.0).clamp(0.0, 1e8)).unwrap_or_default();
    now.checked_add(left).unwrap_or(now)
}
