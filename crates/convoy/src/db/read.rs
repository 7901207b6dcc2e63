//! The operations that read, run for [`Executor`].

use std::fmt::Write;
use std::sync::Arc;

use uuid::Uuid;

use super::answer::{push_begin, push_documents, push_end, push_failure, push_ok, push_ok_document};
use super::execute::{Access, Executor};
use super::read_set::LastRow;
use crate::op::{Cursor, Op, Page, Position, Raw, Scan};
use crate::postgres::{DbError, RawReads, RawRows, ReadsLookup, Row};
use crate::schema::Table;
use crate::sql::scan;

impl Executor {
    pub(super) async fn gets(&mut self, access: &mut Access<'_>, ops: &[&Op], out: &mut String) -> Result<(), DbError> {
        let mut by_table: Vec<(&Arc<Table>, Vec<Uuid>)> = Vec::new();
        let mut documents = 0;
        for op in ops {
            let Op::Get { table, id } = op else { continue };
            self.reads.point(table, *id);
            if self.tx_cache.get(table, *id).is_some() {
                continue;
            }
            documents += 1;
            match by_table.iter_mut().find(|(of, _)| of.physical == table.physical) {
                Some((_, ids)) if ids.contains(id) => documents -= 1,
                Some((_, ids)) => ids.push(*id),
                None => by_table.push((table, vec![*id])),
            }
        }
        if let Err(failure) = self.budget.read(documents) {
            ops.iter().for_each(|_| push_failure(out, &failure));
            return Ok(());
        }
        let mut found: Vec<(&Arc<Table>, Uuid, Arc<Row>)> = Vec::with_capacity(documents);
        for (table, ids) in &by_table {
            for row in access.get(table, ids).await? {
                found.push((table, row.uuid(0)?, row));
            }
        }
        if found.len() > 8 {
            found.sort_by_key(|(_, id, _)| *id);
        }
        let sorted = found.len() > 8;
        for op in ops {
            let Op::Get { table, id } = op else { continue };
            if let Some(document) = self.tx_cache.get(table, *id) {
                push_ok_document(out, table, document.as_deref())?;
                continue;
            }
            let of_table = |at: &(&Arc<Table>, Uuid, Arc<Row>)| at.1 == *id && at.0.physical == table.physical;
            let row = if sorted {
                let first = found.partition_point(|(_, of, _)| of < id);
                found[first..].iter().take_while(|(_, of, _)| of == id).find(|at| of_table(at))
            } else {
                found.iter().find(|at| of_table(at))
            };
            push_ok_document(out, table, row.map(|(_, _, row)| &**row))?;
        }
        for (table, ids) in by_table {
            for id in ids {
                let row = found.iter().find(|(of, of_id, _)| *of_id == id && of.physical == table.physical);
                self.tx_cache.insert(table, id, row.map(|(_, _, row)| row.clone()));
            }
        }
        Ok(())
    }

    pub(super) async fn scan(&mut self, access: &mut Access<'_>, scan: &Scan, out: &mut String) -> Result<(), DbError> {
        self.reads.scan(scan, scan.limit.is_some());
        // One row more than the limit shows that there are too many, without fetching all.
        let max = self.budget.read_limit().saturating_add(1);
        let rows = access.scan(scan, scan::scan(scan, max)).await?;
        if let Err(failure) = self.budget.read(rows.len()) {
            push_failure(out, &failure);
            return Ok(());
        }
        if let Some(row) = rows.iter().rev().nth(usize::from(self.cuts_too_early))
            && scan.limit.is_some_and(|limit| rows.len() >= limit as usize)
        {
            self.stopped_at(scan, row)?;
        }
        let start = push_begin(out);
        let may_be_lossy = push_documents(out, &scan.table, &rows)?;
        push_end(out, start, may_be_lossy);
        Ok(())
    }

    pub(super) async fn count(
        &mut self,
        access: &mut Access<'_>,
        scan: &Scan,
        out: &mut String,
    ) -> Result<(), DbError> {
        self.reads.scan(scan, false);
        let rows = access.run(scan::count(scan)).await?;
        let count = rows.first().map_or(Ok(0), |row| row.int8(0))?;
        push_ok(out, &count.to_string());
        Ok(())
    }

