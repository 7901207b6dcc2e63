//! The write log: the commits of this process, read by live queries and by the queue to
//! peers.

use std::sync::Arc;

use crate::change::{Change, ChangeSource, Changes, CommitNumber, CommitReader};

/// Receives every commit of this process, and passes it to its readers.
pub(crate) struct WriteLog {
    readers: Vec<Arc<dyn CommitReader>>,
}

impl WriteLog {
    /// A log with these readers.
    pub(crate) fn new(readers: Vec<Arc<dyn CommitReader>>) -> WriteLog {
        WriteLog { readers }
    }

    /// Appends the changes of one transaction of these functions. Every reader has
    /// processed them when this returns, so live queries are notified before a caller is
    /// answered. Returns the number that causes name the commit by; `None` without changes.
    pub(crate) fn append(&self, changes: Arc<[Change]>, by: &ChangeSource) -> Option<CommitNumber> {
        if changes.is_empty() {
            return None;
        }
        let committed = |reader: &Arc<dyn CommitReader>| reader.committed(Changes::Some(changes.clone()), by);
        self.readers.iter().fold(None, |number, reader| committed(reader).or(number))
    }
}
