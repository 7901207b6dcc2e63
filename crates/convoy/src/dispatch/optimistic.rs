//! Runs a mutation without a transaction while it runs: it reads documents by id,
//! its writes stay in a [`Draft`], and at its end one statement checks that what it
//! has read is still so and writes. That is one round trip for each reading and one
//! for the end, where a transaction takes two more, and no row is locked while the
//! function thinks.
//!
//! A function that asks for anything a draft cannot answer is run again from the
//! start in a transaction, and from then on begins in one.

use std::sync::Arc;

use tokio::time::Instant;

use super::call::{Call, broken_protocol, time_is_up};
use super::host::{FromHost, Outcome as Ending, Rest};
use super::idempotency::Keyed;
use super::mutation::{Attempt, Touched};
use super::run::{close_list, parse_held};
use super::{Answer, Dispatcher, Program, Request};
use crate::change::{By, Change, ChangeKind};
use crate::db::{Draft, ReadSet};
use crate::error::{Code, Failure};
use crate::key::RowKeys;
use crate::op::{Op, Outcome};
use crate::postgres::{self, DbError, Lease, Row};
use crate::sql::optimistic;

/// How a run ended.
pub(super) enum Optimistic {
    With(Box<Attempt>),
    /// It needs a transaction.
    Unfit,
}

impl Optimistic {
    fn with(attempt: Attempt) -> Optimistic {
        Optimistic::With(Box::new(attempt))
    }
}

/// The state of one run.
struct Drafting<'a> {
    dispatcher: &'a Dispatcher,
    program: &'a Arc<Program>,
    request: &'a Request,
    deadline: Instant,
    call: Call,
    draft: Draft,
    /// How many readings there were: within one, nothing can have changed.
    readings: usize,
    may_read: usize,
    may_write: usize,
    refused: Option<Failure>,
}

impl Dispatcher {
    pub(super) async fn attempt_optimistic(
        &self,
        program: &Arc<Program>,
        request: &Request,
        deadline: Instant,
    ) -> Optimistic {
        let limits = &self.inner.limits;
        let run = Drafting {
            dispatcher: self,
            program,
            request,
            deadline,
            call: Call::start(self, program, request, deadline),
            draft: Draft::default(),
            readings: 0,
            may_read: limits.documents_read,
            may_write: limits.documents_written,
            refused: None,
        };
        run.play().await
    }
}

