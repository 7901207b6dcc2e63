//! Mutations that did nothing but insert into one table, written together.
//!
//! Most of what an insert costs Postgres is its statement, not its row. So while
//! one statement for a table is under way, later inserts into it wait, and the
//! next statement takes them all. Nobody waits for company: an insert that finds
//! its lane idle is sent at once.
//!
//! Such mutations have read nothing, so running several as one transaction is the
//! same as running them one after another, and each is still SERIALIZABLE. What
//! one of them gets wrong must not be another's loss: a batch that provably
//! changed nothing is run again one by one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Dispatcher;
use super::call::time_is_up;
use crate::change::{By, Change, ChangeKind};
use crate::db::{Executor, Memory};
use crate::error::Failure;
use crate::postgres::{self, DbError};
use crate::schema::Table;
use crate::sql::document;
use crate::sql::idempotency::Entry;
use crate::supervise::Part;

/// The most rows one statement takes of those that wait.
const MOST_ROWS: usize = 256;

/// Rows for one table: what one mutation inserts.
pub(super) struct Insert {
    pub table: Arc<Table>,
    pub rows: Vec<(Uuid, Box<RawValue>)>,
}

/// How an insert failed.
pub(super) enum InsertError {
    /// Another writer won; the mutation may be run again.
    Lost(DbError),
    /// Nothing was written, for a reason that running it again does not change.
    Refused(DbError),
    /// Told in these words; what can be said about the outcome is said in them.
    Told(Failure),
}

/// The lanes of all tables that are being inserted into.
#[derive(Default)]
pub(super) struct InsertLanes {
    /// A table is here while a task writes its inserts. Never locked across an
    /// await. Bounded by the calls that may run at once.
    lanes: Mutex<HashMap<String, VecDeque<Waiting>>>,
}

struct Waiting {
    id: Uuid,
    insert: Insert,
    /// The function that inserts.
    by: Arc<str>,
    /// What its call is answered with, where that is kept.
    keep: Option<(Entry, String)>,
    answer: oneshot::Sender<Result<(), InsertError>>,
}

