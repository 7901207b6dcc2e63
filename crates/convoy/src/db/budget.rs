//! The limits on documents that one call may read and write.

use super::document_size::size_above;
use crate::error::{Code, Failure};
use crate::op::{Edit, Op};
use crate::schema::Table;

/// The remaining limits of a call.
#[derive(Clone)]
pub(crate) struct Budget {
    read_limit: u32,
    reads: usize,
    writes: usize,
    document_bytes: usize,
    refused: Option<Failure>,
    refused_document: Option<Failure>,
}

impl Budget {
    /// The limits of a new call.
    pub(crate) fn new(reads: usize, writes: usize, document_bytes: usize) -> Budget {
        let read_limit = u32::try_from(reads).unwrap_or(u32::MAX);
        Budget { read_limit, reads, writes, document_bytes, refused: None, refused_document: None }
    }

    /// The limits of a call that only reads.
    pub(crate) fn of_reads(reads: usize) -> Budget {
        Budget::new(reads, 0, 0)
    }

    /// No limits, for documents that were counted and measured before.
    pub(crate) fn counted() -> Budget {
        Budget::new(usize::MAX, usize::MAX, usize::MAX)
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

    /// Measures the documents that these operations write as a whole.
    pub(crate) fn whole_documents<'a>(&mut self, ops: impl Iterator<Item = &'a Op>) -> Result<(), Failure> {
        for op in ops {
            if let Op::Insert { table, doc, .. } | Op::Edit { table, edit: Edit::Replace { doc }, .. } = op {
                self.document(table, doc.get())?;
            }
        }
        Ok(())
    }

    /// Measures a document that is about to be written.
    pub(crate) fn document(&mut self, table: &Table, json: &str) -> Result<(), Failure> {
        match size_above(json, self.document_bytes) {
            None => Ok(()),
            Some(size) => {
                let begin = format!("A document of `{}` has {size} bytes as JSON", table.name);
                Err(self.refuse_document(&begin, ""))
            }
        }
    }

    /// Measures a document after a change, from its text.
    pub(super) fn changed_document(&mut self, table: &Table, json: &str) -> Result<(), Failure> {
        size_above(json, self.document_bytes).map_or(Ok(()), |size| Err(self.refuse_change(table, size)))
    }

    /// The same by its size in Postgres.
    pub(super) fn stored_document(&mut self, table: &Table, size: usize) -> Result<(), Failure> {
        if size <= self.document_bytes { Ok(()) } else { Err(self.refuse_change(table, size)) }
    }

    /// Refuses a change of a document that would have this size.
    pub(super) fn refuse_change(&mut self, table: &Table, size: usize) -> Failure {
        let begin = format!("After this change, the document of `{}` has {size} bytes as JSON", table.name);
        self.refuse_document(&begin, " A document that was larger before can be read, and changed so that it fits.")
    }

    /// The largest size of a document, in bytes.
    pub(super) fn document_limit(&self) -> usize {
        self.document_bytes
    }

    fn refuse_document(&mut self, begin: &str, more: &str) -> Failure {
        let limit = self.document_bytes;
        let message = format!(
            "{begin}, and limits.documentBytes is {limit}.{more} Split it into several documents, store large values \
             elsewhere, or raise the limit."
        );
        self.refused_document.insert(Failure::new(Code::PayloadTooLarge, message)).clone()
    }

    /// Forgets a document that was refused outside of a transaction, or in one that has ended.
    pub(crate) fn forget_refused_document(&mut self) {
        self.refused_document = None;
    }

    /// The failure of a refused write, if any. Such a call must not commit, even if its
    /// function ignored the failure.
    pub(crate) fn refused_write(&self) -> Option<&Failure> {
        self.refused.as_ref().or(self.refused_document.as_ref())
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
        let mut budget = Budget::new(2, 2, 0);
        assert!(budget.read(2).is_ok() && budget.write(1).is_ok());
        assert_eq!(budget.read(1).expect_err("the reads are used up").code, Code::PayloadTooLarge);
        assert!(budget.refused_write().is_none());
        assert!(budget.write(2).is_err());
        assert!(budget.write(1).is_err(), "a refused write uses up what was left");
        assert!(budget.refused_write().is_some());
    }
}
