//! Runs live queries and the contexts of sessions: one task per query, and only
//! while it is not at rest.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::answer::{Answer, Made};
use super::registry::{Ended, Known, Next, Ticket, What};
use super::share_key::Share;
use super::{Live, QueryId, milliseconds};
use crate::db::ReadSet;
use crate::dispatch::{FunctionCall, FunctionKind, Program, QueryRun};
use crate::error::Failure;
use crate::failpoints::Failpoint;
use crate::supervise::Part;

/// The pauses between runs of a query that cannot be run at the moment.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// How long callers wait for a run in the name of another, at least, and how many times
/// as long as the run before took.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_FACTOR: u32 = 3;

/// A query that so many times in a row was hit again by the time its run ended
/// from then on rests so many times as long as a run takes: those who write all
/// the time keep nine tenths of the processor.
const HOT: u32 = 3;
const REST: u32 = 9;
/// What it takes to hand an answer to one session, about.
const HANDING_OUT: Duration = Duration::from_micros(8);
/// The longest such rest.
const REST_MOST: Duration = Duration::from_millis(500);

/// What came of one run.
struct Outcome {
    next: Next,
    /// It could not be run at the moment.
    passing: bool,
    /// Its answer grows old by itself after this.
    refresh: Option<Duration>,
}

impl Live {
    /// Runs what the registry wants to be run, until it is told to stop.
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
            let driving = live.supervisor.keep(Part::LiveQuery, &live.stop, || {
                if std::mem::replace(&mut again, true) {
                    live.with(|registry| registry.interrupted(id));
                }
                live.drive(id)
            });
            tokio::select! {
                () = live.stop.cancelled() => {}
                () = driving => {}
            }
        });
    }

    /// Runs a queued query until it rests. Only ever one task per query.
    async fn drive(self: &Arc<Self>, id: QueryId) {
        let (mut pause, mut hot) = (RETRY_FIRST, 0);
        loop {
            let caller = self.lock().caller_of(id);
            let Some(turn) = self.turns.take(caller).await else { return };
            let began = Instant::now();
            let Some(ticket) = self.with(|registry| registry.begin(id, began)) else { return };
            let (members, run) = (ticket.members, ticket.run);
            // A session waits for its context.
            let is_auth = matches!(ticket.what, What::Auth(_));
            let Outcome { next, passing, refresh } = turn.run(self.run_for_all(id, ticket)).await;
            if passing {
                // What made it end is no change, so it asks again by itself.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MOST);
                if next == Next::Rest && !self.with(|registry| registry.requeue(id, run)) {
                    return;
                }
                continue;
            }
            pause = RETRY_FIRST;
            if next == Next::Rest {
                if let Some(refresh) = refresh {
                    self.with(|registry| registry.grows_old(id, run, Instant::now() + refresh));
                    self.due.notify_one();
                }
                return;
            }
            hot += 1;
            if hot < HOT || is_auth {
                continue;
            }
            let cost = began.elapsed() + HANDING_OUT * u32::try_from(members).unwrap_or(u32::MAX);
            tokio::time::sleep((cost * REST).min(REST_MOST)).await;
        }
    }

    /// Runs queries again when their answers have grown old, until it is told to
    /// stop. One task sees to all of them.
    pub(crate) async fn keep_time(&self) {
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
                () = until_due => self.with(|registry| registry.grown_old(Instant::now())),
            }
        }
    }

    /// Runs a query. Those it serves who are not like its caller do not wait for much
    /// longer than it usually takes.
    async fn run_for_all(self: &Arc<Self>, id: QueryId, ticket: Ticket) -> Outcome {
        let (may_part, patience) = (ticket.may_part, PATIENCE.max(ticket.took * PATIENCE_FACTOR));
        let run = self.run_once(id, ticket);
        if !may_part {
            return run.await;
        }
        let mut run = std::pin::pin!(run);
        match tokio::time::timeout(patience, &mut run).await {
            Ok(outcome) => outcome,
            Err(_slow) => {
                self.with(|registry| registry.part(id, Instant::now()));
                run.await
            }
        }
    }

    async fn run_once(self: &Arc<Self>, id: QueryId, ticket: Ticket) -> Outcome {
        // A panic is a defect of ours: who watches is told, and it may run again.
        let panicked = |_| QueryRun::refused(Failure::internal("live query", &"its run panicked"));
        let ran = AssertUnwindSafe(self.ask(&ticket)).catch_unwind().await;
        match ticket.what {
            What::Query(_) => {
                let (run, program) = ran.unwrap_or_else(|panic| (panicked(panic), None));
                self.answered(id, &ticket, run, program)
            }
            What::Auth(_) => self.admitted(id, ran.map_or_else(panicked, |(run, _)| run)),
        }
    }

    /// OpenSession the host, with the code that is loaded.
    async fn ask(&self, ticket: &Ticket) -> (QueryRun, Option<Arc<Program>>) {
        let found = self.loaded().and_then(|program| {
            Ok(match &ticket.what {
                What::Query(query_key) => {
                    (program.public(FunctionKind::Query, &query_key.function)?, query_key.input.clone(), program)
                }
                What::Auth(_) => (program.context.clone(), "{}".into(), program),
            })
        });
        match found {
            Ok((function, input, program)) => {
                let caller = match ticket.what {
                    What::Query(_) => ticket.caller.clone(),
                    What::Auth(_) => ticket.caller.as_deref().map(asking_who),
                };
                let request = FunctionCall { function, input, caller, key: None };
                (self.dispatcher.query(&program, &request).await, Some(program))
            }
            Err(failure) => (QueryRun::refused(failure), None),
        }
    }

    fn answered(
        self: &Arc<Self>,
        id: QueryId,
        ticket: &Ticket,
        run: QueryRun,
        program: Option<Arc<Program>>,
    ) -> Outcome {
        let What::Query(query_key) = &ticket.what else { unreachable!("a auth gives no answer") };
        let suspect = run.is_suspect();
        let QueryRun { result, reads, seen, host_reported, .. } = run;
        let refresh = reads.refresh;
        self.failpoints.reach(Part::LiveQuery);
        if self.dev {
            self.warn_of_whole_tables(&query_key.function, &reads);
        }
        let share = program.filter(|_| host_reported).map(|program| self.share(&program, &query_key.function, seen));
        let now = Instant::now();
        let made = Made { ts: milliseconds(), position: self.clock.say(now).into() };
        let answer = Answer::new(&query_key.function, result, made, ticket.before.as_deref());
        let passing = answer.is_passing();
        let ended = Ended { reads, answer: Arc::new(answer), share, suspect };
        let next = self.with(|registry| registry.finish(id, ticket, ended, now));
        if self.dev && ticket.caller.is_some() && next == Next::Rest {
            self.audit_sharing(id, ticket);
        }
        Outcome { next, passing, refresh }
    }

    /// Who may share what a run has given.
    fn share(&self, program: &Program, function: &str, seen: Option<crate::dispatch::Seen>) -> Share {
        let shareable = program.public(FunctionKind::Query, function).is_ok_and(|function| function.share);
        match (shareable, program.has_context) {
            _ if self.failpoints.has(Failpoint::ShareRegardless) => Share::everyone(),
            (false, _) => Share::Nobody,
            // Without a context there is nothing to look at, unless a function it
            // called opts out.
            (true, false) if seen.is_none() => Share::everyone(),
            (true, _) => Share::after(seen),
        }
    }

    fn admitted(&self, id: QueryId, run: QueryRun) -> Outcome {
        let passing = run.is_passing();
        let (made, reads) = known(run);
        let (now, refresh) = (Instant::now(), reads.refresh);
        let next = self.with(|registry| registry.admitted(id, reads, made, self.recheck(), now));
        Outcome { next, passing, refresh }
    }
}

