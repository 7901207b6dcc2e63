//! Turns one committed change into the set of readers that it concerns.
//!
//! Invariant: the set may contain a reader whose result stays the same; it must never
//! miss one whose result changes. No clock and no I/O, so tests need neither.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::intervals::Intervals;
use crate::change::{Change, ChangeKind, TablesRead};
use crate::db::{ReadSet, TableRead};
use crate::key::{RowKeys, row_span};
use crate::schema::Table;

/// The id of a reader: of a live query, or of a read kept in memory.
pub(crate) type ReaderId = u64;

/// The read sets of readers, indexed for lookup by a change.
#[derive(Debug, Default)]
pub(crate) struct ReadIndex {
    points: HashMap<(Arc<str>, Uuid), Readers>,
    tables: HashMap<String, TableIndex>,
    /// Queries that may have read any row of a table, by the table's name.
    whole: HashMap<Arc<str>, Readers>,
    /// Queries that may have read any table.
    everything: Readers,
}

#[derive(Debug)]
struct TableIndex {
    table: Arc<Table>,
    /// One set of intervals per index of the table.
    intervals: Vec<Intervals>,
}

impl ReadIndex {
    /// Adds the read set of a query.
    pub(crate) fn insert(&mut self, query: ReaderId, reads: &ReadSet) {
        for point in &reads.points {
            self.points.entry(point.clone()).or_default().insert(query);
        }
        for table in &reads.tables {
            self.whole.entry(table.clone()).or_default().insert(query);
        }
        if reads.everything {
            self.everything.insert(query);
        }
        for range in &reads.ranges {
            let entry = self.tables.entry(range.table().physical.clone()).or_insert_with(|| TableIndex {
                table: range.scan.table.clone(),
                intervals: range.table().indexes.iter().map(|_| Intervals::default()).collect(),
            });
            entry.intervals[range.scan.index].insert(range.span.clone(), query);
        }
    }

    /// Removes the read set of a query; `reads` equals the one that was inserted.
    pub(crate) fn remove(&mut self, query: ReaderId, reads: &ReadSet) {
        for point in &reads.points {
            if let Some(readers) = self.points.get_mut(point)
                && readers.remove(query)
            {
                self.points.remove(point);
            }
        }
        for table in &reads.tables {
            if let Some(readers) = self.whole.get_mut(table)
                && readers.remove(query)
            {
                self.whole.remove(table);
            }
        }
        if reads.everything {
            self.everything.remove(query);
        }
        for range in &reads.ranges {
            if let Some(entry) = self.tables.get_mut(&range.table().physical) {
                entry.intervals[range.scan.index].remove(&range.span, query);
                if entry.intervals.iter().all(Intervals::is_empty) {
                    self.tables.remove(&range.table().physical);
                }
            }
        }
    }

    /// The tables in all read sets.
    pub(crate) fn tables_read(&self) -> TablesRead {
        let points = self.points.keys().map(|(table, _)| table.clone());
        let ranges = self.tables.values().map(|entry| entry.table.key.clone());
        let names = self.whole.keys().cloned().chain(points).chain(ranges).collect();
        TablesRead { names, everything: !self.everything.is_empty() }
    }

    /// Adds the queries that a change concerns to `hits`.
    pub(crate) fn hits(&self, change: &Change, hits: &mut HashSet<ReaderId>) {
        let mut hit = |query: ReaderId| {
            hits.insert(query);
        };
        self.everything.for_each(&mut hit);
        if let Some(readers) = self.whole.get(&change.table) {
            readers.for_each(&mut hit);
        }
        match &change.kind {
            ChangeKind::Row { id, old, new, .. } => {
                if let Some(readers) = self.points.get(&(change.table.clone(), *id)) {
                    readers.for_each(&mut hit);
                }
                let Some(entry) = self.tables.get(&*change.table) else { return };
                for row in [old, new].into_iter().flatten() {
                    for (index, intervals) in entry.table.indexes.iter().zip(&entry.intervals) {
                        if !intervals.is_empty() {
                            intervals.overlapping(&row_span(index, row), &mut hit);
                        }
                    }
                }
            }
            ChangeKind::Whole => {
                for ((table, _), readers) in &self.points {
                    if *table == change.table {
                        readers.for_each(&mut hit);
                    }
                }
                if let Some(entry) = self.tables.get(&*change.table) {
                    for intervals in &entry.intervals {
                        intervals.overlapping(&crate::key::Span::everything(), &mut hit);
                    }
                }
            }
        }
    }
}

/// The readers of one document or table: mostly one, and of some all.
#[derive(Debug)]
enum Readers {
    Few(Vec<ReaderId>),
    Many(HashSet<ReaderId>),
}

/// From so many on, a list of readers is searched too slowly.
const MANY: usize = 16;

impl Default for Readers {
    fn default() -> Readers {
        Readers::Few(Vec::new())
    }
}

