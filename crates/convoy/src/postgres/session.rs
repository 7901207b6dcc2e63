//! One connection and what it has prepared, and the user's own statements on it.
//!
//! Those run by PREPARE and EXECUTE, in the simple protocol: values go in and come
//! out as Postgres' own text, whatever their types.

use std::collections::VecDeque;
use std::fmt::Write;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Column, Executor, PgConnection, Row, TypeInfo, ValueRef};

use super::{DbError, fetch};
use crate::op::Raw;
use crate::sql;

/// How many of the user's statements a session keeps prepared.
const PREPARED: usize = 128;

/// A connection, and what it knows.
pub struct Session {
    pub connection: PgConnection,
    /// The user's statements it has prepared, the oldest first.
    prepared: VecDeque<String>,
    /// It is not to be used again: what it has prepared is no longer known.
    pub tainted: bool,
}

impl Session {
    pub fn new(connection: PgConnection) -> Session {
        Session { connection, prepared: VecDeque::new(), tainted: false }
    }

    /// Runs a statement of the user's own. Each row is a JSON object.
    pub async fn raw(&mut self, raw: &Raw) -> Result<Vec<String>, DbError> {
        let result = self.prepared_raw(raw).await.map_err(DbError::of_raw);
        if result.is_err() {
            self.tainted = true;
        }
        result
    }

    async fn prepared_raw(&mut self, raw: &Raw) -> Result<Vec<String>, DbError> {
        let name = sql::raw::name(raw);
        if !self.prepared.contains(&name) {
            if self.prepared.len() >= PREPARED
                && let Some(oldest) = self.prepared.pop_front()
            {
                fetch(&mut self.connection, sql::raw::deallocate(&oldest)).await?;
            }
            // By the extended protocol, which takes one statement and no more.
            let (text, _) = sql::raw::prepare(raw).into_parts();
            self.connection.execute(sqlx::query(AssertSqlSafe(text)).persistent(false)).await?;
            self.prepared.push_back(name);
        }
        let (text, _) = sql::raw::execute(raw).into_parts();
        let rows = self.connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await?;
        rows.iter().map(object).collect()
    }
}

/// A row as a JSON object.
fn object(row: &PgRow) -> Result<String, DbError> {
    let mut out = String::from("{");
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal())?;
        if out.len() > 1 {
            out.push(',');
        }
        push_text(&mut out, column.name());
        out.push(':');
        if value.is_null() {
            out.push_str("null");
            continue;
        }
        let kind = column.type_info().name().to_owned();
        let text = value.as_str().map_err(|error| DbError::Row(error.to_string()))?;
        match kind.strip_suffix("[]") {
            Some(element) => push_array(&mut out, element, text),
            None => push_value(&mut out, &kind, text),
        }
    }
    out.push('}');
    Ok(out)
}

/// A value in Postgres' text form as JSON. What a double cannot hold exactly
/// (`int8`, `numeric`) stays text, as do times and everything unknown.
fn push_value(out: &mut String, kind: &str, text: &str) {
    match kind {
        "BOOL" => out.push_str(if text == "t" { "true" } else { "false" }),
        "INT2" | "INT4" | "OID" => out.push_str(text),
        "FLOAT4" | "FLOAT8" if text.parse().is_ok_and(f64::is_finite) => out.push_str(text),
        "JSON" | "JSONB" => out.push_str(text),
        _ => push_text(out, text),
    }
}

/// `{a,"b c",NULL,{…}}`, or with its bounds in front `[0:1]={…}`.
fn push_array(out: &mut String, element: &str, text: &str) {
    let text = if text.starts_with('[') { text.split_once('=').map_or(text, |(_, array)| array) } else { text };
    let mut chars = text.chars().peekable();
    let mut item = String::new();
    let (mut quoted, mut started) = (false, false);
    let close = |out: &mut String, item: &mut String, quoted: &mut bool, started: &mut bool| {
        if std::mem::take(started) {
            if *quoted || item != "NULL" {
                push_value(out, element, item)
            } else {
                out.push_str("null")
            }
            item.clear();
            *quoted = false;
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '{' => out.push('['),
            '}' => {
                close(out, &mut item, &mut quoted, &mut started);
                out.push(']');
            }
            ',' => {
                close(out, &mut item, &mut quoted, &mut started);
                out.push(',');
            }
            '"' => {
                (quoted, started) = (true, true);
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => item.extend(chars.next()),
                        c => item.push(c),
                    }
                }
            }
            c => {
                started = true;
                item.push(c);
            }
        }
    }
}

fn push_text(out: &mut String, text: &str) {
    // A string always serializes.
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(element: &str, text: &str) -> String {
        let mut out = String::new();
        push_array(&mut out, element, text);
        out
    }

    #[test]
    fn arrays_become_json() {
        assert_eq!(array("INT4", "{1,NULL,3}"), "[1,null,3]");
        assert_eq!(array("TEXT", r#"{a,"b \"c\", d","NULL",NULL,""}"#), r#"["a","b \"c\", d","NULL",null,""]"#);
        assert_eq!(array("BOOL", "{{t,f},{f,t}}"), "[[true,false],[false,true]]");
        assert_eq!(array("INT8", "[0:1]={1,2}"), r#"["1","2"]"#);
        assert_eq!(array("TEXT", "{}"), "[]");
    }
}
