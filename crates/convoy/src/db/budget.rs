//! The limits on documents that one call may read and write.

use crate::error::{Code, Failure};

/// The remaining limits of a call.
#[derive(Clone)]
pub(crate) struct Budget {
    read_limit: u32,
    reads: usize,
    writes: usize,
    refused: Option<Failure>,
}

impl Budget {
    /// The limits of a new call.
    pub(crate) fn new(reads: usize, writes: usize) -> Budget {
        Budget { read_limit: u32::try_from(reads).unwrap_or(u32::MAX), reads, writes, refused: None }
    }

    /// No limits, for documents that were counted before.
    pub(crate) fn counted() -> Budget {
        Budget::new(usize::MAX, usize::MAX)
    }

    /// How many documents the whole call may read.
    pub(crate) fn read_limit(&self) -> u32 {
        self.read_limit
    }

    /// Counts documents that were read, or are about to be.
    pub(crate) fn read(&mut self, documents: usize) -> Result<(), Failure> {
        let left = self.reads.checked_sub(documents);
        self.reads = left.unwrap_or(0);
        left.map(drop).ok_or_else(too_many_reads)
    }

    /// Counts documents that are about to be written.
    pub(crate) fn write(&mut self, documents: usize) -> Result<(), Failure> {
        let left = self.writes.checked_sub(documents);
        self.writes = left.unwrap_or(0);
        left.map(drop).ok_or_else(|| self.refused.insert(too_many_writes()).clone())
    }

    /// The failure of a refused write, if any. Such a call must not commit, even if its
    /// function ignored the failure.
    pub(crate) fn refused_write(&self) -> Option<&Failure> {
        self.refused.as_ref()
    }
}

fn too_many_reads() -> Failure {
    let message = "This call reads more documents than limits.maxDocumentsRead allows; read fewer by an index and a \
                   limit, or raise it.";
    Failure::new(Code::PayloadTooLarge, message)
}

fn too_many_writes() -> Failure {
    let message = "This call writes more documents than limits.maxDocumentsWritten allows; write them in several calls, \
                   or raise it.";
    Failure::new(Code::PayloadTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_write_is_remembered_and_a_refused_read_is_not() {
        let mut budget = Budget::new(2, 2);
        assert!(budget.read(2).is_ok() && budget.write(1).is_ok());
        assert_eq!(budget.read(1).expect_err("the reads are used up").code, Code::PayloadTooLarge);
        assert!(budget.refused_write().is_none());
        assert!(budget.write(2).is_err());
        assert!(budget.write(1).is_err(), "a refused write uses up what was left");
        assert!(budget.refused_write().is_some());
    }
}
