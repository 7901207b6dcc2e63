//! Makes the database match a schema: creates what is missing, and drops nothing.
//!
//! [`steps`] has the steps for a table, [`builder`] executes them, and [`findings`] reports
//! what a sync leaves alone.
//!
//! Runs under an advisory lock, so that two processes that start at the same time do not
//! create the same objects. Every step can be repeated, so the next start continues where
//! a killed process stopped.

mod builder;
mod drift;
mod findings;
mod steps;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Connection;

use super::{DbError, PgSession, Postgres, Row};
use crate::schema::{Schema, Table, TableTraits};
use crate::sql::{convoy_schema, layout};
use builder::Builder;
pub use drift::{Drift, Finding};
use findings::{
    left_over_indexes, left_over_tables, left_over_unique, missing_columns, missing_privileges, unfit_columns,
};
use steps::Step;
pub use steps::{PlannedStep, StepKind};

/// The pause before another attempt to take the lock.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// The time limit for reading which objects of `_convoy` are missing.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// The actions that a schema sync may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncMode {
    /// Create what is missing.
    Apply,
    /// Create nothing, and warn of what is missing. Waits for a sync that is running.
    Report,
    /// Create nothing, and list the steps of [`SyncMode::Apply`]. Takes no lock.
    Plan,
}

/// The result of a schema sync, for people to read.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayoutReport {
    /// The operations that the engine may execute on each table, by its name in code.
    pub tables: HashMap<String, TableReport>,
    /// The created objects, such as `table messages`.
    pub created: Vec<String>,
    /// Problems that someone should look into.
    pub warnings: Vec<String>,
    /// Objects that are not in the schema any more, or that Convoy does not use. They are
    /// not dropped without a request.
    pub left_over: Vec<String>,
    /// The steps that were not executed, in their order. Only [`SyncMode::Plan`] has any.
    pub pending: Vec<PlannedStep>,
    /// When the program was in place, in milliseconds after the start of its load. Only if
    /// that was before the sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swapped_after_ms: Option<f64>,
}

impl LayoutReport {
    /// The report with one more warning, if there is one.
    pub(crate) fn with_warning(mut self, warning: Option<String>) -> LayoutReport {
        self.warnings.extend(warning);
        self
    }
}

/// The operations that the engine may execute on one table.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// Inserts and patches can neither fail nor be changed by the database: there is no
    /// unique index, constraint or trigger of the user. Such writes may be held until the
    /// mutation ends.
    pub holds_writes: bool,
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
        let expected = trigger_args(paths);
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

    /// Creates the `_convoy` schema, and the objects of `schema` that the database lacks; or
    /// only looks for them, by `mode`.
    pub(crate) async fn sync_schema(&self, schema: &Schema, mode: SyncMode) -> Result<LayoutReport, DbError> {
        let lock = if mode == SyncMode::Plan { None } else { Some(self.lock_schema_sync().await?) };
        let mut session = self.connect().await?;
        let report = match sync_schema(self, &mut session, schema, mode).await {
            Ok(report) => report,
            Err(error) => return Err(self.explain(error, schema).await),
        };
        session.connection.close().await?;
        // Closing the connection releases the lock; so does every early return above.
        if let Some(lock) = lock {
            lock.connection.close().await?;
        }
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
    mode: SyncMode,
) -> Result<LayoutReport, DbError> {
    let mut report = LayoutReport::default();
    if mode == SyncMode::Plan {
        let missing = postgres.missing_objects(LOOK_TIMEOUT).await?;
        if !missing.is_empty() {
            report.pending.push(PlannedStep::system(&missing));
        }
    }
    if mode == SyncMode::Apply {
        for statement in convoy_schema::create() {
            session.execute(statement).await?;
        }
    }
    let mut tables: Vec<&Table> = schema.tables().map(AsRef::as_ref).collect();
    tables.sort_by(|a, b| a.physical.cmp(&b.physical));
    let mut table_states = table_states(session, &tables).await?;
    let to_change: Vec<&str> = tables
        .iter()
        .filter(|table| table_states.get(&table.physical).is_some_and(|found| changes_indexes(table, found)))
        .map(|table| table.physical.as_str())
        .collect();
    if mode == SyncMode::Apply && !to_change.is_empty() {
        wait_for_builds(session, &to_change).await?;
        table_states = self::table_states(session, &tables).await?;
    }
    for table in tables.iter().filter(|table| table.managed && mode != SyncMode::Report) {
        let found = table_states.get(&table.physical);
        let steps = steps::steps_of(table, found);
        if mode == SyncMode::Apply {
            let builder = Builder { postgres, session: &mut *session, table };
            builder.run(&steps, &mut report).await?;
            continue;
        }
        let rows = session.fetch_autocommit(layout::role()).await?;
        let role = rows.first().ok_or_else(|| DbError::Row("no role".into()))?.text(0)?;
        for step in &steps {
            report.pending.push(steps::describe(postgres, table, step, found, role).await?);
        }
    }
    report.left_over = left_over_tables(session, &tables).await?;
    report.warnings.extend(missing_privileges(session, &tables).await?);
    // Read again, because the traits depend on what was created.
    let table_states = self::table_states(session, &tables).await?;
    for table in &tables {
        match table_states.get(&table.physical) {
            Some(found) => report_table(table, found, mode, &mut report),
            // A plan has a step for it.
            None if table.managed && mode == SyncMode::Plan => {}
            None => report.warnings.push(format!("table {} does not exist in the database", table.name)),
        }
    }
    Ok(report)
}

/// Adds the warnings and traits of one table to the report, and stores the traits in the table.
fn report_table(table: &Table, found: &TableState, mode: SyncMode, report: &mut LayoutReport) {
    if let Some(warning) = missing_columns(table, found) {
        report.warnings.push(warning);
    }
    if table.managed {
        report.warnings.extend(left_over_unique(table, found));
        report.left_over.extend(left_over_indexes(table, found));
    } else {
        report.warnings.extend(unfit_columns(table, found));
    }
    if table.managed && mode != SyncMode::Plan && !found.logs(&logged_paths(table)) {
        report.warnings.push(format!(
            "table {} lacks a trigger that logs writes made outside Convoy, so live queries over it also run at an \
             interval (limits.untrackedPollMs)",
            table.name
        ));
    }
    let traits = found.traits();
    let holds_writes = table.managed && traits.never_rejects;
    table.learn(traits);
    report.tables.insert(table.name.clone(), TableReport { holds_writes, non_empty: found.has_pages });
}

fn changes_indexes(table: &Table, found: &TableState) -> bool {
    let steps = if table.managed { steps::steps_of(table, Some(found)) } else { Vec::new() };
    steps.iter().any(|step| matches!(step, Step::BuildIndex { .. } | Step::DropBrokenIndex { .. }))
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

fn logged_paths(table: &Table) -> Vec<String> {
    crate::sql::document::logged_paths(table)
}

/// The arguments of the triggers that log these paths, as the catalog has them in hexadecimal.
fn trigger_args(paths: &[String]) -> String {
    paths.iter().flat_map(|path| path.bytes().chain([0])).map(|byte| format!("{byte:02x}")).collect()
}

async fn table_states(session: &mut PgSession, tables: &[&Table]) -> Result<HashMap<String, TableState>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    let rows = session.fetch_autocommit(layout::catalog(&names)).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), TableState::from_row(row)?))).collect()
}
