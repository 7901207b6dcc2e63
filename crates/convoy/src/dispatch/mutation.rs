//! Runs mutations: one serializable transaction each, begun by the first
//! operation, run again from the start when another writer won. Where others win
//! again and again, it goes on in a [serial lane](super::serial_lane).

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{LOST_HOSTS, host_gone};
use super::host::FromHost;
use super::idempotency::Keyed;
use super::insert_lane::{Insert, InsertError};
use super::optimistic::Optimistic;
use super::run::{Over, Run};
use super::serial_lane::Ended;
use super::{Answer, Dispatcher, Program, Request};
use crate::change::{By, Change, Changes};
use crate::db::{ReadSet, Written};
use crate::error::{Code, Failure};
use crate::postgres::{CommitOutcome, DbError, Isolation, Transaction};

/// A call that keeps losing goes on for this long, however often that is.
const PATIENCE: Duration = Duration::from_secs(1);

/// How one attempt ended.
pub(super) enum Attempt {
    Done(Result<Answer, Failure>),
    /// Another writer won; nothing of this attempt is left.
    Lost(DbError, Touched),
    /// Its host went away, and nothing of this attempt is left.
    HostGone,
    /// It failed, but an earlier call with its key may have succeeded.
    Failed(Failure, Option<Keyed>),
}

/// What an attempt that lost has read and written: some of it is contended.
#[derive(Default)]
pub(super) struct Touched {
    pub reads: ReadSet,
    pub written: Vec<Change>,
}

/// A function that has returned, and what is left to do.
struct Ending<'a> {
    program: &'a Program,
    request: &'a Request,
    deadline: Instant,
    result: String,
    held: Vec<Insert>,
    keyed: Option<Keyed>,
}

