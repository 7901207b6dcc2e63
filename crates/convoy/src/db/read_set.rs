//! What a run has read: the rows and ranges whose change could change its answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::key::{self, KeyFields, KeyValue, RowKeys, Span};
use crate::op::{self, Cursor, Order, Scan};
use crate::schema::Table;
use crate::time::Time;

/// Everything one run has read. Reading more only ever adds to it.
#[derive(Debug, Default)]
pub(crate) struct ReadSet {
    /// Documents asked for by id, found or not: `(table, id)`.
    pub points: HashSet<(Arc<str>, Uuid)>,
    /// Parts of indexes.
    pub ranges: Vec<TableRead>,
    /// Whole tables, by their names in Postgres.
    pub tables: HashSet<Arc<str>>,
    /// It is unknown what was read: any change may matter.
    pub everything: bool,
    /// The answer depends on the time: it is to be asked for again after this.
    pub refresh: Option<Duration>,
}

/// A part of one index of one table.
#[derive(Debug, Clone)]
pub(crate) struct TableRead {
    /// The table, as the run knew it.
    pub table: Arc<Table>,
    /// Which of its indexes.
    pub index: usize,
    /// The part.
    pub span: Span,
    /// The values its first fields must have, to tell people which part that is.
    pub eq: Vec<KeyValue>,
    /// Whether the part is smaller than those values say, or would be if there were
    /// more documents: by bounds or by a limit.
    pub cut: bool,
}

impl TableRead {
    /// Whether it is the whole table.
    pub(crate) fn is_whole(&self) -> bool {
        self.eq.is_empty() && !self.cut
    }
}

impl ReadSet {
    /// Notes a read by id. That nothing was found is an answer too.
    pub(crate) fn point(&mut self, table: &Table, id: Uuid) {
        self.points.insert((table.key.clone(), id));
    }

    /// Notes that anything in a table may have been read.
    pub(crate) fn table(&mut self, physical: &str) {
        self.tables.insert(Arc::from(physical));
    }

    /// Notes a scan before it runs, so that a run that fails in it depends on
    /// what it would have read.
    ///
    /// `limited`: it gives so many documents at the most.
    pub(crate) fn scan(&mut self, scan: &Scan, limited: bool) {
        let span = op::scan_span(&scan.eq, scan.lower.as_ref(), scan.upper.as_ref());
        let table = scan.table.clone();
        let cut = scan.lower.is_some() || scan.upper.is_some() || (limited && scan.by.is_none());
        self.ranges.push(TableRead { table, index: scan.index, span, eq: scan.eq.clone(), cut });
    }

    /// Narrows the scan noted last: a limit stopped it at this row, and what
    /// lies behind cannot have mattered. Only an index's own order says what
    /// lies behind.
    pub(crate) fn stopped_at(&mut self, scan: &Scan, last: LastRow<'_>) -> Result<(), serde_json::Error> {
        if scan.by.is_some() {
            return Ok(());
        }
        let LastRow { id, created, data } = last;
        let fields = KeyFields::of_document(&scan.table.key_paths, data)?;
        let end = key::row_span(scan.index(), &RowKeys { id, created, fields });
        self.narrow(scan, None, Some(end));
        Ok(())
    }

    /// Narrows the scan noted last: it began behind this place.
    pub(crate) fn begins_behind(&mut self, scan: &Scan, place: &Cursor) {
        self.narrow(scan, op::cursor_span(scan, place), None);
    }

    /// Narrows the scan noted last: it ended with this place.
    pub(crate) fn ends_at(&mut self, scan: &Scan, place: &Cursor) {
        self.narrow(scan, None, op::cursor_span(scan, place));
    }

    fn narrow(&mut self, scan: &Scan, begin: Option<Span>, end: Option<Span>) {
        let Some(TableRead { span, cut, .. }) = self.ranges.last_mut() else { return };
        *cut |= begin.is_some() || end.is_some();
        let (low, high) = match scan.order {
            Order::Asc => (begin, end),
            Order::Desc => (end, begin),
        };
        if let Some(low) = low {
            span.lo = low.lo;
        }
        if let Some(high) = high {
            span.hi = high.hi;
        }
    }
}

/// The row a limited scan ended at.
pub(crate) struct LastRow<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its `created_at`.
    pub created: Time,
    /// Its stored document.
    pub data: &'a str,
}
