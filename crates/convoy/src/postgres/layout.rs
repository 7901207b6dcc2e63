//! Makes the database match a schema: creates what is missing, drops nothing.
//!
//! Runs under a session-wide advisory lock, so that two processes that start at
//! once do not build the same thing twice. Each step can be repeated, so a
//! process killed half-way leaves nothing the next start would stumble over.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};

use super::{DbError, Postgres, Row, fetch};
use crate::schema::{BY_CREATION, Schema, Table};
use crate::sql::{Statement, layout};

/// What a layout run did, for people to read.
#[derive(Debug, Default, Serialize)]
pub struct LayoutReport {
    /// What the engine may do with each table, by its name in code.
    pub tables: HashMap<String, TableReport>,
    /// What was created, such as `table messages`.
    pub created: Vec<String>,
    /// What someone should look at.
    pub warnings: Vec<String>,
}

/// What the engine may do with one table.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// No statement could refuse a plain insert or change it on its way: no
    /// unique index, constraint or trigger of the user's. Such inserts may be
    /// held until the mutation ends.
    pub holds_inserts: bool,
}

/// One table as it stands in the database.
struct Standing {
    columns: Vec<String>,
    indexes: Vec<String>,
    /// Left behind by builds that failed.
    broken_indexes: Vec<String>,
    constrained: bool,
    unique_indexes: Vec<String>,
    triggers: Vec<Trigger>,
    filled: bool,
}

#[derive(Deserialize)]
struct Trigger {
    name: String,
    enabled: bool,
    /// The arguments, each ended by a NUL, in hexadecimal.
    args: String,
}

impl Standing {
    fn of(row: &Row) -> Result<Standing, DbError> {
        Ok(Standing {
            columns: row.texts(1)?,
            indexes: row.texts(2)?,
            broken_indexes: row.texts(3)?,
            unique_indexes: row.texts(4)?,
            constrained: row.bool(5)?,
            triggers: serde_json::from_str(row.text(6)?).map_err(|error| DbError::Row(error.to_string()))?,
            filled: row.bool(7)?,
        })
    }

    /// Whether our four triggers are there, enabled, and log exactly `paths`.
    fn logs(&self, paths: &[String]) -> bool {
        let wanted: String =
            paths.iter().flat_map(|path| path.bytes().chain([0])).map(|byte| format!("{byte:02x}")).collect();
        layout::TRIGGERS.iter().all(|name| {
            self.triggers.iter().any(|trigger| trigger.name == *name && trigger.enabled && trigger.args == wanted)
        })
    }

    fn has_foreign_triggers(&self) -> bool {
        self.triggers.iter().any(|trigger| !layout::TRIGGERS.contains(&trigger.name.as_str()))
    }
}

impl Postgres {
    /// Creates the `_convoy` schema and what `schema` names and the database
    /// lacks. With `change: false` only looks, and warns of what is missing.
    pub async fn lay_out(&self, schema: &Schema, change: bool) -> Result<LayoutReport, DbError> {
        let mut connection = self.connect().await?;
        run(&mut connection, layout::lock()).await?;
        let result = lay_out(&mut connection, schema, change).await;
        // Closing the session frees the lock too, should this not be answered.
        if result.is_ok() {
            run(&mut connection, layout::unlock()).await?;
        }
        connection.close().await?;
        result
    }
}