impl Dispatcher {
    /// Runs a mutation to its end on a task of its own: a caller who stops
    /// waiting does not stop the mutation.
    pub async fn mutate(&self, program: Arc<Program>, request: Request) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        let dispatcher = self.clone();
        self.inner.mutations.spawn(async move {
            let function = request.function.clone();
            let result = match function.transactional {
                true => dispatcher.one_at_a_time(program, request).await,
                false => {
                    let limit = dispatcher.inner.limits.mutation_time();
                    dispatcher.unbound(&program, &request, limit).await
                }
            };
            let result = result.map_err(|failure| dispatcher.name_limit(&function, failure));
            if answer.send(result).is_err() {
                tracing::debug!(function = &*function.name, "a mutation's caller did not wait for its end");
            }
        });
        match answered.await {
            Ok(result) => result,
            Err(_dropped) => Err(Failure::internal("mutation", &"its task ended without an answer (it panicked)")),
        }
    }

    /// Waits until no other call with this key runs here, and then runs it.
    async fn one_at_a_time(&self, program: Arc<Program>, request: Request) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.inner.limits.mutation_time();
        let _turn = match &request.key {
            Some(key) => {
                let most = self.inner.limits.waiting_calls;
                Some(self.inner.keys.turn(&request.function, key, most, deadline).await?)
            }
            None => None,
        };
        self.attempts(&program, &request, deadline).await
    }

    async fn attempts(&self, program: &Arc<Program>, request: &Request, deadline: Instant) -> Result<Answer, Failure> {
        let (mut attempt, began) = (0, Instant::now());
        let (mut program, mut lost_hosts) = (program.clone(), 0);
        loop {
            let _running = self.enter()?;
            // Whoever has lost twice does not wait for the place to become hot.
            let ended = match self.inner.heat.lane(&request.function, &request.input, attempt >= 2) {
                Some(place) if lost_hosts == 0 => match self.in_lane(place, &program, request, deadline).await {
                    Ended::With(attempt) => *attempt,
                    Ended::Alone => self.attempt_alone(&program, request, deadline).await,
                },
                _ => self.attempt_alone(&program, request, deadline).await,
            };
            let lost = match ended {
                Attempt::Done(result) => return result,
                Attempt::Failed(failure, keyed) => return self.failed(failure, keyed).await,
                Attempt::HostGone if lost_hosts < LOST_HOSTS => {
                    if lost_hosts == 0 {
                        program = program.apart().map_or(program, Arc::new);
                    }
                    lost_hosts += 1;
                    continue;
                }
                Attempt::HostGone => return Err(host_gone()),
                Attempt::Lost(error, touched) => {
                    self.inner.heat.lost(&request.function, &request.input, &touched);
                    error
                }
            };
            let patient = attempt < self.inner.limits.retries || began.elapsed() < PATIENCE;
            if !patient || Instant::now() >= deadline {
                return Err(lost.to_failure(&request.function.name));
            }
            attempt += 1;
            // Full jitter over a growing span, so that losers do not meet again.
            let most = 5u64 << attempt.min(4);
            let pause = Duration::from_millis(rand::rng().random_range(0..=most));
            tokio::time::sleep(pause).await;
        }
    }

    /// Runs it once by itself, in a transaction if it needs one.
    async fn attempt_alone(&self, program: &Arc<Program>, request: &Request, deadline: Instant) -> Attempt {
        if !request.function.needs_transaction() {
            match self.attempt_optimistic(program, request, deadline).await {
                Optimistic::With(attempt) => return *attempt,
                Optimistic::Unfit => request.function.wants_transaction(),
            }
        }
        self.attempt(program, request, deadline).await
    }

    async fn attempt(&self, program: &Arc<Program>, request: &Request, deadline: Instant) -> Attempt {
        let mut run = Run::start(self, program, request, deadline);
        let mut transaction: Option<Transaction> = None;
        loop {
            let (batch, text) = match run.call.next().await {
                Ok(Some(FromHost::Operate { batch, ops })) => (batch, ops),
                Ok(Some(FromHost::Respond { outcome, rest })) => {
                    let keyed = Keyed::of(program, request, rest.identity.as_deref());
                    let done = run.conclude(outcome).and_then(|result| Ok((result, run.held(&rest)?)));
                    return match done {
                        Ok((result, held)) => {
                            let ending = Ending { program, request, deadline, result, held, keyed };
                            self.finish(run, transaction, ending).await
                        }
                        Err(failure) => abort(transaction, Attempt::Failed(failure, keyed)).await,
                    };
                }
                Ok(None) => return abort(transaction, Attempt::HostGone).await,
                Err(failure) => return abort(transaction, Attempt::Done(Err(failure))).await,
            };
            let open = match self.opened(&mut transaction).await {
                Ok(open) => open,
                Err(error) => {
                    let failure = self.explain(program, &request.function, &error);
                    return Attempt::Done(Err(run.call.give_up(failure)));
                }
            };
            match run.batch(open, batch, &text).await {
                Ok(()) => {}
                Err(Over::Lost(error)) => return abort(transaction, lost(&mut run, error)).await,
                Err(Over::Unfit) => {
                    return Attempt::Done(Err(Failure::internal("mutation", &"a draft outside a lane")));
                }
                // Its connection is busy or gone; dropping it rolls back.
                Err(Over::Failed(failure)) => return Attempt::Done(Err(failure)),
            }
        }
    }

    /// Commits what the function did.
    async fn finish(&self, mut run: Run, mut transaction: Option<Transaction>, ending: Ending<'_>) -> Attempt {
        let Ending { program, request, deadline, result, mut held, keyed } = ending;
        let function = &request.function;
        if transaction.is_none()
            && held.len() == 1
            && let Some(insert) = held.pop()
        {
            return self.finish_insert(program, request, insert, result, keyed, deadline).await;
        }
        if !held.is_empty() || (keyed.is_some() && transaction.is_none()) {
            match self.opened(&mut transaction).await {
                Ok(_) => {}
                Err(error) => return Attempt::Done(Err(self.explain(program, function, &error))),
            }
        }
        let Some(mut transaction) = transaction else {
            return Attempt::Done(Ok(Answer::fresh(result)));
        };
        match run.flush(&mut transaction, held).await {
            Ok(()) => {}
            Err(Over::Lost(error)) => return abort(Some(transaction), lost(&mut run, error)).await,
            Err(Over::Failed(failure)) => return Attempt::Failed(failure, keyed),
            Err(Over::Unfit) => return Attempt::Done(Err(Failure::internal("mutation", &"a draft outside a lane"))),
        }
        if let Some(keyed) = &keyed {
            match self.keep(&mut transaction, &[(&keyed.entry, result.as_str())]).await {
                Ok(()) => {}
                Err(error @ DbError::Retry(_)) => return abort(Some(transaction), lost(&mut run, error)).await,
                Err(error) => {
                    let failure = self.explain(program, function, &error);
                    return abort(Some(transaction), Attempt::Failed(failure, Some(keyed.clone()))).await;
                }
            }
        }
        let written = run.executor.take_written();
        let _committing = self.committing();
        match transaction.commit().await {
            CommitOutcome::Committed => {
                self.tell(written.changes, &By::Function(function.name.clone()));
                Attempt::Done(Ok(Answer::fresh(result)))
            }
            CommitOutcome::RolledBack(error @ DbError::Retry(_)) => {
                let reads = run.executor.take_reads();
                Attempt::Lost(error, Touched { reads, written: written.changes })
            }
            CommitOutcome::RolledBack(error) => Attempt::Failed(self.explain(program, function, &error), keyed),
            CommitOutcome::Unknown(error) => self.judge(written, result, keyed, &error, deadline).await,
        }
    }

    /// Ends a mutation that did nothing but insert into one table: no BEGIN, and
    /// perhaps not even a statement of its own.
    pub(super) async fn finish_insert(
        &self,
        program: &Program,
        request: &Request,
        insert: Insert,
        result: String,
        keyed: Option<Keyed>,
        deadline: Instant,
    ) -> Attempt {
        let keep = keyed.as_ref().map(|keyed| (keyed.entry.clone(), result.clone()));
        let by = request.function.name.clone();
        match self.insert(insert, by, keep, deadline).await {
            Ok(()) => Attempt::Done(Ok(Answer::fresh(result))),
            Err(InsertError::Lost(error)) => Attempt::Lost(error, Touched::default()),
            Err(InsertError::Refused(error)) => {
                Attempt::Failed(self.explain(program, &request.function, &error), keyed)
            }
            Err(InsertError::Told(failure)) => Attempt::Failed(failure, keyed),
        }
    }

    /// The transaction, begun where there is none yet.
    pub(super) async fn opened<'a>(
        &self,
        transaction: &'a mut Option<Transaction>,
    ) -> Result<&'a mut Transaction, DbError> {
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
        self.tell(changes, &By::Caution);
        Failure::new(
            Code::Unavailable,
            "the database did not answer while committing; whether this mutation took effect is unknown",
        )
    }

    /// Finds out what became of a commit that was not answered.
    pub(super) async fn judge(
        &self,
        written: Written,
        result: String,
        keyed: Option<Keyed>,
        cause: &DbError,
        deadline: Instant,
    ) -> Attempt {
        let Written { changes, xid } = written;
        let unknown = self.in_doubt(changes, cause);
        let committed = match (&keyed, xid) {
            (Some(keyed), _) => self.was_kept(keyed, deadline).await,
            (None, Some(xid)) => self.inner.postgres.was_committed(&xid, deadline).await,
            (None, None) => None,
        };
        match committed {
            Some(true) => Attempt::Done(Ok(Answer::fresh(result))),
            Some(false) => Attempt::Lost(DbError::undone(), Touched::default()),
            None => Attempt::Done(Err(unknown)),
        }
    }

    /// Tells of what a commit of ours, made by these functions, has changed.
    pub(super) fn tell(&self, changes: Vec<Change>, by: &By) {
        if !changes.is_empty() {
            // An engine that is gone has no live queries left to tell.
            if let Some(sink) = self.inner.sink.upgrade() {
                sink.committed(Changes::Some(changes.into()), by);
            }
        }
    }
}

/// What a run that lost has touched.
fn lost(run: &mut Run, error: DbError) -> Attempt {
    let (reads, written) = (run.executor.take_reads(), run.executor.take_written().changes);
    Attempt::Lost(error, Touched { reads, written })
}

async fn abort(transaction: Option<Transaction>, attempt: Attempt) -> Attempt {
    if let Some(transaction) = transaction {
        transaction.rollback().await;
    }
    attempt
}
