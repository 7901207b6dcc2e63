//! The operations that write, run for [`Executor`].

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::answer::{push_failure, push_ok, push_ok_document};
use super::execute::{Access, Executor};
use crate::change::{Change, ChangeKind};
use crate::error::{Code, Failure};
use crate::key::{KeyFields, RowKeys};
use crate::op::{Edit, Op};
use crate::postgres::{DbError, Row};
use crate::schema::Table;
use crate::sql::document;
use crate::time::Time;

impl Executor {
    pub(super) async fn inserts(
        &mut self,
        access: &mut Access<'_>,
        table: &Arc<Table>,
        ops: &[&Op],
        out: &mut String,
    ) -> Result<(), DbError> {
        let rows: Vec<(Uuid, Box<RawValue>)> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Insert { id, doc, .. } => Some((*id, doc.clone())),
                _ => None,
            })
            .collect();
        let written = access.run(document::insert(table, self.node, &rows)).await?;
        self.inserted(table, &written)?;
        rows.iter().for_each(|_| push_ok(out, "null"));
        Ok(())
    }

    pub(super) async fn edits(
        &mut self,
        access: &mut Access<'_>,
        table: &Arc<Table>,
        ops: &[&Op],
        out: &mut String,
    ) -> Result<(), DbError> {
        let mut edits: Vec<(Uuid, &Edit)> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Edit { id, edit, .. } => Some((*id, edit)),
                _ => None,
            })
            .collect();
        edits.sort_by_key(|(id, _)| *id);
        // A write conflicts over the documents it targets.
        edits.iter().for_each(|(id, _)| self.reads.point(table, *id));
        self.tx_cache.wrote(table);
        // Outside of a transaction, only the statement can undo its write.
        let measured = edits.iter().any(|(_, edit)| !matches!(edit, Edit::Replace { .. }));
        let max_bytes = (measured && matches!(access, Access::Writing(_))).then(|| self.budget.document_limit());
        let written = match access.run(document::edit(table, self.node, &edits, max_bytes)).await {
            Ok(written) => written,
            Err(error) => {
                let size = error.message().filter(|_| max_bytes.is_some()).and_then(document::size_in);
                let size = size.ok_or(error)?;
                let failure = self.budget.refuse_change(table, size);
                ops.iter().for_each(|_| push_failure(out, &failure));
                return Ok(());
            }
        };
        let mut rows: Vec<(Uuid, Arc<Row>)> = Vec::with_capacity(edits.len());
        let mut refused: Vec<(Uuid, Failure)> = Vec::new();
        for row in written {
            let id = row.uuid(0)?;
            let old = row_keys(id, row.micros(4)?, row.json(5)?)?;
            let new = row_keys(id, row.micros(1)?, row.json(3)?)?;
            let edit = edits.iter().find(|(of, _)| *of == id);
            let fields = edit.and_then(|(_, edit)| edit.fields());
            self.changed(table, (id, fields), Some(old), Some(new));
            self.wrote(row.text(6)?);
            if measured && let Err(failure) = self.budget.stored_document(table, row.json(2)?.len()) {
                refused.push((id, failure));
            }
            let row = Arc::new(row);
            self.tx_cache.insert(table, id, Some(row.clone()));
            rows.push((id, row));
        }
        for op in ops {
            let Op::Edit { id, edit, .. } = op else { continue };
            if let Some((_, failure)) = refused.iter().find(|(of, _)| of == id) {
                push_failure(out, failure);
                continue;
            }
            let row = rows.iter().find(|(of, _)| of == id).map(|(_, row)| &**row);
            match edit {
                Edit::Increment { path, .. } if row.is_none() => {
                    let there = access.run(document::get(table, &[*id])).await?;
                    match there.first() {
                        Some(row) if !accepts_number(row.json(2)?, path) => push_failure(out, &no_number(table, path)),
                        // It is gone, or a policy shows it and does not let it be changed.
                        _ => push_ok(out, "null"),
                    }
                }
                _ => push_ok_document(out, table, row)?,
            }
        }
        Ok(())
    }

    pub(super) async fn deletes(
        &mut self,
        access: &mut Access<'_>,
        table: &Arc<Table>,
        ops: &[&Op],
        out: &mut String,
    ) -> Result<(), DbError> {
        let mut ids: Vec<Uuid> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Delete { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        ids.iter().for_each(|id| self.reads.point(table, *id));
        self.tx_cache.wrote(table);
        let mut gone = HashSet::with_capacity(ids.len());
        for row in access.run(document::delete(table, self.node, &ids)).await? {
            let id = row.uuid(0)?;
            let old = row_keys(id, row.micros(1)?, row.json(2)?)?;
            self.changed(table, (id, None), Some(old), None);
            self.wrote(row.text(3)?);
            gone.insert(id);
        }
        for id in ids.drain(..) {
            self.tx_cache.insert(table, id, None);
            push_ok(out, if gone.contains(&id) { "true" } else { "false" });
        }
        Ok(())
    }

    /// Records inserted rows, as returned by the statement.
    pub(crate) fn inserted(&mut self, table: &Arc<Table>, rows: &[Row]) -> Result<(), DbError> {
        self.dirty = true;
        self.tx_cache.wrote(table);
        for row in rows {
            let id = row.uuid(0)?;
            let new = row_keys(id, row.micros(1)?, row.json(2)?)?;
            self.changed(table, (id, None), None, Some(new));
            self.tx_cache.remove(table, id);
            self.wrote(row.text(3)?);
        }
        Ok(())
    }

    fn wrote(&mut self, xid: &str) {
        if self.written.xid.is_none() {
            self.written.xid = Some(xid.to_owned());
        }
    }

    fn changed(
        &mut self,
        table: &Table,
        (id, fields): (Uuid, Option<Vec<String>>),
        old: Option<RowKeys>,
        new: Option<RowKeys>,
    ) {
        let kind = ChangeKind::Row { id, old, new, fields: fields.map(Arc::from) };
        self.written.changes.push(Change { table: table.key.clone(), kind });
    }
}

