//! The operations a function asks of the database, parsed from the batch its
//! host sends.

mod cursor;
mod scan;
mod span;
mod write_set;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{Code, Failure};
use crate::schema::{FieldPath, Schema, Table};

pub(crate) use cursor::Cursor;
pub(crate) use scan::{Filter, Order, Page, Scan};
use scan::{WireBound, WireOrderField};
pub(crate) use span::{cursor_span, scan_span};
pub(crate) use write_set::{Write, WriteSet};

/// One operation, with its table looked up and its values checked.
#[derive(Debug)]
pub(crate) enum Op {
    /// One document by id.
    Get {
        /// Its table.
        table: Arc<Table>,
        /// Its id.
        id: Uuid,
    },
    /// A new document.
    Insert {
        /// Its table.
        table: Arc<Table>,
        /// Its id, made beforehand.
        id: Uuid,
        /// What is stored, as JSON text.
        doc: Box<RawValue>,
    },
    /// A change to one document.
    Edit {
        /// Its table.
        table: Arc<Table>,
        /// Its id.
        id: Uuid,
        /// What changes.
        edit: Edit,
    },
    /// One document removed.
    Delete {
        /// Its table.
        table: Arc<Table>,
        /// Its id.
        id: Uuid,
    },
    /// Documents in order.
    Scan(Scan),
    /// How many documents a scan would give.
    Count(Scan),
    /// One page of documents in order, and where the next begins.
    Page(Page),
    /// A statement of the user's own.
    Raw(Raw),
    /// Something about the transaction itself.
    Control(Control),
}

/// What changes in a document.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// Some keys set, others removed.
    Patch {
        /// Keys to set, a JSON object.
        set: Box<RawValue>,
        /// Keys to remove.
        unset: Vec<String>,
    },
    /// Another document in its place.
    Replace {
        /// What is stored, as JSON text.
        doc: Box<RawValue>,
    },
    /// A number added to a number.
    Increment {
        /// Where it lies, one to three keys.
        path: Vec<String>,
        /// What is added, a JSON number.
        by: String,
        /// What a missing field counts as, a JSON number.
        base: String,
    },
}

/// A statement of the user's own.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    /// Its text, with `$1`, `$2`, ….
    pub text: String,
    /// The values, in Postgres' text form.
    pub values: Vec<Option<String>>,
    /// The tables it reads, by their names in Postgres; `None` where they were not given.
    pub tables: Option<Vec<String>>,
    /// It must not write, though its transaction may: a query asks, inside a
    /// mutation.
    pub read_only: bool,
}

impl Raw {
    /// Whether it may change in which schemas names are looked for, in the rest of its
    /// transaction: the tables that it reads are not known.
    pub(crate) fn moves_names(&self) -> bool {
        const SETTING: &str = "search_path";
        let is_setting = |text: &[u8]| text.eq_ignore_ascii_case(SETTING.as_bytes());
        self.text.as_bytes().windows(SETTING.len()).any(is_setting)
            || self.values.iter().flatten().any(|value| is_setting(value.as_bytes()))
    }
}

/// What a function says about its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// A place to return to.
    Savepoint(u32),
    /// Undoes everything since that place, which stays.
    RollbackTo(u32),
    /// Begins one, in a call that has none of its own.
    Begin,
    /// Commits it.
    Commit,
    /// Undoes it.
    Rollback,
}

impl Op {
    /// Whether the operation changes a document.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Op::Get { .. } | Op::Scan(_) | Op::Count(_) | Op::Page(_) | Op::Raw(_) | Op::Control(_) => false,
            Op::Insert { .. } | Op::Edit { .. } | Op::Delete { .. } => true,
        }
    }

    /// The table it is about; none where it is a statement of the user's own.
    pub(crate) fn table(&self) -> Option<&Arc<Table>> {
        match self {
            Op::Get { table, .. } | Op::Insert { table, .. } | Op::Edit { table, .. } | Op::Delete { table, .. } => {
                Some(table)
            }
            Op::Scan(scan) | Op::Count(scan) => Some(&scan.table),
            Op::Page(page) => Some(&page.scan.table),
            Op::Raw(_) | Op::Control(_) => None,
        }
    }

    /// Parses one batch. The outer error means the host broke the protocol; an
    /// inner one is the answer of that operation alone.
    pub(crate) fn parse_batch(json: &str, schema: &Schema) -> Result<Vec<Result<Op, Failure>>, serde_json::Error> {
        let wire: Vec<Wire<'_>> = serde_json::from_str(json)?;
        Ok(wire.into_iter().map(|op| op.resolve(schema)).collect())
    }
}

