//! One run of a mutation inside a transaction: its operations, its savepoints, and
//! whether it may still commit. Where the transaction comes from, and who else is
//! in it, is not known here.

use std::sync::Arc;

use tokio::time::Instant;

use super::call::{Call, broken_protocol, time_is_up};
use super::host::{Outcome, Rest};
use super::insert_lane::Insert;
use super::{Dispatcher, Program, Request};
use crate::db::{Access, Draft, Executor, Memory};
use crate::error::Failure;
use crate::op::{Control, Op};
use crate::postgres::{DbError, Transaction};
use crate::sql::{document, optimistic};

/// A run and what it has done so far.
pub(super) struct Run {
    dispatcher: Dispatcher,
    program: Arc<Program>,
    request: Request,
    /// The function's side of it.
    pub call: Call,
    /// What it has read and written.
    pub executor: Executor,
    /// Reads and writes it shares with others in its transaction, where it may.
    pub draft: Option<Draft>,
    /// It has asked for something a draft cannot answer: from then on it asks
    /// Postgres, which also keeps its savepoints.
    undrafted: bool,
    /// Other calls may be in its transaction.
    pub shared: bool,
    /// How long the draft's journal was when it began.
    pub mark: usize,
    deadline: Instant,
    /// The savepoints that stand, each with the number of changes before it.
    savepoints: Vec<(u32, usize)>,
    /// The first error in the database. Postgres refuses everything after it, so
    /// whatever the function makes of it, nothing is committed, unless it first
    /// returns to a savepoint.
    broken: Option<Failure>,
}

/// Why a run cannot go on.
pub(super) enum Over {
    /// Another writer won; nothing is left, and it may run again.
    Lost(DbError),
    /// It ends with this.
    Failed(Failure),
    /// It asks for what cannot be done beside others.
    Unfit,
}

impl Run {
    /// Starts the function.
    pub fn start(dispatcher: &Dispatcher, program: &Arc<Program>, request: &Request, deadline: Instant) -> Run {
        let limits = &dispatcher.inner.limits;
        let (reads, writes) = (limits.documents_read, limits.documents_written);
        let executor = Executor::new(dispatcher.inner.node, reads, writes, Memory::default());
        let call = Call::start(dispatcher, program, request, deadline);
        Run {
            dispatcher: dispatcher.clone(),
            program: program.clone(),
            request: request.clone(),
            call,
            executor,
            draft: None,
            undrafted: false,
            shared: false,
            mark: 0,
            deadline,
            savepoints: Vec::new(),
            broken: None,
        }
    }

