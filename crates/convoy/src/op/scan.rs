//! Scans: documents of a table, by index range, filter and order.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::cursor::{Cursor, Position};
use super::{Wire, invalid, needed, shorten};
use crate::error::Failure;
use crate::key::{Bound, KeyValue};
use crate::schema::{BY_CREATION, FieldPath, Index, IndexField, KeyKind, Table};

/// Documents of one table, from a range of one index.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    /// The table.
    pub table: Arc<Table>,
    /// The position of the index in [`Table::indexes`].
    pub index: usize,
    /// Values of the index's first fields.
    pub eq: Vec<KeyValue>,
    /// Lower bound of the next field.
    pub lower: Option<Bound>,
    /// Upper bound of the next field.
    pub upper: Option<Bound>,
    /// A further condition.
    pub filter: Option<Filter>,
    /// The field to order by, if that is not the index.
    pub by: Option<IndexField>,
    /// Direction.
    pub order: Order,
    /// The number of documents to skip.
    pub offset: u32,
    /// The maximum number of documents.
    pub limit: Option<u32>,
}

/// One page of a scan.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// The scan; its limit is not used.
    pub scan: Scan,
    /// Identifies the query in its cursors.
    pub fingerprint: u64,
    /// The page starts after this row.
    pub after: Option<Cursor>,
    /// The page ends at this position, regardless of its size.
    pub until: Option<Position>,
    /// The maximum number of documents, unless `until` ends the page.
    pub size: u32,
    /// Whether its answer has the cursors of its start and of each row, for a host that leaves
    /// out some of the rows.
    pub cursors: bool,
}

/// The direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// Smallest first.
    Asc,
    /// Greatest first.
    Desc,
}

/// A condition on a document. Each is true or false, never unknown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    /// The field has this value; null also means that it is missing.
    Equal(FieldPath, KeyValue),
    /// The field has one of these values.
    In(FieldPath, Vec<KeyValue>),
    /// The field is of the bound's type and not below it.
    Above(FieldPath, Bound),
    /// The field is of the bound's type and not above it.
    Below(FieldPath, Bound),
    /// All of them.
    All(Vec<Filter>),
    /// At least one of them.
    Any(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
}

#[derive(Deserialize)]
pub(super) struct WireBound<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    inclusive: bool,
}

#[derive(Deserialize)]
pub(super) struct WireOrderField {
    field: String,
    kind: KeyKind,
}

#[derive(Deserialize)]
struct WireFilter<'a> {
    is: &'a str,
    field: Option<String>,
    /// Null if it is absent; the host always sends it.
    #[serde(borrow, default = "absent")]
    value: &'a RawValue,
    #[serde(borrow)]
    values: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    of: Option<&'a RawValue>,
}

fn absent<'a>() -> &'a RawValue {
    RawValue::NULL
}

