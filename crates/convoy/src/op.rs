//! The operations a function asks of the database, parsed from the batch its
//! host sends.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{Code, Failure};
use crate::key::{Bound, KeyValue};
use crate::schema::{BY_CREATION, Schema, Table};

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

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Wire<'a> {
    Get {
        table: String,
        id: String,
    },
    Insert {
        table: String,
        id: String,
        #[serde(borrow)]
        doc: &'a RawValue,
    },
    Patch {
        table: String,
        id: String,
        #[serde(borrow)]
        set: &'a RawValue,
        unset: Vec<String>,
    },
    Delete {
        table: String,
        id: String,
    },
    Scan {
        table: String,
        index: Option<String>,
        #[serde(borrow, default)]
        eq: Vec<&'a RawValue>,
        #[serde(borrow, default)]
        lower: Option<WireBound<'a>>,
        #[serde(borrow, default)]
        upper: Option<WireBound<'a>>,
        order: Order,
        limit: Option<u32>,
    },
}

#[derive(Deserialize)]
struct WireBound<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    inclusive: bool,
}

impl Wire<'_> {
    fn resolve(self, schema: &Schema) -> Result<Op, Failure> {
        match self {
            Wire::Get { table, id } => Ok(Op::Get { table: find(schema, &table)?, id: parse_id(&id)? }),
            Wire::Insert { table, id, doc } => {
                Ok(Op::Insert { table: find(schema, &table)?, id: parse_id(&id)?, doc: doc.to_owned() })
            }
            Wire::Patch { table, id, set, unset } => {
                Ok(Op::Patch { table: find(schema, &table)?, id: parse_id(&id)?, set: set.to_owned(), unset })
            }
            Wire::Delete { table, id } => Ok(Op::Delete { table: find(schema, &table)?, id: parse_id(&id)? }),
            Wire::Scan { table, index, eq, lower, upper, order, limit } => {
                let table = find(schema, &table)?;
                let name = index.as_deref().unwrap_or(BY_CREATION);
                let (place, index) = table.index(name).ok_or_else(|| {
                    invalid(format!("table `{}` has no index `{name}`; it has {}", table.name, index_names(&table)))
                })?;
                let compared = eq.len() + usize::from(lower.is_some() || upper.is_some());
                if compared > index.fields.len() {
                    return Err(invalid(format!(
                        "index `{name}` of `{}` has {} field(s), but {compared} are compared",
                        table.name,
                        index.fields.len()
                    )));
                }
                let value = |at: usize, json: &RawValue| {
                    let field = &index.fields[at];
                    KeyValue::parse(field, json).ok_or_else(|| {
                        invalid(format!(
                            "`{}` of `{}` cannot be compared with {}: it is of another type",
                            field.path.dotted(),
                            table.name,
                            shorten(json.get())
                        ))
                    })
                };
                let bound = |bound: Option<WireBound<'_>>| {
                    let Some(WireBound { value: json, inclusive }) = bound else { return Ok(None) };
                    Ok(Some(Bound { value: value(eq.len(), json)?, inclusive }))
                };
                let lower = bound(lower)?;
                let upper = bound(upper)?;
                let eq = eq.iter().enumerate().map(|(at, json)| value(at, json)).collect::<Result<_, _>>()?;
                Ok(Op::Scan(Scan { index: place, eq, lower, upper, order, limit, table: table.clone() }))
            }
        }
    }
}

fn find(schema: &Schema, name: &str) -> Result<Arc<Table>, Failure> {
    schema.table(name).cloned().ok_or_else(|| invalid(format!("the schema has no table `{}`", shorten(name))))
}

fn parse_id(text: &str) -> Result<Uuid, Failure> {
    crate::id::parse(text).ok_or_else(|| invalid(format!("`{}` is not an id", shorten(text))))
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
