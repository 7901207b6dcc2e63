//! Reads of documents by their ids.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::Joinable;
use crate::postgres::{DbError, Postgres, Row};
use crate::schema::Table;
use crate::sql::{document, optimistic};

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reader {
    /// A query: `id, created_at, data`.
    Query,
    /// An optimistic mutation, serializable and not from a replica: the same and the version.
    Mutation,
}

/// Documents of one table.
#[derive(Clone)]
pub(super) struct Documents {
    pub table: Arc<Table>,
    pub ids: Vec<Uuid>,
    pub reader: Reader,
}

impl Joinable for Documents {
    /// The description of the table, by its address: new code may describe it differently. It
    /// exists as long as one that reads with it.
    type Kind = (usize, Reader);
    type Found = Vec<Arc<Row>>;

    fn kind(&self) -> (usize, Reader) {
        (Arc::as_ptr(&self.table) as usize, self.reader)
    }

    fn size(&self) -> usize {
        self.ids.len()
    }

    async fn read(&self, postgres: &Postgres, others: &[Self]) -> Result<(Self::Found, Vec<Self::Found>), DbError> {
        let Documents { table, ids, reader } = self;
        let mut all: Vec<Uuid> = ids.iter().chain(others.iter().flat_map(|other| &other.ids)).copied().collect();
        all.sort_unstable();
        all.dedup();
        let rows = match reader {
            Reader::Query => postgres.read(&document::get(table, &all)).await?,
            Reader::Mutation => postgres.read_as_writer(&optimistic::get(table, &all)).await?,
        };
        let rows = rows.into_iter().map(Arc::new);
        if others.is_empty() {
            return Ok((rows.collect(), Vec::new()));
        }
        let mut by_id = HashMap::with_capacity(all.len());
        for row in rows {
            by_id.insert(row.uuid(0)?, row);
        }
        let of = |ids: &[Uuid]| {
            let distinct: HashSet<&Uuid> = ids.iter().collect();
            distinct.into_iter().filter_map(|id| by_id.get(id).cloned()).collect()
        };
        Ok((of(ids), others.iter().map(|other| of(&other.ids)).collect()))
    }
}
