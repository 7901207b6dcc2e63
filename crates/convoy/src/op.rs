//! The operations a function asks of the database, parsed from the batch its
//! host sends.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{Code, Failure};
use crate::key::{Bound, KeyValue};
use crate::schema::{BY_CREATION, FieldPath, Schema, Table};

/// One operation, with its table looked up and its values checked.
#[derive(Debug)]
pub enum Op {
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
    /// Some keys of one document set, others removed.
    Patch {
        /// Its table.
        table: Arc<Table>,
        /// Its id.
        id: Uuid,
        /// Keys to set, a JSON object.
        set: Box<RawValue>,
        /// Keys to remove.
        unset: Vec<String>,
    },
    /// One document removed.
    Delete {
        /// Its table.
        table: Arc<Table>,
        /// Its id.
        id: Uuid,
    },
    /// Documents in index order.
    Scan(Scan),
}

/// Documents of one table in the order of one index.
#[derive(Debug)]
pub struct Scan {
    /// The table.
    pub table: Arc<Table>,
    /// The index: its place in [`Table::indexes`].
    pub index: usize,
    /// Values of the index's first fields.
    pub eq: Vec<KeyValue>,
    /// Lower bound of the next field.
    pub lower: Option<Bound>,
    /// Upper bound of the next field.
    pub upper: Option<Bound>,
    /// Direction.
    pub order: Order,
    /// The most documents to give.
    pub limit: Option<u32>,
}

/// The direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Smallest first.
    Asc,
    /// Greatest first.
    Desc,
}

impl Op {
    /// Whether the operation changes anything.
    pub fn writes(&self) -> bool {
        match self {
            Op::Get { .. } | Op::Scan(_) => false,
            Op::Insert { .. } | Op::Patch { .. } | Op::Delete { .. } => true,
        }
    }

    /// Parses one batch. The outer error means the host broke the protocol; an
    /// inner one is the answer of that operation alone.
    pub fn parse_batch(json: &str, schema: &Schema) -> Result<Vec<Result<Op, Failure>>, serde_json::Error> {
        let wire: Vec<Wire<'_>> = serde_json::from_str(json)?;
        Ok(wire.into_iter().map(|op| op.resolve(schema)).collect())
    }
}

/// An operation as it is spelled, with the fields of all of them: serde cannot
/// keep raw JSON inside a tagged enum.
#[derive(Deserialize)]
struct Wire<'a> {
    op: &'a str,
    table: String,
    id: Option<String>,
    #[serde(borrow)]
    doc: Option<&'a RawValue>,
    #[serde(borrow)]
    set: Option<&'a RawValue>,
    #[serde(default)]
    unset: Vec<String>,
    index: Option<String>,
    #[serde(borrow, default)]
    eq: Vec<&'a RawValue>,
    #[serde(borrow)]
    lower: Option<WireBound<'a>>,
    #[serde(borrow)]
    upper: Option<WireBound<'a>>,
    order: Option<Order>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
struct WireBound<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    inclusive: bool,
}

impl<'a> Wire<'a> {
    fn resolve(self, schema: &Schema) -> Result<Op, Failure> {
        let table = find(schema, &self.table)?;
        match self.op {
            "get" => Ok(Op::Get { table, id: self.id()? }),
            "insert" => Ok(Op::Insert { table, id: self.id()?, doc: needed(self.doc, "doc")?.to_owned() }),
            "patch" => {
                let (id, set) = (self.id()?, needed(self.set, "set")?.to_owned());
                Ok(Op::Patch { table, id, set, unset: self.unset })
            }
            "delete" => Ok(Op::Delete { table, id: self.id()? }),
            "scan" => self.scan(table).map(Op::Scan),
            other => Err(invalid(format!("there is no operation `{}`", shorten(other)))),
        }
    }

    fn id(&self) -> Result<Uuid, Failure> {
        let text = needed(self.id.as_deref(), "id")?;
        crate::id::parse(text).ok_or_else(|| invalid(format!("`{}` is not an id", shorten(text))))
    }

