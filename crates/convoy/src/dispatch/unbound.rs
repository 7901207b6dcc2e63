//! Runs what has no transaction of its own: actions, and mutations that opted out.
//! Each operation is a transaction by itself, except between the `begin` and the
//! `commit` the function sends. A lost race there is the function's to repeat, for
//! only it knows what else it has done.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{Call, broken_protocol, host_gone, time_is_up};
use super::host::FromHost;
use super::run::{close_list, every_op_fails};
use super::{Answer, Dispatcher, Program, Request};
use crate::change::By;
use crate::db::{Access, Executor, Memory};
use crate::error::{Code, Failure};
use crate::op::{Control, Op};
use crate::postgres::{CommitOutcome, DbError, Isolation, Transaction};

/// The transaction a function has begun.
struct Open {
    transaction: Transaction,
    /// The savepoints that stand, each with the number of changes before it.
    savepoints: Vec<(u32, usize)>,
    /// Set by the first error, until it is undone.
    broken: Option<Failure>,
}

impl Dispatcher {
    /// Runs an action to its end on a task of its own.
    pub async fn act(&self, program: Arc<Program>, request: Request) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        let dispatcher = self.clone();
        self.inner.mutations.spawn(async move {
            let limit = dispatcher.inner.limits.action_time();
            let result = dispatcher.unbound(&program, &request, limit).await;
            let result = result.map_err(|failure| dispatcher.name_limit(&request.function, failure));
            if answer.send(result).is_err() {
                tracing::debug!(function = &*request.function.name, "an action's caller did not wait for its end");
            }
        });
        match answered.await {
            Ok(result) => result,
            Err(_dropped) => Err(Failure::internal("action", &"its task ended without an answer (it panicked)")),
        }
    }

    pub(super) async fn unbound(
        &self,
        program: &Program,
        request: &Request,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let deadline = Instant::now() + limit;
        let _running = self.enter()?;
        let mut call = Call::start(self, program, request, deadline);
        let limits = &self.inner.limits;
        let mut executor =
            Executor::new(self.inner.node, limits.documents_read, limits.documents_written, Memory::none());
        let mut open: Option<Open> = None;
        let result = loop {
            let (batch, text) = match call.next().await {
                Ok(Some(FromHost::Operate { batch, ops })) => (batch, ops),
                Ok(Some(FromHost::Respond { outcome, rest })) => {
                    break match rest.held {
                        None => self.conclude(&request.function, outcome),
                        Some(_) => Err(broken_protocol(&"only a mutation in a transaction can hold inserts")),
                    };
                }
                // Only the function knew what it had done.
                Ok(None) => break Err(host_gone()),
                Err(failure) => break Err(failure),
            };
            let ops = match Op::parse_batch(&text, &program.schema) {
                Ok(ops) => ops,
                Err(error) => break Err(call.give_up(broken_protocol(&error))),
            };
            let mut results = String::from("[");
            let ran = async {
                // What follows a begin or a commit that failed counted on it.
                let mut failed: Option<Failure> = None;
                let mut rest = ops.as_slice();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(together(rest, open.is_some()));
                    rest = later;
                    match &failed {
                        Some(failure) => now.iter().for_each(|_| push(&mut results, failure)),
                        None => {
                            let is_control = matches!(now, [Ok(Op::Control(_))]);
                            let ended = self
                                .operate_unbound(program, request, &mut executor, &mut open, now, &mut results)
                                .await;
                            failed = ended.err().filter(|_| is_control);
                        }
                    }
                }
            };
            if tokio::time::timeout_at(deadline, ran).await.is_err() {
                break Err(call.give_up(time_is_up()));
            }
            close_list(&mut results);
            call.answer(batch, results);
        };
        if let Some(Open { transaction, .. }) = open {
            transaction.rollback().await;
        }
        result.map(Answer::fresh)
    }

    async fn operate_unbound(
        &self,
        program: &Program,
        request: &Request,
        executor: &mut Executor,
        open: &mut Option<Open>,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), Failure> {
        executor.begin_progress(out.len());
        let by = &By::Function(request.function.name.clone());
        let ended = match ops {
            [Ok(Op::Control(control))] => {
                let done = self.control(executor, open, *control, by).await;
                done.map(|()| out.push_str(r#"{"ok":null},"#))
            }
            _ => self.operations(executor, open, ops, out, by).await,
        };
        let failure = match ended {
            Ok(()) => return Ok(()),
            Err(Stopped::Told(failure)) => failure,
            Err(Stopped::By(error)) => {
                let mut failure = self.explain(program, &request.function, &error);
                if matches!(error, DbError::Retry(_)) {
                    failure = failure.with_details(&serde_json::json!({ "retry": true }));
                }
                if let Some(Open { broken, .. }) = open {
                    *broken = Some(failure.clone());
                }
                failure
            }
        };
        // What came before it was done.
        let (done, length) = executor.progress();
        out.truncate(length);
        ops[done..].iter().for_each(|_| push(out, &failure));
        Err(failure)
    }

    async fn operations(
        &self,
        executor: &mut Executor,
        open: &mut Option<Open>,
        ops: &[Result<Op, Failure>],
        out: &mut String,
        by: &By,
    ) -> Result<(), Stopped> {
        match open {
            Some(Open { broken: Some(failure), .. }) => Err(Stopped::Told(failure.clone())),
            Some(Open { transaction, .. }) => {
                executor.run(&mut Access::Within(transaction), ops, out).await.map_err(Stopped::By)
            }
            None => {
                let writes = ops.iter().flatten().any(|op| op.writes() || matches!(op, Op::Raw(raw) if !raw.read_only));
                let postgres = &self.inner.postgres;
                let mut access = if writes { Access::Writing(postgres) } else { Access::Reading(postgres) };
                let _committing = writes.then(|| self.committing());
                let ran = executor.run(&mut access, ops, out).await;
                let written = executor.take_written();
                match ran {
                    Ok(()) => {
                        self.tell(written.changes, by);
                        Ok(())
                    }
                    // It may have been done all the same.
                    Err(error) if writes && error.connection_lost() => {
                        let tables = ops.iter().flatten().filter_map(Op::table);
                        let changes = tables.map(|table| super::insert_lane::changed(table)).collect::<Vec<_>>();
                        Err(Stopped::Told(self.in_doubt(changes.concat(), &error)))
                    }
                    Err(error) => Err(Stopped::By(error)),
                }
            }
        }
    }

    async fn control(
        &self,
        executor: &mut Executor,
        open: &mut Option<Open>,
        control: Control,
        by: &By,
    ) -> Result<(), Stopped> {
        let misplaced = || {
            let message = "there is no transaction here to go back in or to end; use the `tx` of ctx.db.transaction";
            Stopped::Told(Failure::new(Code::InvalidArgs, message))
        };
        match (control, open.as_mut()) {
            (Control::Begin, None) => {
                let writers = &self.inner.postgres.writers;
                let transaction = Transaction::begin(writers, Isolation::Serializable).await.map_err(Stopped::By)?;
                executor.memory = Memory::default();
                *open = Some(Open { transaction, savepoints: Vec::new(), broken: None });
                Ok(())
            }
            (Control::Savepoint(name), Some(open)) => {
                if let Some(failure) = &open.broken {
                    return Err(Stopped::Told(failure.clone()));
                }
                open.transaction.savepoint(name).await.map_err(Stopped::By)?;
                open.savepoints.push((name, executor.written().changes.len()));
                Ok(())
            }
            (Control::RollbackTo(name), Some(open)) => {
                open.transaction.rollback_to(name).await.map_err(Stopped::By)?;
                if let Some(at) = open.savepoints.iter().rposition(|(known, _)| *known == name) {
                    executor.undo_to(open.savepoints[at].1);
                    open.savepoints.truncate(at + 1);
                }
                open.broken = None;
                Ok(())
            }
            (Control::Rollback, Some(_)) => {
                if let Some(Open { transaction, .. }) = open.take() {
                    transaction.rollback().await;
                }
                executor.undo_to(0);
                executor.memory = Memory::none();
                Ok(())
            }
            (Control::Commit, Some(_)) => {
                let Some(Open { transaction, broken, .. }) = open.take() else { return Ok(()) };
                let written = executor.take_written();
                executor.memory = Memory::none();
                if let Some(failure) = broken.or_else(|| executor.refused_write().cloned()) {
                    transaction.rollback().await;
                    return Err(Stopped::Told(failure));
                }
                let _committing = self.committing();
                match transaction.commit().await {
                    CommitOutcome::Committed => {
                        self.tell(written.changes, by);
                        Ok(())
                    }
                    CommitOutcome::RolledBack(error) => Err(Stopped::By(error)),
                    CommitOutcome::Unknown(error) => Err(Stopped::Told(self.in_doubt(written.changes, &error))),
                }
            }
            (Control::Begin, Some(_)) => {
                let message = "a transaction is open already; use its `tx` for a part that can fail by itself";
                Err(Stopped::Told(Failure::new(Code::InvalidArgs, message)))
            }
            (_, None) => Err(misplaced()),
        }
    }
}

/// How many of these run together: in a transaction all up to the next word about
/// it; without one each is a transaction by itself, but reads by id.
fn together(ops: &[Result<Op, Failure>], in_transaction: bool) -> usize {
    let joins = |op: &Result<Op, Failure>| match op {
        Ok(Op::Control(_)) => false,
        Ok(Op::Get { .. }) => true,
        _ => in_transaction,
    };
    ops.iter().take_while(|op| joins(op)).count().max(1)
}

/// Why an operation has no answer.
enum Stopped {
    By(DbError),
    Told(Failure),
}

fn push(out: &mut String, failure: &Failure) {
    // One answer, without the list's brackets.
    let list = every_op_fails(1, failure);
    out.push_str(&list[1..list.len() - 1]);
    out.push(',');
}
