//! The only way text reaches Postgres: statements made of fixed text, checked
//! identifiers, quoted literals and binds. Pure; its results are snapshot-tested.

pub mod document;
pub mod feed;
pub mod layout;

use crate::schema::{FieldPath, KeyKind};
use uuid::Uuid;

/// One statement and the values bound to its `$1`, `$2`, ….
#[derive(Debug, Clone, Default)]
pub struct Statement {
    text: String,
    binds: Vec<Bind>,
}

/// A bound value; it never becomes text of the statement.
#[derive(Debug, Clone)]
pub enum Bind {
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
}

impl Statement {
    /// A statement of fixed text.
    pub fn fixed(text: &'static str) -> Statement {
        Statement { text: text.to_owned(), binds: Vec::new() }
    }

    fn new() -> Statement {
        Statement { text: String::with_capacity(512), binds: Vec::new() }
    }

    /// The text with its placeholders.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Text and binds, for the driver.
    pub fn into_parts(self) -> (String, Vec<Bind>) {
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

    /// The stored value at `path`, as jsonb: `t.data -> 'a' -> 'b'`.
    fn json_at(&mut self, source: &'static str, parts: &[String]) -> &mut Statement {
        self.push(source).push("data");
        for part in parts {
            self.push(" -> ").literal(part);
        }
        self
    }

    /// What an indexed field is ordered by. The same text builds the index and
    /// asks for it, or Postgres would not use it.
    fn key(&mut self, path: &FieldPath, kind: KeyKind) -> &mut Statement {
        let parts = match path {
            FieldPath::CreationTime => return self.push("created_at"),
            FieldPath::Id => return self.push("id"),
            FieldPath::Stored(parts) => parts,
        };
        match kind {
            KeyKind::Text => {
                let (last, first) = parts.split_last().expect("a path has a part");
                self.push("((").json_at("", first).push(" ->> ").literal(last).push(") collate \"C\")")
            }
            // Guarded, so that no foreign value can make an insert fail.
            KeyKind::Number => self.guarded(parts, "'number'", "::numeric"),
            KeyKind::Boolean => self.guarded(parts, "'boolean'", "::boolean"),
            KeyKind::Json => self.push("(").json_at("", parts).push(")"),
        }
    }

    fn guarded(&mut self, parts: &[String], kind: &'static str, cast: &'static str) -> &mut Statement {
        self.push("(case when jsonb_typeof(").json_at("", parts).push(") = ").push(kind);
        self.push(" then (").json_at("", parts).push(")").push(cast).push(" end)")
    }

    /// The object of a row's indexed values that change records carry.
    fn keys_object(&mut self, source: &'static str, paths: &[FieldPath]) -> &mut Statement {
        self.push("jsonb_build_object(");
        let mut first = true;
        for path in paths {
            if let FieldPath::Stored(parts) = path {
                if !std::mem::take(&mut first) {
                    self.push(", ");
                }
                self.literal(&path.dotted()).push(", ").json_at(source, parts);
            }
        }
        self.push(")")
    }
}
