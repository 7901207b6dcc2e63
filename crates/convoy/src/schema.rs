//! The tables of a program, as the engine needs them: names, and which fields are indexed in
//! which order.
//!
//! Parsed once from the description that the host sends. All names are checked here, so the
//! rest of the engine can rely on them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Deserialize;

/// Postgres' limit for identifiers, in bytes.
pub(crate) const MAX_NAME: usize = 63;

/// All tables of one program, by their name in code.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    tables: HashMap<String, Arc<Table>>,
}

/// One table.
#[derive(Debug)]
pub(crate) struct Table {
    /// The name in code, and the prefix of its ids.
    pub name: String,
    /// The name in Postgres.
    pub physical: String,
    /// The same, shared: changes and reads identify the table by it.
    pub key: Arc<str>,
    /// Whether the engine may create it, index it and add triggers.
    pub managed: bool,
    /// Its indexes; the built-in ones come first.
    pub indexes: Vec<Index>,
    /// Every indexed stored field, without duplicates: the fields in change records.
    pub key_paths: Vec<FieldPath>,
    traits: RwLock<Option<TableTraits>>,
}

/// Properties of a table that are read from the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableTraits {
    /// It has the column `created_at`; an unmanaged table need not.
    pub created_at: bool,
    /// It has the column `updated_at`.
    pub updated_at: bool,
    /// It has no triggers but Convoy's: a write changes only its row.
    pub no_side_effects: bool,
    /// A write has no side effects and cannot fail: no unique index, no constraint.
    pub never_rejects: bool,
}

/// One index: fields in order, then creation time, then id.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Index {
    /// The name in code.
    pub name: String,
    /// The indexed fields.
    pub fields: Vec<IndexField>,
    /// Whether no two documents may have the same values in all fields.
    pub unique: bool,
}

/// One field of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexField {
    /// The path of the value.
    pub path: FieldPath,
    /// How values compare.
    pub kind: KeyKind,
}

/// The path of an indexed value in a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FieldPath {
    /// `_creationTime`: the `created_at` column.
    CreationTime,
    /// `id`: the primary key.
    Id,
    /// A key of the stored document, at most three levels deep.
    Stored(Vec<String>),
}

/// How the values of an indexed field compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyKind {
    /// By code point.
    Text,
    /// By numeric value.
    Number,
    /// `false` before `true`.
    Boolean,
    /// By type and then by value; change tracking treats every value as possible.
    Json,
}

/// The built-in index in the order of creation: creation time, then id.
pub(crate) const BY_CREATION: &str = "by_creation_time";
/// The built-in index by primary key.
pub(crate) const BY_ID: &str = "by_id";

/// Why a schema description is invalid.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A table or index name that is not a valid identifier.
    #[error("`{0}` cannot be a name: use 1 to {MAX_NAME} bytes, without a NUL.")]
    Name(String),
    /// Two tables with the same name.
    #[error("Two tables are called `{0}`; give one of them another name.")]
    Twice(String),
    /// A field path that is empty or too deep.
    #[error("Index `{index}` of `{table}` has the field `{path}`; a path has one to three parts.")]
    Path {
        /// Table name in code.
        table: String,
        /// Index name in code.
        index: String,
        /// The path.
        path: String,
    },
}

/// The description that the host sends.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SchemaDescription {
    tables: Vec<TableDescription>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableDescription {
    name: String,
    physical_name: String,
    managed: bool,
    indexes: Vec<IndexDescription>,
}

#[derive(Debug, Deserialize)]
struct IndexDescription {
    name: String,
    unique: bool,
    fields: Vec<FieldDescription>,
}

#[derive(Debug, Deserialize)]
struct FieldDescription {
    path: String,
    kind: KeyKind,
}

impl Schema {
    /// Checks a description and builds the schema.
    pub(crate) fn parse(description: SchemaDescription) -> Result<Schema, SchemaError> {
        let mut schema = Schema::default();
        let mut physical = HashSet::new();
        for table in description.tables {
            let table = Arc::new(Table::parse(table)?);
            if !physical.insert(table.physical.clone()) {
                return Err(SchemaError::Twice(table.physical.clone()));
            }
            if let Some(first) = schema.tables.insert(table.name.clone(), table) {
                return Err(SchemaError::Twice(first.name.clone()));
            }
        }
        Ok(schema)
    }

    /// The table with this name in code.
    pub(crate) fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)
    }

    /// Whether both have the same tables and indexes.
    pub(crate) fn is_same(&self, other: &Schema) -> bool {
        let same = |table: &Arc<Table>| {
            other.table(&table.name).is_some_and(|other| {
                (&table.physical, table.managed, &table.indexes) == (&other.physical, other.managed, &other.indexes)
            })
        };
        self.tables.len() == other.tables.len() && self.tables().all(same)
    }

    /// All tables, unordered.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }
}

impl Table {
    fn parse(description: TableDescription) -> Result<Table, SchemaError> {
        check_name(&description.name)?;
        check_name(&description.physical_name)?;
        let built_in = |name: &str, path, kind| Index {
            name: name.to_owned(),
            fields: vec![IndexField { path, kind }],
            unique: false,
        };
        let mut indexes = vec![
            built_in(BY_CREATION, FieldPath::CreationTime, KeyKind::Number),
            built_in(BY_ID, FieldPath::Id, KeyKind::Text),
        ];
        let mut key_paths: Vec<FieldPath> = Vec::new();
        for index in description.indexes {
            check_name(&index.name)?;
            let mut fields = Vec::with_capacity(index.fields.len());
            for field in index.fields {
                let path = FieldPath::parse(&field.path).ok_or_else(|| SchemaError::Path {
                    table: description.name.clone(),
                    index: index.name.clone(),
                    path: field.path.clone(),
                })?;
                if matches!(path, FieldPath::Stored(_)) && !key_paths.contains(&path) {
                    key_paths.push(path.clone());
                }
                fields.push(IndexField { path, kind: field.kind });
            }
            indexes.push(Index { name: index.name, fields, unique: index.unique });
        }
        Ok(Table {
            name: description.name,
            key: Arc::from(description.physical_name.as_str()),
            physical: description.physical_name,
            managed: description.managed,
            indexes,
            key_paths,
            traits: RwLock::default(),
        })
    }