impl<'a> Wire<'a> {
    pub(super) fn scan(self, table: Arc<Table>) -> Result<Scan, Failure> {
        let name = self.index.as_deref().unwrap_or(BY_CREATION);
        let (position, index) = table.index(name).ok_or_else(|| {
            invalid(format!("Table `{}` has no index `{name}`; it has {}.", table.name, index_names(&table)))
        })?;
        let compared = self.eq.len() + usize::from(self.lower.is_some() || self.upper.is_some());
        if compared > index.fields.len() {
            let fields = index.fields.len();
            let table = &table.name;
            return Err(invalid(format!(
                "Index `{name}` of `{table}` has {fields} field(s), but {compared} are compared."
            )));
        }
        let by = match self.order_field()? {
            Some(WireOrderField { field, kind }) => Some(IndexField { path: path_of(&field)?, kind }),
            None => None,
        };
        let parse = |json: Option<&'a RawValue>| json.map(|json| Filter::parse(json, &table)).transpose();
        let (filter, within) = (parse(self.filter)?, parse(self.within)?);
        let bound = |bound: Option<WireBound<'a>>| {
            let Some(WireBound { value: json, inclusive }) = bound else { return Ok(None) };
            let value = index_value(&table, index, self.eq.len(), json)?;
            ordered(json, &value).map(|()| Some(Bound { value, inclusive }))
        };
        let (lower, upper) = (bound(self.lower)?, bound(self.upper)?);
        let eq = self.eq.iter().enumerate();
        let eq = eq.map(|(at, json)| index_value(&table, index, at, json)).collect::<Result<_, _>>()?;
        let order = self.order.unwrap_or(Order::Asc);
        let (offset, limit) = (self.offset, self.limit);
        let scan = Scan { index: position, eq, lower, upper, filter, by, order, offset, limit, table: table.clone() };
        Ok(match within {
            Some(condition) => scan.within(condition),
            None => scan,
        })
    }

    pub(super) fn page(self, table: Arc<Table>) -> Result<Page, Failure> {
        let fingerprint = self.fingerprint(&table);
        let (size, cursors) = (needed(self.size, "size")?, self.cursors);
        let (cursor, end) = (self.cursor.clone(), self.end.clone());
        let scan = self.scan(table)?;
        let keys = scan.key_columns();
        let decode = |text: Option<String>| {
            // An empty cursor is the position before the first document.
            let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
            let position = Position::decode(&text, fingerprint).filter(|position| match position {
                Position::Start => true,
                Position::Row(cursor) => cursor.keys.len() == keys,
            });
            position.map(Some).ok_or_else(|| {
                invalid(
                    "This cursor belongs to another query; begin with `cursor: null`, and keep the query unchanged \
                     from page to page."
                        .to_owned(),
                )
            })
        };
        let after = match decode(cursor)? {
            None | Some(Position::Start) => None,
            Some(Position::Row(cursor)) => Some(cursor),
        };
        let until = decode(end)?;
        Ok(Page { scan, fingerprint, after, until, size, cursors })
    }

    /// The fingerprint of everything that determines the order and the range, without `within`:
    /// which documents the caller may see can change while a client keeps a cursor.
    fn fingerprint(&self, table: &Table) -> u64 {
        let raw = |json: Option<&'a RawValue>| json.map_or("", RawValue::get);
        let bound =
            |bound: &Option<WireBound<'a>>| bound.as_ref().map(|bound| (bound.value.get().to_owned(), bound.inclusive));
        let index = self.index.as_deref().and_then(|name| table.index(name)).map(|(_, index)| &index.fields);
        let eq: Vec<&str> = self.eq.iter().map(|json| json.get()).collect();
        let bounds = (bound(&self.lower), bound(&self.upper));
        let parts = (&table.physical, index, eq, bounds, raw(self.filter), raw(self.by), self.order);
        xxh3_64(format!("{parts:?}").as_bytes())
    }
}

impl Page {
    /// The row at which the page ends, regardless of its size.
    pub(crate) fn last_row(&self) -> Option<&Cursor> {
        match &self.until {
            Some(Position::Row(cursor)) => Some(cursor),
            Some(Position::Start) | None => None,
        }
    }
}

/// The most documents of a short scan.
const SHORT: u32 = 100;

impl Scan {
    /// Whether it certainly reads few rows: the first ones of a part of an index.
    pub(crate) fn is_short(&self) -> bool {
        let is_narrow = !self.eq.is_empty() && self.filter.is_none() && self.by.is_none() && self.offset == 0;
        is_narrow && self.limit.is_some_and(|limit| limit <= SHORT)
    }

    /// The scan of the documents that also match this condition, in the same order. Where the order is that of
    /// creation, and the condition gives the values of all fields of an index, it reads only that part of the index.
    fn within(mut self, condition: Filter) -> Scan {
        let whole = self.eq.is_empty() && self.lower.is_none() && self.upper.is_none();
        if whole && self.by.is_none() && self.index().name == BY_CREATION {
            let found = self.table.indexes.iter().enumerate();
            let narrowed = found.filter_map(|(at, index)| condition.values_of(index).map(|values| (at, values)));
            if let Some((at, values)) = narrowed.max_by_key(|(_, values)| values.len()) {
                (self.index, self.eq) = (at, values);
            }
        }
        self.filter = Some(match self.filter {
            Some(filter) => Filter::All(vec![filter, condition]),
            None => condition,
        });
        self
    }

