//! Compares the database with a schema, and changes nothing.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    TableState, left_over_indexes, left_over_tables, left_over_unique, logged_paths, missing_columns, table_states,
    trigger_args, unfit_columns,
};
use crate::postgres::{DbError, PgSession, Postgres};
use crate::schema::{BY_CREATION, Schema, Table};
use crate::sql::{convoy_schema, drift, layout, rights};

/// The remedy for most differences.
const MIGRATE: &str = "npx convoy migrate";
/// From this size on, reading a whole table often is worth a note.
const LARGE_TABLE: i64 = 10_000;
/// The number of such reads that is worth a note.
const OFTEN: i64 = 100;

/// The differences between a schema and its database.
#[derive(Debug, Default, Serialize)]
pub struct Drift {
    /// Objects that the loaded code needs and the database lacks, or has in another form.
    pub problems: Vec<Finding>,
    /// Differences that prevent nothing, and are worth a look.
    pub notes: Vec<Finding>,
}

/// One difference.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// For programs: `missing-table`, `missing-index`, ….
    pub kind: &'static str,
    /// Such as `messages` or `messages.by_channel`.
    pub subject: String,
    /// For people.
    pub message: String,
    /// A command or statement that solves it.
    pub remedy: Option<String>,
}

fn finding(kind: &'static str, subject: impl Into<String>, message: String, remedy: &str) -> Finding {
    let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
    Finding { kind, subject: subject.into(), message, remedy }
}

impl Postgres {
    /// Compares the database with a schema.
    pub(crate) async fn drift(&self, schema: &Schema) -> Result<Drift, DbError> {
        let mut session = self.connect().await?;
        let mut tables: Vec<&Table> = schema.tables().map(AsRef::as_ref).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        let found = table_states(&mut session, &tables).await?;
        let mut drift = Drift::default();
        drift.parts(&mut session).await?;
        for table in &tables {
            match found.get(&table.physical) {
                Some(state) => drift.table(table, state),
                None => {
                    let message = format!("table {} does not exist in the database", table.name);
                    let remedy = if table.managed { MIGRATE } else { "" };
                    drift.problems.push(finding("missing-table", &table.name, message, remedy));
                }
            }
        }
        drift.rights(&mut session, &tables).await?;
        for message in left_over_tables(&mut session, &tables).await? {
            drift.notes.push(finding("unused-table", "", message, ""));
        }
        drift.usage(&mut session, &tables, &found).await?;
        Ok(drift)
    }
}

