//! Differences that a schema sync reports and leaves alone: objects that are not in the schema, columns
//! that do not fit, and privileges that are missing.

use super::TableState;
use crate::postgres::{DbError, PgSession};
use crate::schema::Table;
use crate::sql::{layout, rights};

/// Warns of Convoy's unique indexes that the schema no longer has. They are not dropped
/// without a request, so they go on rejecting documents.
pub(super) fn left_over_unique(table: &Table, found: &TableState) -> Vec<String> {
    let expected: Vec<String> = table.indexes.iter().map(|index| layout::index_name(table, index)).collect();
    let left_over = found.unique_indexes.iter().filter(|name| name.starts_with("convoy_") && !expected.contains(name));
    left_over
        .map(|name| {
            let what = match found.broken_indexes.contains(name) {
                true => "whose build failed half-way and which may refuse documents",
                false => "of an earlier schema, which goes on refusing documents",
            };
            format!(
                "table {} still has the unique index {name} {what}; to be rid of it: drop index {}",
                table.name,
                rights::quoted(name)
            )
        })
        .collect()
}

/// Other indexes of the table that Convoy has created and does not use, or not any more.
/// Those of Convoy 0.0.1 order all values as text.
pub(super) fn left_over_indexes(table: &Table, found: &TableState) -> Vec<String> {
    let expected: Vec<String> = table.indexes.iter().map(|index| layout::index_name(table, index)).collect();
    let mut left_over = Vec::new();
    for name in &found.indexes {
        let unused = name.starts_with("convoy_") && !expected.contains(name) && !found.unique_indexes.contains(name);
        let replaced = table.indexes.iter().find(|index| *name == format!("{}_{}", table.physical, index.name));
        if unused {
            left_over.push(format!("index {name} of table {} is not in the schema any more", table.name));
        } else if let Some(index) = replaced {
            left_over.push(format!(
                "index {name} of table {}, made by Convoy 0.0.1, is superseded by {}",
                table.name,
                layout::index_name(table, index)
            ));
        }
    }
    left_over
}

/// Warns of privileges that calls need and the role lacks, with the statement that grants
/// them. An unmanaged table may be meant for reading only.
pub(super) async fn missing_privileges(session: &mut PgSession, tables: &[&Table]) -> Result<Vec<String>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    for row in session.fetch_autocommit(rights::missing_for_calls(&names)).await? {
        let (physical, privileges, remedy) = (row.text(0)?, row.text(1)?, row.text(2)?);
        let Some(table) = tables.iter().find(|table| table.physical == physical) else { continue };
        if table.managed || privileges.contains("select") {
            warnings.push(format!(
                "the role that Convoy connects as has no right to {privileges} in table {}; as its owner run: {remedy}",
                table.name
            ));
        }
    }
    Ok(warnings)
}

pub(super) async fn left_over_tables(session: &mut PgSession, tables: &[&Table]) -> Result<Vec<String>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    // While the engine opens, no schema is loaded yet.
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session.fetch_autocommit(layout::left_over_tables(&names)).await?;
    rows.iter().map(|row| Ok(format!("table {} is not in the schema any more", row.text(0)?))).collect()
}

/// Why an unmanaged table cannot be used.
pub(super) fn unfit_columns(table: &Table, found: &TableState) -> Vec<String> {
    let unfit = [("id", "uuid"), ("data", "jsonb")].into_iter().filter_map(|(column, needed)| {
        let (_, column_type) = found.column_types.iter().find(|(name, _)| name == column)?;
        let message = format!("column {column} of table {} is {column_type}; Convoy needs {needed}", table.name);
        (column_type != needed).then_some(message)
    });
    unfit.collect()
}

pub(super) fn missing_columns(table: &Table, found: &TableState) -> Option<String> {
    let missing: Vec<&str> = ["id", "created_at", "data"]
        .into_iter()
        // An unmanaged table needs no creation times.
        .filter(|name| table.managed || *name != "created_at")
        .filter(|name| !found.column_types.iter().any(|(column, _)| column == name))
        .collect();
    (!missing.is_empty()).then(|| format!("table {} has no column {}", table.name, missing.join(", ")))
}