    /// The traits read from the database; before that, those that hold for every managed
    /// table.
    pub(crate) fn traits(&self) -> TableTraits {
        let before =
            TableTraits { created_at: true, updated_at: self.managed, no_side_effects: false, never_rejects: false };
        (*self.traits.read()).unwrap_or(before)
    }

    /// Updates the traits from the database: before the table is used, and at intervals, since
    /// anyone may add a trigger or a constraint. The columns keep their first state, because
    /// statements are built from them.
    pub(crate) fn learn(&self, traits: TableTraits) {
        let mut known = self.traits.write();
        *known = Some(match *known {
            None => traits,
            Some(TableTraits { created_at, updated_at, .. }) => TableTraits { created_at, updated_at, ..traits },
        });
    }

    /// The index with this name, and its position in [`Table::indexes`].
    pub(crate) fn index(&self, name: &str) -> Option<(usize, &Index)> {
        self.indexes.iter().enumerate().find(|(_, index)| index.name == name)
    }
}

impl Index {
    /// The order of rows that are equal in the fields before `first`: the remaining fields, then
    /// creation time and id, each once. The id ends the order, because it is unique.
    pub(crate) fn order_from(&self, first: usize) -> Vec<IndexField> {
        let tail = [(FieldPath::CreationTime, KeyKind::Number), (FieldPath::Id, KeyKind::Text)];
        let tail = tail.map(|(path, kind)| IndexField { path, kind });
        let mut order: Vec<IndexField> = Vec::with_capacity(self.fields.len() + tail.len());
        for field in self.fields[first..].iter().cloned().chain(tail) {
            let settled = order.iter().any(|known| known.path == field.path || known.path == FieldPath::Id);
            if !settled {
                order.push(field);
            }
        }
        order
    }
}

impl FieldPath {
    /// Parses `a`, `a.b`, `a.b.c`, `id` or `_creationTime`.
    pub fn parse(path: &str) -> Option<FieldPath> {
        match path {
            "_creationTime" => Some(FieldPath::CreationTime),
            "id" => Some(FieldPath::Id),
            _ => {
                let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
                let fine = parts.len() <= 3 && parts.iter().all(|part| !part.is_empty() && !part.contains('\0'));
                fine.then_some(FieldPath::Stored(parts))
            }
        }
    }

    /// The path as it is written in code.
    pub fn dotted(&self) -> String {
        match self {
            FieldPath::CreationTime => "_creationTime".to_owned(),
            FieldPath::Id => "id".to_owned(),
            FieldPath::Stored(parts) => parts.join("."),
        }
    }
}

fn check_name(name: &str) -> Result<(), SchemaError> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
        return Err(SchemaError::Name(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Schema, SchemaError> {
        Schema::parse(serde_json::from_str(json).expect("a description"))
    }

    #[test]
    fn every_table_has_the_creation_index_and_lists_its_indexed_fields() {
        let schema = parse(
            r#"{"tables":[{"name":"messages","physicalName":"msgs","managed":true,"indexes":[
                {"name":"by_channel","unique":false,"fields":[{"path":"channelId","kind":"text"},{"path":"_creationTime","kind":"number"}]},
                {"name":"by_city","unique":false,"fields":[{"path":"address.city","kind":"text"},{"path":"channelId","kind":"text"}]}]}]}"#,
        )
        .expect("fine");
        let table = schema.table("messages").expect("there");
        assert_eq!(table.indexes[0].name, BY_CREATION);
        let paths: Vec<String> = table.key_paths.iter().map(FieldPath::dotted).collect();
        assert_eq!(paths, ["channelId", "address.city"]);
        assert_eq!(&*table.physical, "msgs");
    }

    #[test]
    fn schemas_are_the_same_if_their_tables_and_indexes_are() {
        let schema = |table: &str, index: &str| {
            parse(&format!(
                r#"{{"tables":[{{"name":"{table}","physicalName":"{table}","managed":true,"indexes":[
                    {{"name":"{index}","unique":false,"fields":[{{"path":"name","kind":"text"}}]}}]}}]}}"#
            ))
            .expect("fine")
        };
        assert!(schema("rooms", "by_name").is_same(&schema("rooms", "by_name")));
        assert!(!schema("rooms", "by_name").is_same(&schema("rooms", "by_title")));
        assert!(!schema("rooms", "by_name").is_same(&schema("places", "by_name")));
        assert!(!schema("rooms", "by_name").is_same(&Schema::default()));
        assert!(!Schema::default().is_same(&schema("rooms", "by_name")));
    }

    #[test]
    fn invalid_identifiers_and_paths_are_rejected() {
        let long = "x".repeat(64);
        let json = format!(r#"{{"tables":[{{"name":"{long}","physicalName":"a","managed":true,"indexes":[]}}]}}"#);
        assert!(matches!(parse(&json), Err(SchemaError::Name(_))));
        assert_eq!(FieldPath::parse("a..b"), None);
        assert_eq!(FieldPath::parse("a.b.c.d"), None);
    }
}
