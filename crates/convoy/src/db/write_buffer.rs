//! What a mutation has read, and what it means to write but has not sent yet.
//!
//! A function waits for the answer of each write, but where nothing in the
//! database can refuse or change a write (no constraint, no trigger but ours), the
//! answer is known without asking. So its writes are kept here, answered from
//! here, and sent all at once at its end. What a buffer cannot answer exactly it
//! does not take: then the function runs on statements of its own.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::answer::{Content, push_failure, push_ok, push_ok_content};
use super::savepoints::Savepoints;
use crate::error::Failure;
use crate::key::KeyFields;
use crate::op::{Control, Edit, Op, Write, WriteSet};
use crate::postgres::{DbError, Row};
use crate::schema::Table;

type DocumentKey = (Arc<str>, Uuid);

/// The reads and writes of one run, or of several that share a transaction.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    documents: HashMap<DocumentKey, BufferedDocument>,
    /// Documents to be inserted, in order.
    inserts: Vec<(Arc<Table>, Uuid, Box<RawValue>)>,
    /// What the documents were before each change, newest last.
    undo_log: Vec<UndoEntry>,
    savepoints: Savepoints,
}

/// A document as the run knows it.
#[derive(Clone)]
struct BufferedDocument {
    table: Arc<Table>,
    /// The version Postgres had, and what was in it; none where there was none.
    stored: Option<(Arc<str>, Content)>,
    /// What it is now; none where it is gone.
    content: Option<Content>,
    /// It is to be written.
    changed: bool,
}

enum UndoEntry {
    Document(DocumentKey, BufferedDocument),
    Insert,
}

