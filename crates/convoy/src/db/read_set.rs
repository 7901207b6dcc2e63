//! What a run has read: the rows and ranges whose change could change its answer.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::key::{self, KeyFields, RowKeys, Span};
use crate::op::{Order, Scan};
use crate::schema::Table;

/// Everything one run has read. Reading more only ever adds to it.
#[derive(Debug, Default)]
pub struct ReadSet {
    /// Documents asked for by id, found or not: `(table, id)`.
    pub points: HashSet<(Arc<str>, Uuid)>,
    /// Parts of indexes.
    pub ranges: Vec<TableRead>,
}

/// A part of one index of one table.
#[derive(Debug, Clone)]
pub struct TableRead {
    /// The table, as the run knew it.
    pub table: Arc<Table>,
    /// Which of its indexes.
    pub index: usize,
    /// The part.
    pub span: Span,
}

impl ReadSet {
    /// Notes a read by id. That nothing was found is an answer too.
    pub fn point(&mut self, table: &Table, id: Uuid) {
        self.points.insert((Arc::from(table.physical.as_str()), id));
    }

    /// Notes a scan before it runs, so that a run that fails in it depends on
    /// what it would have read.
    pub fn scan(&mut self, scan: &Scan) {
        let span = key::scan_span(&scan.eq, scan.lower.as_ref(), scan.upper.as_ref());
        self.ranges.push(TableRead { table: scan.table.clone(), index: scan.index, span });
    }

    /// Narrows the scan noted last: a limit stopped it at this row, and what
    /// lies behind cannot have mattered.
    pub fn stopped_at(&mut self, scan: &Scan, last: LastRow<'_>) -> Result<(), serde_json::Error> {
        let LastRow { id, created, data } = last;
        let fields = KeyFields::of_document(&scan.table.key_paths, data)?;
        let end = key::row_span(&scan.table.indexes[scan.index], &RowKeys { id, created, fields });
        if let Some(TableRead { span, .. }) = self.ranges.last_mut() {
            match scan.order {
                Order::Asc => span.hi = end.hi,
                Order::Desc => span.lo = end.lo,
            }
        }
        Ok(())
    }
}

/// The row a limited scan ended at.
pub struct LastRow<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its `created_at`, in microseconds since 1970.
    pub created: i64,
    /// Its stored document.
    pub data: &'a str,
}
