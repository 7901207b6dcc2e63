//! Runs the operations of one call and writes their answers as JSON text.
//!
//! Rows are not parsed on their way out: Postgres' text of a document and its
//! two own fields are joined into one buffer.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::ReadSet;
use super::read_set::LastRow;
use crate::change::{Change, ChangeKind};
use crate::error::{Code, Failure};
use crate::key::{KeyFields, RowKeys};
use crate::op::{Op, Scan};
use crate::postgres::{DbError, Postgres, Row, Transaction};
use crate::schema::Table;
use crate::sql::{Statement, document};

/// How a call reaches the database at the moment.
pub enum Access<'a> {
    /// One read-only statement by itself.
    Single(&'a Postgres),
    /// Inside the call's transaction.
    Within(&'a mut Transaction),
}

impl Access<'_> {
    async fn run(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        match self {
            Access::Single(postgres) => postgres.read(&statement).await,
            Access::Within(transaction) => transaction.run(statement).await,
        }
    }
}

/// What a call has read and written so far, within its limits.
pub struct Executor {
    node: Uuid,
    reads: ReadSet,
    changes: Vec<Change>,
    /// How many documents the whole call may read, and how many are left of it.
    limit_of_reads: u32,
    may_read: usize,
    may_write: usize,
    /// The first write refused for its number; the call has lost it for good.
    refused: Option<Failure>,
}

impl Executor {
    /// For one run; `node` is what its log rows are signed with.
    pub fn new(node: Uuid, may_read: usize, may_write: usize) -> Executor {
        let limit_of_reads = u32::try_from(may_read).unwrap_or(u32::MAX);
        Executor {
            node,
            reads: ReadSet::default(),
            changes: Vec::new(),
            limit_of_reads,
            may_read,
            may_write,
            refused: None,
        }
    }

    /// How many statements these operations will take.
    pub fn statements(ops: &[Result<Op, Failure>]) -> usize {
        let mut gets: Vec<&str> = Vec::new();
        let mut others = 0;
        for op in ops.iter().flatten() {
            match op {
                Op::Get { table, .. } if gets.contains(&table.physical.as_str()) => {}
                Op::Get { table, .. } => gets.push(&table.physical),
                _ => others += 1,
            }
        }
        gets.len() + others
    }

    /// Runs a batch and appends its answers to `out`, a JSON array.
    ///
    /// Neighbouring reads by id become one statement per table, and so do
    /// neighbouring inserts into one table; everything else keeps its order.
    pub async fn run(
        &mut self,
        access: &mut Access<'_>,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), DbError> {
        out.push('[');
        let mut at = 0;
        while at < ops.len() {
            let gets = ops[at..].iter().take_while(|op| matches!(op, Ok(Op::Get { .. }))).count();
            if gets > 0 {
                self.gets(access, &ops[at..at + gets], out).await?;
                at += gets;
                continue;
            }
            match &ops[at] {
                Err(failure) => push_failure(out, failure),
                Ok(Op::Insert { table, .. }) => {
                    let rows = inserts_into(table, &ops[at..]);
                    at += rows.len();
                    self.inserts(access, table, rows, out).await?;
                    continue;
                }
                Ok(op) => self.one(access, op, out).await?,
            }
            at += 1;
        }
        if out.ends_with(',') {
            out.pop();
        }
        out.push(']');
        Ok(())
    }

    /// The write that was refused, if any: a call that lost one must not commit,
    /// whether its function looked at that or not.
    pub fn refused_write(&self) -> Option<&Failure> {
        self.refused.as_ref()
    }

    /// Takes what was read.
    pub fn take_reads(&mut self) -> ReadSet {
        std::mem::take(&mut self.reads)
    }

