//! Builds every statement that Convoy sends to Postgres, from fixed text, checked identifiers,
//! quoted literals and binds. Pure; the results are snapshot-tested.

pub(crate) mod convoy_schema;
pub(crate) mod document;
pub(crate) mod drift;
pub(crate) mod feed;
pub(crate) mod idempotency;
mod join;
mod key;
pub(crate) mod layout;
pub(crate) mod notify;
pub(crate) mod optimistic;
pub(crate) mod plan;
pub(crate) mod queue_lock;
pub(crate) mod rate_limits;
pub(crate) mod raw;
pub(crate) mod rights;
pub(crate) mod row_security;
pub(crate) mod scan;
pub(crate) mod session;
pub(crate) mod transaction_status;
pub(crate) mod transfer;

use std::ops::Range;
use std::sync::Arc;

use crate::schema::{FieldPath, Table};
use crate::time::Time;
use uuid::Uuid;

/// One statement and the values bound to its `$1`, `$2`, ….
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    text: String,
    binds: Vec<Bind>,
    /// Where the placeholders are that `bind` has written, in their order.
    places: Vec<Range<usize>>,
    /// The text before the next condition.
    joiner: &'static str,
    /// Whether it is about an unmanaged table without `created_at`.
    lacks_created_at: bool,
    /// The table that it is about, if it is one.
    table: Option<Arc<str>>,
    /// What it does, if its first word does not tell.
    operation: Option<&'static str>,
}

/// A bound value, which never becomes part of the text.
#[derive(Debug, Clone)]
pub(crate) enum Bind {
    /// `uuid`
    Uuid(Uuid),
    /// `uuid[]`
    Uuids(Vec<Uuid>),
    /// `jsonb`, as JSON text
    Json(String),
    /// `jsonb[]`, each as JSON text
    Jsons(Vec<String>),
    /// `text`
    Text(String),
    /// `text[]`
    Texts(Vec<String>),
    /// `bool`
    Bool(bool),
    /// `bool[]`
    Bools(Vec<bool>),
    /// `int8`
    Int(i64),
    /// `timestamptz`
    Time(Time),
    /// `timestamptz[]`
    Times(Vec<Time>),
}

/// Deletes some rows of a table of `_convoy` for which `expired` holds; returns a row if there
/// were any.
fn trim(table: &'static str, expired: &'static str) -> Statement {
    let mut sql = Statement::new();
    sql.push("with old as (\n  delete from _convoy.")
        .push(table)
        .push("\n  where ctid = any(array(\n    select ctid from _convoy.");
    sql.push(table).push("\n    where ").push(expired);
    sql.push("\n    limit 10000\n  ))\n  returning 1\n)\nselect 1 from old\nlimit 1");
    sql
}

/// Sets a savepoint.
pub(crate) fn savepoint(name: u32) -> Statement {
    let mut sql = Statement::fixed("savepoint convoy_");
    sql.number(u64::from(name));
    sql
}

/// Separates the transaction and the tables in the mark. The writes to a table with this in
/// its name are logged twice.
const WRITER_SEPARATOR: &str = "/";

/// Rolls back to a savepoint, which stays.
pub(crate) fn rollback_to(name: u32) -> Statement {
    let mut sql = Statement::fixed("rollback to savepoint convoy_");
    sql.number(u64::from(name));
    sql
}

/// What a statement does by its first word; `OTHER` is for rare ones.
pub(crate) fn operation_of(text: &str) -> &'static str {
    const KNOWN: [&str; 12] = [
        "SELECT",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "SET",
        "LOCK",
        "EXECUTE",
        "CREATE",
    ];
    let first = text.split([' ', ';', '\n']).next().unwrap_or_default();
    KNOWN.into_iter().find(|known| first.eq_ignore_ascii_case(known)).unwrap_or("OTHER")
}

impl Statement {
    /// A statement of fixed text.
    pub(crate) fn fixed(text: &'static str) -> Statement {
        Statement { text: text.to_owned(), ..Statement::default() }
    }