async fn lay_out(connection: &mut PgConnection, schema: &Schema, change: bool) -> Result<LayoutReport, DbError> {
    let mut report = LayoutReport::default();
    if change {
        for statement in layout::prelude() {
            run(connection, statement).await?;
        }
    }
    let mut tables: Vec<&Table> = schema.tables().map(AsRef::as_ref).collect();
    tables.sort_by(|a, b| a.physical.cmp(&b.physical));
    let standing = standing(connection, &tables).await?;
    for table in &tables {
        if table.managed && change {
            lay_out_table(connection, table, standing.get(&table.physical), &mut report).await?;
        }
    }
    // Read again, since what may be held depends on what is there now.
    let standing = self::standing(connection, &tables).await?;
    for table in &tables {
        match standing.get(&table.physical) {
            Some(found) => {
                if let Some(missing) = missing_columns(table, found) {
                    report.warnings.push(missing);
                }
                if table.managed {
                    report.warnings.extend(left_over_unique(table, found));
                }
                if table.managed && !found.logs(&layout_paths(table)) {
                    report.warnings.push(format!(
                        "table {} lacks a trigger that logs writes made outside Convoy; live queries will not see those",
                        table.name
                    ));
                }
                let holds_inserts = table.managed
                    && !found.constrained
                    && found.unique_indexes.is_empty()
                    && !found.has_foreign_triggers();
                report.tables.insert(table.name.clone(), TableReport { holds_inserts });
            }
            None => report.warnings.push(format!("table {} does not exist in the database", table.name)),
        }
    }
    Ok(report)
}

async fn lay_out_table(
    connection: &mut PgConnection,
    table: &Table,
    found: Option<&Standing>,
    report: &mut LayoutReport,
) -> Result<(), DbError> {
    if found.is_none() {
        run(connection, layout::create_table(table)).await?;
        report.created.push(format!("table {}", table.name));
    }
    for index in table.indexes.iter().filter(|index| layout::needs_building(index)) {
        let name = layout::index_name(table, index);
        if found.is_some_and(|found| found.indexes.contains(&name)) {
            continue;
        }
        if found.is_some_and(|found| found.broken_indexes.contains(&name)) {
            run(connection, layout::drop_broken_index(&name)).await?;
        }
        let filled = found.is_some_and(|found| found.filled);
        let built = run(connection, layout::create_index(table, index, filled)).await;
        built.map_err(|error| match error {
            DbError::Constraint { unique: true, source, .. } => DbError::Duplicates {
                table: table.name.clone(),
                index: index.name.clone(),
                fields: index.fields.iter().map(|field| field.path.dotted()).collect::<Vec<_>>().join(", "),
                source,
            },
            other => other,
        })?;
        if index.name != BY_CREATION {
            report.created.push(format!("index {}.{}", table.name, index.name));
        }
    }
    let paths = layout_paths(table);
    if !found.is_some_and(|found| found.logs(&paths)) {
        for statement in layout::create_triggers(table, &paths) {
            run(connection, statement).await?;
        }
    }
    Ok(())
}

fn layout_paths(table: &Table) -> Vec<String> {
    crate::sql::document::logged_paths(table)
}

/// Unique indexes of ours that the schema no longer has: nothing is dropped
/// unasked, so they go on refusing documents until someone does.
fn left_over_unique(table: &Table, found: &Standing) -> Vec<String> {
    let wanted: Vec<String> = table.indexes.iter().map(|index| layout::index_name(table, index)).collect();
    let left_over = found.unique_indexes.iter().filter(|name| name.starts_with("convoy_") && !wanted.contains(name));
    left_over
        .map(|name| {
            format!(
                "table {} still has the unique index {name} of an earlier schema, which goes on refusing documents; \
                 to be rid of it: drop index \"{name}\"",
                table.name
            )
        })
        .collect()
}

fn missing_columns(table: &Table, found: &Standing) -> Option<String> {
    let lacking: Vec<&str> =
        ["id", "created_at", "data"].into_iter().filter(|name| !found.columns.iter().any(|c| c == name)).collect();
    (!lacking.is_empty()).then(|| format!("table {} has no column {}", table.name, lacking.join(", ")))
}

async fn standing(connection: &mut PgConnection, tables: &[&Table]) -> Result<HashMap<String, Standing>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    let rows = run(connection, layout::catalog(&names)).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), Standing::of(row)?))).collect()
}

async fn run(connection: &mut PgConnection, statement: Statement) -> Result<Vec<Row>, DbError> {
    fetch(connection, statement).await
}
