//! The write log: what this process has committed. Live queries and the queue to other
//! processes each read it.

use std::sync::Arc;

use crate::change::{Change, ChangeSource, Changes, CommitReader};

/// What all commits of this process are appended to.
pub(crate) struct WriteLog {
    readers: Vec<Arc<dyn CommitReader>>,
}

impl WriteLog {
    /// A log with these readers.
    pub(crate) fn new(readers: Vec<Arc<dyn CommitReader>>) -> WriteLog {
        WriteLog { readers }
    }

    /// Appends what one transaction of these functions has changed. Every reader has read
    /// it when this returns; so a caller is answered only after live queries were told.
    pub(crate) fn append(&self, changes: Arc<[Change]>, by: &ChangeSource) {
        if !changes.is_empty() {
            self.readers.iter().for_each(|reader| reader.committed(Changes::Some(changes.clone()), by));
        }
    }
}
