//! The only way text reaches Postgres: statements made of fixed text, checked
//! identifiers, quoted literals and binds. Pure; its results are snapshot-tested.

pub(crate) mod document;
pub(crate) mod feed;
pub(crate) mod idempotency;
mod key;
pub(crate) mod layout;
pub(crate) mod notify;
pub(crate) mod optimistic;
pub(crate) mod plan;
pub(crate) mod queue_lock;
pub(crate) mod raw;
pub(crate) mod rights;
pub(crate) mod scan;
pub(crate) mod session;
pub(crate) mod transaction_status;

use crate::schema::{FieldPath, Table};
use crate::time::Time;
use uuid::Uuid;

/// One statement and the values bound to its `$1`, `$2`, ….
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    text: String,
    binds: Vec<Bind>,
    /// What comes before the next condition.
    joiner: &'static str,
    /// The table is the user's own and has no `created_at`.
    timeless: bool,
}

/// A bound value; it never becomes text of the statement.
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
    /// `int8`
    Int(i64),
    /// `timestamptz`
    Time(Time),
}

/// Makes a place in a transaction to return to.
pub(crate) fn savepoint(name: u32) -> Statement {
    let mut sql = Statement::fixed("savepoint convoy_");
    sql.number(u64::from(name));
    sql
}

/// Stands between the transaction and the tables in the mark of our writes. A table with
/// this in its name is logged twice.
const WRITER_SEPARATOR: &str = "/";

/// Undoes everything since a savepoint, which stays.
pub(crate) fn rollback_to(name: u32) -> Statement {
    let mut sql = Statement::fixed("rollback to savepoint convoy_");
    sql.number(u64::from(name));
    sql
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
        Statement { timeless: !table.traits().created_at, ..Statement::new() }
    }

    /// A row's creation time; for those that have none, one they have in common.
    fn created(&mut self, source: &'static str) -> &mut Statement {
        if self.timeless { self.push("timestamptz 'epoch'") } else { self.push(source).push("created_at") }
    }

    /// The text with its placeholders.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns its plan instead of running it, one line a row.
    #[cfg(feature = "failpoints")]
    #[must_use]
    pub(crate) fn explained(mut self) -> Statement {
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

    /// A quoted text literal, for what must be part of the statement: the field
    /// names of an expression an index is built on.
    fn literal(&mut self, text: &str) -> &mut Statement {
        // An escape string is read alike whatever `standard_conforming_strings` says.
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
        self.text.push('$');
        let place = self.binds.len();
        self.number(place as u64)
    }

    /// The object of a row's indexed values that change records carry.
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
        // A function takes 100 arguments.
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
