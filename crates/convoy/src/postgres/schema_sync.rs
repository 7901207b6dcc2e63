//! Makes the database match a schema: creates what is missing, and drops nothing.
//!
//! Runs under an advisory lock, so that two processes that start at the same time do not
//! create the same objects. Every step can be repeated, so the next start continues where
//! a killed process stopped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Connection;

use super::{DbError, PgSession, Postgres, Row};
use crate::schema::{BY_CREATION, Index, Schema, Table, TableTraits};
use crate::sql::{convoy_schema, layout, rights};

/// The pause before another attempt to take the lock.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// How often the progress of a long index build is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What a schema sync did, for people to read.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayoutReport {
    /// What the engine may do with each table, by its name in code.
    pub tables: HashMap<String, TableReport>,
    /// What was created, such as `table messages`.
    pub created: Vec<String>,
    /// Problems that someone should look into.
    pub warnings: Vec<String>,
    /// Objects that are not in the schema any more, or that Convoy does not use. They are
    /// not dropped without a request.
    pub left_over: Vec<String>,
}

/// What the engine may do with one table.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// Plain inserts can neither fail nor be changed by the database: there is no unique
    /// index, constraint or trigger of the user. Such inserts may be held until the
    /// mutation ends.
    pub holds_inserts: bool,
    /// It may hold documents.
    pub non_empty: bool,
}

/// The state of a table in the database.
struct TableState {
    /// Its columns and their types.
    column_types: Vec<(String, String)>,
    indexes: Vec<String>,
    /// Invalid indexes, left by failed builds.
    broken_indexes: Vec<String>,
    constrained: bool,
    unique_indexes: Vec<String>,
    triggers: Vec<Trigger>,
    non_empty: bool,
    /// A write may change more than its row, or less: by a rule, a foreign key or a policy.
    has_side_effects: bool,
    /// It has partitions or children, which have triggers of their own.
    partitioned: bool,
    /// It has pages on disk, so it may hold documents.
    has_pages: bool,
}

#[derive(Deserialize)]
struct Trigger {
    name: String,
    enabled: bool,
    /// The arguments, each ended by a NUL, in hexadecimal.
    args: String,
    /// It rejects marks of another role or for another table. Triggers of earlier versions do
    /// not.
    guarded: bool,
}

impl TableState {
    fn from_row(row: &Row) -> Result<TableState, DbError> {
        Ok(TableState {
            column_types: row
                .texts(1)?
                .iter()
                .filter_map(|column| column.rsplit_once(' '))
                .map(|(name, column_type)| (name.to_owned(), column_type.to_owned()))
                .collect(),
            indexes: row.texts(2)?,
            broken_indexes: row.texts(3)?,
            unique_indexes: row.texts(4)?,
            constrained: row.bool(5)?,
            triggers: serde_json::from_str(row.text(6)?).map_err(|error| DbError::Row(error.to_string()))?,
            non_empty: row.bool(7)?,
            has_side_effects: row.bool(8)?,
            partitioned: row.bool(9)?,
            has_pages: row.bool(10)?,
        })
    }

    /// Whether the four triggers of Convoy are there, enabled, and log exactly `paths`.
    fn logs(&self, paths: &[String]) -> bool {
        let expected: String =
            paths.iter().flat_map(|path| path.bytes().chain([0])).map(|byte| format!("{byte:02x}")).collect();
        layout::TRIGGERS.iter().all(|name| {
            self.triggers.iter().any(|trigger| trigger.name == *name && trigger.enabled && trigger.args == expected)
        })
    }

    /// Whether no trigger of Convoy is of an earlier version.
    fn are_guarded(&self) -> bool {
        self.triggers.iter().all(|trigger| trigger.guarded || !layout::TRIGGERS.contains(&trigger.name.as_str()))
    }

    fn traits(&self) -> TableTraits {
        let has = |name: &str| self.column_types.iter().any(|(column, _)| column == name);
        let no_side_effects = !self.has_side_effects && !self.partitioned && !self.has_foreign_triggers();
        TableTraits {
            created_at: has("created_at"),
            updated_at: has("updated_at"),
            no_side_effects,
            never_rejects: no_side_effects && !self.constrained && self.unique_indexes.is_empty(),
        }
    }