    /// Takes what was written.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    async fn gets(
        &mut self,
        access: &mut Access<'_>,
        ops: &[Result<Op, Failure>],
        out: &mut String,
    ) -> Result<(), DbError> {
        let mut by_table: Vec<(&Arc<Table>, Vec<Uuid>)> = Vec::new();
        for op in ops.iter().flatten() {
            let Op::Get { table, id } = op else { continue };
            match by_table.iter_mut().find(|(known, _)| known.physical == table.physical) {
                Some((_, ids)) if ids.contains(id) => {}
                Some((_, ids)) => ids.push(*id),
                None => by_table.push((table, vec![*id])),
            }
            self.reads.point(table, *id);
        }
        let mut found: HashMap<(&str, Uuid), Row> = HashMap::with_capacity(ops.len());
        for (table, ids) in &by_table {
            if !self.count_reads(ids.len()) {
                for _ in ops {
                    push_failure(out, &too_many_reads());
                }
                return Ok(());
            }
            for row in access.run(document::get(table, ids)).await? {
                found.insert((table.physical.as_str(), row.uuid(0)?), row);
            }
        }
        for op in ops.iter().flatten() {
            let Op::Get { table, id } = op else { continue };
            out.push_str(r#"{"ok":"#);
            match found.get(&(table.physical.as_str(), *id)) {
                Some(row) => push_document(out, table, row)?,
                None => out.push_str("null"),
            }
            out.push_str("},");
        }
        Ok(())
    }

    async fn inserts(
        &mut self,
        access: &mut Access<'_>,
        table: &Arc<Table>,
        rows: Vec<(Uuid, Box<RawValue>)>,
        out: &mut String,
    ) -> Result<(), DbError> {
        let fits = self.count_writes(rows.len());
        if fits {
            let written = access.run(document::insert(table, self.node, &rows)).await?;
            self.inserted(table, &written)?;
        }
        for _ in rows {
            if fits {
                out.push_str(r#"{"ok":null},"#);
            } else {
                push_failure(out, &too_many_writes());
            }
        }
        Ok(())
    }

    async fn one(&mut self, access: &mut Access<'_>, op: &Op, out: &mut String) -> Result<(), DbError> {
        if op.writes() && !self.count_writes(1) {
            push_failure(out, &too_many_writes());
            return Ok(());
        }
        match op {
            Op::Get { .. } | Op::Insert { .. } => unreachable!("these were taken as a group"),
            Op::Scan(scan) => self.scan(access, scan, out).await,
            Op::Patch { table, id, set, unset } => {
                let rows = access.run(document::patch(table, self.node, *id, set, unset)).await?;
                out.push_str(r#"{"ok":"#);
                match rows.first() {
                    Some(row) => {
                        let old = row_keys(row.uuid(0)?, row.micros(4)?, row.json(5)?)?;
                        let new = row_keys(row.uuid(0)?, row.micros(1)?, row.json(3)?)?;
                        self.changed(table, *id, Some(old), Some(new));
                        push_document(out, table, row)?;
                    }
                    None => out.push_str("null"),
                }
                out.push_str("},");
                Ok(())
            }
            Op::Delete { table, id } => {
                let rows = access.run(document::delete(table, self.node, *id)).await?;
                for row in &rows {
                    let old = row_keys(row.uuid(0)?, row.micros(1)?, row.json(2)?)?;
                    self.changed(table, *id, Some(old), None);
                }
                let _ = write!(out, r#"{{"ok":{}}},"#, !rows.is_empty());
                Ok(())
            }
        }
    }

    async fn scan(&mut self, access: &mut Access<'_>, scan: &Scan, out: &mut String) -> Result<(), DbError> {
        self.reads.scan(scan);
        // One more than may be read shows that there are too many, without
        // fetching them all.
        let most = self.limit_of_reads.saturating_add(1);
        let rows = access.run(document::scan(scan, most)).await?;
        if !self.count_reads(rows.len()) {
            push_failure(out, &too_many_reads());
            return Ok(());
        }
        if let Some(row) = rows.last()
            && scan.limit.is_some_and(|limit| rows.len() >= limit as usize)
        {
            let last = LastRow { id: row.uuid(0)?, created: row.micros(1)?, data: row.json(2)? };
            self.reads.stopped_at(scan, last).map_err(|error| DbError::Row(error.to_string()))?;
        }
        out.push_str(r#"{"ok":["#);
        for row in &rows {
            push_document(out, &scan.table, row)?;
            out.push(',');
        }
        if !rows.is_empty() {
            out.pop();
        }
        out.push_str("]},");
        Ok(())
    }

    /// Notes inserted rows from what the statement returned.
    pub fn inserted(&mut self, table: &Arc<Table>, rows: &[Row]) -> Result<(), DbError> {
        for row in rows {
            let id = row.uuid(0)?;
            let new = row_keys(id, row.micros(1)?, row.json(2)?)?;
            self.changed(table, id, None, Some(new));
        }
        Ok(())
    }

    fn changed(&mut self, table: &Table, id: Uuid, old: Option<RowKeys>, new: Option<RowKeys>) {
        let table = Arc::from(table.physical.as_str());
        self.changes.push(Change { table, kind: ChangeKind::Row { id, old, new } });
    }

    /// Counts writes that are about to be made. `false`: they are too many.
    pub fn count_writes(&mut self, documents: usize) -> bool {
        let left = self.may_write.checked_sub(documents);
        self.may_write = left.unwrap_or(0);
        if left.is_none() {
            self.refused = Some(too_many_writes());
        }
        left.is_some()
    }

    fn count_reads(&mut self, documents: usize) -> bool {
        let left = self.may_read.checked_sub(documents);
        self.may_read = left.unwrap_or(0);
        left.is_some()
    }
}

/// The rows of the inserts into `table` that `ops` begins with.
fn inserts_into(table: &Table, ops: &[Result<Op, Failure>]) -> Vec<(Uuid, Box<RawValue>)> {
    ops.iter()
        .map_while(|op| match op {
            Ok(Op::Insert { table: into, id, doc }) if into.physical == table.physical => Some((*id, doc.clone())),
            _ => None,
        })
        .collect()
}

fn too_many_writes() -> Failure {
    Failure::new(Code::PayloadTooLarge, "this call writes more documents than its limit allows")
}

fn too_many_reads() -> Failure {
    Failure::new(
        Code::PayloadTooLarge,
        "this call reads more documents than its limit allows; use an index and a limit",
    )
}

fn row_keys(id: Uuid, created: i64, keys: &str) -> Result<RowKeys, DbError> {
    let fields = KeyFields::parse(keys).map_err(|error| DbError::Row(error.to_string()))?;
    Ok(RowKeys { id, created, fields })
}

fn push_failure(out: &mut String, failure: &Failure) {
    out.push_str(r#"{"error":"#);
    out.push_str(&failure.to_json());
    out.push_str("},");
}

/// `{…stored, "id":…, "_creationTime":…}`: our two fields come last, so that
/// they win over fields of those names someone may have stored by hand.
fn push_document(out: &mut String, table: &Table, row: &Row) -> Result<(), DbError> {
    let (id, created, data) = (row.uuid(0)?, row.micros(1)?, row.json(2)?);
    let stored = data
        .strip_suffix('}')
        .filter(|stored| stored.starts_with('{'))
        .ok_or_else(|| DbError::Row(format!("the row {}:{id} holds no JSON object in `data`", table.name)))?;
    out.reserve(data.len() + table.name.len() + 90);
    out.push_str(stored);
    if stored.len() > 1 {
        out.push(',');
    }
    out.push_str(r#""id":""#);
    push_escaped(out, &table.name);
    let (ms, rest) = (created.div_euclid(1_000), created.rem_euclid(1_000));
    // Milliseconds, with the microseconds as their fraction.
    let written = if rest == 0 {
        write!(out, r#":{id}","_creationTime":{ms}}}"#)
    } else if ms >= 0 {
        write!(out, r#":{id}","_creationTime":{ms}.{rest:03}}}"#)
    } else {
        write!(out, r#":{id}","_creationTime":{}}}"#, created as f64 / 1_000.0)
    };
    written.map_err(|error| DbError::Row(error.to_string()))
}

/// A table's name inside a JSON string.
fn push_escaped(out: &mut String, name: &str) {
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}
