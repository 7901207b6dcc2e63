//! Mutations as one statement, which validates their reads and then writes. One statement is one
//! serializable transaction, so the effect is as if the functions had run at that moment.

use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::idempotency::Entry;
use super::{Bind, Statement};
use crate::op::{Read, Write, WriteSet};
use crate::schema::Table;

/// Documents by id with their versions: `id, created_at, data, version`.
pub(crate) fn get(table: &Table, ids: &[Uuid]) -> Statement {
    let mut sql = Statement::of(table);
    sql.push("select id, ").created("").push(", data, xmin::text\nfrom ").ident(&table.physical).push("\nwhere id");
    sql.is_any_of(ids);
    sql
}

/// A part of the error message of a failed validation.
pub(crate) const STALE: &str = "documents have changed";

/// The write sets of mutations that are committed together. No document that one of them
/// writes is read or written by another.
pub(crate) struct Joined<'a> {
    tables: Vec<Arc<Table>>,
    reads: Vec<&'a Read>,
    writes: Vec<&'a Write>,
    inserts: Vec<&'a (Arc<Table>, Uuid, Box<RawValue>)>,
}

impl<'a> Joined<'a> {
    /// Joins write sets.
    pub(crate) fn of(write_sets: impl Iterator<Item = &'a WriteSet> + Clone) -> Joined<'a> {
        let mut reads: Vec<&Read> = write_sets.clone().flat_map(|set| &set.reads).collect();
        let mut writes: Vec<&Write> = write_sets.clone().flat_map(|set| &set.writes).collect();
        let inserts = write_sets.clone().flat_map(|set| &set.inserts).collect();
        // All transactions lock in the order of tables and ids, so that they cannot deadlock.
        reads.sort_by_key(|(_, id, _)| *id);
        writes.sort_by_key(|write| write.id);
        Joined { tables: tables_of(write_sets.flat_map(WriteSet::tables)), reads, writes, inserts }
    }

    /// The tables that are read or written.
    pub(crate) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// The changed documents.
    pub(crate) fn writes(&self) -> &[&'a Write] {
        &self.writes
    }
}

/// How long a statement of several mutations waits for a lock, in milliseconds: longer would
/// have others wait for one of them.
const LOCK_WAIT_MS: u64 = 20;

/// How a statement waits for the locks of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockWait {
    /// As long as any statement.
    Unlimited,
    /// For a moment; then it fails with SQLSTATE 55P03, without effect.
    Short,
}

