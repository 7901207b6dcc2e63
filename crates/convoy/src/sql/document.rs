//! One statement per document operation. Every write also appends to `_convoy.changes` in
//! the same statement. It logs the rows it returned, not the rows of its input, because a
//! user's trigger may have changed or dropped rows.
//!
//! Writes set the mark of the engine (`convoy.writer`), so that the triggers, which log the
//! writes of others, skip them. The mark is set by a materialized CTE that the write selects
//! from, so always before the write. It names the transaction, whose id is the last column
//! of each write, and the tables: the mark does not cover what column defaults do in other
//! tables.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::WRITER_SEPARATOR;
use super::{Bind, Statement};
use crate::op::Edit;
use crate::schema::{FieldPath, Table};

/// Documents by id: `id, created_at, data`.
pub(crate) fn get(table: &Table, ids: &[Uuid]) -> Statement {
    let mut sql = Statement::of(table);
    sql.push("select id, ").created("").push(", data\nfrom ").ident(&table.physical).push("\nwhere id");
    sql.is_any_of(ids);
    sql
}

/// New documents of one table: `id, created_at, keys, xid` of what was written.
pub(crate) fn insert(table: &Table, node: Uuid, rows: &[(Uuid, Box<RawValue>)]) -> Statement {
    let mut sql = Statement::of(table);
    sql.does("INSERT");
    sql.begin_marked(&[&table.physical], None)
        .push(", written as (\n  insert into ")
        .ident(&table.physical)
        .push(" (id, data)\n  select ");
    let rows: Vec<(Uuid, &RawValue)> = rows.iter().map(|(id, doc)| (*id, &**doc)).collect();
    sql.new_rows(&rows);
    sql.push("\n  returning id, ").created("").push(" as at, ").keys_object("", &table.key_paths).push(" as keys\n), ");
    sql.log_written(table, node, "new_at, new_keys", "at, keys");
    sql.push("select id, at, keys, (select xid from mark)\nfrom written");
    sql
}

/// Changes documents of one table: `id, created_at, data, keys, old_created_at, old_keys, xid`.
/// Several edits must be all patches that only set keys, or all replacements, of different
/// documents.
///
/// The old keys come from a locking self-join, because `returning old.…` exists only since
/// Postgres 18. If no indexed field can change, they equal the new keys. Rows are locked in
/// the order of their ids, so that two statements do not deadlock.
///
/// With `max_bytes`, a document that would be larger is an error, in which [`size_in`] finds its
/// size.
pub(crate) fn edit(table: &Table, node: Uuid, edits: &[(Uuid, &Edit)], max_bytes: Option<usize>) -> Statement {
    let keys_unchanged = table.traits().no_side_effects && edits.iter().all(|(_, edit)| !changes_keys(table, edit));
    let mut sql = Statement::of(table);
    sql.does("UPDATE");
    let ids: Vec<Uuid> = edits.iter().map(|(id, _)| *id).collect();
    sql.begin_marked(&[&table.physical], None).push(", ");
    if !keys_unchanged {
        sql.push("before as materialized (\n  select id, ").created("").push(" as at, ");
        sql.keys_object("", &table.key_paths).push(" as keys\n  from ").ident(&table.physical);
        sql.push("\n  where id").is_any_of(&ids).push("\n  order by id\n  for update\n), ");
    }
    sql.push("written as (\n  update ").ident(&table.physical).push(" as t\n  set data = ");
    match edits {
        [(_, edit)] => sql.edited_data(edit),
        [(_, Edit::Replace { .. }), ..] => sql.push("input.change"),
        _ => sql.push("t.data || input.change"),
    };
    if table.traits().updated_at {
        sql.push(", updated_at = now()");
    }
    sql.push("\n  from mark");
    if !keys_unchanged {
        sql.push(", before");
    }
    if let [_] = edits {
        sql.push("\n  where t.id");
        if keys_unchanged {
            sql.is_any_of(&ids)
        } else {
            sql.push(" = before.id")
        };
    } else {
        let changes = edits.iter().map(|(_, edit)| change_json(edit)).collect();
        sql.push(", unnest(").bind(Bind::Uuids(ids)).push("::uuid[], ").bind(Bind::Jsons(changes));
        sql.push("::jsonb[]) as input (id, change)\n  where t.id = input.id");
        if !keys_unchanged {
            sql.push(" and t.id = before.id");
        }
    }
    if let [(_, Edit::Increment { path, .. })] = edits {
        sql.push("\n    and ").accepts_number(path);
    }
    sql.push("\n  returning t.id, ").created("t.").push(" as at, t.data, ").keys_object("t.", &table.key_paths);
    sql.push(" as keys");
    let old = if keys_unchanged { "at, keys" } else { "old_at, old_keys" };
    if !keys_unchanged {
        sql.push(", before.at as old_at, before.keys as old_keys");
    }
    let all = if keys_unchanged { "at, keys, at, keys" } else { "at, keys, old_at, old_keys" };
    sql.push("\n), ").log_written(table, node, "new_at, new_keys, old_at, old_keys", all);
    sql.push("select id, at, data, keys, ").push(old).push(", (select xid from mark)\nfrom written");
    if let Some(max) = max_bytes {
        // An error also undoes the write.
        sql.push("\nwhere case when octet_length(data::text) <= ").number(max as u64).push(" then true else ('");
        sql.push(TOO_LARGE).push("' || octet_length(data::text))::int8 is null end");
    }
    sql
}