/// An operation as it is spelled, with the fields of all of them: serde cannot
/// keep raw JSON inside a tagged enum.
#[derive(Deserialize)]
struct Wire<'a> {
    op: &'a str,
    #[serde(default)]
    table: String,
    id: Option<String>,
    #[serde(borrow)]
    doc: Option<&'a RawValue>,
    #[serde(borrow)]
    set: Option<&'a RawValue>,
    #[serde(default)]
    unset: Vec<String>,
    field: Option<String>,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
    #[serde(borrow)]
    base: Option<&'a RawValue>,
    index: Option<String>,
    #[serde(borrow, default)]
    eq: Vec<&'a RawValue>,
    #[serde(borrow)]
    lower: Option<WireBound<'a>>,
    #[serde(borrow)]
    upper: Option<WireBound<'a>>,
    #[serde(borrow)]
    filter: Option<&'a RawValue>,
    order: Option<Order>,
    #[serde(default)]
    offset: u32,
    limit: Option<u32>,
    cursor: Option<String>,
    end: Option<String>,
    size: Option<u32>,
    text: Option<String>,
    #[serde(default)]
    values: Vec<Option<String>>,
    tables: Option<Vec<String>>,
    #[serde(default, rename = "readOnly")]
    read_only: bool,
    name: Option<u32>,
    to: Option<u32>,
}

impl<'a> Wire<'a> {
    fn resolve(self, schema: &Schema) -> Result<Op, Failure> {
        let control = match self.op {
            "raw" => return self.raw(schema).map(Op::Raw),
            "savepoint" => Some(Control::Savepoint(needed(self.name, "name")?)),
            "rollback" => Some(self.to.map_or(Control::Rollback, Control::RollbackTo)),
            "begin" => Some(Control::Begin),
            "commit" => Some(Control::Commit),
            _ => None,
        };
        if let Some(control) = control {
            return Ok(Op::Control(control));
        }
        let table = find(schema, &self.table)?;
        match self.op {
            "get" => Ok(Op::Get { table, id: self.id()? }),
            "insert" => Ok(Op::Insert { table, id: self.id()?, doc: needed(self.doc, "doc")?.to_owned() }),
            "patch" => {
                let (id, set) = (self.id()?, needed(self.set, "set")?.to_owned());
                Ok(Op::Edit { table, id, edit: Edit::Patch { set, unset: self.unset } })
            }
            "replace" => {
                let (id, doc) = (self.id()?, needed(self.doc, "doc")?.to_owned());
                Ok(Op::Edit { table, id, edit: Edit::Replace { doc } })
            }
            "increment" => Ok(Op::Edit { id: self.id()?, edit: self.increment()?, table }),
            "delete" => Ok(Op::Delete { table, id: self.id()? }),
            "scan" => self.scan(table).map(Op::Scan),
            "count" => self.scan(table).map(Op::Count),
            "page" => self.page(table).map(Op::Page),
            other => Err(invalid(format!("there is no operation `{}`", shorten(other)))),
        }
    }

    fn id(&self) -> Result<Uuid, Failure> {
        let text = needed(self.id.as_deref(), "id")?;
        crate::id::parse(text).ok_or_else(|| invalid(format!("`{}` is not an id", shorten(text))))
    }

    fn increment(&self) -> Result<Edit, Failure> {
        let field = needed(self.field.as_deref(), "field")?;
        let Some(FieldPath::Stored(path)) = FieldPath::parse(field) else {
            return Err(invalid(format!("`{}` is no field that can be incremented", shorten(field))));
        };
        let number = |json: Option<&RawValue>, name| {
            let text = needed(json, name)?.get();
            let finite = serde_json::from_str::<f64>(text).is_ok_and(f64::is_finite);
            finite.then(|| text.to_owned()).ok_or_else(|| invalid(format!("`{name}` is not a finite number")))
        };
        Ok(Edit::Increment { path, by: number(self.by, "by")?, base: number(self.base, "base")? })
    }

    fn raw(self, schema: &Schema) -> Result<Raw, Failure> {
        let physical = |name: String| schema.table(&name).map_or(name, |table| table.physical.clone());
        Ok(Raw {
            text: needed(self.text, "text")?,
            values: self.values,
            tables: self.tables.map(|tables| tables.into_iter().map(physical).collect()),
            read_only: self.read_only,
        })
    }