/// Validates and writes, or fails with [`STALE`] without effect. Returns for each document
/// written `table, id, created_at, keys, old_created_at, old_keys, xid`, where `table` is an
/// index into [`Joined::tables`].
pub(crate) fn apply(joined: &Joined<'_>, node: Uuid, responses: &[(&Entry, &str)], wait: LockWait) -> Statement {
    let mut sql = Statement::new();
    let only_inserts = joined.writes.is_empty() && !joined.inserts.is_empty();
    sql.does(if only_inserts { "INSERT" } else { "UPDATE" });
    if let [only] = joined.tables() {
        sql.table = Some(only.key.clone());
    }
    let tables: Vec<&str> = joined.tables.iter().map(|table| table.physical.as_str()).collect();
    // Inserts wait for no row; stored responses, for another one with the same key.
    let may_wait = !only_inserts || !responses.is_empty();
    let lock_wait_ms = (wait == LockWait::Short && may_wait).then_some(LOCK_WAIT_MS);
    sql.begin_marked(&tables, lock_wait_ms);
    let mut written: Vec<(usize, &'static str)> = Vec::new();
    for (at, table) in joined.tables.iter().enumerate() {
        sql.lacks_created_at = !table.traits().created_at;
        let (edits, deletes): (Vec<&Write>, Vec<&Write>) = joined
            .writes
            .iter()
            .filter(|write| write.table.physical == table.physical)
            .partition(|write| write.data.is_some());
        let inserts: Vec<(Uuid, &RawValue)> = joined
            .inserts
            .iter()
            .filter(|(of, _, _)| of.physical == table.physical)
            .map(|(_, id, doc)| (*id, &**doc))
            .collect();
        if !edits.is_empty() {
            sql.edited_rows(table, at, &edits);
            written.push((at, "edited_"));
        }
        if !deletes.is_empty() {
            sql.deleted_rows(table, at, &deletes);
            written.push((at, "deleted_"));
        }
        if !inserts.is_empty() {
            sql.inserted_rows(table, at, &inserts);
            written.push((at, "inserted_"));
        }
    }
    sql.log_changes(node, &joined.tables, &written);
    if !responses.is_empty() {
        sql.push(", kept as (\n").insert_responses(responses).push("\n)");
    }
    let mut separator = "\n";
    for (at, kind) in &written {
        sql.push(separator).push("select ").number(*at as u64);
        sql.push("::int8, id, at, keys, old_at, old_keys, (select xid from mark) from ");
        sql.push(kind).number(*at as u64);
        separator = "\nunion all ";
    }
    if only_inserts && joined.reads.is_empty() {
        return sql;
    }
    // Fails with an error, which also undoes the writes of this statement.
    sql.push(separator).push("select case when ").unchanged(joined, &written);
    sql.push(
        " then null else ('documents have changed' || pg_backend_pid())::int8 end, null, null, null, null, null, null",
    );
    sql
}

/// Tables without repetition, in the order of their keys.
pub(crate) fn tables_of<'a>(tables: impl Iterator<Item = &'a Arc<Table>>) -> Vec<Arc<Table>> {
    let mut distinct: Vec<Arc<Table>> = Vec::new();
    for table in tables {
        if !distinct.iter().any(|known| known.physical == table.physical) {
            distinct.push(table.clone());
        }
    }
    distinct.sort_by(|one, other| one.key.cmp(&other.key));
    distinct
}

impl Statement {
    /// Inserts a row into the change log for each written document.
    fn log_changes(&mut self, node: Uuid, touched_tables: &[Arc<Table>], written: &[(usize, &'static str)]) {
        if written.is_empty() {
            return;
        }
        self.push(
            ", logged as (\n  insert into _convoy.changes (node, tab, id, new_at, new_keys, old_at, old_keys)\n  ",
        );
        let mut separator = "select ";
        for (at, kind) in written {
            self.push(separator).bind(Bind::Uuid(node)).push("::uuid, ").literal(&touched_tables[*at].physical);
            self.push(", id, at, keys, old_at, old_keys from ").push(kind).number(*at as u64);
            separator = "\n  union all select ";
        }
        self.push("\n)");
    }

    /// True if no document has changed: those written, which the writes found by version, and
    /// those only read.
    fn unchanged(&mut self, joined: &Joined<'_>, written: &[(usize, &'static str)]) -> &mut Statement {
        self.push("true");
        for (at, kind) in written.iter().filter(|(_, kind)| *kind != "inserted_") {
            let deletes = *kind == "deleted_";
            let of_kind =
                |write: &&Write| write.table.physical == joined.tables[*at].physical && write.data.is_none() == deletes;
            let count = joined.writes.iter().filter(|write| of_kind(write)).count();
            self.push("\n  and (select count(*) from ").push(kind).number(*at as u64).push(") = ").count(count);
        }
        for table in &joined.tables {
            let mut seen = (Vec::new(), Vec::new());
            let mut absent = Vec::new();
            for (_, id, version) in joined.reads.iter().filter(|(of, _, _)| of.physical == table.physical) {
                match version {
                    Some(version) => {
                        seen.0.push(*id);
                        seen.1.push(version.to_string());
                    }
                    None => absent.push(*id),
                }
            }
            if !seen.0.is_empty() {
                let count = seen.0.len();
                self.push("\n  and (select count(*) from unnest(").bind(Bind::Uuids(seen.0)).push("::uuid[], ");
                self.bind(Bind::Texts(seen.1)).push("::text[]::xid[]) as seen (id, version) join ");
                self.ident(&table.physical).push(" as t on t.id = seen.id and t.xmin = seen.version) = ").count(count);
            }
            if !absent.is_empty() {
                self.push("\n  and not exists (select from ").ident(&table.physical).push(" where id");
                self.is_any_of(&absent).push(")");
            }
        }
        self
    }

