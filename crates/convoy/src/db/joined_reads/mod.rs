//! Reads outside of transactions. Those of the same kind that wait at the same time are joined.
//!
//! The cost of a small read is mostly its statement, not its rows. While as many statements of a
//! kind are in progress as may be, later reads of the kind wait. When a statement ends, the
//! first of them reads for all in one statement, on its own task, and hands the others their
//! rows. Each reads what was committed when its statement began, which is after it was called,
//! as if it had been alone.

mod documents;
mod scans;

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

pub(super) use documents::Reader;

use crate::postgres::{DbError, Postgres, Row};
use crate::schema::Table;
use crate::sql::Statement;
use documents::Documents;
use scans::Scan;

/// The most statements of one kind at once.
const MAX_IN_FLIGHT: usize = 2;

/// The database outside of transactions.
pub(crate) struct Autocommit {
    postgres: Postgres,
    documents: Arc<Lanes<Documents>>,
    scans: Arc<Lanes<Scan>>,
}

/// A read that can be joined with others of its kind.
trait Joinable: Clone {
    /// Reads with equal kinds can be joined.
    type Kind: Clone + Eq + Hash;
    type Found;

    fn kind(&self) -> Self::Kind;

    /// Its share of a statement, which has room for 256.
    fn size(&self) -> usize;

    /// Reads for itself and for `others`. What it finds for them is in their order; those at the
    /// end for which it cannot read are left out.
    async fn read(&self, postgres: &Postgres, others: &[Self]) -> Result<(Self::Found, Vec<Self::Found>), DbError>;
}

/// The size of a joined statement.
const MAX_SIZE: usize = 256;

impl Autocommit {
    /// Statements on this database.
    pub(crate) fn new(postgres: Postgres) -> Autocommit {
        Autocommit { postgres, documents: Arc::default(), scans: Arc::default() }
    }

    /// How many reads wait for a statement.
    pub(crate) fn waiting(&self) -> usize {
        self.documents.waiting() + self.scans.waiting()
    }

    pub(super) fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Reads documents by id, as `reader` describes; those that exist.
    pub(super) async fn get(&self, table: &Arc<Table>, ids: &[Uuid], reader: Reader) -> Result<Vec<Arc<Row>>, DbError> {
        let documents = Documents { table: table.clone(), ids: ids.to_vec(), reader };
        // On the heap, because the futures of runs are deep, and these are large.
        Box::pin(self.documents.read(&self.postgres, documents)).await
    }

    /// Runs the statement of a short scan for a query.
    pub(super) async fn scan(&self, statement: Statement) -> Result<Vec<Row>, DbError> {
        if !statement.is_joinable() {
            return self.postgres.read(&statement).await;
        }
        Box::pin(self.scans.read(&self.postgres, Scan(statement))).await
    }
}

/// The reads by kind.
struct Lanes<R: Joinable> {
    /// The kinds with statements in progress. Never locked across an await. Bounded by the
    /// limit on concurrent calls.
    lanes: Mutex<HashMap<R::Kind, Lane<R>>>,
}

impl<R: Joinable> Default for Lanes<R> {
    fn default() -> Lanes<R> {
        Lanes { lanes: Mutex::default() }
    }
}

struct Lane<R: Joinable> {
    in_flight: usize,
    waiting: VecDeque<Waiting<R>>,
}

struct Waiting<R: Joinable> {
    read: R,
    answer: oneshot::Sender<Turn<R>>,
}

/// What a waiting read is told. If it is told nothing it reads by itself.
enum Turn<R: Joinable> {
    /// What another has found for it.
    Found(R::Found),
    /// It reads for these, too.
    Leads(InFlight<R>, Vec<Waiting<R>>),
}

/// A statement in progress. When it ends, or is cancelled, the next begins.
struct InFlight<R: Joinable> {
    lanes: Arc<Lanes<R>>,
    kind: R::Kind,
}

impl<R: Joinable> Lanes<R> {
    fn waiting(&self) -> usize {
        self.lanes.lock().values().map(|lane| lane.waiting.len()).sum()
    }

    async fn read(self: &Arc<Self>, postgres: &Postgres, read: R) -> Result<R::Found, DbError> {
        let (in_flight, others) = match self.enter(&read) {
            Ok(in_flight) => (Some(in_flight), Vec::new()),
            Err(told) => match told.await {
                Ok(Turn::Found(found)) => return Ok(found),
                Ok(Turn::Leads(in_flight, others)) => (Some(in_flight), others),
                // The statement has failed or was cancelled, perhaps because of another read.
                Err(_dropped) => (None, Vec::new()),
            },
        };
        let (reads, answers): (Vec<R>, Vec<_>) = others.into_iter().map(|other| (other.read, other.answer)).unzip();
        let (own, found) = match read.read(postgres, &reads).await {
            // Another may be the cause: each reads by itself.
            Err(_) if !reads.is_empty() => {
                drop(answers);
                return read.read(postgres, &[]).await.map(|(own, _)| own);
            }
            read => read?,
        };
        drop(in_flight);
        for (answer, found) in answers.into_iter().zip(found) {
            if answer.send(Turn::Found(found)).is_err() {
                tracing::debug!("a joined read ended after its call");
            }
        }
        Ok(own)
    }

    /// Begins a statement, or waits for its turn.
    fn enter(self: &Arc<Self>, read: &R) -> Result<InFlight<R>, oneshot::Receiver<Turn<R>>> {
        let kind = read.kind();
        let mut lanes = self.lanes.lock();
        let lane = lanes.entry(kind.clone()).or_insert_with(|| Lane { in_flight: 0, waiting: VecDeque::new() });
        if lane.in_flight < MAX_IN_FLIGHT {
            lane.in_flight += 1;
            return Ok(InFlight { lanes: self.clone(), kind });
        }
        let (answer, told) = oneshot::channel();
        lane.waiting.push_back(Waiting { read: read.clone(), answer });
        Err(told)
    }

    /// The reads of the next statement. If there are none, one statement less is in progress.
    fn next(&self, kind: &R::Kind) -> Option<(Waiting<R>, Vec<Waiting<R>>)> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.get_mut(kind)?;
        // Those of cancelled calls wait no more.
        while let Some(first) = lane.waiting.pop_front() {
            if first.answer.is_closed() {
                continue;
            }
            let mut size = first.read.size();
            let mut others = Vec::new();
            while let Some(other) = lane.waiting.pop_front_if(|other| {
                size += other.read.size();
                size <= MAX_SIZE
            }) {
                others.push(other);
            }
            return Some((first, others));
        }
        lane.in_flight -= 1;
        if lane.in_flight == 0 {
            lanes.remove(kind);
        }
        None
    }
}

impl<R: Joinable> Drop for InFlight<R> {
    fn drop(&mut self) {
        if let Some((first, others)) = self.lanes.next(&self.kind) {
            let in_flight = InFlight { lanes: self.lanes.clone(), kind: self.kind.clone() };
            // If its call was cancelled just now, the statement after it begins.
            drop(first.answer.send(Turn::Leads(in_flight, others)));
        }
    }
}