    /// Runs one batch of operations and answers it.
    pub async fn batch(&mut self, transaction: &mut Transaction, batch: u32, text: &str) -> Result<(), Over> {
        let ops = match Op::parse_batch(text, &self.program.schema) {
            Ok(ops) => ops,
            Err(error) => return Err(Over::Failed(self.call.give_up(broken_protocol(&error)))),
        };
        if ops.iter().flatten().any(|op| matches!(op, Op::Raw(raw) if !raw.read_only)) {
            self.request.function.wrote_raw();
        }
        if ops.iter().flatten().any(|op| matches!(op, Op::Raw(_))) {
            self.request.function.ran_raw();
            // What it sets holds for the rest of the transaction.
            if self.shared {
                let code = crate::error::Code::Unavailable;
                self.call.give_up(Failure::new(code, "this run starts again in a transaction of its own"));
                return Err(Over::Unfit);
            }
        }
        let heals = matches!(ops.first(), Some(Ok(Op::Control(Control::RollbackTo(_)))));
        if let Some(failure) = self.broken.as_ref().filter(|_| !heals) {
            self.call.answer(batch, every_op_fails(ops.len(), failure));
            return Ok(());
        }
        if !self.undrafted && self.draft.as_ref().is_some_and(|draft| !draft.takes(&ops)) {
            self.settle(transaction).await?;
            self.undrafted = true;
        }
        let mut results = String::with_capacity(512);
        results.push('[');
        let ran = tokio::time::timeout_at(self.deadline, async {
            match self.draft.is_some() && !self.undrafted {
                true => self.draft_ops(transaction, &ops, &mut results).await,
                false => self.operate(transaction, &ops, &mut results).await,
            }
        })
        .await;
        match ran {
            Ok(Ok(())) => {
                close_list(&mut results);
                self.call.answer(batch, results);
                // A limit that was passed has cost a write, savepoint or not.
                self.broken = self.executor.refused_write().cloned();
                Ok(())
            }
            Ok(Err(error @ DbError::Retry(_))) => {
                self.call.give_up(lost_to_another());
                Err(Over::Lost(error))
            }
            Ok(Err(error)) => {
                let failure = self.dispatcher.explain(&self.program, &self.request.function, &error);
                // A draft's own savepoints could not heal what failed in Postgres.
                let drafting = self.draft.is_some() && !self.undrafted;
                if error.connection_lost() || drafting {
                    return Err(Over::Failed(self.call.give_up(failure)));
                }
                // What came before it in the batch was done.
                let (done, length) = self.executor.progress();
                results.truncate(length);
                let rest = every_op_fails(ops.len() - done, &failure);
                results.push_str(&rest[1..]);
                self.call.answer(batch, results);
                self.broken = Some(failure);
                Ok(())
            }
            Err(_elapsed) => Err(Over::Failed(self.call.give_up(time_is_up()))),
        }
    }