    fn new() -> Statement {
        Statement { text: String::with_capacity(512), ..Statement::default() }
    }

    /// A statement about rows of this table.
    fn of(table: &Table) -> Statement {
        let (lacks_created_at, table) = (!table.traits().created_at, Some(table.key.clone()));
        Statement { lacks_created_at, table, ..Statement::new() }
    }

    /// The creation time of a row; the same for all rows of a table without it.
    fn created(&mut self, source: &'static str) -> &mut Statement {
        if self.lacks_created_at { self.push("timestamptz 'epoch'") } else { self.push(source).push("created_at") }
    }

    /// The text with its placeholders.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The table that it is about, by its name in Postgres, if it is about one.
    pub(crate) fn table(&self) -> Option<&Arc<str>> {
        self.table.as_ref()
    }

    /// What it does, for telemetry: `SELECT`.
    pub(crate) fn operation(&self) -> &'static str {
        self.operation.unwrap_or_else(|| operation_of(&self.text))
    }

    /// Names what it does, if it begins with another word.
    fn does(&mut self, operation: &'static str) -> &mut Statement {
        self.operation = Some(operation);
        self
    }

    /// Returns the plan of the statement instead of its rows, one line per row.
    #[cfg(feature = "failpoints")]
    #[must_use]
    pub(crate) fn explain(mut self) -> Statement {
        self.text.insert_str(0, "explain ");
        self
    }

    /// Text and binds, for the driver.
    pub(crate) fn into_parts(self) -> (String, Vec<Bind>) {
        (self.text, self.binds)
    }

    fn push(&mut self, fixed: &'static str) -> &mut Statement {
        self.text.push_str(fixed);
        self
    }

    /// A quoted identifier. Names come from a parsed schema, so they hold no NUL
    /// and fit Postgres' limit.
    fn ident(&mut self, name: &str) -> &mut Statement {
        self.quoted(name, '"')
    }

    /// A quoted text literal, for text that cannot be bound: the field names in an indexed
    /// expression.
    fn literal(&mut self, text: &str) -> &mut Statement {
        // An escape string does not depend on `standard_conforming_strings`.
        if text.contains('\\') {
            self.text.push_str(" E");
            let doubled = text.replace('\\', "\\\\");
            return self.quoted(&doubled, '\'');
        }
        self.quoted(text, '\'')
    }

    fn quoted(&mut self, text: &str, quote: char) -> &mut Statement {
        self.text.push(quote);
        for c in text.chars() {
            if c == quote {
                self.text.push(quote);
            }
            self.text.push(c);
        }
        self.text.push(quote);
        self
    }

    fn number(&mut self, number: u64) -> &mut Statement {
        self.text.push_str(&number.to_string());
        self
    }

    fn bind(&mut self, value: Bind) -> &mut Statement {
        self.binds.push(value);
        let start = self.text.len();
        self.text.push('$');
        let parameter = self.binds.len();
        self.number(parameter as u64);
        self.places.push(start..self.text.len());
        self
    }

    /// An object of the indexed values of a row, for change records.
    fn keys_object(&mut self, source: &'static str, paths: &[FieldPath]) -> &mut Statement {
        let stored: Vec<(&FieldPath, &Vec<String>)> = paths
            .iter()
            .filter_map(|path| match path {
                FieldPath::Stored(parts) => Some((path, parts)),
                FieldPath::CreationTime | FieldPath::Id => None,
            })
            .collect();
        if stored.is_empty() {
            return self.push("'{}'::jsonb");
        }
        // A function takes at most 100 arguments.
        for (at, some) in stored.chunks(50).enumerate() {
            self.push(if at == 0 { "jsonb_build_object(" } else { " || jsonb_build_object(" });
            let mut separator = "";
            for (path, parts) in some {
                self.push(separator).literal(&path.dotted()).push(", ").json_at(source, parts);
                separator = ", ";
            }
            self.push(")");
        }
        self
    }
}

#[cfg(test)]
mod tests;
