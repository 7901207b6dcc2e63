//! Buffers the writes of a mutation, with the documents it has read.
//!
//! A function waits for the answer of each write. If the table has no constraints and no
//! triggers but Convoy's, so that the database cannot reject or change a write, the answer
//! is known without a statement. Then writes are buffered, answered from the buffer, and sent
//! together at the end. Operations that a buffer cannot answer exactly are not accepted; the
//! function then runs with a statement for each operation.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::answer::{Content, push_failure, push_ok, push_ok_content};
use super::budget::Budget;
use super::savepoints::Savepoints;
use crate::error::Failure;
use crate::key::KeyFields;
use crate::op::{Control, Edit, Op, Write, WriteSet};
use crate::postgres::{DbError, Row};
use crate::schema::Table;

type DocumentKey = (Arc<str>, Uuid);

/// The reads and writes of one run, or of several runs in a shared transaction.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    documents: HashMap<DocumentKey, BufferedDocument>,
    /// Documents to be inserted, in order.
    inserts: Vec<(Arc<Table>, Uuid, Box<RawValue>)>,
    /// The states before each change, newest last.
    undo_log: Vec<UndoEntry>,
    savepoints: Savepoints,
}

/// A document that was read, and its buffered change.
#[derive(Clone)]
struct BufferedDocument {
    table: Arc<Table>,
    /// The stored version and content; `None` if the document was not found.
    stored: Option<(Arc<str>, Content)>,
    /// The current content; `None` if the document does not exist.
    content: Option<Content>,
    /// It has a buffered write.
    changed: bool,
    /// The top-level fields that its writes set or removed; `None` if these can be any.
    fields: Option<Vec<String>>,
}

enum UndoEntry {
    Document(DocumentKey, BufferedDocument),
    Insert,
}

impl WriteBuffer {
    /// Whether the buffer can answer all these operations, once their documents are loaded.
    pub(crate) fn accepts(&self, ops: &[Result<Op, Failure>]) -> bool {
        let mut new: Vec<Uuid> = self.inserts.iter().map(|(_, id, _)| *id).collect();
        ops.iter().all(|op| match op {
            Err(_) => true,
            // The creation time of a buffered insert is not known yet.
            Ok(Op::Get { id, .. }) => !new.contains(id),
            Ok(Op::Edit { table, id, edit: Edit::Patch { .. } | Edit::Replace { .. } } | Op::Delete { table, id }) => {
                table.traits().never_rejects && !new.contains(id)
            }
            Ok(Op::Insert { table, id, .. }) => {
                new.push(*id);
                table.traits().never_rejects
            }
            Ok(Op::Control(Control::Savepoint(_) | Control::RollbackTo(_))) => true,
            Ok(_) => false,
        })
    }

    /// The documents of these operations that are not loaded yet, by table.
    pub(crate) fn missing(&self, ops: &[Result<Op, Failure>]) -> Vec<(Arc<Table>, Vec<Uuid>)> {
        let mut missing: Vec<(Arc<Table>, Vec<Uuid>)> = Vec::new();
        for op in ops.iter().flatten() {
            let (Op::Get { table, id } | Op::Edit { table, id, .. } | Op::Delete { table, id }) = op else { continue };
            if self.documents.contains_key(&(table.key.clone(), *id)) {
                continue;
            }
            match missing.iter_mut().find(|(of, _)| of.physical == table.physical) {
                Some((_, ids)) if ids.contains(id) => {}
                Some((_, ids)) => ids.push(*id),
                None => missing.push((table.clone(), vec![*id])),
            }
        }
        missing
    }

    /// Answers operations that only read documents which are loaded and exist; returns false for
    /// others.
    pub(crate) fn read_loaded(&self, ops: &[Result<Op, Failure>], out: &mut String) -> Result<bool, DbError> {
        for op in ops {
            let Ok(Op::Get { table, id }) = op else { return Ok(false) };
            let document = self.documents.get(&(table.key.clone(), *id));
            let Some(content) = document.and_then(|document| document.content.as_ref()) else { return Ok(false) };
            push_ok_content(out, table, *id, Some(content))?;
        }
        Ok(true)
    }