impl Drift {
    /// Compares the `_convoy` schema.
    async fn parts(&mut self, session: &mut PgSession) -> Result<(), DbError> {
        for row in session.fetch_autocommit(convoy_schema::missing_objects()).await? {
            let part = row.text(0)?;
            let message = format!("the schema _convoy lacks the {part}");
            self.problems.push(finding("missing-part", part, message, MIGRATE));
        }
        let rows = session.fetch_autocommit(drift::functions()).await?;
        let bodies = rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned())));
        let bodies = bodies.collect::<Result<HashMap<String, String>, DbError>>()?;
        for (name, body) in drift::expected_functions() {
            if bodies.get(&name).is_some_and(|found| *found != body) {
                let message = format!("the function _convoy.{name} is not that of this version of Convoy");
                self.problems.push(finding("changed-function", name, message, MIGRATE));
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, found: &TableState) {
        if let Some(message) = missing_columns(table, found) {
            self.problems.push(finding("missing-column", &table.name, message, ""));
        }
        for message in unfit_columns(table, found) {
            self.problems.push(finding("column-type", &table.name, message, ""));
        }
        if !table.managed {
            return;
        }
        for index in table.indexes.iter().filter(|index| layout::needs_index(index)) {
            let (name, subject) = (layout::index_name(table, index), format!("{}.{}", table.name, index.name));
            if found.indexes.contains(&name) {
                continue;
            }
            let what = if index.name == BY_CREATION { " of creation times" } else { "" };
            let (kind, state) = match found.broken_indexes.contains(&name) {
                true => ("invalid-index", "was not completed and is not used"),
                false => ("missing-index", "does not exist"),
            };
            let message = format!("the index {subject}{what} {state} ({name})");
            self.problems.push(finding(kind, subject, message, MIGRATE));
        }
        let args = trigger_args(&logged_paths(table));
        for name in layout::TRIGGERS {
            let (kind, state) = match found.triggers.iter().find(|trigger| trigger.name == name) {
                None => ("missing-trigger", "is missing"),
                Some(trigger) if !trigger.enabled => ("disabled-trigger", "is disabled"),
                Some(trigger) if trigger.args != args => ("changed-trigger", "logs other fields than the indexed ones"),
                Some(trigger) if !trigger.guarded => ("changed-trigger", "is of an earlier version of Convoy"),
                Some(_) => continue,
            };
            let effect = "live queries may miss writes made outside Convoy";
            let message = format!("the trigger {name} of table {} {state}; {effect}", table.name);
            self.problems.push(finding(kind, &table.name, message, MIGRATE));
        }
        for message in left_over_unique(table, found) {
            self.problems.push(finding("other-unique-index", &table.name, message, ""));
        }
        for message in left_over_indexes(table, found) {
            self.notes.push(finding("unused-index", &table.name, message, ""));
        }
    }

    async fn rights(&mut self, session: &mut PgSession, tables: &[&Table]) -> Result<(), DbError> {
        let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
        for row in session.fetch_autocommit(rights::missing_for_calls(&names)).await? {
            let (physical, lacks, remedy) = (row.text(0)?, row.text(1)?, row.text(2)?);
            let Some(table) = tables.iter().find(|table| table.physical == physical) else { continue };
            let message = format!("the role has no privilege to {lacks} in table {}", table.name);
            let found = finding("missing-privilege", &table.name, message, remedy);
            if table.managed || lacks.contains("select") {
                self.problems.push(found);
            } else {
                self.notes.push(found);
            }
        }
        Ok(())
    }

    /// Notes indexes that are not used, and tables that seem to need one.
    async fn usage(
        &mut self,
        session: &mut PgSession,
        tables: &[&Table],
        found: &HashMap<String, TableState>,
    ) -> Result<(), DbError> {
        let managed: Vec<&str> =
            tables.iter().filter(|table| table.managed).map(|table| table.physical.as_str()).collect();
        let named = |physical: &str| tables.iter().copied().find(|table| table.physical == physical);
        let rows = session.fetch_autocommit(drift::table_usage(&managed)).await?;
        let mut large = Vec::new();
        for row in &rows {
            let (physical, documents) = (row.text(0)?, row.int8(1)?);
            let (whole, by_index, since) = (row.int8(2)?, row.int8(3)?, row.text(4)?);
            let (Some(table), true) = (named(physical), documents >= LARGE_TABLE) else { continue };
            large.push(physical);
            if whole >= OFTEN && whole > by_index {
                let since = if since.is_empty() { String::new() } else { format!(" since {since}") };
                let message = format!(
                    "table {} (about {documents} documents) was read as a whole {whole} times{since}, and {by_index} times by \
                     an index; a query may lack an index or withIndex",
                    table.name
                );
                self.notes.push(finding("missing-index", &table.name, message, ""));
            }
        }
        for row in session.fetch_autocommit(drift::unused_indexes(&large)).await? {
            let (Some(table), name, size) = (named(row.text(0)?), row.text(1)?, row.text(2)?) else { continue };
            let declared = table.indexes.iter().find(|index| layout::index_name(table, index) == name);
            // Those that the schema does not have are noted already.
            let Some(index) = declared.filter(|index| index.name != BY_CREATION) else { continue };
            if found.get(&table.physical).is_some_and(|state| state.broken_indexes.iter().any(|each| each == name)) {
                continue;
            }
            let subject = format!("{}.{}", table.name, index.name);
            let message = format!("the index {subject} ({size}) was not used since the statistics were reset");
            self.notes.push(finding("unused-index", subject, message, ""));
        }
        Ok(())
    }
}