    fn needs_indexes_changed(&self, table: &Table) -> bool {
        let mut expected = table.indexes.iter().filter(|index| layout::needs_index(index));
        table.managed
            && (self.broken_indexes.iter().any(|name| layout::is_convoy_index(table, name))
                || expected.any(|index| !self.indexes.contains(&layout::index_name(table, index))))
    }

    fn has_foreign_triggers(&self) -> bool {
        self.triggers.iter().any(|trigger| !layout::TRIGGERS.contains(&trigger.name.as_str()))
    }
}

/// Whether every write to a table is logged, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// It is.
    Tracked,
    /// The table is unmanaged, and gets no triggers.
    Unmanaged,
    /// A trigger is missing, disabled, or logs other index fields.
    TriggerMissing,
    /// It has partitions or children, which can be written without firing its triggers.
    Partitioned,
    /// The table does not exist.
    Missing,
}

impl Postgres {
    /// Reads the state of tables: returns whether each is tracked, and updates the traits of
    /// each table.
    pub(crate) async fn inspect_tables(
        &self,
        limit: Duration,
        tables: &[Arc<Table>],
    ) -> Result<Vec<Tracking>, DbError> {
        let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
        let rows = self.read_within(limit, &layout::catalog(&names)).await?;
        let table_states = rows.iter().map(|row| Ok((row.text(0)?.to_owned(), TableState::from_row(row)?)));
        let table_states = table_states.collect::<Result<HashMap<String, TableState>, DbError>>()?;
        let tracking = |table: &Arc<Table>| {
            let Some(found) = table_states.get(&table.physical) else { return Tracking::Missing };
            table.learn(found.traits());
            match () {
                () if !table.managed => Tracking::Unmanaged,
                () if found.partitioned => Tracking::Partitioned,
                () if found.logs(&logged_paths(table)) => Tracking::Tracked,
                () => Tracking::TriggerMissing,
            }
        };
        Ok(tables.iter().map(tracking).collect())
    }