    pub(super) async fn page(&mut self, access: &mut Access<'_>, page: &Page, out: &mut String) -> Result<(), DbError> {
        let scan = &page.scan;
        if page.until == Some(Position::Start) {
            return push_page(out, page, &[], false);
        }
        self.reads.scan(scan, true);
        if let Some(after) = &page.after {
            self.reads.starts_after(scan, after);
        }
        // One row more than the page shows whether there is a next page.
        let max = if page.until.is_some() { self.budget.read_limit() } else { page.size };
        let mut rows = access.run(scan::page(page, max.saturating_add(1))).await?;
        // A page with an end position is not cut to a size, so all its rows count.
        let counted = if page.until.is_some() { rows.len() } else { rows.len().min(max as usize) };
        if let Err(failure) = self.budget.read(counted) {
            push_failure(out, &failure);
            return Ok(());
        }
        let more = rows.len() > max as usize;
        if more && let Some(next) = rows.last() {
            // The next row is not in the page, but `isDone` depends on it.
            self.stopped_at(scan, next)?;
        }
        rows.truncate(max as usize);
        if let Some(last) = page.last_row() {
            self.reads.ends_at(scan, last);
        }
        push_page(out, page, &rows, !more && page.until.is_none())
    }

    pub(super) async fn raw(&mut self, access: &mut Access<'_>, raw: &Raw, out: &mut String) -> Result<(), DbError> {
        self.reads.opaque = true;
        self.reads.everything |= raw.may_set_search_path();
        // Where everything is read anyway, what a statement reads does not matter, and where
        // names mean something else than usual, it must not be remembered.
        let matters = raw.tables.is_none() && access.is_query() && !self.reads.everything;
        let lookup = if matters { ReadsLookup::Needed } else { ReadsLookup::NotNeeded };
        if !raw.read_only {
            self.tx_cache.disable();
        }
        let before = self.reads.everything;
        match &raw.tables {
            Some(tables) => tables.iter().for_each(|table| self.reads.table(table)),
            // Stays set if the statement fails or is cancelled before its tables are known.
            None => self.reads.everything = true,
        }
        let ran = access.raw(raw, lookup).await;
        if let Ok(RawRows { reads: RawReads::Tables(tables), .. }) = &ran
            && raw.tables.is_none()
        {
            self.reads.everything = before;
            tables.iter().for_each(|table| self.reads.table(table));
        }
        let rows = match ran {
            Ok(RawRows { rows, .. }) => rows,
            // A read-only statement has no effects, so only this operation fails.
            Err(error) if raw.read_only && !error.connection_lost() && !matches!(error, DbError::Retry(_)) => {
                push_failure(out, &error.to_failure("raw"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match self.budget.read(rows.len()) {
            Ok(()) => {
                let start = push_begin(out);
                out.push('[');
                out.push_str(&rows.join(","));
                out.push(']');
                push_end(out, start, true);
            }
            Err(failure) => push_failure(out, &failure),
        }
        Ok(())
    }

    fn stopped_at(&mut self, scan: &Scan, row: &Row) -> Result<(), DbError> {
        let last = LastRow { id: row.uuid(0)?, created: row.micros(1)?, data: row.json(2)? };
        self.reads.stopped_at(scan, last).map_err(|error| DbError::Row(error.to_string()))
    }
}

/// Writes a page, with the cursor at its end. A page with an end position that has grown past
/// twice its size also gets a cursor in its middle, where a client can split it. `cursors` are
/// those of its start and of each row.
fn push_page(out: &mut String, page: &Page, rows: &[Row], done: bool) -> Result<(), DbError> {
    let keys = page.scan.key_columns();
    let position = |row: &Row| -> Result<Position, DbError> {
        let key = |at| Ok(row.text_or_null(3 + at)?.map(str::to_owned));
        let keys = (0..keys).map(key).collect::<Result<_, DbError>>()?;
        Ok(Position::Row(Cursor { keys, created: row.micros(1)?, id: row.uuid(0)? }))
    };
    let end = match (&page.until, rows.last(), &page.after) {
        (Some(until), _, _) => until.clone(),
        (None, Some(row), _) => position(row)?,
        (None, None, Some(after)) => Position::Row(after.clone()),
        (None, None, None) => Position::Start,
    };
    let start = push_begin(out);
    out.push_str(r#"{"page":"#);
    let may_be_lossy = push_documents(out, &page.scan.table, rows)?;
    let end = end.encode(page.fingerprint);
    let _ = write!(out, r#","isDone":{done},"continueCursor":"{end}""#);
    if page.cursors {
        let start = page.after.clone().map_or(Position::Start, Position::Row).encode(page.fingerprint);
        let _ = write!(out, r#","cursors":["{start}""#);
        for row in rows {
            let _ = write!(out, r#","{}""#, position(row)?.encode(page.fingerprint));
        }
        out.push(']');
    }
    if page.until.is_some() && rows.len() > 2 * page.size as usize {
        let middle = position(&rows[rows.len() / 2 - 1])?.encode(page.fingerprint);
        let _ = write!(out, r#","splitCursor":"{middle}""#);
    }
    out.push('}');
    push_end(out, start, may_be_lossy);
    Ok(())
}