impl Live {
    /// An answer of `name` that says why there is none.
    pub(crate) fn failed(&self, name: &str, failure: Failure) -> Answer {
        let made = Made { ts: milliseconds(), position: self.position().into() };
        Answer::new(name, Err(failure), made, None)
    }
}

/// What a context run says of its caller.
pub(super) fn known(run: QueryRun) -> (Result<Known, Failure>, ReadSet) {
    let QueryRun { result, reads, seen, expires_at, identity, .. } = run;
    let made = result.and_then(|_null| {
        let unsaid = || Failure::internal("createContext", &"the host did not say what is in the context");
        let identity_of = Arc::new(seen.ok_or_else(unsaid)?);
        Ok(Known { identity: identity_of, fingerprint: identity, expires: expires_at.map(moment) })
    });
    (made, reads)
}

/// The caller, with the question who it is.
pub(super) fn asking_who(caller: &str) -> Arc<str> {
    match caller.strip_suffix('}') {
        Some(open) => format!(r#"{open},"keyed":true}}"#).into(),
        None => caller.into(),
    }
}

/// A moment given in milliseconds since 1970.
fn moment(ms: f64) -> Instant {
    let left = ms - milliseconds() as f64;
    let now = Instant::now();
    // Years away is as good as never, and no number at all is now.
    let left = Duration::try_from_secs_f64((left / 1_000.0).clamp(0.0, 1e8)).unwrap_or_default();
    now.checked_add(left).unwrap_or(now)
}