    /// The missing objects of the `_convoy` schema.
    pub(crate) async fn missing_objects(&self, limit: Duration) -> Result<Vec<String>, DbError> {
        let rows = self.read_within(limit, &convoy_schema::missing_objects()).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Creates the `_convoy` schema, and the objects of `schema` that the database lacks.
    /// With `change: false` it creates nothing, and only returns warnings of what is missing.
    pub(crate) async fn sync_schema(&self, schema: &Schema, change: bool) -> Result<LayoutReport, DbError> {
        let lock = self.lock_schema_sync().await?;
        let mut session = self.connect().await?;
        let report = match sync_schema(self, &mut session, schema, change).await {
            Ok(report) => report,
            Err(error) => return Err(self.explain(error, schema).await),
        };
        session.connection.close().await?;
        // Closing the connection releases the lock; so does every early return above.
        lock.connection.close().await?;
        Ok(report)
    }

    /// Waits for the lock of schema syncs, which the session holds until it ends. It never
    /// waits within a statement, which would hold a snapshot: the holder of the lock may be
    /// building an index concurrently, and so wait for all snapshots to end.
    async fn lock_schema_sync(&self) -> Result<PgSession, DbError> {
        let mut session = self.connect().await?;
        loop {
            // The lock is a transaction's, since a pooled session lasts no longer.
            session.execute(layout::begin_locking()).await?;
            let rows = session.fetch(layout::try_lock()).await?;
            if rows.first().map_or(Ok(false), |row| row.bool(0))? {
                return Ok(session);
            }
            session.end("rollback").await?;
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }
}

async fn sync_schema(
    postgres: &Postgres,
    session: &mut PgSession,
    schema: &Schema,
    change: bool,
) -> Result<LayoutReport, DbError> {
    let mut report = LayoutReport::default();
    if change {
        for statement in convoy_schema::create() {
            session.execute(statement).await?;
        }
    }
    let mut tables: Vec<&Table> = schema.tables().map(AsRef::as_ref).collect();
    tables.sort_by(|a, b| a.physical.cmp(&b.physical));
    let mut table_states = table_states(session, &tables).await?;
    let to_change: Vec<&str> = tables
        .iter()
        .filter(|table| {
            change && table_states.get(&table.physical).is_some_and(|found| found.needs_indexes_changed(table))
        })
        .map(|table| table.physical.as_str())
        .collect();
    if !to_change.is_empty() {
        wait_for_builds(session, &to_change).await?;
        table_states = self::table_states(session, &tables).await?;
    }
    for table in &tables {
        if table.managed && change {
            let builder = Builder { postgres, session: &mut *session, table };
            builder.sync_schema(table_states.get(&table.physical), &mut report).await?;
        }
    }
    report.left_over = left_over_tables(session, &tables).await?;
    report.warnings.extend(missing_privileges(session, &tables).await?);
    // Read again, because the traits depend on what was created.
    let table_states = self::table_states(session, &tables).await?;
    for table in &tables {
        match table_states.get(&table.physical) {
            Some(found) => report_table(table, found, &mut report),
            None => report.warnings.push(format!("table {} does not exist in the database", table.name)),
        }
    }
    Ok(report)
}

/// Adds the warnings and traits of one table to the report, and stores the traits in the table.
fn report_table(table: &Table, found: &TableState, report: &mut LayoutReport) {
    if let Some(warning) = missing_columns(table, found) {
        report.warnings.push(warning);
    }
    if table.managed {
        report.warnings.extend(left_over_unique(table, found));
        report.left_over.extend(left_over_indexes(table, found));
    } else {
        report.warnings.extend(unfit_columns(table, found));
    }
    if table.managed && !found.logs(&logged_paths(table)) {
        report.warnings.push(format!(
            "table {} lacks a trigger that logs writes made outside Convoy; live queries will not see those",
            table.name
        ));
    }
    let traits = found.traits();
    let holds_inserts = table.managed && traits.never_rejects;
    table.learn(traits);
    report.tables.insert(table.name.clone(), TableReport { holds_inserts, non_empty: found.has_pages });
}

/// Waits until no index is being built for tables whose indexes have to be built or dropped.
/// The build of a killed process goes on in Postgres, and waits for the snapshots of others.
/// A statement that waited for such a build would deadlock, so this polls, and holds no
/// snapshot in between.
async fn wait_for_builds(session: &mut PgSession, tables: &[&str]) -> Result<(), DbError> {
    while let Some(row) = session.fetch_autocommit(layout::builds(tables)).await?.first() {
        let (index, pid, since) = (row.text(0)?, row.int8(1)?, row.text(2)?);
        tracing::info!(
            "waiting for another session to finish the index {index}; to end it: select pg_terminate_backend({pid})"
        );
        // The progress row ends shortly before the transaction that makes the index valid.
        while !session.fetch_autocommit(layout::still_runs(pid, since)).await?.is_empty() {
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }
    Ok(())
}

/// Creates the missing objects of one table.
struct Builder<'a> {
    postgres: &'a Postgres,
    session: &'a mut PgSession,
    table: &'a Table,
}

impl Builder<'_> {
    async fn sync_schema(mut self, found: Option<&TableState>, report: &mut LayoutReport) -> Result<(), DbError> {
        let table = self.table;
        if found.is_none() {
            self.session.execute(layout::create_table(table)).await?;
            report.created.push(format!("table {}", table.name));
        }
        // Also those of other versions of the schema: an invalid index is never used, but
        // each write has to maintain it, or is rejected by it.
        if let Some(found) = found {
            for name in found.broken_indexes.iter().filter(|name| layout::is_convoy_index(table, name)) {
                self.session.execute(layout::drop_broken_index(name, !found.partitioned)).await?;
            }
        }
        for index in table.indexes.iter().filter(|index| layout::needs_index(index)) {
            let name = layout::index_name(table, index);
            if found.is_some_and(|found| found.indexes.contains(&name)) {
                continue;
            }
            self.build_index(index, found.is_some_and(|found| found.non_empty)).await?;
            if index.name != BY_CREATION {
                report.created.push(format!("index {}.{}", table.name, index.name));
            }
        }
        let paths = logged_paths(table);
        if !found.is_some_and(|found| found.logs(&paths) && found.are_guarded()) {
            let rows = self.session.fetch_autocommit(layout::role()).await?;
            let role = rows.first().ok_or_else(|| DbError::Row("no role".into()))?.text(0)?;
            for statement in layout::create_triggers(table, &paths, role) {
                self.session.execute(statement).await?;
            }
        }
        Ok(())
    }

    /// Builds an index, and drops the invalid index of a failed build.
    async fn build_index(&mut self, index: &Index, non_empty: bool) -> Result<(), DbError> {
        let table = self.table;
        if !non_empty {
            let result = self.session.execute(layout::create_index(table, index, false)).await;
            return result.map_err(|error| build_error(table, index, error));
        }
        let Err(error) = self.build_concurrently(index).await else { return Ok(()) };
        let dropping = layout::drop_broken_index(&layout::index_name(table, index), true);
        if let Err(error) = self.session.execute(dropping).await {
            // The next load drops it.
            tracing::debug!(cause = %error.cause(), "the invalid index of a failed build could not be dropped");
        }
        Err(build_error(table, index, error))
    }

    /// Builds an index over rows that stay writable, and logs its progress.
    async fn build_concurrently(&mut self, index: &Index) -> Result<(), DbError> {
        let name = format!("{}.{}", self.table.name, index.name);
        let build = self.session.execute(layout::create_index(self.table, index, true));
        let mut build = std::pin::pin!(build);
        loop {
            tokio::select! {
                result = &mut build => return result,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
            }
            // Only the progress is lost; the build continues.
            match self.postgres.read_within(PROGRESS_INTERVAL, &layout::progress(self.table)).await {
                Ok(rows) => {
                    if let Some(row) = rows.first() {
                        let done = row.int8_or_null(1)?.map_or_else(String::new, |percent| format!(", {percent} %"));
                        tracing::info!("building index {name}: {}{done}", row.text(0)?);
                    }
                }
                Err(error) => tracing::debug!(cause = %error, "the progress of an index cannot be read"),
            }
        }
    }
}

/// The error of an index build, with the names of the schema.
fn build_error(table: &Table, index: &Index, error: DbError) -> DbError {
    match error {
        DbError::Constraint { unique: true, source, .. } => DbError::Duplicates {
            table: table.name.clone(),
            index: index.name.clone(),
            fields: index.fields.iter().map(|field| field.path.dotted()).collect::<Vec<_>>().join(", "),
            source,
        },
        other => other,
    }
}

fn logged_paths(table: &Table) -> Vec<String> {
    crate::sql::document::logged_paths(table)
}

/// Warns of Convoy's unique indexes that the schema no longer has. They are not dropped
/// without a request, so they go on rejecting documents.
fn left_over_unique(table: &Table, found: &TableState) -> Vec<String> {
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
fn left_over_indexes(table: &Table, found: &TableState) -> Vec<String> {
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
async fn missing_privileges(session: &mut PgSession, tables: &[&Table]) -> Result<Vec<String>, DbError> {
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

async fn left_over_tables(session: &mut PgSession, tables: &[&Table]) -> Result<Vec<String>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    // While the engine opens, no schema is loaded yet.
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session.fetch_autocommit(layout::left_over_tables(&names)).await?;
    rows.iter().map(|row| Ok(format!("table {} is not in the schema any more", row.text(0)?))).collect()
}

/// Why an unmanaged table cannot be used.
fn unfit_columns(table: &Table, found: &TableState) -> Vec<String> {
    let unfit = [("id", "uuid"), ("data", "jsonb")].into_iter().filter_map(|(column, needed)| {
        let (_, column_type) = found.column_types.iter().find(|(name, _)| name == column)?;
        let message = format!("column {column} of table {} is {column_type}; Convoy needs {needed}", table.name);
        (column_type != needed).then_some(message)
    });
    unfit.collect()
}

fn missing_columns(table: &Table, found: &TableState) -> Option<String> {
    let missing: Vec<&str> = ["id", "created_at", "data"]
        .into_iter()
        // An unmanaged table needs no creation times.
        .filter(|name| table.managed || *name != "created_at")
        .filter(|name| !found.column_types.iter().any(|(column, _)| column == name))
        .collect();
    (!missing.is_empty()).then(|| format!("table {} has no column {}", table.name, missing.join(", ")))
}

async fn table_states(session: &mut PgSession, tables: &[&Table]) -> Result<HashMap<String, TableState>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    let rows = session.fetch_autocommit(layout::catalog(&names)).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), TableState::from_row(row)?))).collect()
}
