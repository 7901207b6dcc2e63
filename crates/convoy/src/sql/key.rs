//! What rows are ordered and compared by, as SQL.
//!
//! The order is total and by value. A field of one type is one expression, and
//! whatever is not of that type (missing, `null`, a foreign value) is null in it,
//! which sorts last. A field that may hold several types is three: the type's
//! rank, the amount of a number or boolean, the words of anything else.
//!
//! The same text builds an index and asks for it, or Postgres would not use it.

use super::{Bind, Statement};
use crate::key::{Bound, KeyValue};
use crate::schema::{FieldPath, Index, IndexField, KeyKind};

/// Text longer than this, in bytes, is not in an index as a whole: Postgres
/// refuses index rows of more than 2,704 bytes.
const LONGEST_TEXT: usize = 512;
/// All texts of one index together, and what is left to each at least.
const LONGEST_ROW: usize = 2_048;
const SHORTEST: usize = 256;
/// Numbers whose digits take more than this are foreign: no double has so many.
const LONGEST_NUMBER: u64 = 800;

/// One expression of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Created,
    Id,
    Text {
        path: &'a [String],
        longest: Longest,
    },
    Number {
        path: &'a [String],
    },
    Boolean {
        path: &'a [String],
    },
    /// 1 boolean, 2 number, 3 text, 4 array, 5 object.
    Rank {
        path: &'a [String],
    },
    /// Of a number; of a boolean 0 or 1; of anything else 0.
    Amount {
        path: &'a [String],
    },
    /// Of a text; of an array or object its JSON; of anything else none.
    Words {
        path: &'a [String],
        longest: Longest,
    },
}

/// How much of a text an order compares, in bytes. A longer one counts as its
/// beginning and a hash of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Longest {
    Bytes(usize),
    Whole,
}

impl Longest {
    /// What an index with these fields has room for.
    pub(super) fn of(index: &Index) -> Longest {
        let texts = index.fields.iter().filter(|field| {
            matches!(field.path, FieldPath::Stored(_)) && matches!(field.kind, KeyKind::Text | KeyKind::Json)
        });
        Longest::Bytes((LONGEST_ROW / texts.count().max(1)).clamp(SHORTEST, LONGEST_TEXT))
    }

    /// Characters that a longer text begins with. No character has more than four
    /// bytes, so they are never more than the longest.
    fn beginning(bytes: usize) -> usize {
        bytes / 4
    }

    /// Whether comparing with `text` needs more than its own bytes.
    fn passes(self, text: &str) -> bool {
        match self {
            Longest::Bytes(bytes) => text.len() <= Longest::beginning(bytes),
            Longest::Whole => true,
        }
    }
}

/// The parts of one field.
pub(super) fn parts_of(field: &IndexField, longest: Longest) -> Vec<Part<'_>> {
    let path = match &field.path {
        FieldPath::CreationTime => return vec![Part::Created],
        FieldPath::Id => return vec![Part::Id],
        FieldPath::Stored(path) => path.as_slice(),
    };
    match field.kind {
        KeyKind::Text => vec![Part::Text { path, longest }],
        KeyKind::Number => vec![Part::Number { path }],
        KeyKind::Boolean => vec![Part::Boolean { path }],
        KeyKind::Json => vec![Part::Rank { path }, Part::Amount { path }, Part::Words { path, longest }],
    }
}

impl Statement {
    /// The stored value at `path`, as jsonb: `t.data -> 'a' -> 'b'`.
    pub(super) fn json_at(&mut self, source: &'static str, path: &[String]) -> &mut Statement {
        self.push(source).push("data");
        for part in path {
            self.push(" -> ").literal(part);
        }
        self
    }

    /// The same as text.
    pub(super) fn text_at(&mut self, path: &[String]) -> &mut Statement {
        let (last, first) = path.split_last().expect("a path has a part");
        self.json_at("", first).push(" ->> ").literal(last)
    }

    pub(super) fn type_at(&mut self, path: &[String]) -> &mut Statement {
        self.push("jsonb_typeof(").json_at("", path).push(")")
    }