    fn order_field(&self) -> Result<Option<WireOrderField<'a>>, Failure> {
        let broken = |error: serde_json::Error| invalid(format!("`by` is not understood: {error}"));
        self.by.map(|json| serde_json::from_str(json.get()).map_err(broken)).transpose()
    }
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| invalid(format!("the operation lacks `{name}`")))
}

fn find(schema: &Schema, name: &str) -> Result<Arc<Table>, Failure> {
    schema.table(name).cloned().ok_or_else(|| invalid(format!("the schema has no table `{}`", shorten(name))))
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidArgs, message)
}

/// At most 60 characters of something a caller sent.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn parse(ops: &str) -> Vec<Result<Op, String>> {
        let schema = r#"{"tables":[{"name":"m","physicalName":"m","managed":true,"indexes":[
            {"name":"by_c","unique":false,"fields":[{"path":"c","kind":"text"},{"path":"n","kind":"number"}]},
            {"name":"by_any","unique":false,"fields":[{"path":"any","kind":"json"}]}]}]}"#;
        let schema = Schema::parse(serde_json::from_str(schema).expect("a description")).expect("a schema");
        let ops = Op::parse_batch(ops, &schema).expect("the protocol is kept");
        ops.into_iter().map(|op| op.map_err(|failure| failure.message)).collect()
    }

    #[test]
    fn documents_stay_the_text_they_came_as() {
        let ops =
            parse(r#"[{"op":"insert","table":"m","id":"00000000-0000-4000-8000-000000000001","doc":{"a": 1.50}}]"#);
        assert!(matches!(&ops[0], Ok(Op::Insert { doc, .. }) if doc.get() == r#"{"a": 1.50}"#), "{ops:?}");
    }

    #[test]
    fn a_cursor_belongs_to_its_query() {
        let page = |cursor: &str, eq: &str| {
            parse(&format!(
                r#"[{{"op":"page","table":"m","index":"by_c","eq":[{eq}],"order":"asc","size":2,"cursor":{cursor}}}]"#
            ))
        };
        let Ok(Op::Page(first)) = &page("null", r#""a""#)[0] else { panic!("a page") };
        let place = Cursor { keys: vec![Some("1.5".into())], created: Time::of_ms(7.0), id: Uuid::nil() };
        let text = serde_json::to_string(&place.encode(first.fingerprint)).expect("a string");
        let Ok(Op::Page(next)) = &page(&text, r#""a""#)[0] else { panic!("a page") };
        assert_eq!(next.after, Some(place));
        let other = page(&text, r#""b""#).remove(0).expect_err("refused");
        assert!(other.contains("cursor"), "{other}");
        page(r#""rubbish""#, r#""a""#).remove(0).expect_err("refused");
    }

    #[test]
    fn unknown_names_and_values_suggest_the_nearest() {
        let ops = parse(
            r#"[
            {"op":"get","table":"constructor","id":"x"},
            {"op":"get","table":"m","id":"1; drop table m"},
            {"op":"scan","table":"m","index":"by_x","order":"asc"},
            {"op":"scan","table":"m","index":"by_c","eq":[5]},
            {"op":"scan","table":"m","index":"by_c","eq":["a"],"lower":{"value":"b","inclusive":true}},
            {"op":"scan","table":"m","index":"by_c","eq":["a",1,2]},
            {"op":"scan","table":"m","index":"by_any","lower":{"value":[1],"inclusive":true}},
            {"op":"scan","table":"m","filter":{"is":"gt","field":"c","value":null}},
            {"op":"scan","table":"m","filter":{"is":"near","field":"c","value":1}},
            {"op":"scan","table":"m","filter":{"is":"eq","field":"a.b.c.d","value":1}},
            {"op":"scan","table":"m","filter":{"is":"eq","field":"id","value":"n:00000000-0000-4000-8000-000000000001"}},
            {"op":"increment","table":"m","id":"00000000-0000-4000-8000-000000000001","field":"id","by":1,"base":0},
            {"op":"increment","table":"m","id":"00000000-0000-4000-8000-000000000001","field":"n","by":"1","base":0},
            {"op":"drop","table":"m"},
            {"op":"insert","table":"m","id":"00000000-0000-4000-8000-000000000001"}
        ]"#,
        );
        let messages: Vec<String> = ops.into_iter().map(|op| op.expect_err("refused")).collect();
        insta::assert_snapshot!(messages.join("\n"));
    }
}