impl Readers {
    fn insert(&mut self, reader: ReaderId) {
        match self {
            Readers::Few(few) if few.len() < MANY => few.push(reader),
            Readers::Few(few) => *self = Readers::Many(few.drain(..).chain([reader]).collect()),
            Readers::Many(many) => drop(many.insert(reader)),
        }
    }

    /// Returns whether none is left.
    fn remove(&mut self, reader: ReaderId) -> bool {
        match self {
            Readers::Few(few) => few.retain(|id| *id != reader),
            Readers::Many(many) => drop(many.remove(&reader)),
        }
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        match self {
            Readers::Few(few) => few.is_empty(),
            Readers::Many(many) => many.is_empty(),
        }
    }

    fn for_each(&self, hit: &mut impl FnMut(ReaderId)) {
        match self {
            Readers::Few(few) => few.iter().copied().for_each(hit),
            Readers::Many(many) => many.iter().copied().for_each(hit),
        }
    }
}

/// Whether a change concerns a read set: the same result as the index gives, for a
/// read set that is not in it yet.
pub(super) fn touches(reads: &ReadSet, change: &Change) -> bool {
    if reads.everything || reads.tables.contains(&change.table) {
        return true;
    }
    let in_table = |range: &&TableRead| *range.table().physical == *change.table;
    match &change.kind {
        ChangeKind::Whole => {
            reads.points.iter().any(|(table, _)| *table == change.table) || reads.ranges.iter().any(|r| in_table(&r))
        }
        ChangeKind::Row { id, old, new, .. } => {
            let in_range = |row: &RowKeys| reads.ranges.iter().filter(in_table).any(|range| range.has(row));
            reads.points.contains(&(change.table.clone(), *id))
                || old.as_ref().is_some_and(in_range)
                || new.as_ref().is_some_and(in_range)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyFields, KeyValue};
    use crate::op::{Scan, scan_span};
    use crate::schema::Schema;
    use crate::time::Time;
    use proptest::prelude::*;

    fn table() -> Arc<Table> {
        let schema = Schema::parse(
            serde_json::from_str(
                r#"{"tables":[{"name":"m","physicalName":"m","managed":true,"indexes":[
                    {"name":"by_c","unique":false,"fields":[{"path":"c","kind":"text"},{"path":"n","kind":"number"}]}]}]}"#,
            )
            .expect("a description"),
        );
        schema.expect("a schema").table("m").expect("the table").clone()
    }

    fn row(table: &Table, id: u128, c: u8, n: i8) -> RowKeys {
        let data = format!(r#"{{"c":"{}","n":{n}}}"#, (b'a' + c) as char);
        let fields = KeyFields::of_document(&table.key_paths, &data).expect("json");
        RowKeys { id: Uuid::from_u128(id), created: Time::of_postgres(id as i64), fields }
    }

    prop_compose! {
        fn reads()(points in proptest::collection::vec(0u128..6, 0..3),
                   ranges in proptest::collection::vec((0u8..3, proptest::option::of(-3i8..3)), 0..3),
                   whole in proptest::option::weighted(0.1, 0u8..2),
                   everything in proptest::bool::weighted(0.05)) -> ReadSet {
            let table = table();
            let mut reads = ReadSet { everything, ..ReadSet::default() };
            if let Some(whole) = whole {
                reads.table(if whole == 0 { "m" } else { "other" });
            }
            for id in points {
                reads.point(&table, Uuid::from_u128(id));
            }
            for (c, n) in ranges {
                let mut eq = vec![KeyValue::Text(((b'a' + c) as char).to_string())];
                eq.extend(n.map(|n| KeyValue::Number(n.to_string())));
                let span = scan_span(&eq, None, None);
                let scan = Scan::of_index(&table, 2, eq);
                reads.ranges.push(TableRead { scan: Arc::new(scan), span, cut: false });
            }
            reads
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_the_same_queries_as_a_linear_search(
            all in proptest::collection::vec(reads(), 0..12),
            removed in proptest::collection::vec(any::<bool>(), 12),
            (id, old, new) in (0u128..6, proptest::option::of((0u8..3, -3i8..3)), proptest::option::of((0u8..3, -3i8..3))),
            whole in any::<bool>(),
        ) {
            let mut index = ReadIndex::default();
            for (query, reads) in (0..).zip(&all) {
                index.insert(query, reads);
            }
            for (query, reads) in (0..).zip(&all).filter(|(query, _)| removed[*query as usize]) {
                index.remove(query, reads);
            }
            let table = table();
            let keys = |at: Option<(u8, i8)>| at.map(|(c, n)| row(&table, id, c, n));
            let kind = if whole {
                ChangeKind::Whole
            } else {
                ChangeKind::Row { id: Uuid::from_u128(id), old: keys(old), new: keys(new), fields: None }
            };
            let change = Change { table: "m".into(), kind };
            let mut hits = HashSet::new();
            index.hits(&change, &mut hits);
            let naive: HashSet<ReaderId> = (0..)
                .zip(&all)
                .filter(|(query, reads)| !removed[*query as usize] && touches(reads, &change))
                .map(|(query, _)| query)
                .collect();
            prop_assert_eq!(hits, naive);
        }
    }
}