    /// An expression of an order.
    pub(super) fn part(&mut self, part: Part<'_>) -> &mut Statement {
        match part {
            Part::Created => self.push("created_at"),
            Part::Id => self.push("id"),
            Part::Text { path, longest } => {
                self.push("(case when ").type_at(path).push(" = 'string' then ");
                self.shortened(longest, |sql| sql.text_at(path)).push(" end collate \"C\")")
            }
            Part::Number { path } => {
                self.push("(case when ").type_at(path).push(" = 'number' then ");
                self.amount(path).push(" end)")
            }
            Part::Boolean { path } => {
                self.push("(case when ").type_at(path).push(" = 'boolean' then (");
                self.json_at("", path).push(")::boolean end)")
            }
            Part::Rank { path } => {
                self.push("(case ").type_at(path);
                self.push(" when 'boolean' then 1 when 'number' then 2 when 'string' then 3")
                    .push(" when 'array' then 4 when 'object' then 5 end)")
            }
            Part::Amount { path } => {
                self.push("(case ").type_at(path).push(" when 'number' then ");
                self.amount(path).push(" when 'boolean' then (");
                self.json_at("", path).push(")::boolean::int::numeric");
                self.push(" when 'string' then 0 when 'array' then 0 when 'object' then 0 end)")
            }
            Part::Words { path, longest } => {
                self.push("(case when ").type_at(path).push(" in ('string', 'array', 'object') then ");
                self.shortened(longest, |sql| sql.text_at(path));
                self.push(" when ").type_at(path).push(" in ('number', 'boolean') then '' end collate \"C\")")
            }
        }
    }

    /// A stored number, guarded so that no foreign value can make an insert fail.
    fn amount(&mut self, path: &[String]) -> &mut Statement {
        self.push("case when octet_length(").text_at(path).push(") <= ").number(LONGEST_NUMBER);
        self.push(" then (").json_at("", path).push(")::numeric end")
    }

    /// A text as far as an index takes it.
    fn shortened(
        &mut self,
        longest: Longest,
        text: impl for<'a> Fn(&'a mut Statement) -> &'a mut Statement,
    ) -> &mut Statement {
        let Longest::Bytes(bytes) = longest else { return text(self) };
        text(self.push("case when octet_length(")).push(") <= ").number(bytes as u64);
        text(self.push(" then "));
        text(self.push(" else left(")).push(", ").number(Longest::beginning(bytes) as u64);
        text(self.push(") || to_hex(hashtextextended("));
        text(self.push(", 0)) || to_hex(hashtextextended(")).push(", 1)) end")
    }

    /// A bound text in the form [`Statement::shortened`] gives stored ones.
    fn short_bind(&mut self, longest: Longest, text: &str) -> &mut Statement {
        if longest.passes(text) {
            return self.bind(Bind::Text(text.to_owned()));
        }
        self.binds.push(Bind::Text(text.to_owned()));
        let place = self.binds.len() as u64;
        self.push("(");
        self.shortened(longest, |sql| sql.push("$").number(place).push("::text")).push(" collate \"C\")")
    }

    /// Holds for rows whose field has this value and no other.
    pub(super) fn equals(&mut self, field: &IndexField, longest: Longest, value: &KeyValue) -> &mut Statement {
        let parts = parts_of(field, longest);
        match (value, parts.as_slice(), &field.path) {
            (KeyValue::Null, _, FieldPath::Stored(path)) => {
                self.part(parts[0]).push(" is null and (").json_at("", path).push(" is null or ");
                self.json_at("", path).push(" = 'null')")
            }
            (KeyValue::Null, _, _) => self.push("false"),
            (KeyValue::Json(json), [rank, amount, words], FieldPath::Stored(path)) => {
                let mixed = Mixed::of(json);
                self.part(*rank).push(" = ").number(mixed.rank());
                match &mixed {
                    Mixed::Boolean(_) | Mixed::Number(_) => {
                        self.push(" and ").part(*amount).push(" = ").amount_bind(&mixed.amount());
                        self.push(" and ").part(*words).push(" = ''");
                    }
                    Mixed::Text(text) => {
                        self.push(" and ").part(*amount).push(" = 0 and ");
                        self.part(*words).push(" = ").short_bind(longest, text);
                    }
                    // Its JSON, as Postgres spells it.
                    Mixed::Array | Mixed::Object => {
                        self.binds.push(Bind::Json(json.clone()));
                        let place = self.binds.len() as u64;
                        self.push(" and ").part(*amount).push(" = 0 and ").part(*words).push(" = (");
                        self.shortened(longest, |sql| sql.push("$").number(place).push("::jsonb::text"));
                        self.push(" collate \"C\")");
                    }
                }
                self.push(" and ").json_at("", path).push(" = ").bind(Bind::Json(json.clone()))
            }
            (KeyValue::Text(text), [part], FieldPath::Stored(path)) => {
                self.part(*part).push(" = ").short_bind(longest, text);
                if !longest.passes(text) {
                    self.push(" and ").text_at(path).push(" = ").bind(Bind::Text(text.clone()));
                }
                self
            }
            _ => self.part(parts[0]).push(" = ").value(value),
        }
    }

    /// Holds for rows whose field is of the bound's type and on this side of it.
    pub(super) fn bounded(
        &mut self,
        field: &IndexField,
        longest: Longest,
        side: Side,
        bound: &Bound,
    ) -> &mut Statement {
        let operator = side.operator(bound.inclusive);
        let parts = parts_of(field, longest);
        let texts = |sql: &mut Statement, part: Part<'_>, path: &[String], text: &str| {
            if longest.passes(text) {
                sql.part(part).push(operator).bind(Bind::Text(text.to_owned()));
                return;
            }
            if let (Side::Lower, Longest::Bytes(bytes)) = (side, longest) {
                // The index tells roughly, by the beginning.
                let beginning: String = text.chars().take(Longest::beginning(bytes)).collect();
                sql.part(part).push(" >= ").bind(Bind::Text(beginning)).push(" and ");
            }
            sql.type_at(path).push(" = 'string' and (").text_at(path).push(") collate \"C\"");
            sql.push(operator).bind(Bind::Text(text.to_owned()));
        };
        match (&bound.value, parts.as_slice(), &field.path) {
            (KeyValue::Json(json), [rank, amount, words], FieldPath::Stored(path)) => {
                let mixed = Mixed::of(json);
                self.part(*rank).push(" = ").number(mixed.rank()).push(" and ");
                match &mixed {
                    Mixed::Text(text) => {
                        self.part(*amount).push(" = 0 and ");
                        texts(self, *words, path, text);
                    }
                    _ => {
                        self.part(*amount).push(operator).amount_bind(&mixed.amount());
                    }
                }
                self
            }
            (KeyValue::Text(text), [part], FieldPath::Stored(path)) => {
                texts(self, *part, path, text);
                self
            }
            // A comparison with null never holds.
            (KeyValue::Null, _, _) => self.push("false"),
            (value, _, _) => self.part(parts[0]).push(operator).value(value),
        }
    }

    fn amount_bind(&mut self, amount: &str) -> &mut Statement {
        self.push("(").bind(Bind::Text(amount.to_owned())).push("::text)::numeric")
    }

    /// A compared value of a field of one type.
    pub(super) fn value(&mut self, value: &KeyValue) -> &mut Statement {
        match value {
            KeyValue::Null => self.push("null"),
            KeyValue::Text(text) => self.bind(Bind::Text(text.clone())),
            KeyValue::Number(text) => self.amount_bind(text),
            KeyValue::Boolean(value) => self.bind(Bind::Bool(*value)),
            KeyValue::Json(text) => self.bind(Bind::Json(text.clone())),
            KeyValue::Time(time) => self.bind(Bind::Time(*time)),
            KeyValue::Id(id) => self.bind(Bind::Uuid(*id)),
        }
    }
}

