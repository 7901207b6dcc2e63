//! Rows and failures as the JSON text a function is answered with.
//!
//! Rows are not parsed on their way out: Postgres' text of a document and its
//! two own fields are joined into one buffer.

use std::fmt::Write;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::Failure;
use crate::postgres::{DbError, Row};
use crate::schema::Table;

/// `{"ok":…},`
pub(super) fn push_ok(out: &mut String, json: &str) {
    out.push_str(r#"{"ok":"#);
    out.push_str(json);
    out.push_str("},");
}

/// `{"error":…},`
pub(super) fn push_failure(out: &mut String, failure: &Failure) {
    out.push_str(r#"{"error":"#);
    out.push_str(&failure.to_json());
    out.push_str("},");
}

/// What a document holds, as Postgres sent it or as it will be stored.
#[derive(Clone)]
pub(super) struct Content {
    /// `created_at`, in microseconds since 1970.
    created: i64,
    data: Data,
}

#[derive(Clone)]
enum Data {
    /// A row that begins `id, created_at, data`.
    Row(Arc<Row>),
    Text(Arc<str>),
}

impl Content {
    pub fn of(row: Arc<Row>) -> Result<Content, DbError> {
        Ok(Content { created: row.micros(1)?, data: Data::Row(row) })
    }

    /// The same document with other data.
    pub fn with(&self, data: String) -> Content {
        Content { created: self.created, data: Data::Text(data.into()) }
    }

    /// The stored JSON.
    pub fn data(&self) -> Result<&str, DbError> {
        match &self.data {
            Data::Row(row) => row.json(2),
            Data::Text(text) => Ok(text),
        }
    }
}

/// `{"ok":{…document…}},`, or null where there is none.
pub(super) fn push_ok_document(out: &mut String, table: &Table, row: Option<&Row>) -> Result<(), DbError> {
    out.push_str(r#"{"ok":"#);
    match row {
        Some(row) => push_row(out, table, row)?,
        None => out.push_str("null"),
    }
    out.push_str("},");
    Ok(())
}

/// The same of a document that need not be a row.
pub(super) fn push_ok_content(
    out: &mut String,
    table: &Table,
    id: Uuid,
    content: Option<&Content>,
) -> Result<(), DbError> {
    out.push_str(r#"{"ok":"#);
    match content {
        Some(content) => push_document(out, table, id, content.created, content.data()?)?,
        None => out.push_str("null"),
    }
    out.push_str("},");
    Ok(())
}

/// `[{…},{…}]`
pub(super) fn push_documents(out: &mut String, table: &Table, rows: &[Row]) -> Result<(), DbError> {
    out.push('[');
    for row in rows {
        push_row(out, table, row)?;
        out.push(',');
    }
    if !rows.is_empty() {
        out.pop();
    }
    out.push(']');
    Ok(())
}

fn push_row(out: &mut String, table: &Table, row: &Row) -> Result<(), DbError> {
    push_document(out, table, row.uuid(0)?, row.micros(1)?, row.json(2)?)
}

/// `{…stored, "id":…, "_creationTime":…}`: our two fields come last, so that
/// they win over fields of those names someone may have stored by hand.
fn push_document(out: &mut String, table: &Table, id: Uuid, created: i64, data: &str) -> Result<(), DbError> {
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