    /// Loads documents of one table: rows of `id, created_at, data, version` for the `ids`
    /// that exist.
    pub(crate) fn load(&mut self, table: &Arc<Table>, ids: &[Uuid], rows: Vec<Arc<Row>>) -> Result<(), DbError> {
        for id in ids {
            let absent = BufferedDocument {
                table: table.clone(),
                stored: None,
                content: None,
                changed: false,
                fields: Some(Vec::new()),
            };
            self.documents.insert((table.key.clone(), *id), absent);
        }
        for row in rows {
            let id = row.uuid(0)?;
            let version = Arc::from(row.text(3)?);
            let content = Content::of(row)?;
            let stored = Some((version, content.clone()));
            let (content, fields) = (Some(content), Some(Vec::new()));
            let buffered = BufferedDocument { table: table.clone(), stored, content, changed: false, fields };
            self.documents.insert((table.key.clone(), id), buffered);
        }
        Ok(())
    }

    /// Applies and answers operations whose documents are loaded. Patched documents are measured.
    pub(crate) fn answer(
        &mut self,
        ops: &[Result<Op, Failure>],
        budget: &mut Budget,
        out: &mut String,
    ) -> Result<(), DbError> {
        for op in ops {
            match op {
                Err(failure) => push_failure(out, failure),
                Ok(Op::Get { table, id }) => {
                    let content =
                        self.documents.get(&(table.key.clone(), *id)).and_then(|document| document.content.as_ref());
                    push_ok_content(out, table, *id, content)?;
                }
                Ok(Op::Edit { table, id, edit }) => {
                    let content = self.edit(table, *id, edit)?;
                    let measured = match (edit, &content) {
                        (Edit::Patch { .. }, Some(content)) => budget.changed_document(table, content.data()?),
                        _ => Ok(()),
                    };
                    match measured {
                        Ok(()) => push_ok_content(out, table, *id, content.as_ref())?,
                        Err(failure) => push_failure(out, &failure),
                    }
                }
                Ok(Op::Delete { table, id }) => {
                    let was_there = self.change(table, *id, |_| Ok(None))?.is_some();
                    push_ok(out, if was_there { "true" } else { "false" });
                }
                Ok(Op::Insert { table, id, doc }) => {
                    self.undo_log.push(UndoEntry::Insert);
                    self.inserts.push((table.clone(), *id, doc.clone()));
                    push_ok(out, "null");
                }
                Ok(Op::Control(Control::Savepoint(name))) => {
                    self.savepoints.set(*name, self.undo_log.len());
                    push_ok(out, "null");
                }
                Ok(Op::Control(Control::RollbackTo(name))) => {
                    if let Some(length) = self.savepoints.return_to(*name) {
                        self.undo_to(length);
                    }
                    push_ok(out, "null");
                }
                Ok(_) => unreachable!("a buffer accepts no such operation"),
            }
        }
        Ok(())
    }

    /// Buffers the held inserts of a function.
    pub(crate) fn insert(&mut self, table: Arc<Table>, rows: Vec<(Uuid, Box<RawValue>)>) {
        for (id, doc) in rows {
            self.undo_log.push(UndoEntry::Insert);
            self.inserts.push((table.clone(), id, doc));
        }
    }

    fn edit(&mut self, table: &Arc<Table>, id: Uuid, edit: &Edit) -> Result<Option<Content>, DbError> {
        self.change(table, id, |content| {
            let data = match edit {
                Edit::Patch { set, unset } => patched(content.data()?, set, unset)?,
                Edit::Replace { doc } => doc.get().to_owned(),
                Edit::Increment { .. } => unreachable!("a buffer accepts no increment"),
            };
            Ok(Some(content.with(data)))
        })?;
        let Some(document) = self.documents.get_mut(&(table.key.clone(), id)) else { return Ok(None) };
        if let Some(fields) = &mut document.fields {
            match edit.fields() {
                Some(written) => fields.extend(written),
                None => document.fields = None,
            }
        }
        Ok(document.content.clone())
    }