/// Which end of a range a bound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Lower,
    Upper,
}

impl Side {
    pub(super) fn operator(self, inclusive: bool) -> &'static str {
        match (self, inclusive) {
            (Side::Lower, true) => " >= ",
            (Side::Lower, false) => " > ",
            (Side::Upper, true) => " <= ",
            (Side::Upper, false) => " < ",
        }
    }
}

/// A JSON value by its type; never null.
enum Mixed {
    Boolean(bool),
    Number(String),
    Text(String),
    Array,
    Object,
}

impl Mixed {
    fn of(json: &str) -> Mixed {
        match json.trim_start().as_bytes().first() {
            Some(b't') => Mixed::Boolean(true),
            Some(b'f') => Mixed::Boolean(false),
            Some(b'"') => Mixed::Text(serde_json::from_str(json).unwrap_or_default()),
            Some(b'[') => Mixed::Array,
            Some(b'{') => Mixed::Object,
            _ => Mixed::Number(json.trim().to_owned()),
        }
    }

    fn rank(&self) -> u64 {
        match self {
            Mixed::Boolean(_) => 1,
            Mixed::Number(_) => 2,
            Mixed::Text(_) => 3,
            Mixed::Array => 4,
            Mixed::Object => 5,
        }
    }

    fn amount(&self) -> String {
        match self {
            Mixed::Boolean(value) => u8::from(*value).to_string(),
            Mixed::Number(text) => text.clone(),
            Mixed::Text(_) | Mixed::Array | Mixed::Object => String::new(),
        }
    }
}