    /// Answers from the draft, reading what it does not know.
    async fn draft_ops(
        &mut self,
        transaction: &mut Transaction,
        ops: &[Result<Op, Failure>],
        results: &mut String,
    ) -> Result<(), DbError> {
        self.executor.begin_progress(results.len());
        let Some(draft) = &mut self.draft else { return Ok(()) };
        let unknown = draft.unknown(ops);
        let documents = unknown.iter().map(|(_, ids)| ids.len()).sum();
        let writes = ops.iter().flatten().filter(|op| op.writes()).count();
        if let Err(failure) = self.executor.count_drafted(documents, writes) {
            ops.iter().for_each(|_| results.push_str(&format!(r#"{{"error":{}}},"#, failure.to_json())));
            return Ok(());
        }
        for (table, ids) in unknown {
            let rows = transaction.run(optimistic::get(&table, &ids)).await?;
            draft.learn(&table, &ids, rows)?;
        }
        draft.answer(ops, results)
    }

    /// Writes what is in the draft, others' writes too, and forgets it: what comes
    /// next is Postgres' to answer.
    async fn settle(&mut self, transaction: &mut Transaction) -> Result<(), Over> {
        let Some(draft) = &mut self.draft else { return Ok(()) };
        if draft.has_savepoints() {
            self.call.give_up(Failure::new(crate::error::Code::Unavailable, "this run starts again outside its lane"));
            return Err(Over::Unfit);
        }
        let own = draft.mark() > self.mark;
        match self.executor.settle(&mut Access::Within(transaction), draft).await {
            Ok(()) => {
                if own {
                    self.executor.set_dirty();
                }
                self.mark = 0;
                Ok(())
            }
            Err(error) if error.connection_lost() => {
                let failure = self.dispatcher.explain(&self.program, &self.request.function, &error);
                Err(Over::Failed(self.call.give_up(failure)))
            }
            // What was refused may be another's, who finds out by itself.
            Err(error) => {
                self.call.give_up(lost_to_another());
                Err(Over::Lost(error))
            }
        }
    }

    async fn operate(
        &mut self,
        transaction: &mut Transaction,
        mut ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), DbError> {
        self.executor.begin_progress(out.len());
        while !ops.is_empty() {
            let plain = ops.iter().take_while(|op| !matches!(op, Ok(Op::Control(_)))).count();
            let (now, rest) = ops.split_at(plain);
            self.executor.run(&mut Access::Within(transaction), now, out).await?;
            ops = rest;
            let Some((Ok(Op::Control(control)), rest)) = ops.split_first() else { continue };
            ops = rest;
            match control {
                Control::Savepoint(name) => {
                    transaction.savepoint(*name).await?;
                    self.savepoints.push((*name, self.executor.written().changes.len()));
                    out.push_str(r#"{"ok":null},"#);
                    self.executor.progressed(1, out.len());
                }
                Control::RollbackTo(name) => {
                    transaction.rollback_to(*name).await?;
                    self.undo_to(*name);
                    out.push_str(r#"{"ok":null},"#);
                    self.executor.progressed(1, out.len());
                }
                // Said by the executor in its own words.
                Control::Begin | Control::Commit | Control::Rollback => {
                    let misplaced = [Ok(Op::Control(*control))];
                    self.executor.run(&mut Access::Within(transaction), &misplaced, out).await?;
                }
            }
        }
        Ok(())
    }

    fn undo_to(&mut self, name: u32) {
        if let Some(at) = self.savepoints.iter().rposition(|(known, _)| *known == name) {
            let (_, changes) = self.savepoints[at];
            self.savepoints.truncate(at + 1);
            self.executor.undo_to(changes);
            self.broken = self.executor.refused_write().cloned();
        }
    }

    /// What the function's end means: its result, or why there is none.
    pub fn conclude(&self, outcome: Outcome) -> Result<String, Failure> {
        match (&self.broken, outcome) {
            (Some(failure), Outcome::Returned(_)) => Err(failure.clone()),
            (_, outcome) => self.dispatcher.conclude(&self.request.function, outcome),
        }
    }

    /// The inserts held back to the end, by table; they count as writes from now on.
    pub fn held(&mut self, rest: &Rest) -> Result<Vec<Insert>, Failure> {
        let held = parse_held(rest.held.as_ref().map(|held| held.get()), &self.program)?;
        let rows = held.iter().map(|insert| insert.rows.len()).sum();
        if self.executor.count_writes(rows) {
            return Ok(held);
        }
        match self.executor.refused_write() {
            Some(refused) => Err(refused.clone()),
            None => Ok(held),
        }
    }

    /// Writes what was held back.
    pub async fn flush(&mut self, transaction: &mut Transaction, held: Vec<Insert>) -> Result<(), Over> {
        for insert in held {
            let statement = document::insert(&insert.table, self.dispatcher.inner.node, &insert.rows);
            let Ok(written) = tokio::time::timeout_at(self.deadline, transaction.run(statement)).await else {
                return Err(Over::Failed(time_is_up()));
            };
            match written.and_then(|rows| self.executor.inserted(&insert.table, &rows)) {
                Ok(()) => {}
                Err(error @ DbError::Retry(_)) => return Err(Over::Lost(error)),
                Err(error) => {
                    return Err(Over::Failed(self.dispatcher.explain(&self.program, &self.request.function, &error)));
                }
            }
        }
        Ok(())
    }

    /// Whether anything in the database failed that was not undone.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }
}

/// Groups held inserts by table, in the order tables first appear: plain
/// inserts into different tables do not depend on each other.
pub(super) fn parse_held(held: Option<&str>, program: &Program) -> Result<Vec<Insert>, Failure> {
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

/// Ends a list of answers, each of them followed by a comma.
pub(super) fn close_list(results: &mut String) {
    if results.ends_with(',') {
        results.pop();
    }
    results.push(']');
}

pub(super) fn every_op_fails(ops: usize, failure: &Failure) -> String {
    let one = format!(r#"{{"error":{}}}"#, failure.to_json());
    format!("[{}]", vec![one; ops].join(","))
}

pub(super) fn lost_to_another() -> Failure {
    Failure::new(crate::error::Code::Unavailable, "this run starts again: another writer won")
}
