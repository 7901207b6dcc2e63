//! Caches the documents that a transaction has read or written. In one snapshot, a row
//! changes only by writes of the transaction itself.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::postgres::Row;
use crate::schema::Table;

/// Documents by id, found or not.
#[derive(Default)]
pub(crate) struct TxCache {
    documents: HashMap<(Arc<str>, Uuid), Option<Arc<Row>>>,
    /// The cache stays empty, because untracked writes are possible.
    off: bool,
}

impl TxCache {
    /// A cache that stays empty, for statements without a snapshot.
    pub(crate) fn none() -> TxCache {
        TxCache { off: true, ..TxCache::default() }
    }

    /// A cached document, `Some(None)` if it does not exist; `None` if it is not cached.
    pub(crate) fn get(&self, table: &Table, id: Uuid) -> Option<&Option<Arc<Row>>> {
        if self.documents.is_empty() {
            return None;
        }
        self.documents.get(&(table.key.clone(), id))
    }

    /// Caches a document. The row begins with `id, created_at, data`.
    pub(crate) fn insert(&mut self, table: &Table, id: Uuid, row: Option<Arc<Row>>) {
        if !self.off {
            self.documents.insert((table.key.clone(), id), row);
        }
    }

    /// Removes a document that has changed.
    pub(crate) fn remove(&mut self, table: &Table, id: Uuid) {
        self.documents.remove(&(table.key.clone(), id));
    }

    /// Handles a write into a table: user triggers may have written anything.
    pub(crate) fn wrote(&mut self, table: &Table) {
        if !table.traits().no_side_effects {
            self.disable();
        }
    }

    /// Empties the cache for good, because from now on any document may be written.
    pub(crate) fn disable(&mut self) {
        self.clear();
        self.off = true;
    }

    /// Removes all documents.
    pub(crate) fn clear(&mut self) {
        self.documents.clear();
    }
}
