//! Writes rows and failures as the JSON text of answers.
//!
//! Rows are not parsed: the stored text of a document and its two system fields are joined
//! in one buffer. Values that JavaScript cannot represent are listed beside the text
//! ([`lossy`]), so that they can be passed on unchanged.

use std::fmt::Write;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::Failure;
use crate::lossy;
use crate::postgres::{DbError, Row};
use crate::schema::Table;
use crate::time::Time;

/// `{"ok":…},`
pub(super) fn push_ok(out: &mut String, json: &str) {
    out.push_str(r#"{"ok":"#);
    out.push_str(json);
    out.push_str("},");
}

/// `{"ok":`; returns the offset of the result.
pub(super) fn push_begin(out: &mut String) -> usize {
    out.push_str(r#"{"ok":"#);
    out.len()
}

/// Ends an answer that began with [`push_begin`]: the values that JavaScript cannot
/// represent, if there are any, and `},`.
pub(super) fn push_end(out: &mut String, start: usize, may_be_lossy: bool) {
    if may_be_lossy && let Some(members) = lossy::members(&out[start..]) {
        out.push_str(&members);
    }
    out.push_str("},");
}

/// `{"error":…},`
pub(crate) fn push_failure(out: &mut String, failure: &Failure) {
    out.push_str(r#"{"error":"#);
    out.push_str(&failure.to_json());
    out.push_str("},");
}

/// The content of a document, as Postgres sent it or as it will be stored.
#[derive(Clone)]
pub(super) struct Content {
    /// `created_at`.
    created: Time,
    data: Data,
}

#[derive(Clone)]
enum Data {
    /// A row that begins `id, created_at, data`.
    Row(Arc<Row>),
    Text(Arc<str>),
}

impl Content {
    pub(super) fn of(row: Arc<Row>) -> Result<Content, DbError> {
        Ok(Content { created: row.micros(1)?, data: Data::Row(row) })
    }

    /// The same document with other data.
    pub(super) fn with(&self, data: String) -> Content {
        Content { created: self.created, data: Data::Text(data.into()) }
    }

    /// The stored JSON.
    pub(super) fn data(&self) -> Result<&str, DbError> {
        match &self.data {
            Data::Row(row) => row.json(2),
            Data::Text(text) => Ok(text),
        }
    }
}

/// `{"ok":{…document…}},`, or `{"ok":null},` if `row` is `None`.
pub(super) fn push_ok_document(out: &mut String, table: &Table, row: Option<&Row>) -> Result<(), DbError> {
    let start = push_begin(out);
    let may_be_lossy = match row {
        Some(row) => push_row(out, table, row)?,
        None => push_null(out),
    };
    push_end(out, start, may_be_lossy);
    Ok(())
}

/// Like [`push_ok_document`], for a document that may not be a row.
pub(super) fn push_ok_content(
    out: &mut String,
    table: &Table,
    id: Uuid,
    content: Option<&Content>,
) -> Result<(), DbError> {
    let start = push_begin(out);
    let may_be_lossy = match content {
        Some(content) => push_document(out, table, id, content.created, content.data()?)?,
        None => push_null(out),
    };
    push_end(out, start, may_be_lossy);
    Ok(())
}

fn push_null(out: &mut String) -> bool {
    out.push_str("null");
    false
}

/// `[{…},{…}]`; returns whether JavaScript may be unable to represent a value of it.
pub(super) fn push_documents(out: &mut String, table: &Table, rows: &[Row]) -> Result<bool, DbError> {
    let mut may_be_lossy = false;
    out.push('[');
    for row in rows {
        may_be_lossy |= push_row(out, table, row)?;
        out.push(',');
    }
    if !rows.is_empty() {
        out.pop();
    }
    out.push(']');
    Ok(may_be_lossy)
}

fn push_row(out: &mut String, table: &Table, row: &Row) -> Result<bool, DbError> {
    let id = row.uuid(0)?;
    let name = |error: DbError| DbError::Row(format!("the document {}:{id} cannot be returned: {error}", table.name));
    push_document(out, table, id, row.micros(1).map_err(name)?, row.json(2).map_err(name)?)
}

/// `{…stored, "id":…, "_creationTime":…}`: the system fields come last, so that they
/// override stored fields of the same names.
fn push_document(out: &mut String, table: &Table, id: Uuid, created: Time, data: &str) -> Result<bool, DbError> {
    let stored = data
        .strip_suffix('}')
        .filter(|stored| stored.starts_with('{'))
        .ok_or_else(|| DbError::Row(no_object(table, id, data)))?;
    out.reserve(data.len() + table.name.len() + 90);
    out.push_str(stored);
    if stored.len() > 1 {
        out.push(',');
    }
    out.push_str(r#""id":""#);
    push_escaped(out, &table.name);
    // Writing to a string cannot fail.
    let _ = write!(out, r#":{id}","_creationTime":{}}}"#, created.to_ms());
    Ok(lossy::may_be_lossy(data) || created.is_far())
}

fn no_object(table: &Table, id: Uuid, data: &str) -> String {
    let kind = match data.as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    };
    let physical = &table.physical;
    format!(
        "the document {}:{id} cannot be returned: its `data` is {kind} and not an object; \
         repair or delete that row: select * from \"{physical}\" where id = '{id}'",
        table.name
    )
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