impl Dispatcher {
    /// Inserts in one statement of its own or in one with others.
    pub(super) async fn insert(
        &self,
        insert: Insert,
        by: Arc<str>,
        keep: Option<(Entry, String)>,
        deadline: Instant,
    ) -> Result<(), InsertError> {
        let (answer, answered) = oneshot::channel();
        let (id, table) = (insert.rows[0].0, insert.table.clone());
        let idle = {
            let mut lanes = self.inner.inserts.lanes.lock();
            let idle = !lanes.contains_key(&table.physical);
            let lane = lanes.entry(table.physical.clone()).or_default();
            lane.push_back(Waiting { id, insert, by, keep, answer });
            idle
        };
        if idle {
            let (dispatcher, table) = (self.clone(), table.physical.clone());
            self.inner.mutations.spawn(async move {
                // It goes on with those that wait; what it had in hand is in doubt.
                let never = CancellationToken::new();
                dispatcher.inner.supervisor.keep(Part::InsertLane, &never, || dispatcher.work(&table)).await;
            });
        }
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => Err(InsertError::Told(self.in_doubt(changed(&table), &"its lane panicked"))),
            Err(_elapsed) if self.withdraw(&table, id) => Err(InsertError::Told(time_is_up())),
            Err(_elapsed) => Err(InsertError::Told(self.in_doubt(changed(&table), &time_is_up()))),
        }
    }

    /// Takes an insert out of the queue. `false`: it is under way.
    fn withdraw(&self, table: &Table, id: Uuid) -> bool {
        let mut lanes = self.inner.inserts.lanes.lock();
        let Some(lane) = lanes.get_mut(&table.physical) else { return false };
        let place = lane.iter().position(|waiting| waiting.id == id);
        place.and_then(|place| lane.remove(place)).is_some()
    }

    /// Writes one table's inserts until none waits.
    async fn work(&self, table: &str) {
        let lane = Lane { lanes: &self.inner.inserts, table };
        while let Some(mut batch) = lane.next() {
            let error = match self.write(&batch).await {
                Ok(()) => {
                    for waiting in batch {
                        give(waiting.answer, Ok(()));
                    }
                    continue;
                }
                Err(error) => error,
            };
            match error {
                InsertError::Told(failure) => {
                    for waiting in batch {
                        give(waiting.answer, Err(InsertError::Told(failure.clone())));
                    }
                }
                error if batch.len() == 1 => give(batch.remove(0).answer, Err(error)),
                // Nothing was written, and one of them is the reason.
                _ => {
                    for waiting in batch {
                        let result = self.write(std::slice::from_ref(&waiting)).await;
                        give(waiting.answer, result);
                    }
                }
            }
        }
    }

    /// Writes a batch in one statement, which is its own transaction: its
    /// session makes every statement SERIALIZABLE.
    async fn write(&self, batch: &[Waiting]) -> Result<(), InsertError> {
        let table = &batch[0].insert.table;
        let rows: Vec<_> = batch.iter().flat_map(|waiting| waiting.insert.rows.iter().cloned()).collect();
        let kept: Vec<(&Entry, &str)> = batch
            .iter()
            .filter_map(|waiting| waiting.keep.as_ref().map(|(entry, result)| (entry, result.as_str())))
            .collect();
        let mut executor = Executor::new(self.inner.node, 0, rows.len(), Memory::none());
        let statement = document::insert_and_keep(table, self.inner.node, &rows, &kept);
        let acquired = self.inner.postgres.writers.acquire().await;
        // Without a connection none of them has a chance alone either.
        let mut lease = acquired.map_err(|error| InsertError::Told(error.to_failure("insert")))?;
        let limit = self.inner.limits.mutation_time();
        let _committing = self.committing();
        let written = match tokio::time::timeout(limit, postgres::run(&mut lease, statement)).await {
            Ok(Ok(rows)) => executor.inserted(table, &rows),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => {
                // Dropped while busy, the connection closes, but Postgres may
                // have the statement done before it notices.
                drop(lease);
                return Err(InsertError::Told(self.in_doubt(changed(table), &time_is_up())));
            }
        };
        self.inner.mistakes.reach(Part::InsertLane);
        match written {
            Ok(()) => {
                self.tell(executor.take_written().changes, &By::functions(batch.iter().map(|waiting| &waiting.by)));
                Ok(())
            }
            Err(error @ DbError::Retry(_)) => Err(InsertError::Lost(error)),
            Err(error) if error.is_refusal() => Err(InsertError::Refused(error)),
            Err(error) => {
                if error.connection_lost() {
                    self.inner.postgres.writers.forget_idle();
                }
                Err(InsertError::Told(self.in_doubt(changed(table), &error)))
            }
        }
    }
}

/// One table's lane while a task works on it.
struct Lane<'a> {
    lanes: &'a InsertLanes,
    table: &'a str,
}

impl Lane<'_> {
    /// The next batch; the lane closes when there is none.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut lanes = self.lanes.lanes.lock();
        let lane = lanes.get_mut(self.table)?;
        let Some(first) = lane.pop_front() else {
            lanes.remove(self.table);
            return None;
        };
        let mut rows = first.insert.rows.len();
        let mut batch = vec![first];
        // New code may describe the table differently: not in one statement.
        while let Some(next) = lane.pop_front_if(|next| {
            rows += next.insert.rows.len();
            rows <= MOST_ROWS && Arc::ptr_eq(&next.insert.table, &batch[0].insert.table)
        }) {
            batch.push(next);
        }
        Some(batch)
    }
}

/// What to tell when it is not known which rows were written.
pub(super) fn changed(table: &Table) -> Vec<Change> {
    vec![Change { table: table.key.clone(), kind: ChangeKind::Whole }]
}

fn give(answer: oneshot::Sender<Result<(), InsertError>>, result: Result<(), InsertError>) {
    if answer.send(result).is_err() {
        tracing::debug!("an insert ended after its call had been answered");
    }
}
