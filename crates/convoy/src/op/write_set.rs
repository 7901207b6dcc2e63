//! The read and write set of a mutation that has not been sent yet.

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
    /// What it becomes; none where it is deleted.
    pub data: Option<String>,
    /// Its indexed values as they were, a JSON object.
    pub old_keys: String,
}

/// The documents that an optimistic mutation has read, and its writes.
#[derive(Default)]
pub(crate) struct WriteSet {
    /// Documents that were read and stay as they are, with the version that was
    /// seen; none where there was no document.
    pub reads: Vec<(Arc<Table>, Uuid, Option<Arc<str>>)>,
    /// Documents that change.
    pub writes: Vec<Write>,
    /// New documents.
    pub inserts: Vec<(Arc<Table>, Uuid, Box<RawValue>)>,
}

impl WriteSet {
    /// Whether there is nothing to check or to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.inserts.is_empty()
    }

    /// Leaves only the checks.
    pub(crate) fn writes_nothing(&mut self) {
        let checks = self.writes.drain(..).map(|write| (write.table, write.id, Some(write.version)));
        self.reads.extend(checks);
        self.inserts.clear();
    }
}
