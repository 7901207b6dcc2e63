//! Runs queries: one statement by itself where that is enough, one snapshot
//! where it is not.

use bytes::Bytes;
use tokio::time::Instant;

use super::call::{Call, LOST_HOSTS, broken_protocol, host_gone, time_is_up};
use super::host::{FromHost, Rest, Seen};
use super::run::close_list;
use super::{Dispatcher, Program, Request};
use crate::db::{Access, Executor, Memory, ReadSet};
use crate::error::{Code, Failure};
use crate::op::Op;
use crate::postgres::{Isolation, Transaction};

/// What one run of a query gave.
pub struct QueryRun {
    /// The result as JSON text, or why there is none.
    pub result: Result<Bytes, Failure>,
    /// What it depends on; complete also where the run failed.
    pub reads: ReadSet,
    /// What it has looked at of its caller, where that is known.
    pub seen: Option<Seen>,
    /// When what its context says of the caller ceases to hold, in milliseconds
    /// since 1970.
    pub expires_at: Option<f64>,
    /// Who its caller is, as far as its context tells; asked for by `keyed`
    /// requests.
    pub identity: Option<String>,
    /// Whether the function itself said how it ended.
    pub heard: bool,
    /// Whether its host went away each time it was run.
    pub host_gone: bool,
}

impl QueryRun {
    /// A run that did not take place.
    pub fn refused(failure: Failure) -> QueryRun {
        let reads = ReadSet::default();
        QueryRun {
            result: Err(failure),
            reads,
            seen: None,
            expires_at: None,
            identity: None,
            heard: false,
            host_gone: false,
        }
    }

    /// Whether it failed for a reason that passes by itself.
    pub fn is_passing(&self) -> bool {
        matches!(&self.result, Err(failure) if matches!(failure.code, Code::Unavailable | Code::Timeout))
    }

    /// Whether it may have failed because of its caller: a run for another may go
    /// well at the same time.
    pub fn is_suspect(&self) -> bool {
        let timed_out = matches!(&self.result, Err(failure) if failure.code == Code::Timeout);
        !self.heard && (self.host_gone || timed_out)
    }
}

/// How often a query is run again because a table was changed: a new session finds
/// that once, unless tables are changed all the time.
const STALE_PLANS: u32 = 2;

/// How a run ended.
enum Ended {
    With(Result<String, Failure>),
    /// Its host went away.
    HostGone,
    /// It wanted a second statement, and the first was not in a snapshot.
    NeedsSnapshot,
    /// A table was changed since its session prepared a statement.
    StalePlan(Failure),
}

impl Dispatcher {
    /// Runs a query once, or again where it turns out to need a snapshot or has
    /// lost its host.
    pub async fn query(&self, program: &Program, request: &Request) -> QueryRun {
        let deadline = Instant::now() + self.inner.limits.query_time();
        let (mut apart, mut lost_hosts, mut stale_plans) = (None, 0, 0);
        loop {
            // Only what is read in one snapshot stays true.
            let memory = if request.function.needs_snapshot() { Memory::default() } else { Memory::none() };
            let may_read = self.inner.limits.documents_read;
            let mut executor = Executor::new(self.inner.node, may_read, 0, memory).mistaken(&self.inner.mistakes);
            let mut said = None;
            let ended = match self.enter() {
                Ok(_running) => {
                    self.run_query(apart.as_ref().unwrap_or(program), request, deadline, &mut executor, &mut said).await
                }
                Err(failure) => Ended::With(Err(failure)),
            };
            let is_gone = matches!(ended, Ended::HostGone);
            let result = match ended {
                Ended::NeedsSnapshot => {
                    request.function.wants_snapshot();
                    continue;
                }
                Ended::StalePlan(_) if stale_plans < STALE_PLANS => {
                    stale_plans += 1;
                    continue;
                }
                Ended::StalePlan(failure) => Err(failure),
                Ended::HostGone if lost_hosts < LOST_HOSTS => {
                    lost_hosts += 1;
                    apart = apart.or_else(|| program.apart());
                    continue;
                }
                Ended::HostGone => Err(host_gone()),
                Ended::With(result) => result.map_err(|failure| self.name_limit(&request.function, failure)),
            };
            let heard = said.is_some();
            let Rest { identity, seen, expires_at, .. } = said.unwrap_or_default();
            let (result, reads) = (result.map(Bytes::from), executor.take_reads());
            return QueryRun { result, reads, seen, expires_at, identity, heard, host_gone: is_gone };
        }
    }

    async fn run_query(
        &self,
        program: &Program,
        request: &Request,
        deadline: Instant,
        executor: &mut Executor,
        said: &mut Option<Rest>,
    ) -> Ended {
        let snapshot = request.function.needs_snapshot();
        let mut call = Call::start(self, program, request, deadline);
        let mut transaction: Option<Transaction> = None;
        let mut statements = 0;
        let ended = loop {
            let (batch, text) = match call.next().await {
                Ok(Some(FromHost::Operate { batch, ops })) => (batch, ops),
                Ok(Some(FromHost::Respond { outcome, rest })) => {
                    executor.refresh(rest.refresh_ms);
                    *said = Some(rest);
                    break Ended::With(self.conclude(&request.function, outcome));
                }
                Ok(None) => break Ended::HostGone,
                Err(failure) => break Ended::With(Err(failure)),
            };
            let mut ops = match Op::parse_batch(&text, &program.schema) {
                Ok(ops) => ops,
                Err(error) => break Ended::With(Err(call.give_up(broken_protocol(&error)))),
            };
            for op in &mut ops {
                if op.as_ref().is_ok_and(Op::writes) {
                    *op = Err(Failure::new(Code::Internal, "a query cannot write; make this function a mutation"));
                }
            }
            statements += Executor::statements(&ops);
            if statements > 1 && !snapshot {
                call.give_up(Failure::new(Code::Unavailable, "this run starts again in a snapshot"));
                return Ended::NeedsSnapshot;
            }
            if snapshot && transaction.is_none() && statements > 0 {
                match Transaction::begin(&self.inner.postgres.readers, Isolation::Snapshot).await {
                    Ok(begun) => transaction = Some(begun),
                    Err(error) => {
                        break Ended::With(Err(call.give_up(self.explain(program, &request.function, &error))));
                    }
                }
            }
            let mut access = match &mut transaction {
                Some(transaction) => Access::Within(transaction),
                None => Access::Reading(&self.inner.postgres),
            };
            let mut results = String::with_capacity(1_024);
            results.push('[');
            let ran = tokio::time::timeout_at(deadline, executor.run(&mut access, &ops, &mut results)).await;
            match ran {
                Ok(Ok(())) => {
                    close_list(&mut results);
                    call.answer(batch, results);
                }
                Ok(Err(error)) if error.is_stale_plan() => {
                    break Ended::StalePlan(call.give_up(self.explain(program, &request.function, &error)));
                }
                Ok(Err(error)) => {
                    break Ended::With(Err(call.give_up(self.explain(program, &request.function, &error))));
                }
                Err(_elapsed) => break Ended::With(Err(call.give_up(time_is_up()))),
            }
        };
        if let Some(transaction) = transaction {
            transaction.rollback().await;
        }
        ended
    }
}