/// Whether a document has a number at `path`, or one can be set there; as the statement decides.
fn accepts_number(data: &str, path: &[String]) -> bool {
    let (last, parents) = path.split_last().expect("a path has a name");
    let Ok(document) = serde_json::from_str::<Value>(data) else { return false };
    let Some(parent) = parents.iter().try_fold(&document, |at, name| at.get(name)) else { return false };
    parent.is_object() && parent.get(last).is_none_or(Value::is_number)
}

fn no_number(table: &Table, path: &[String]) -> Failure {
    let (field, table) = (path.join("."), &table.name);
    Failure::new(
        Code::InvalidArgs,
        format!(
            "`{field}` of this document of `{table}` is not a number, or its parent is not an object; set it with patch."
        ),
    )
}

/// The index keys of a row, from the columns that a write returned.
pub(crate) fn row_keys(id: Uuid, created: Time, keys: &str) -> Result<RowKeys, DbError> {
    let fields = KeyFields::parse(keys).map_err(|error| DbError::Row(error.to_string()))?;
    Ok(RowKeys { id, created, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_be_set_where_there_is_one_or_nothing_in_an_object() {
        let path = |dotted: &str| -> Vec<String> { dotted.split('.').map(str::to_owned).collect() };
        for (data, at) in [(r#"{"n":1.5}"#, "n"), ("{}", "n"), (r#"{"a":{"n":1}}"#, "a.n"), (r#"{"a":{}}"#, "a.n")] {
            assert!(accepts_number(data, &path(at)), "{data} {at}");
        }
        for (data, at) in [
            (r#"{"n":"1"}"#, "n"),
            (r#"{"n":null}"#, "n"),
            ("{}", "a.n"),
            (r#"{"a":1}"#, "a.n"),
            (r#"{"a":[]}"#, "a.n"),
        ] {
            assert!(!accepts_number(data, &path(at)), "{data} {at}");
        }
    }
}