    fn scan(self, table: Arc<Table>) -> Result<Scan, Failure> {
        let name = self.index.as_deref().unwrap_or(BY_CREATION);
        let (place, index) = table.index(name).ok_or_else(|| {
            invalid(format!("table `{}` has no index `{name}`; it has {}", table.name, index_names(&table)))
        })?;
        let compared = self.eq.len() + usize::from(self.lower.is_some() || self.upper.is_some());
        if compared > index.fields.len() {
            let fields = index.fields.len();
            let table = &table.name;
            return Err(invalid(format!(
                "index `{name}` of `{table}` has {fields} field(s), but {compared} are compared"
            )));
        }
        let value = |at: usize, json: &RawValue| {
            let field = &index.fields[at];
            let of_another = field.path == FieldPath::Id
                && serde_json::from_str::<&str>(json.get())
                    .is_ok_and(|id| id.rsplit_once(':').is_some_and(|(name, _)| name != table.name));
            if of_another {
                let id = shorten(json.get());
                return Err(invalid(format!("{id} is not the id of a document of `{}`", table.name)));
            }
            KeyValue::parse(field, json).ok_or_else(|| {
                let (path, table, value) = (field.path.dotted(), &table.name, shorten(json.get()));
                invalid(format!("`{path}` of `{table}` cannot be compared with {value}: it is of another type"))
            })
        };
        let bound = |bound: Option<WireBound<'a>>| {
            let Some(WireBound { value: json, inclusive }) = bound else { return Ok(None) };
            Ok(Some(Bound { value: value(self.eq.len(), json)?, inclusive }))
        };
        let (lower, upper) = (bound(self.lower)?, bound(self.upper)?);
        let eq = self.eq.iter().enumerate().map(|(at, json)| value(at, json)).collect::<Result<_, _>>()?;
        let order = self.order.unwrap_or(Order::Asc);
        Ok(Scan { index: place, eq, lower, upper, order, limit: self.limit, table: table.clone() })
    }
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| invalid(format!("the operation lacks `{name}`")))
}

fn find(schema: &Schema, name: &str) -> Result<Arc<Table>, Failure> {
    schema.table(name).cloned().ok_or_else(|| invalid(format!("the schema has no table `{}`", shorten(name))))
}

fn index_names(table: &Table) -> String {
    table.indexes.iter().map(|index| format!("`{}`", index.name)).collect::<Vec<_>>().join(", ")
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

    fn parse(ops: &str) -> Vec<Result<Op, String>> {
        let schema = r#"{"tables":[{"name":"m","physicalName":"m","managed":true,"indexes":[
            {"name":"by_c","unique":false,"fields":[{"path":"c","kind":"text"},{"path":"n","kind":"number"}]}]}]}"#;
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
    fn names_and_values_that_do_not_fit_are_told_what_would() {
        let ops = parse(
            r#"[
            {"op":"get","table":"constructor","id":"x"},
            {"op":"get","table":"m","id":"1; drop table m"},
            {"op":"scan","table":"m","index":"by_x","order":"asc"},
            {"op":"scan","table":"m","index":"by_c","eq":[5]},
            {"op":"scan","table":"m","index":"by_c","eq":["a"],"lower":{"value":"b","inclusive":true}},
            {"op":"scan","table":"m","index":"by_c","eq":["a",1,2]},
            {"op":"drop","table":"m"},
            {"op":"insert","table":"m","id":"00000000-0000-4000-8000-000000000001"}
        ]"#,
        );
        let messages: Vec<String> = ops.into_iter().map(|op| op.expect_err("refused")).collect();
        insta::assert_snapshot!(messages.join("\n"), @r##"
        the schema has no table `constructor`
        `1; drop table m` is not an id
        table `m` has no index `by_x`; it has `by_creation_time`, `by_id`, `by_c`
        `c` of `m` cannot be compared with 5: it is of another type
        `n` of `m` cannot be compared with "b": it is of another type
        index `by_c` of `m` has 2 field(s), but 3 are compared
        there is no operation `drop`
        the operation lacks `doc`
        "##);
    }
}