    /// All documents with these values in the first fields of an index.
    #[cfg(test)]
    pub(crate) fn of_index(table: &Arc<Table>, index: usize, eq: Vec<KeyValue>) -> Scan {
        let (lower, upper, filter, by, limit) = (None, None, None, None, None);
        Scan { table: table.clone(), index, eq, lower, upper, filter, by, order: Order::Asc, offset: 0, limit }
    }

    /// Whether both read the same table in the same way, with other values.
    pub(crate) fn has_same_form(&self, other: &Scan) -> bool {
        let form = |scan: &Scan| (scan.index, scan.eq.len(), scan.lower.is_some(), scan.upper.is_some(), scan.order);
        let filters = match (&self.filter, &other.filter) {
            (None, None) => true,
            (Some(one), Some(other)) => one.has_same_form(other),
            _ => false,
        };
        self.table.key == other.table.key
            && form(self) == form(other)
            && self.by == other.by
            && self.limit.is_some() == other.limit.is_some()
            && filters
    }

    /// The scanned index.
    pub(crate) fn index(&self) -> &Index {
        &self.table.indexes[self.index]
    }

    /// The fields of the order after those in `eq`. Ends with creation time and id, or with
    /// the id alone.
    pub(crate) fn order_fields(&self) -> Vec<IndexField> {
        match &self.by {
            Some(field) => {
                let alone = Index { name: String::new(), fields: vec![field.clone()], unique: false };
                alone.order_from(0)
            }
            None => self.index().order_from(self.eq.len()),
        }
    }

    /// The number of sort keys in a cursor, besides creation time and id.
    pub(crate) fn key_columns(&self) -> usize {
        let of_field = |field: &IndexField| match (&field.path, field.kind) {
            (FieldPath::Stored(_), KeyKind::Json) => 3,
            (FieldPath::Stored(_), _) => 1,
            _ => 0,
        };
        self.order_fields().iter().map(of_field).sum()
    }
}

impl Filter {
    /// Whether both have the same conditions, with other values.
    fn has_same_form(&self, other: &Filter) -> bool {
        match (self, other) {
            (Filter::Equal(one, _), Filter::Equal(other, _))
            | (Filter::In(one, _), Filter::In(other, _))
            | (Filter::Above(one, _), Filter::Above(other, _))
            | (Filter::Below(one, _), Filter::Below(other, _)) => one == other,
            (Filter::All(one), Filter::All(other)) | (Filter::Any(one), Filter::Any(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.has_same_form(other))
            }
            (Filter::Not(one), Filter::Not(other)) => one.has_same_form(other),
            _ => false,
        }
    }

    /// The values that all fields of an index must have; `None` if some may have several.
    fn values_of(&self, index: &Index) -> Option<Vec<KeyValue>> {
        let all = match self {
            Filter::All(conditions) => conditions.as_slice(),
            condition => std::slice::from_ref(condition),
        };
        let value_of = |field: &IndexField| {
            all.iter().find_map(|condition| match (condition, field.kind) {
                (Filter::Equal(path, value), _) if *path != field.path || !matches!(path, FieldPath::Stored(_)) => None,
                (Filter::Equal(_, value @ KeyValue::Text(_)), KeyKind::Text)
                | (Filter::Equal(_, value @ KeyValue::Number(_)), KeyKind::Number)
                | (Filter::Equal(_, value @ KeyValue::Boolean(_)), KeyKind::Boolean) => Some(value.clone()),
                _ => None,
            })
        };
        index.fields.iter().map(value_of).collect()
    }