/// The beginning of a text that is no number, in the error of a document that is too large.
const TOO_LARGE: &str = "convoy: document too large: ";

/// The size of the document that was too large for [`edit`], by the message of the error.
pub(crate) fn size_in(message: &str) -> Option<usize> {
    let (_, size) = message.split_once(TOO_LARGE)?;
    size.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Deletes documents: `id, created_at, keys, xid` of what was deleted.
pub(crate) fn delete(table: &Table, node: Uuid, ids: &[Uuid]) -> Statement {
    let mut sql = Statement::of(table);
    sql.does("DELETE");
    sql.begin_marked(&[&table.physical], None)
        .push(", written as (\n  delete from ")
        .ident(&table.physical)
        .push("\n  using mark\n  where id");
    sql.is_any_of(ids).push("\n  returning id, ").created("").push(" as at, ").keys_object("", &table.key_paths);
    sql.push(" as keys\n), ").log_written(table, node, "old_at, old_keys", "at, keys");
    sql.push("select id, at, keys, (select xid from mark)\nfrom written");
    sql
}

impl Statement {
    /// Begins with the mark of a statement that writes to these tables, and waits for locks no
    /// longer than this.
    pub(super) fn begin_marked(&mut self, tables: &[&str], lock_wait_ms: Option<u64>) -> &mut Statement {
        let named: String = tables.iter().flat_map(|table| [WRITER_SEPARATOR, table]).collect();
        self.push("with mark as materialized (\n  select xid, set_config('convoy.writer', xid || ").literal(&named);
        self.push(", true)");
        if let Some(wait) = lock_wait_ms {
            self.push(", set_config('lock_timeout', '").number(wait).push("', true)");
        }
        self.push("\n  from (select pg_current_xact_id()::text as xid) as own\n)")
    }

    /// New rows, to insert.
    pub(super) fn new_rows(&mut self, rows: &[(Uuid, &RawValue)]) -> &mut Statement {
        match rows {
            [(id, doc)] => {
                self.bind(Bind::Uuid(*id)).push("::uuid, ").bind(Bind::Json(doc.get().to_owned()));
                self.push("::jsonb\n  from mark")
            }
            _ => {
                let ids = rows.iter().map(|(id, _)| *id).collect();
                let docs = rows.iter().map(|(_, doc)| doc.get().to_owned()).collect();
                self.push("input.id, input.data\n  from mark, unnest(").bind(Bind::Uuids(ids)).push("::uuid[], ");
                self.bind(Bind::Jsons(docs)).push("::jsonb[]) as input (id, data)")
            }
        }
    }

    /// ` = $1` or ` = any($1)`.
    pub(super) fn is_any_of(&mut self, ids: &[Uuid]) -> &mut Statement {
        match ids {
            [id] => self.push(" = ").bind(Bind::Uuid(*id)),
            _ => self.push(" = any(").bind(Bind::Uuids(ids.to_vec())).push(")"),
        }
    }

    /// Appends the written rows to the change log.
    fn log_written(
        &mut self,
        table: &Table,
        node: Uuid,
        columns: &'static str,
        values: &'static str,
    ) -> &mut Statement {
        self.push("logged as (\n  insert into _convoy.changes (node, tab, id, ").push(columns).push(")\n  select ");
        self.bind(Bind::Uuid(node)).push("::uuid, ").literal(&table.physical).push(", id, ").push(values);
        self.push("\n  from written\n)\n")
    }

    /// The document after an edit.
    fn edited_data(&mut self, edit: &Edit) -> &mut Statement {
        match edit {
            Edit::Patch { set, unset } if unset.is_empty() => {
                self.push("t.data || ").bind(Bind::Json(set.get().to_owned())).push("::jsonb")
            }
            Edit::Patch { set, unset } => {
                self.push("(t.data - ").bind(Bind::Texts(unset.clone())).push("::text[]) || ");
                self.bind(Bind::Json(set.get().to_owned())).push("::jsonb")
            }
            Edit::Replace { doc } => self.bind(Bind::Json(doc.get().to_owned())).push("::jsonb"),
            Edit::Increment { path, by, base } => {
                self.push("jsonb_set(t.data, ").bind(Bind::Texts(path.clone())).push("::text[], to_jsonb((coalesce((");
                self.json_at("t.", path).push(")::numeric, (").bind(Bind::Text(base.clone()));
                self.push("::text)::numeric) + (").bind(Bind::Text(by.clone()));
                // A sum in decimal arithmetic, converted to a number that JavaScript can hold.
                self.push("::text)::numeric)::float8))")
            }
        }
    }

    /// True for documents with a number at `path`, or where one can be set.
    fn accepts_number(&mut self, path: &[String]) -> &mut Statement {
        self.push("coalesce(jsonb_typeof(").json_at("t.", path).push("), 'number') = 'number'");
        if let [parent @ .., _] = path
            && !parent.is_empty()
        {
            self.push("\n    and jsonb_typeof(").json_at("t.", parent).push(") = 'object'");
        }
        self
    }
}

/// The JSON of a replacement, or of a patch that only sets keys.
fn change_json(edit: &Edit) -> String {
    match edit {
        Edit::Patch { set: json, .. } | Edit::Replace { doc: json } => json.get().to_owned(),
        Edit::Increment { .. } => unreachable!("increments are made one by one"),
    }
}

/// Whether an edit could change an indexed field.
fn changes_keys(table: &Table, edit: &Edit) -> bool {
    let indexed =
        |key: &str| table.key_paths.iter().any(|path| matches!(path, FieldPath::Stored(parts) if parts[0] == key));
    if table.key_paths.is_empty() {
        return false;
    }
    match edit {
        Edit::Patch { set, unset } => {
            let keys: Result<HashMap<String, IgnoredAny>, _> = serde_json::from_str(set.get());
            unset.iter().any(|key| indexed(key)) || keys.is_ok_and(|keys| keys.keys().any(|key| indexed(key)))
        }
        Edit::Replace { .. } => true,
        Edit::Increment { path, .. } => indexed(&path[0]),
    }
}

/// The paths that the triggers of the table must log, as their arguments.
pub(crate) fn logged_paths(table: &Table) -> Vec<String> {
    table.key_paths.iter().filter(|path| matches!(path, FieldPath::Stored(_))).map(FieldPath::dotted).collect()
}