impl WriteBuffer {
    /// Whether all of these can be answered from here, once their documents are
    /// known.
    pub(crate) fn takes(&self, ops: &[Result<Op, Failure>]) -> bool {
        let mut new: Vec<Uuid> = self.inserts.iter().map(|(_, id, _)| *id).collect();
        ops.iter().all(|op| match op {
            Err(_) => true,
            // A new document has no creation time yet.
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

    /// The documents these operations are about that are not known yet.
    pub(crate) fn unknown(&self, ops: &[Result<Op, Failure>]) -> Vec<(Arc<Table>, Vec<Uuid>)> {
        let mut unknown: Vec<(Arc<Table>, Vec<Uuid>)> = Vec::new();
        for op in ops.iter().flatten() {
            let (Op::Get { table, id } | Op::Edit { table, id, .. } | Op::Delete { table, id }) = op else { continue };
            if self.documents.contains_key(&(table.key.clone(), *id)) {
                continue;
            }
            match unknown.iter_mut().find(|(known, _)| known.physical == table.physical) {
                Some((_, ids)) if ids.contains(id) => {}
                Some((_, ids)) => ids.push(*id),
                None => unknown.push((table.clone(), vec![*id])),
            }
        }
        unknown
    }

    /// Takes the answer to [`WriteBuffer::unknown`] of one table: rows of
    /// `id, created_at, data, version`.
    pub(crate) fn learn(&mut self, table: &Arc<Table>, ids: &[Uuid], rows: Vec<Row>) -> Result<(), DbError> {
        for id in ids {
            let gone = BufferedDocument { table: table.clone(), stored: None, content: None, changed: false };
            self.documents.insert((table.key.clone(), *id), gone);
        }
        for row in rows {
            let id = row.uuid(0)?;
            let version = Arc::from(row.text(3)?);
            let content = Content::of(Arc::new(row))?;
            let stored = Some((version, content.clone()));
            let buffered = BufferedDocument { table: table.clone(), stored, content: Some(content), changed: false };
            self.documents.insert((table.key.clone(), id), buffered);
        }
        Ok(())
    }

    /// Answers operations whose documents are known, and changes what they change.
    pub(crate) fn answer(&mut self, ops: &[Result<Op, Failure>], out: &mut String) -> Result<(), DbError> {
        for op in ops {
            match op {
                Err(failure) => push_failure(out, failure),
                Ok(Op::Get { table, id }) => {
                    let content =
                        self.documents.get(&(table.key.clone(), *id)).and_then(|known| known.content.as_ref());
                    push_ok_content(out, table, *id, content)?;
                }
                Ok(Op::Edit { table, id, edit }) => {
                    let content = self.edit(table, *id, edit)?;
                    push_ok_content(out, table, *id, content.as_ref())?;
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
                    if let Some(mark) = self.savepoints.return_to(*name) {
                        self.undo_to(mark);
                    }
                    push_ok(out, "null");
                }
                Ok(_) => unreachable!("a buffer takes no such operation"),
            }
        }
        Ok(())
    }

    /// Adds documents a function has held back until its end.
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
                Edit::Increment { .. } => unreachable!("a buffer takes no increment"),
            };
            Ok(Some(content.with(data)))
        })?;
        Ok(self.documents.get(&(table.key.clone(), id)).and_then(|known| known.content.clone()))
    }

    /// Changes a document that is there; gives what it was.
    fn change(
        &mut self,
        table: &Table,
        id: Uuid,
        become_: impl FnOnce(&Content) -> Result<Option<Content>, DbError>,
    ) -> Result<Option<Content>, DbError> {
        let place = (table.key.clone(), id);
        let Some(known) = self.documents.get_mut(&place) else { return Ok(None) };
        let Some(before) = known.content.clone() else { return Ok(None) };
        let after = become_(&before)?;
        self.undo_log.push(UndoEntry::Document(place, known.clone()));
        known.content = after;
        known.changed = true;
        Ok(Some(before))
    }

    /// The documents it knows of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (Arc<str>, Uuid)> {
        self.documents.keys().cloned()
    }

    /// Whether anything is to be written.
    pub(crate) fn writes(&self) -> bool {
        !self.inserts.is_empty() || self.documents.values().any(|known| known.changed)
    }

    /// A mark to return to: the changes so far.
    pub(crate) fn mark(&self) -> usize {
        self.undo_log.len()
    }

    /// The next run begins; the savepoints were the last one's.
    pub(crate) fn begin(&mut self) -> usize {
        self.savepoints.clear();
        self.mark()
    }

    /// Whether there is a savepoint to return to.
    pub(crate) fn has_savepoints(&self) -> bool {
        !self.savepoints.is_empty()
    }

    /// Undoes the changes since a mark.
    pub(crate) fn undo_to(&mut self, mark: usize) {
        while self.undo_log.len() > mark {
            match self.undo_log.pop() {
                Some(UndoEntry::Document(place, before)) => {
                    self.documents.insert(place, before);
                }
                Some(UndoEntry::Insert) => {
                    self.inserts.pop();
                }
                None => return,
            }
        }
    }

    /// Everything there is to check and to write, which is from now on done.
    pub(crate) fn take(&mut self) -> Result<WriteSet, DbError> {
        let mut write_set = WriteSet { inserts: std::mem::take(&mut self.inserts), ..WriteSet::default() };
        for ((_, id), known) in &mut self.documents {
            let changed = std::mem::take(&mut known.changed);
            match &known.stored {
                Some((version, before)) if changed => {
                    let data = known.content.as_ref().map(|content| content.data().map(str::to_owned)).transpose()?;
                    let keys = KeyFields::of_document(&known.table.key_paths, before.data()?);
                    let old_keys =
                        keys.and_then(|keys| keys.to_json()).map_err(|error| DbError::Row(error.to_string()))?;
                    let (table, version) = (known.table.clone(), version.clone());
                    write_set.writes.push(Write { table, id: *id, version, data, old_keys });
                }
                stored => {
                    let version = stored.as_ref().map(|(version, _)| version.clone());
                    write_set.reads.push((known.table.clone(), *id, version));
                }
            }
        }
        // In one order everywhere, so that two never wait for each other.
        write_set.reads.sort_by_key(|(_, id, _)| *id);
        write_set.writes.sort_by_key(|write| write.id);
        self.undo_log.clear();
        self.savepoints.clear();
        Ok(write_set)
    }

    /// Forgets what is known; something may have changed it. Nothing may be left
    /// to write.
    pub(crate) fn forget(&mut self) {
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
    fn a_patch_sets_and_removes_keys_as_they_are_spelled() {
        let set = RawValue::from_string(r#"{"a":1e2,"\u00e9":[1.50],"__proto__":null}"#.to_owned()).expect("JSON");
        let after = patched(r#"{"b": "x\u0041", "gone": 1, "a": {}}"#, &set, &["gone".to_owned()]).expect("JSON");
        assert_eq!(after, r#"{"__proto__":null,"a":1e2,"b":"x\u0041","é":[1.50]}"#);
    }
}
