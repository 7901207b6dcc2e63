//! The read set of a run: the rows and ranges whose changes could change its result.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::key::{self, KeyFields, RowKeys, Span};
use crate::op::{self, Cursor, Order, Scan};
use crate::postgres::RowSecurity;
use crate::schema::Table;
use crate::time::Time;

/// The reads of one run. It only grows.
#[derive(Debug, Default)]
pub(crate) struct ReadSet {
    /// Documents read by id, found or not: `(table, id)`.
    pub points: HashSet<(Arc<str>, Uuid)>,
    /// Ranges of indexes.
    pub ranges: Vec<TableRead>,
    /// Whole tables, by their names in Postgres.
    pub tables: HashSet<Arc<str>>,
    /// The reads are unknown: any change may matter.
    pub everything: bool,
    /// An expression of the user's own was evaluated by Postgres, in `raw` or in a policy: its
    /// value may depend on more than rows, such as the time.
    pub opaque: bool,
    /// The result depends on the time, and expires after this.
    pub refresh: Option<Duration>,
}

/// A range of one index of one table.
#[derive(Debug, Clone)]
pub(crate) struct TableRead {
    /// The scan that has read it, with the table in the version of the run. Kept whole to show
    /// developers what was read, and how it could read less.
    pub scan: Arc<Scan>,
    /// The range.
    pub span: Span,
    /// Whether bounds or a limit make the range smaller than the values of the scan, or would if
    /// there were more documents.
    pub cut: bool,
}

impl TableRead {
    /// The table.
    pub(crate) fn table(&self) -> &Table {
        &self.scan.table
    }

    /// Whether it is the whole table.
    pub(crate) fn is_whole(&self) -> bool {
        self.scan.eq.is_empty() && !self.cut
    }

    /// Whether a row with these keys is in the range.
    pub(crate) fn has(&self, row: &RowKeys) -> bool {
        key::row_span(self.scan.index(), row).overlaps(&self.span)
    }
}

impl ReadSet {
    /// Adds the reads of `other`.
    pub(crate) fn extend(&mut self, other: &ReadSet) {
        self.points.extend(other.points.iter().cloned());
        self.ranges.extend(other.ranges.iter().cloned());
        self.tables.extend(other.tables.iter().cloned());
        self.everything |= other.everything;
        self.opaque |= other.opaque;
        self.refresh = [self.refresh, other.refresh].into_iter().flatten().min();
    }

    /// Adds what the policies of its tables have read.
    pub(crate) fn add_policy_reads(&mut self, row_security: &RowSecurity) {
        let mut read: HashSet<&str> = self.tables.iter().map(AsRef::as_ref).collect();
        read.extend(self.points.iter().map(|(table, _)| &**table));
        read.extend(self.ranges.iter().map(|range| &*range.table().key));
        let names = row_security.policy_reads(read);
        self.tables.extend(names);
        self.opaque = true;
    }

    /// Whether nothing was read.
    pub(crate) fn is_empty(&self) -> bool {
        let ReadSet { points, ranges, tables, everything, opaque, refresh } = self;
        points.is_empty() && ranges.is_empty() && tables.is_empty() && !everything && !opaque && refresh.is_none()
    }

    /// Whether it has only these tables.
    pub(crate) fn is_within(&self, tables: &HashSet<Arc<str>>) -> bool {
        !self.everything
            && self.tables.iter().all(|table| tables.contains(table))
            && self.points.iter().all(|(table, _)| tables.contains(table))
            && self.ranges.iter().all(|range| tables.contains(&range.table().key))
    }

    /// Adds a read by id, also if no document was found.
    pub(crate) fn point(&mut self, table: &Table, id: Uuid) {
        self.points.insert((table.key.clone(), id));
    }

    /// Adds a whole table.
    pub(crate) fn table(&mut self, physical: &str) {
        self.tables.insert(Arc::from(physical));
    }

    /// Adds a scan before it runs, so that a run that fails during the scan depends on its
    /// range. `limited`: the scan has a limit.
    pub(crate) fn scan(&mut self, scan: &Scan, limited: bool) {
        let span = op::scan_span(&scan.eq, scan.lower.as_ref(), scan.upper.as_ref());
        let cut = scan.lower.is_some() || scan.upper.is_some() || (limited && scan.by.is_none());
        self.ranges.push(TableRead { scan: Arc::new(scan.clone()), span, cut });
    }

    /// Narrows the last scan, which a limit stopped at this row: later rows cannot have
    /// mattered. Only in the order of the index are they a range.
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

    /// Narrows the last scan, which started after this position.
    pub(crate) fn starts_after(&mut self, scan: &Scan, cursor: &Cursor) {
        self.narrow(scan, op::cursor_span(scan, cursor), None);
    }

    /// Narrows the last scan, which ended at this position.
    pub(crate) fn ends_at(&mut self, scan: &Scan, cursor: &Cursor) {
        self.narrow(scan, None, op::cursor_span(scan, cursor));
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
