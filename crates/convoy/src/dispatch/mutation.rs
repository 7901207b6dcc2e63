//! Runs mutations: one serializable transaction each, begun by the first
//! operation, run again from the start when another writer won.

use std::time::Duration;

use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{Call, broken_protocol, time_is_up};
use super::host::{FromHost, Outcome};
use super::insert_lane::{Insert, InsertError};
use super::{Dispatcher, Program, Request};
use crate::change::{Change, Changes};
use crate::db::{Access, Executor};
use crate::error::{Code, Failure};
use crate::op::Op;
use crate::postgres::{CommitOutcome, DbError, Isolation, Transaction};
use crate::sql::document;

/// How one attempt ended.
enum Attempt {
    Done(Result<String, Failure>),
    /// Another writer won; nothing of this attempt is left.
    Lost(DbError),
}

impl Dispatcher {
    /// Runs a mutation to its end on a task of its own: a caller who stops
    /// waiting does not stop the mutation.
    pub async fn mutate(&self, program: std::sync::Arc<Program>, request: Request) -> Result<String, Failure> {
        let (answer, answered) = oneshot::channel();
        let dispatcher = self.clone();
        self.inner.mutations.spawn(async move {
            let result = dispatcher.attempts(&program, &request).await;
            if answer.send(result).is_err() {
                tracing::debug!(function = request.function.name, "a mutation's caller did not wait for its end");
            }
        });
        match answered.await {
            Ok(result) => result,
            Err(_dropped) => Err(Failure::internal("mutation", &"its task ended without an answer (it panicked)")),
        }
    }

