//! The read and write set of an optimistic mutation, before it is validated and written.

use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::schema::Table;

/// A document that changes.
pub(crate) struct Write {
    /// Its table.
    pub table: Arc<Table>,
    /// Its id.
    pub id: Uuid,
    /// The version that was read.
    pub version: Arc<str>,
    /// Its new content; `None` if it is deleted.
    pub data: Option<String>,
    /// The indexed values that were read, a JSON object.
    pub old_keys: String,
    /// The top-level fields that were set or removed; `None` if these can be any.
    pub fields: Option<Arc<[String]>>,
}

/// A document that was read and not changed, with its version; `None` if there was no document.
pub(crate) type Read = (Arc<Table>, Uuid, Option<Arc<str>>);

/// The documents that an optimistic mutation has read, and its writes.
#[derive(Default)]
pub(crate) struct WriteSet {
    /// Documents that were read and not changed.
    pub reads: Vec<Read>,
    /// Documents that change.
    pub writes: Vec<Write>,
    /// New documents.
    pub inserts: Vec<(Arc<Table>, Uuid, Box<RawValue>)>,
}

impl WriteSet {
    /// Whether there are no reads and no writes.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tables of the reads and writes, with repetitions.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        let reads = self.reads.iter().map(|(table, _, _)| table);
        let writes = self.writes.iter().map(|write| &write.table);
        reads.chain(writes).chain(self.inserts.iter().map(|(table, _, _)| table))
    }

    /// The number of documents.
    pub(crate) fn len(&self) -> usize {
        self.reads.len() + self.writes.len() + self.inserts.len()
    }

    /// Keeps only the versions to validate.
    pub(crate) fn drop_writes(&mut self) {
        let checks = self.writes.drain(..).map(|write| (write.table, write.id, Some(write.version)));
        self.reads.extend(checks);
        self.inserts.clear();
    }
}
