//! The SQL expressions that order and compare rows.
//!
//! The order is total and by value. A field of one type is one expression, which is null for
//! any other value (missing, `null`, another type); nulls sort last. A field of several types
//! is three expressions: the rank of the type, the amount of a number or boolean, and the
//! words of anything else.
//!
//! An index and the queries over it use the same text, or Postgres would not use the index.

use super::{Bind, Statement};
use crate::key::{Bound, KeyValue};
use crate::schema::{FieldPath, Index, IndexField, KeyKind};

/// The most bytes of a text in an index as a whole. Postgres rejects index rows of more than
/// 2,704 bytes.
const MAX_TEXT_BYTES: usize = 512;
/// The most bytes of all texts of one index, and the least for each of them.
const MAX_ROW_BYTES: usize = 2_048;
const MIN_TEXT_BYTES: usize = 256;
/// Numbers with more bytes of digits count as another type: no double has so many.
const MAX_NUMBER_BYTES: u64 = 800;

/// One expression of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Created,
    Id,
    Text {
        path: &'a [String],
        text_limit: TextLimit,
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
    /// The number; for a boolean 0 or 1; for other types 0.
    Amount {
        path: &'a [String],
    },
    /// The text; for an array or object its JSON; for other types empty.
    Words {
        path: &'a [String],
        text_limit: TextLimit,
    },
}

/// How many bytes of a text an order compares. A longer text is compared by its beginning and
/// a hash of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextLimit {
    Bytes(usize),
    Unlimited,
}

impl TextLimit {
    /// The limit for the texts of an index with these fields.
    pub(super) fn of(index: &Index) -> TextLimit {
        let texts = index.fields.iter().filter(|field| {
            matches!(field.path, FieldPath::Stored(_)) && matches!(field.kind, KeyKind::Text | KeyKind::Json)
        });
        TextLimit::Bytes((MAX_ROW_BYTES / texts.count().max(1)).clamp(MIN_TEXT_BYTES, MAX_TEXT_BYTES))
    }

    /// How many characters of a longer text are kept. A character has at most four bytes, so
    /// they fit the limit.
    fn prefix_chars(bytes: usize) -> usize {
        bytes / 4
    }

    /// Whether `text` can be compared as it is.
    fn fits(self, text: &str) -> bool {
        match self {
            TextLimit::Bytes(bytes) => text.len() <= TextLimit::prefix_chars(bytes),
            TextLimit::Unlimited => true,
        }
    }
}

