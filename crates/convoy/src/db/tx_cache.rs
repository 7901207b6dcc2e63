//! Documents a transaction has read or written, so that it need not ask for them
//! again: in one snapshot a row changes only by the transaction's own hand.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::postgres::Row;
use crate::schema::Table;

/// What is known of documents, found or not.
#[derive(Default)]
pub(crate) struct TxCache {
    known: HashMap<(Arc<str>, Uuid), Option<Arc<Row>>>,
    /// Something may write behind our back: nothing is remembered any more.
    off: bool,
}

impl TxCache {
    /// Remembers nothing, now and later: for statements without a snapshot.
    pub(crate) fn none() -> TxCache {
        TxCache { off: true, ..TxCache::default() }
    }

    /// What is known of a document; the outer `None` is nothing.
    pub(crate) fn get(&self, table: &Table, id: Uuid) -> Option<&Option<Arc<Row>>> {
        if self.known.is_empty() {
            return None;
        }
        self.known.get(&(table.key.clone(), id))
    }

    /// Notes a document as it is now. The row begins `id, created_at, data`.
    pub(crate) fn note(&mut self, table: &Table, id: Uuid, row: Option<Arc<Row>>) {
        if !self.off {
            self.known.insert((table.key.clone(), id), row);
        }
    }

    /// Notes that a document is another now.
    pub(crate) fn forget(&mut self, table: &Table, id: Uuid) {
        self.known.remove(&(table.key.clone(), id));
    }

    /// Notes a write into a table. Triggers of the user's may write anything.
    pub(crate) fn wrote(&mut self, table: &Table) {
        if !table.traits().no_side_effects {
            self.stop();
        }
    }

    /// Notes that anything may be written from now on.
    pub(crate) fn stop(&mut self) {
        self.clear();
        self.off = true;
    }

    /// Forgets everything: some of it was undone.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }
}