    /// A number that differs from call to call: bound, so that the text is the same.
    fn count(&mut self, count: usize) -> &mut Statement {
        self.bind(Bind::Int(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    fn edited_rows(&mut self, table: &Table, at: usize, edits: &[&Write]) {
        self.push(", edited_")
            .number(at as u64)
            .push(" as (\n  update ")
            .ident(&table.physical)
            .push(" as t\n  set data = ");
        let data = |write: &Write| write.data.clone().unwrap_or_default();
        if let [write] = edits {
            self.bind(Bind::Json(data(write))).push("::jsonb");
        } else {
            self.push("input.data");
        }
        if table.traits().updated_at {
            self.push(", updated_at = now()");
        }
        self.push("\n  from mark");
        if let [write] = edits {
            self.push("\n  where t.id = ").bind(Bind::Uuid(write.id)).push(" and t.xmin = ");
            self.bind(Bind::Text(write.version.to_string())).push("::text::xid");
        } else {
            self.push(", unnest(").bind(Bind::Uuids(edits.iter().map(|write| write.id).collect())).push("::uuid[], ");
            self.bind(Bind::Jsons(edits.iter().map(|write| data(write)).collect())).push("::jsonb[], ");
            self.bind(Bind::Texts(edits.iter().map(|write| write.version.to_string()).collect()));
            self.push("::text[]::xid[], ");
            self.bind(Bind::Jsons(edits.iter().map(|write| write.old_keys.clone()).collect()));
            self.push(
                "::jsonb[]) as input (id, data, version, keys)\n  where t.id = input.id and t.xmin = input.version",
            );
        }
        self.push("\n  returning t.id, ").created("t.").push(" as at, ").keys_object("t.", &table.key_paths);
        self.push(" as keys, ").created("t.").push(" as old_at, ");
        if let [write] = edits {
            self.bind(Bind::Json(write.old_keys.clone())).push("::jsonb");
        } else {
            self.push("input.keys");
        }
        self.push(" as old_keys\n)");
    }

    fn deleted_rows(&mut self, table: &Table, at: usize, deletes: &[&Write]) {
        self.push(", deleted_").number(at as u64).push(" as (\n  delete from ").ident(&table.physical);
        self.push(" as t\n  using mark, unnest(").bind(Bind::Uuids(deletes.iter().map(|write| write.id).collect()));
        self.push("::uuid[], ").bind(Bind::Texts(deletes.iter().map(|write| write.version.to_string()).collect()));
        self.push("::text[]::xid[]) as input (id, version)\n  where t.id = input.id and t.xmin = input.version");
        self.push("\n  returning t.id, null::timestamptz as at, null::jsonb as keys, ")
            .created("t.")
            .push(" as old_at, ");
        self.keys_object("t.", &table.key_paths).push(" as old_keys\n)");
    }

    fn inserted_rows(&mut self, table: &Table, at: usize, rows: &[(Uuid, &RawValue)]) {
        self.push(", inserted_").number(at as u64).push(" as (\n  insert into ").ident(&table.physical);
        self.push(" (id, data)\n  select ").new_rows(rows);
        self.push("\n  returning id, ").created("").push(" as at, ").keys_object("", &table.key_paths);
        self.push(" as keys, null::timestamptz as old_at, null::jsonb as old_keys\n)");
    }
}