impl Drafting<'_> {
    async fn play(mut self) -> Optimistic {
        loop {
            let (batch, text) = match self.call.next().await {
                Ok(Some(FromHost::Operate { batch, ops })) => (batch, ops),
                Ok(Some(FromHost::Respond { outcome, rest })) => return self.end(outcome, rest).await,
                Ok(None) => return Optimistic::with(Attempt::HostGone),
                Err(failure) => return Optimistic::with(Attempt::Done(Err(failure))),
            };
            let ops = match Op::parse_batch(&text, &self.program.schema) {
                Ok(ops) => ops,
                Err(error) => {
                    let failure = self.call.give_up(broken_protocol(&error));
                    return Optimistic::with(Attempt::Done(Err(failure)));
                }
            };
            if !self.draft.takes(&ops) {
                self.call.give_up(Failure::new(Code::Unavailable, "this run starts again in a transaction"));
                return Optimistic::Unfit;
            }
            let mut results = String::with_capacity(512);
            results.push('[');
            let answered = tokio::time::timeout_at(self.deadline, self.operate(&ops, &mut results)).await;
            match answered {
                Ok(Ok(())) => {
                    close_list(&mut results);
                    self.call.answer(batch, results);
                }
                Ok(Err(error @ DbError::Retry(_))) => {
                    self.call.give_up(super::run::lost_to_another());
                    return Optimistic::with(Attempt::Lost(error, self.touched()));
                }
                Ok(Err(error)) => {
                    let failure = self.dispatcher.explain(self.program, &self.request.function, &error);
                    return Optimistic::with(Attempt::Done(Err(self.call.give_up(failure))));
                }
                Err(_elapsed) => return Optimistic::with(Attempt::Done(Err(self.call.give_up(time_is_up())))),
            }
        }
    }

    async fn operate(&mut self, ops: &[Result<Op, Failure>], results: &mut String) -> Result<(), DbError> {
        let unknown = self.draft.unknown(ops);
        let documents: usize = unknown.iter().map(|(_, ids)| ids.len()).sum();
        let writes = ops.iter().flatten().filter(|op| op.writes()).count();
        let reads_fit = take(&mut self.may_read, documents);
        let writes_fit = take(&mut self.may_write, writes);
        if !reads_fit || !writes_fit {
            let failure = if reads_fit { crate::db::too_many_writes() } else { crate::db::too_many_reads() };
            ops.iter().for_each(|_| results.push_str(&format!(r#"{{"error":{}}},"#, failure.to_json())));
            if !writes_fit {
                self.refused = Some(failure);
            }
            return Ok(());
        }
        for (table, ids) in unknown {
            self.readings += 1;
            let rows = self.dispatcher.inner.postgres.read_as_writer(&optimistic::get(&table, &ids)).await?;
            self.draft.learn(&table, &ids, rows)?;
        }
        self.draft.answer(ops, results)
    }

    async fn end(mut self, ending: Ending, rest: Rest) -> Optimistic {
        let keyed = Keyed::of(self.program, self.request, rest.identity.as_deref());
        let held = match parse_held(rest.held.as_ref().map(|held| held.get()), self.program) {
            Ok(held) => held,
            Err(failure) => return Optimistic::with(Attempt::Done(Err(failure))),
        };
        let function = &self.request.function;
        if self.readings > 1 && !matches!(ending, Ending::Returned(_)) {
            // It may have seen two moments, and failed for what never was.
            match self.check().await {
                Ok(true) => {}
                Ok(false) => return Optimistic::with(Attempt::Lost(DbError::undone(), self.touched())),
                Err(error @ DbError::Retry(_)) => return Optimistic::with(Attempt::Lost(error, self.touched())),
                Err(error) => {
                    let failure = self.dispatcher.explain(self.program, function, &error);
                    return Optimistic::with(Attempt::Done(Err(failure)));
                }
            }
        }
        let concluded = match (&self.refused, ending) {
            (Some(refused), Ending::Returned(_)) => Err(refused.clone()),
            (_, ending) => self.dispatcher.conclude(function, ending),
        };
        let rows = held.iter().map(|insert| insert.rows.len()).sum();
        let concluded = concluded.and_then(|result| {
            if take(&mut self.may_write, rows) { Ok(result) } else { Err(crate::db::too_many_writes()) }
        });
        let writes = concluded.is_ok() && (self.draft.writes() || rows > 0);
        // What it saw was one moment's, and nothing depends on that any more.
        if !writes && self.readings <= 1 && keyed.is_none() {
            return Optimistic::with(match concluded {
                Ok(result) => Attempt::Done(Ok(Answer::fresh(result))),
                Err(failure) => Attempt::Failed(failure, keyed),
            });
        }
        let mut outcome = match self.draft.take() {
            Ok(outcome) => outcome,
            Err(error) => return Optimistic::with(Attempt::Done(Err(error.to_failure(&function.name)))),
        };
        let result = match concluded {
            Ok(result) => result,
            Err(failure) => return Optimistic::with(Attempt::Failed(failure, keyed)),
        };
        if outcome.is_empty() && held.len() == 1 {
            // Nothing but inserts into one table: others may join it.
            let Some(insert) = held.into_iter().next() else { return Optimistic::Unfit };
            return Optimistic::with(
                self.dispatcher.finish_insert(self.program, self.request, insert, result, keyed, self.deadline).await,
            );
        }
        for insert in held {
            outcome.inserts.extend(insert.rows.into_iter().map(|(id, doc)| (insert.table.clone(), id, doc)));
        }
        let keep = keyed.as_ref().map(|keyed| (&keyed.entry, result.as_str()));
        let mut lease = match self.dispatcher.inner.postgres.writers.acquire().await {
            Ok(lease) => lease,
            // Nothing was sent, so nothing is in doubt.
            Err(error) => {
                let failure = self.dispatcher.explain(self.program, function, &error);
                return Optimistic::with(Attempt::Failed(failure, keyed));
            }
        };
        let _committing = self.dispatcher.committing();
        let applied = tokio::time::timeout_at(self.deadline, self.apply(&mut lease, &outcome, keep)).await;
        drop(lease);
        let lost_sight = |cause: &dyn std::fmt::Display| self.dispatcher.in_doubt(whole_tables(&outcome), cause);
        Optimistic::with(match applied {
            Ok(Ok(Some(changes))) => {
                self.dispatcher.tell(changes, &By::Function(function.name.clone()));
                Attempt::Done(Ok(Answer::fresh(result)))
            }
            Ok(Ok(None)) => Attempt::Lost(DbError::undone(), self.touched()),
            Ok(Err(error @ DbError::Retry(_))) => Attempt::Lost(error, self.touched()),
            Ok(Err(error)) if !error.is_refusal() => {
                if error.connection_lost() {
                    self.dispatcher.inner.postgres.writers.forget_idle();
                }
                let unknown = lost_sight(&error);
                let known = match &keyed {
                    Some(keyed) => self.dispatcher.was_kept(keyed, self.deadline).await,
                    None => None,
                };
                match known {
                    Some(true) => Attempt::Done(Ok(Answer::fresh(result))),
                    Some(false) => Attempt::Lost(DbError::undone(), self.touched()),
                    None => Attempt::Done(Err(unknown)),
                }
            }
            // Postgres refuses a value: in a transaction, the function is told where.
            Ok(Err(error @ (DbError::Value { .. } | DbError::Constraint { .. })))
                if !super::idempotency::repeated(&error) =>
            {
                return Optimistic::Unfit;
            }
            Ok(Err(error)) => Attempt::Failed(self.dispatcher.explain(self.program, function, &error), keyed),
            Err(_elapsed) => Attempt::Done(Err(lost_sight(&time_is_up()))),
        })
    }

    /// Whether what was read is still so.
    async fn check(&mut self) -> Result<bool, DbError> {
        let mut outcome = self.draft.take()?;
        outcome.writes_nothing();
        let mut lease = self.dispatcher.inner.postgres.writers.acquire().await?;
        Ok(self.apply(&mut lease, &outcome, None).await?.is_some())
    }

    /// Checks and writes; `None` if what was read is no longer so.
    async fn apply(
        &self,
        lease: &mut Lease,
        outcome: &Outcome,
        keep: Option<(&crate::sql::idempotency::Entry, &str)>,
    ) -> Result<Option<Vec<Change>>, DbError> {
        let statement = optimistic::apply(outcome, self.dispatcher.inner.node, keep);
        let rows = match postgres::run(lease, statement).await {
            Ok(rows) => rows,
            Err(error) if error.says(optimistic::STALE) => return Ok(None),
            Err(error) => return Err(error),
        };
        let places = optimistic::places(outcome);
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(place) = row.int8_or_null(0)? {
                let table = places.get(place as usize).ok_or_else(|| DbError::Row("a place of no table".into()))?;
                let id = row.uuid(1)?;
                let (new, old) = (keys(row, id, 2)?, keys(row, id, 4)?);
                changes.push(Change { table: table.key.clone(), kind: ChangeKind::Row { id, old, new } });
            }
        }
        Ok(Some(changes))
    }

    /// What this run met others over, if it lost.
    fn touched(&self) -> Touched {
        let mut reads = ReadSet::default();
        reads.points.extend(self.draft.places());
        Touched { reads, written: Vec::new() }
    }
}

fn keys(row: &Row, id: uuid::Uuid, at: usize) -> Result<Option<RowKeys>, DbError> {
    let (Some(created), Some(json)) = (row.micros_or_null(at)?, row.json_or_null(at + 1)?) else { return Ok(None) };
    crate::db::row_keys(id, created, json).map(Some)
}

fn whole_tables(outcome: &Outcome) -> Vec<Change> {
    optimistic::places(outcome).iter().flat_map(|table| super::insert_lane::changed(table)).collect()
}

/// Takes `some` from what is left. `false`: that is more than there is.
fn take(left: &mut usize, some: usize) -> bool {
    let rest = left.checked_sub(some);
    *left = rest.unwrap_or(0);
    rest.is_some()
}
