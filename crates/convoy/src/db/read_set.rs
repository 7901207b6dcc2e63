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

    /// Notes a scan. `last` is the data of the last row it gave, when a limit
    /// stopped it: what lies behind that row cannot have mattered.
    pub fn scan(&mut self, scan: &Scan, last: Option<LastRow<'_>>) -> Result<(), serde_json::Error> {
        let index = &scan.table.indexes[scan.index];
        let mut span = key::scan_span(&scan.eq, scan.lower.as_ref(), scan.upper.as_ref());
        if let Some(LastRow { id, created, data }) = last {
            let fields = KeyFields::of_document(&scan.table.key_paths, data)?;
            let end = key::row_span(index, &RowKeys { id, created, fields });
            match scan.order {
                Order::Asc => span.hi = end.hi,
                Order::Desc => span.lo = end.lo,
            }
        }
        self.ranges.push(TableRead { table: scan.table.clone(), index: scan.index, span });
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