/// The expressions of one field.
pub(super) fn key_parts(field: &IndexField, text_limit: TextLimit) -> Vec<Part<'_>> {
    let path = match &field.path {
        FieldPath::CreationTime => return vec![Part::Created],
        FieldPath::Id => return vec![Part::Id],
        FieldPath::Stored(path) => path.as_slice(),
    };
    match field.kind {
        KeyKind::Text => vec![Part::Text { path, text_limit }],
        KeyKind::Number => vec![Part::Number { path }],
        KeyKind::Boolean => vec![Part::Boolean { path }],
        KeyKind::Json => vec![Part::Rank { path }, Part::Amount { path }, Part::Words { path, text_limit }],
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

    /// The stored value at `path`, as text.
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
            Part::Text { path, text_limit } => {
                self.push("(case when ").type_at(path).push(" = 'string' then ");
                self.truncated(text_limit, |sql| sql.text_at(path)).push(" end collate \"C\")")
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
            Part::Words { path, text_limit } => {
                self.push("(case when ").type_at(path).push(" in ('string', 'array', 'object') then ");
                self.truncated(text_limit, |sql| sql.text_at(path));
                self.push(" when ").type_at(path).push(" in ('number', 'boolean') then '' end collate \"C\")")
            }
        }
    }

    /// A stored number, guarded so that a value of another type cannot fail an insert.
    fn amount(&mut self, path: &[String]) -> &mut Statement {
        self.push("case when octet_length(").text_at(path).push(") <= ").number(MAX_NUMBER_BYTES);
        self.push(" then (").json_at("", path).push(")::numeric end")
    }

    /// A text, truncated to the limit.
    fn truncated(
        &mut self,
        text_limit: TextLimit,
        text: impl for<'a> Fn(&'a mut Statement) -> &'a mut Statement,
    ) -> &mut Statement {
        let TextLimit::Bytes(bytes) = text_limit else { return text(self) };
        text(self.push("case when octet_length(")).push(") <= ").number(bytes as u64);
        text(self.push(" then "));
        text(self.push(" else left(")).push(", ").number(TextLimit::prefix_chars(bytes) as u64);
        text(self.push(") || to_hex(hashtextextended("));
        text(self.push(", 0)) || to_hex(hashtextextended(")).push(", 1)) end")
    }

    /// A bound text, truncated like stored ones by [`Statement::truncated`].
    fn truncated_bind(&mut self, text_limit: TextLimit, text: &str) -> &mut Statement {
        if text_limit.fits(text) {
            return self.bind(Bind::Text(text.to_owned()));
        }
        self.binds.push(Bind::Text(text.to_owned()));
        let parameter = self.binds.len() as u64;
        self.push("(");
        self.truncated(text_limit, |sql| sql.push("$").number(parameter).push("::text")).push(" collate \"C\")")
    }

    /// True for rows whose field equals this value.
    pub(super) fn equals(&mut self, field: &IndexField, text_limit: TextLimit, value: &KeyValue) -> &mut Statement {
        let parts = key_parts(field, text_limit);
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
                        self.part(*words).push(" = ").truncated_bind(text_limit, text);
                    }
                    // Postgres' text of its JSON.
                    Mixed::Array | Mixed::Object => {
                        self.binds.push(Bind::Json(json.clone()));
                        let parameter = self.binds.len() as u64;
                        self.push(" and ").part(*amount).push(" = 0 and ").part(*words).push(" = (");
                        self.truncated(text_limit, |sql| sql.push("$").number(parameter).push("::jsonb::text"));
                        self.push(" collate \"C\")");
                    }
                }
                self.push(" and ").json_at("", path).push(" = ").bind(Bind::Json(json.clone()))
            }
            (KeyValue::Text(text), [part], FieldPath::Stored(path)) => {
                self.part(*part).push(" = ").truncated_bind(text_limit, text);
                if !text_limit.fits(text) {
                    self.push(" and ").text_at(path).push(" = ").bind(Bind::Text(text.clone()));
                }
                self
            }
            _ => self.part(parts[0]).push(" = ").value(value),
        }
    }

    /// True for rows whose field has the type of the bound and lies on this side of it.
    pub(super) fn bounded(
        &mut self,
        field: &IndexField,
        text_limit: TextLimit,
        side: Side,
        bound: &Bound,
    ) -> &mut Statement {
        let operator = side.operator(bound.inclusive);
        let parts = key_parts(field, text_limit);
        let texts = |sql: &mut Statement, part: Part<'_>, path: &[String], text: &str| {
            if text_limit.fits(text) {
                sql.part(part).push(operator).bind(Bind::Text(text.to_owned()));
                return;
            }
            if let (Side::Lower, TextLimit::Bytes(bytes)) = (side, text_limit) {
                // Narrows the index range by the beginning of the text.
                let prefix: String = text.chars().take(TextLimit::prefix_chars(bytes)).collect();
                sql.part(part).push(" >= ").bind(Bind::Text(prefix)).push(" and ");
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
            // A comparison with null is never true.
            (KeyValue::Null, _, _) => self.push("false"),
            (value, _, _) => self.part(parts[0]).push(operator).value(value),
        }
    }

    fn amount_bind(&mut self, amount: &str) -> &mut Statement {
        self.push("(").bind(Bind::Text(amount.to_owned())).push("::text)::numeric")
    }

    /// The value to compare a field of one type with.
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
