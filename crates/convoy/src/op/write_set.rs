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

/// The documents that an optimistic mutation has read, and its writes.
#[derive(Default)]
pub(crate) struct WriteSet {
    /// Documents that were read and not changed, with their version; `None` if there was no
    /// document.
    pub reads: Vec<(Arc<Table>, Uuid, Option<Arc<str>>)>,
    /// Documents that change.
    pub writes: Vec<Write>,
    /// New documents.
    pub inserts: Vec<(Arc<Table>, Uuid, Box<RawValue>)>,
}

impl WriteSet {
    /// Whether there are no reads and no writes.
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.inserts.is_empty()
    }

    /// Keeps only the versions to validate.
    pub(crate) fn drop_writes(&mut self) {
        let checks = self.writes.drain(..).map(|write| (write.table, write.id, Some(write.version)));
        self.reads.extend(checks);
        self.inserts.clear();
    }
}