    fn parse(json: &RawValue, table: &Table) -> Result<Filter, Failure> {
        let broken = |error: serde_json::Error| invalid(format!("The filter is malformed: {error}."));
        let wire: WireFilter<'_> = serde_json::from_str(json.get()).map_err(broken)?;
        let of = || needed(wire.of, "of");
        let list = || -> Result<Vec<Filter>, Failure> {
            let inner: Vec<&RawValue> = serde_json::from_str(of()?.get()).map_err(broken)?;
            inner.into_iter().map(|json| Filter::parse(json, table)).collect()
        };
        match wire.is {
            "and" => return Ok(Filter::All(list()?)),
            "or" => return Ok(Filter::Any(list()?)),
            "not" => return Ok(Filter::Not(Box::new(Filter::parse(of()?, table)?))),
            _ => {}
        }
        let path = path_of(needed(wire.field.as_deref(), "field")?)?;
        if wire.is == "in" {
            let values = needed(wire.values, "values")?;
            let values = values.into_iter().map(|json| filter_value(table, &path, json)).collect::<Result<_, _>>()?;
            return Ok(Filter::In(path, values));
        }
        let json = wire.value;
        let value = filter_value(table, &path, json)?;
        if wire.is == "eq" {
            return Ok(Filter::Equal(path, value));
        }
        let inclusive = matches!(wire.is, "gte" | "lte");
        match wire.is {
            "gt" | "gte" => ordered(json, &value).map(|()| Filter::Above(path, Bound { value, inclusive })),
            "lt" | "lte" => ordered(json, &value).map(|()| Filter::Below(path, Bound { value, inclusive })),
            other => Err(invalid(format!("There is no comparison `{}`.", shorten(other)))),
        }
    }
}

/// The value that a field of an index is compared with.
fn index_value(table: &Table, index: &Index, at: usize, json: &RawValue) -> Result<KeyValue, Failure> {
    let field = &index.fields[at];
    of_this_table(table, &field.path, json)?;
    KeyValue::parse(field, json).ok_or_else(|| another_type(table, &field.path, json))
}

/// The value that a field is compared with in a filter. It has the type of the given JSON,
/// because a filter compares stored values.
fn filter_value(table: &Table, path: &FieldPath, json: &RawValue) -> Result<KeyValue, Failure> {
    of_this_table(table, path, json)?;
    let kind = match json.get().as_bytes().first() {
        Some(b'"') => KeyKind::Text,
        Some(b't' | b'f') => KeyKind::Boolean,
        Some(b'[' | b'{') => KeyKind::Json,
        _ => KeyKind::Number,
    };
    let field = IndexField { path: path.clone(), kind };
    KeyValue::parse(&field, json).ok_or_else(|| another_type(table, path, json))
}

fn of_this_table(table: &Table, path: &FieldPath, json: &RawValue) -> Result<(), Failure> {
    let of_another = *path == FieldPath::Id
        && serde_json::from_str::<&str>(json.get())
            .is_ok_and(|id| id.rsplit_once(':').is_some_and(|(name, _)| name != table.name));
    if of_another {
        return Err(invalid(format!("An id of a document of `{}` is needed, not of another table.", table.name)));
    }
    Ok(())
}

fn another_type(table: &Table, path: &FieldPath, json: &RawValue) -> Failure {
    let (path, table, value) = (path.dotted(), &table.name, kind_of(json));
    invalid(format!("`{path}` of `{table}` cannot be compared with {value}: it is of another type."))
}

/// What a JSON value is, for a message. Not the value: it may come from a row, and the message
/// reaches the client.
fn kind_of(json: &RawValue) -> &'static str {
    match json.get().as_bytes().first() {
        Some(b'"') => "text",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Rejects bounds on values that have no order.
fn ordered(json: &RawValue, value: &KeyValue) -> Result<(), Failure> {
    let unordered = match value {
        KeyValue::Null => true,
        KeyValue::Json(_) => json.get().starts_with(['[', '{']),
        _ => false,
    };
    if unordered {
        let message =
            format!("Compare with text, a number or a boolean, not with {}, which has no order.", kind_of(json));
        return Err(invalid(message));
    }
    Ok(())
}

fn path_of(field: &str) -> Result<FieldPath, Failure> {
    FieldPath::parse(field)
        .ok_or_else(|| invalid(format!("`{}` is not a field path; a path has one to three names.", shorten(field))))
}

fn index_names(table: &Table) -> String {
    table.indexes.iter().map(|index| format!("`{}`", index.name)).collect::<Vec<_>>().join(", ")
}