    async fn attempts(&self, program: &Program, request: &Request) -> Result<String, Failure> {
        let deadline = Instant::now() + self.inner.limits.mutation_time();
        let mut attempt = 0;
        loop {
            let _running = self.enter()?;
            let lost = match self.attempt(program, request, deadline).await {
                Attempt::Done(result) => return result,
                Attempt::Lost(error) => error,
            };
            if attempt >= self.inner.limits.retries || Instant::now() >= deadline {
                return Err(lost.to_failure(&request.function.name));
            }
            attempt += 1;
            // Full jitter over a growing span, so that losers do not meet again.
            let most = 5u64 << attempt;
            let pause = Duration::from_millis(rand::rng().random_range(0..=most));
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, program: &Program, request: &Request, deadline: Instant) -> Attempt {
        let limits = &self.inner.limits;
        let mut executor = Executor::new(self.inner.node, limits.documents_read, limits.documents_written);
        let mut call = Call::start(self, program, request, deadline);
        let mut transaction: Option<Transaction> = None;
        // Set by the first error in the database. Postgres refuses everything
        // after it, so whatever the function makes of it, nothing is committed.
        let mut broken: Option<Failure> = None;
        let explain = |error: &DbError| self.explain(program, &request.function, error);
        loop {
            let (batch, text) = match call.next().await {
                Ok(FromHost::Operate { batch, ops }) => (batch, ops),
                Ok(FromHost::Respond { outcome, held }) => {
                    let outcome = match broken {
                        Some(failure) if matches!(outcome, Outcome::Returned(_)) => Outcome::Refused(failure),
                        _ => outcome,
                    };
                    return self.finish(program, request, executor, transaction, outcome, held, deadline).await;
                }
                Err(failure) => return abort(transaction, Attempt::Done(Err(failure))).await,
            };
            let ops = match Op::parse_batch(&text, &program.schema) {
                Ok(ops) => ops,
                Err(error) => {
                    let failure = call.give_up(broken_protocol(&error));
                    return abort(transaction, Attempt::Done(Err(failure))).await;
                }
            };
            if let Some(failure) = &broken {
                call.answer(batch, every_op_fails(ops.len(), failure));
                continue;
            }
            let open = match self.opened(&mut transaction).await {
                Ok(open) => open,
                Err(error) => return Attempt::Done(Err(call.give_up(explain(&error)))),
            };
            let mut results = String::with_capacity(512);
            let mut access = Access::Within(open);
            let ran = tokio::time::timeout_at(deadline, executor.run(&mut access, &ops, &mut results)).await;
            match ran {
                Ok(Ok(())) => {
                    call.answer(batch, results);
                    broken = executor.refused_write().cloned();
                }
                Ok(Err(error @ DbError::Retry(_))) => {
                    call.give_up(Failure::new(Code::Unavailable, "this run starts again: another writer won"));
                    return abort(transaction, Attempt::Lost(error)).await;
                }
                Ok(Err(error)) => {
                    let failure = explain(&error);
                    call.answer(batch, every_op_fails(ops.len(), &failure));
                    broken = Some(failure);
                }
                Err(_elapsed) => return Attempt::Done(Err(call.give_up(time_is_up()))),
            }
        }
    }

    /// Commits what the function did, or rolls it back.
    #[allow(clippy::too_many_arguments, reason = "the state of one attempt, taken apart where it ends")]
    async fn finish(
        &self,
        program: &Program,
        request: &Request,
        mut executor: Executor,
        mut transaction: Option<Transaction>,
        outcome: Outcome,
        held: Option<String>,
        deadline: Instant,
    ) -> Attempt {
        let result = match self.conclude(&request.function, outcome) {
            Ok(result) => result,
            Err(failure) => return abort(transaction, Attempt::Done(Err(failure))).await,
        };
        let explain = |error: &DbError| self.explain(program, &request.function, error);
        let mut held = match parse_held(held.as_deref(), program) {
            Ok(held) => held,
            Err(failure) => return abort(transaction, Attempt::Done(Err(failure))).await,
        };
        let rows = held.iter().map(|insert| insert.rows.len()).sum();
        if !executor.count_writes(rows)
            && let Some(refused) = executor.refused_write().cloned()
        {
            return abort(transaction, Attempt::Done(Err(refused))).await;
        }
        if transaction.is_none()
            && held.len() == 1
            && let Some(insert) = held.pop()
        {
            // No BEGIN, and perhaps not even a statement of its own.
            return match self.insert(insert, deadline).await {
                Ok(()) => Attempt::Done(Ok(result)),
                Err(InsertError::Lost(error)) => Attempt::Lost(error),
                Err(InsertError::Refused(error)) => Attempt::Done(Err(explain(&error))),
                Err(InsertError::Told(failure)) => Attempt::Done(Err(failure)),
            };
        }
        for insert in held {
            let open = match self.opened(&mut transaction).await {
                Ok(open) => open,
                Err(error) => return Attempt::Done(Err(explain(&error))),
            };
            let statement = document::insert(&insert.table, self.inner.node, &insert.rows);
            let Ok(written) = tokio::time::timeout_at(deadline, open.run(statement)).await else {
                return Attempt::Done(Err(time_is_up()));
            };
            match written.and_then(|rows| executor.inserted(&insert.table, &rows)) {
                Ok(()) => {}
                Err(error @ DbError::Retry(_)) => return abort(transaction, Attempt::Lost(error)).await,
                Err(error) => return abort(transaction, Attempt::Done(Err(explain(&error)))).await,
            }
        }
        let Some(transaction) = transaction else {
            return Attempt::Done(Ok(result));
        };
        let changes = executor.take_changes();
        match transaction.commit().await {
            CommitOutcome::Committed => {
                self.tell(changes);
                Attempt::Done(Ok(result))
            }
            CommitOutcome::RolledBack(error @ DbError::Retry(_)) => Attempt::Lost(error),
            CommitOutcome::RolledBack(error) => Attempt::Done(Err(explain(&error))),
            CommitOutcome::Unknown(error) => Attempt::Done(Err(self.in_doubt(changes, &error))),
        }
    }

    /// The attempt's transaction, begun where it has none yet.
    async fn opened<'a>(&self, transaction: &'a mut Option<Transaction>) -> Result<&'a mut Transaction, DbError> {
        match transaction {
            Some(open) => Ok(open),
            none => {
                let begun = Transaction::begin(&self.inner.postgres.writers, Isolation::Serializable).await?;
                Ok(none.insert(begun))
            }
        }
    }

    /// A commit was not answered: it counts as having happened for those who
    /// watch, now and for as long as it still may.
    pub(super) fn in_doubt(&self, changes: Vec<Change>, cause: &dyn std::fmt::Display) -> Failure {
        tracing::warn!(%cause, "a commit was not answered");
        self.inner.doubts.raise();
        self.tell(changes);
        Failure::new(
            Code::Unavailable,
            "the database did not answer while committing; whether this mutation took effect is unknown",
        )
    }

    pub(super) fn tell(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            // An engine that is gone has no live queries left to tell.
            if let Some(sink) = self.inner.sink.upgrade() {
                sink.committed(Changes::Some(changes.into()));
            }
        }
    }
}

/// Groups held inserts by table, in the order tables first appear: plain
/// inserts into different tables do not depend on each other.
fn parse_held(held: Option<&str>, program: &Program) -> Result<Vec<Insert>, Failure> {
    let Some(held) = held else { return Ok(Vec::new()) };
    let ops = Op::parse_batch(held, &program.schema).map_err(|error| broken_protocol(&error))?;
    let mut inserts: Vec<Insert> = Vec::new();
    for op in ops {
        let Op::Insert { table, id, doc } = op? else {
            return Err(broken_protocol(&"only inserts can be held"));
        };
        match inserts.iter_mut().find(|known| known.table.physical == table.physical) {
            Some(known) => known.rows.push((id, doc)),
            None => inserts.push(Insert { table, rows: vec![(id, doc)] }),
        }
    }
    Ok(inserts)
}

async fn abort(transaction: Option<Transaction>, attempt: Attempt) -> Attempt {
    if let Some(transaction) = transaction {
        transaction.rollback().await;
    }
    attempt
}

fn every_op_fails(ops: usize, failure: &Failure) -> String {
    let one = format!(r#"{{"error":{}}}"#, failure.to_json());
    format!("[{}]", vec![one; ops].join(","))
}
