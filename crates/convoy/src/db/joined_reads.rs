//! Reads by id outside of transactions. Those that wait at the same time are joined.
//!
//! The cost of a read by id is mostly its statement, not its row. While as many statements for a
//! table are in progress as may be, later reads of the table wait. When a statement ends, the
//! first of them reads the documents of all in one statement, on its own task, and hands the
//! others their rows. Each reads what was committed when its statement began, which is after it
//! was called, as if it had been alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::postgres::{DbError, Postgres, Row};
use crate::schema::Table;
use crate::sql::{document, optimistic};

/// The most statements for one table and kind of reader at once.
const MAX_IN_FLIGHT: usize = 2;
/// The most documents of a joined statement.
const MAX_DOCUMENTS: usize = 256;

/// The database outside of transactions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Autocommit {
    inner: Arc<Inner>,
}

struct Inner {
    postgres: Postgres,
    /// The tables with statements in progress. Never locked across an await. Bounded by the
    /// limit on concurrent calls.
    lanes: Mutex<HashMap<LaneKey, Lane>>,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    /// A query: `id, created_at, data`.
    Query,
    /// An optimistic mutation, serializable and not from a replica: the same and the version.
    Mutation,
}

/// The description of a table, by its address, and the reader. Joined statements have one
/// version of the description, because new code may describe the table differently.
type LaneKey = (usize, Reader);

#[derive(Default)]
struct Lane {
    in_flight: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    ids: Vec<Uuid>,
    answer: oneshot::Sender<Turn>,
}

/// What a waiting read is told. If it is told nothing it reads by itself.
enum Turn {
    /// Its rows.
    Rows(Vec<Arc<Row>>),
    /// It reads for these, too.
    Leads(InFlight, Vec<Waiting>),
}

/// A statement in progress. When it ends, or is cancelled, the next begins.
struct InFlight {
    database: Autocommit,
    key: LaneKey,
}

impl Autocommit {
    /// Statements on this database.
    pub(crate) fn new(postgres: Postgres) -> Autocommit {
        Autocommit { inner: Arc::new(Inner { postgres, lanes: Mutex::default() }) }
    }

    /// How many reads wait for a statement.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lanes.lock().values().map(|lane| lane.waiting.len()).sum()
    }

    pub(super) fn postgres(&self) -> &Postgres {
        &self.inner.postgres
    }

    /// Reads documents by id, as `reader` describes; those that exist.
    pub(super) async fn get(&self, table: &Arc<Table>, ids: &[Uuid], reader: Reader) -> Result<Vec<Arc<Row>>, DbError> {
        let (in_flight, others) = match self.enter((Arc::as_ptr(table) as usize, reader), ids) {
            Ok(in_flight) => (Some(in_flight), Vec::new()),
            Err(told) => match told.await {
                Ok(Turn::Rows(rows)) => return Ok(rows),
                Ok(Turn::Leads(in_flight, others)) => (Some(in_flight), others),
                // The statement has failed or was cancelled, perhaps because of another read.
                Err(_dropped) => (None, Vec::new()),
            },
        };
        let mut all: Vec<Uuid> = ids.iter().chain(others.iter().flat_map(|other| &other.ids)).copied().collect();
        all.sort_unstable();
        all.dedup();
        let rows = self.read(table, &all, reader).await?;
        drop(in_flight);
        if others.is_empty() {
            return Ok(rows);
        }
        let mut by_id = HashMap::with_capacity(rows.len());
        for row in rows {
            by_id.insert(row.uuid(0)?, row);
        }
        let of = |ids: &[Uuid]| {
            let distinct: HashSet<&Uuid> = ids.iter().collect();
            distinct.into_iter().filter_map(|id| by_id.get(id).cloned()).collect()
        };
        for other in others {
            let rows = of(&other.ids);
            if other.answer.send(Turn::Rows(rows)).is_err() {
                tracing::debug!("a joined read ended after its call");
            }
        }
        Ok(of(ids))
    }

    async fn read(&self, table: &Arc<Table>, ids: &[Uuid], reader: Reader) -> Result<Vec<Arc<Row>>, DbError> {
        let rows = match reader {
            Reader::Query => self.inner.postgres.read(&document::get(table, ids)).await?,
            Reader::Mutation => self.inner.postgres.read_as_writer(&optimistic::get(table, ids)).await?,
        };
        Ok(rows.into_iter().map(Arc::new).collect())
    }

    /// Begins a statement, or waits for its turn.
    fn enter(&self, key: LaneKey, ids: &[Uuid]) -> Result<InFlight, oneshot::Receiver<Turn>> {
        let mut lanes = self.inner.lanes.lock();
        let lane = lanes.entry(key).or_default();
        if lane.in_flight < MAX_IN_FLIGHT {
            lane.in_flight += 1;
            return Ok(InFlight { database: self.clone(), key });
        }
        let (answer, told) = oneshot::channel();
        lane.waiting.push_back(Waiting { ids: ids.to_vec(), answer });
        Err(told)
    }

    /// The reads of the next statement. If there are none, one statement less is in progress.
    fn next(&self, key: LaneKey) -> Option<(Waiting, Vec<Waiting>)> {
        let mut lanes = self.inner.lanes.lock();
        let lane = lanes.get_mut(&key)?;
        // Those of cancelled calls wait no more.
        while let Some(first) = lane.waiting.pop_front() {
            if first.answer.is_closed() {
                continue;
            }
            let mut documents = first.ids.len();
            let mut others = Vec::new();
            while let Some(other) = lane.waiting.pop_front_if(|other| {
                documents += other.ids.len();
                documents <= MAX_DOCUMENTS
            }) {
                others.push(other);
            }
            return Some((first, others));
        }
        lane.in_flight -= 1;
        if lane.in_flight == 0 {
            lanes.remove(&key);
        }
        None
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some((first, others)) = self.database.next(self.key) {
            let in_flight = InFlight { database: self.database.clone(), key: self.key };
            // If its call was cancelled just now, the statement after it begins.
            drop(first.answer.send(Turn::Leads(in_flight, others)));
        }
    }
}