    /// Changes a document, and returns its content before; `None` if it does not exist.
    fn change(
        &mut self,
        table: &Table,
        id: Uuid,
        change: impl FnOnce(&Content) -> Result<Option<Content>, DbError>,
    ) -> Result<Option<Content>, DbError> {
        let key = (table.key.clone(), id);
        let Some(document) = self.documents.get_mut(&key) else { return Ok(None) };
        let Some(before) = document.content.clone() else { return Ok(None) };
        let after = change(&before)?;
        self.undo_log.push(UndoEntry::Document(key, document.clone()));
        document.content = after;
        document.changed = true;
        Ok(Some(before))
    }

    /// The loaded documents.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (Arc<str>, Uuid)> {
        self.documents.keys().cloned()
    }

    /// Whether the buffer has writes.
    pub(crate) fn writes(&self) -> bool {
        !self.inserts.is_empty() || self.documents.values().any(|document| document.changed)
    }

    /// The length of the undo log, to return to with [`WriteBuffer::undo_to`].
    pub(crate) fn undo_length(&self) -> usize {
        self.undo_log.len()
    }

    /// Begins the next run, which does not have the savepoints of the last one. Returns the
    /// length of the undo log.
    pub(crate) fn begin(&mut self) -> usize {
        self.savepoints.clear();
        self.undo_length()
    }

    /// Whether the run has savepoints.
    pub(crate) fn has_savepoints(&self) -> bool {
        !self.savepoints.is_empty()
    }

    /// Undoes changes until the undo log has this length.
    pub(crate) fn undo_to(&mut self, length: usize) {
        while self.undo_log.len() > length {
            match self.undo_log.pop() {
                Some(UndoEntry::Document(key, before)) => {
                    self.documents.insert(key, before);
                }
                Some(UndoEntry::Insert) => {
                    self.inserts.pop();
                }
                None => return,
            }
        }
    }

    /// Takes the versions to validate and the writes. Afterwards the buffer has no writes.
    pub(crate) fn take(&mut self) -> Result<WriteSet, DbError> {
        let mut write_set = WriteSet { inserts: std::mem::take(&mut self.inserts), ..WriteSet::default() };
        for ((_, id), document) in &mut self.documents {
            let changed = std::mem::take(&mut document.changed);
            match &document.stored {
                Some((version, before)) if changed => {
                    let data =
                        document.content.as_ref().map(|content| content.data().map(str::to_owned)).transpose()?;
                    let keys = KeyFields::of_document(&document.table.key_paths, before.data()?);
                    let old_keys =
                        keys.and_then(|keys| keys.to_json()).map_err(|error| DbError::Row(error.to_string()))?;
                    let (table, version) = (document.table.clone(), version.clone());
                    let fields = document.fields.take().map(Arc::from);
                    write_set.writes.push(Write { table, id: *id, version, data, old_keys, fields });
                }
                stored => {
                    let version = stored.as_ref().map(|(version, _)| version.clone());
                    write_set.reads.push((document.table.clone(), *id, version));
                }
            }
        }
        // All transactions lock in the order of ids, so that they cannot deadlock.
        write_set.reads.sort_by_key(|(_, id, _)| *id);
        write_set.writes.sort_by_key(|write| write.id);
        self.undo_log.clear();
        self.savepoints.clear();
        Ok(write_set)
    }

    /// Removes the loaded documents, which may have changed. The buffer must have no writes.
    pub(crate) fn clear(&mut self) {
        self.documents.clear();
        self.undo_log.clear();
        self.savepoints.clear();
    }
}

/// A document with keys set and others removed.
fn patched(data: &str, set: &RawValue, unset: &[String]) -> Result<String, DbError> {
    let broken = |error: serde_json::Error| DbError::Row(error.to_string());
    let mut document: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(data).map_err(broken)?;
    let set: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(set.get()).map_err(broken)?;
    for key in unset {
        document.remove(key.as_str());
    }
    document.extend(set);
    serde_json::to_string(&document).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_sets_and_removes_keys_and_keeps_the_text_of_values() {
        let set = RawValue::from_string(r#"{"a":1e2,"\u00e9":[1.50],"__proto__":null}"#.to_owned()).expect("JSON");
        let after = patched(r#"{"b": "x\u0041", "gone": 1, "a": {}}"#, &set, &["gone".to_owned()]).expect("JSON");
        assert_eq!(after, r#"{"__proto__":null,"a":1e2,"b":"x\u0041","é":[1.50]}"#);
    }
}
