//! Makes the database match a schema: creates what is missing, drops nothing.
//!
//! Runs under an advisory lock, so that two processes that start at
//! once do not build the same thing twice. Each step can be repeated, so a
//! process killed half-way leaves nothing the next start would stumble over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Connection;

use super::{DbError, Postgres, Row, Session};
use crate::schema::{BY_CREATION, Index, Schema, Table, TableTraits};
use crate::sql::{layout, rights};

/// How long to wait before asking again whether it is our turn.
const TURN: Duration = Duration::from_millis(100);
/// How often a long build says how far it is.
const REPORT: Duration = Duration::from_secs(1);

/// What a layout run did, for people to read.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayoutReport {
    /// What the engine may do with each table, by its name in code.
    pub tables: HashMap<String, TableReport>,
    /// What was created, such as `table messages`.
    pub created: Vec<String>,
    /// What someone should look at.
    pub warnings: Vec<String>,
    /// What the schema does not have any more, and what Convoy has no use for:
    /// nothing is dropped unasked.
    pub left_over: Vec<String>,
}

/// What the engine may do with one table.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// No statement could refuse a plain insert or change it on its way: no
    /// unique index, constraint or trigger of the user's. Such inserts may be
    /// held until the mutation ends.
    pub holds_inserts: bool,
    /// It may hold documents.
    pub non_empty: bool,
}

/// One table as it stands in the database.
struct TableState {
    /// Its columns and their types.
    kinds: Vec<(String, String)>,
    indexes: Vec<String>,
    /// Left behind by builds that failed.
    broken_indexes: Vec<String>,
    constrained: bool,
    unique_indexes: Vec<String>,
    triggers: Vec<Trigger>,
    non_empty: bool,
    /// A write may do more than it says, or less: by a rule, a foreign key or a
    /// policy.
    has_side_effects: bool,
    /// It has partitions or children, whose triggers are their own.
    partitioned: bool,
    /// It takes space, so it may hold documents.
    used: bool,
}

#[derive(Deserialize)]
struct Trigger {
    name: String,
    enabled: bool,
    /// The arguments, each ended by a NUL, in hexadecimal.
    args: String,
    /// It takes the mark of another role, or for another table, for no engine's; those of
    /// earlier versions do not.
    guarded: bool,
}

impl TableState {
    fn of(row: &Row) -> Result<TableState, DbError> {
        Ok(TableState {
            kinds: row
                .texts(1)?
                .iter()
                .filter_map(|column| column.rsplit_once(' '))
                .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
                .collect(),
            indexes: row.texts(2)?,
            broken_indexes: row.texts(3)?,
            unique_indexes: row.texts(4)?,
            constrained: row.bool(5)?,
            triggers: serde_json::from_str(row.text(6)?).map_err(|error| DbError::Row(error.to_string()))?,
            non_empty: row.bool(7)?,
            has_side_effects: row.bool(8)?,
            partitioned: row.bool(9)?,
            used: row.bool(10)?,
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

    /// Whether none of them is of an earlier version.
    fn is_guarded(&self) -> bool {
        self.triggers.iter().all(|trigger| trigger.guarded || !layout::TRIGGERS.contains(&trigger.name.as_str()))
    }

    fn traits(&self) -> TableTraits {
        let has = |name: &str| self.kinds.iter().any(|(column, _)| column == name);
        let no_side_effects = !self.has_side_effects && !self.partitioned && !self.has_foreign_triggers();
        TableTraits {
            created_at: has("created_at"),
            updated_at: has("updated_at"),
            no_side_effects,
            never_rejects: no_side_effects && !self.constrained && self.unique_indexes.is_empty(),
        }
    }

    fn needs_indexes_changed(&self, table: &Table) -> bool {
        let mut wanted = table.indexes.iter().filter(|index| layout::needs_building(index));
        table.managed
            && (self.broken_indexes.iter().any(|name| layout::is_ours(table, name))
                || wanted.any(|index| !self.indexes.contains(&layout::index_name(table, index))))
    }

    fn has_foreign_triggers(&self) -> bool {
        self.triggers.iter().any(|trigger| !layout::TRIGGERS.contains(&trigger.name.as_str()))
    }
}

/// Whether every write to a table is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// By our triggers.
    ByTriggers,
    /// The table is the user's own, and gets no triggers.
    NotOurs,
    /// A trigger is missing, disabled, or made for other indexes.
    TriggerMissing,
    /// It has partitions or children, and what is written into those directly
    /// passes its triggers by.
    Divided,
    /// There is no such table.
    Absent,
}

impl Postgres {
    /// Looks at tables again: whether their triggers are as they should be, and
    /// what else must not be taken for granted of them, which is noted in each.
    pub(crate) async fn look_at(&self, most: Duration, tables: &[Arc<Table>]) -> Result<Vec<Watched>, DbError> {
        let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
        let rows = self.read_within(most, &layout::catalog(&names)).await?;
        let standing = rows.iter().map(|row| Ok((row.text(0)?.to_owned(), TableState::of(row)?)));
        let standing = standing.collect::<Result<HashMap<String, TableState>, DbError>>()?;
        let watched = |table: &Arc<Table>| {
            let Some(found) = standing.get(&table.physical) else { return Watched::Absent };
            table.learn(found.traits());
            match () {
                () if !table.managed => Watched::NotOurs,
                () if found.partitioned => Watched::Divided,
                () if found.logs(&layout_paths(table)) => Watched::ByTriggers,
                () => Watched::TriggerMissing,
            }
        };
        Ok(tables.iter().map(watched).collect())
    }

    /// What is missing of the `_convoy` schema.
    pub(crate) async fn missing(&self, most: Duration) -> Result<Vec<String>, DbError> {
        let rows = self.read_within(most, &layout::missing()).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Creates the `_convoy` schema and what `schema` names and the database
    /// lacks. With `change: false` only looks, and warns of what is missing.
    pub(crate) async fn sync_schema(&self, schema: &Schema, change: bool) -> Result<LayoutReport, DbError> {
        let lock = self.lock_layout().await?;
        let mut session = self.connect().await?;
        let report = match sync_schema(self, &mut session, schema, change).await {
            Ok(report) => report,
            Err(error) => return Err(self.explain(error, schema).await),
        };
        session.connection.close().await?;
        // Closing the connection frees the lock, as does every way out before this.
        lock.connection.close().await?;
        Ok(report)
    }

    /// Waits for its turn to lay out, and keeps it as long as the session lasts.
    /// Never within a statement: that would hold a snapshot, and a process that builds an
    /// index meanwhile waits for all snapshots to end, with the lock in hand.
    async fn lock_layout(&self) -> Result<Session, DbError> {
        let mut session = self.connect().await?;
        loop {
            // A transaction's lock, since a session may be lent for no longer.
            session.tell(layout::begin_locking()).await?;
            let rows = session.fetch(layout::try_lock()).await?;
            if rows.first().map_or(Ok(false), |row| row.bool(0))? {
                return Ok(session);
            }
            session.end("rollback").await?;
            tokio::time::sleep(TURN).await;
        }
    }
}

async fn sync_schema(
    postgres: &Postgres,
    session: &mut Session,
    schema: &Schema,
    change: bool,
) -> Result<LayoutReport, DbError> {
    let mut report = LayoutReport::default();
    if change {
        for statement in layout::prelude() {
            session.tell(statement).await?;
        }
    }
    let mut tables: Vec<&Table> = schema.tables().map(AsRef::as_ref).collect();
    tables.sort_by(|a, b| a.physical.cmp(&b.physical));
    let mut standing = standing(session, &tables).await?;
    let to_change: Vec<&str> = tables
        .iter()
        .filter(|table| change && standing.get(&table.physical).is_some_and(|found| found.needs_indexes_changed(table)))
        .map(|table| table.physical.as_str())
        .collect();
    if !to_change.is_empty() {
        wait_for_builds(session, &to_change).await?;
        standing = self::standing(session, &tables).await?;
    }
    for table in &tables {
        if table.managed && change {
            let builder = Builder { postgres, session: &mut *session, table };
            builder.sync_schema(standing.get(&table.physical), &mut report).await?;
        }
    }
    report.left_over = left_over_tables(session, &tables).await?;
    report.warnings.extend(lacking_rights(session, &tables).await?);
    // Read again, since what may be held depends on what is there now.
    let standing = self::standing(session, &tables).await?;
    for table in &tables {
        match standing.get(&table.physical) {
            Some(found) => {
                if let Some(missing) = missing_columns(table, found) {
                    report.warnings.push(missing);
                }
                if table.managed {
                    report.warnings.extend(left_over_unique(table, found));
                    report.left_over.extend(left_over_indexes(table, found));
                } else {
                    report.warnings.extend(unfit_columns(table, found));
                }
                if table.managed && !found.logs(&layout_paths(table)) {
                    report.warnings.push(format!(
                        "table {} lacks a trigger that logs writes made outside Convoy; live queries will not see those",
                        table.name
                    ));
                }
                let traits = found.traits();
                let holds_inserts = table.managed && traits.never_rejects;
                table.learn(traits);
                report.tables.insert(table.name.clone(), TableReport { holds_inserts, non_empty: found.used });
            }
            None => report.warnings.push(format!("table {} does not exist in the database", table.name)),
        }
    }
    Ok(report)
}

/// Waits until no index is being built for tables of which indexes have to be built
/// or dropped. A killed process leaves its build going on in Postgres. That build
/// would wait for the snapshot of a statement that waits for it: a deadlock. So this
/// asks again and again, and holds nothing meanwhile.
async fn wait_for_builds(session: &mut Session, tables: &[&str]) -> Result<(), DbError> {
    while let Some(row) = session.ask(layout::builds(tables)).await?.first() {
        let (index, pid, since) = (row.text(0)?, row.int8(1)?, row.text(2)?);
        tracing::info!(
            "waiting for another session to finish the index {index}; to end it: select pg_terminate_backend({pid})"
        );
        // Its progress ends shortly before its last transaction, which makes the index valid.
        while !session.ask(layout::still_runs(pid, since)).await?.is_empty() {
            tokio::time::sleep(TURN).await;
        }
    }
    Ok(())
}

/// Lays out one table.
struct Builder<'a> {
    postgres: &'a Postgres,
    session: &'a mut Session,
    table: &'a Table,
}

impl Builder<'_> {
    async fn sync_schema(mut self, found: Option<&TableState>, report: &mut LayoutReport) -> Result<(), DbError> {
        let table = self.table;
        if found.is_none() {
            self.session.tell(layout::create_table(table)).await?;
            report.created.push(format!("table {}", table.name));
        }
        // Also those of other versions of the schema: an invalid index answers nothing,
        // and each write has to keep it, or is refused by it.
        if let Some(found) = found {
            for name in found.broken_indexes.iter().filter(|name| layout::is_ours(table, name)) {
                self.session.tell(layout::drop_broken_index(name, !found.partitioned)).await?;
            }
        }
        for index in table.indexes.iter().filter(|index| layout::needs_building(index)) {
            let name = layout::index_name(table, index);
            if found.is_some_and(|found| found.indexes.contains(&name)) {
                continue;
            }
            self.build(index, found.is_some_and(|found| found.non_empty)).await?;
            if index.name != BY_CREATION {
                report.created.push(format!("index {}.{}", table.name, index.name));
            }
        }
        let paths = layout_paths(table);
        if !found.is_some_and(|found| found.logs(&paths) && found.is_guarded()) {
            let rows = self.session.ask(layout::role()).await?;
            let role = rows.first().ok_or_else(|| DbError::Row("no role".into()))?.text(0)?;
            for statement in layout::create_triggers(table, &paths, role) {
                self.session.tell(statement).await?;
            }
        }
        Ok(())
    }

    /// Builds an index; what is left of one that cannot be built is removed.
    async fn build(&mut self, index: &Index, non_empty: bool) -> Result<(), DbError> {
        let table = self.table;
        if !non_empty {
            let built = self.session.tell(layout::create_index(table, index, false)).await;
            return built.map_err(|error| refused(table, index, error));
        }
        let Err(error) = self.build_slowly(index).await else { return Ok(()) };
        let dropping = layout::drop_broken_index(&layout::index_name(table, index), true);
        if let Err(error) = self.session.tell(dropping).await {
            // The next load removes it.
            tracing::debug!(cause = %error.cause(), "what is left of a failed build could not be removed");
        }
        Err(refused(table, index, error))
    }

    /// Builds an index over rows that stay writable meanwhile, and says how far it
    /// is as long as that takes.
    async fn build_slowly(&mut self, index: &Index) -> Result<(), DbError> {
        let name = format!("{}.{}", self.table.name, index.name);
        let building = self.session.tell(layout::create_index(self.table, index, true));
        let mut building = std::pin::pin!(building);
        loop {
            tokio::select! {
                built = &mut building => return built,
                () = tokio::time::sleep(REPORT) => {}
            }
            // Only the progress is lost; the build continues.
            match self.postgres.read_within(REPORT, &layout::progress(self.table)).await {
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

/// Why an index cannot be built, in the words of the schema.
fn refused(table: &Table, index: &Index, error: DbError) -> DbError {
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

fn layout_paths(table: &Table) -> Vec<String> {
    crate::sql::document::logged_paths(table)
}

/// Unique indexes of ours that the schema no longer has: nothing is dropped
/// unasked, so they go on refusing documents until someone does.
fn left_over_unique(table: &Table, found: &TableState) -> Vec<String> {
    let wanted: Vec<String> = table.indexes.iter().map(|index| layout::index_name(table, index)).collect();
    let left_over = found.unique_indexes.iter().filter(|name| name.starts_with("convoy_") && !wanted.contains(name));
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

/// Other indexes of the table's that Convoy has made and does not use (any more).
/// Those of Convoy 0.0.1 order everything as text.
fn left_over_indexes(table: &Table, found: &TableState) -> Vec<String> {
    let wanted: Vec<String> = table.indexes.iter().map(|index| layout::index_name(table, index)).collect();
    let mut left_over = Vec::new();
    for name in &found.indexes {
        let unused = name.starts_with("convoy_") && !wanted.contains(name) && !found.unique_indexes.contains(name);
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

/// What calls will not be allowed to do with tables, and the statement that lets
/// them. A table of the user's own may be meant for reading only.
async fn lacking_rights(session: &mut Session, tables: &[&Table]) -> Result<Vec<String>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    for row in session.ask(rights::lacking(&names)).await? {
        let (physical, lacks, remedy) = (row.text(0)?, row.text(1)?, row.text(2)?);
        let Some(table) = tables.iter().find(|table| table.physical == physical) else { continue };
        if table.managed || lacks.contains("select") {
            warnings.push(format!(
                "the role that Convoy connects as has no right to {lacks} in table {}; as its owner run: {remedy}",
                table.name
            ));
        }
    }
    Ok(warnings)
}

async fn left_over_tables(session: &mut Session, tables: &[&Table]) -> Result<Vec<String>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    // An engine that is only being opened knows no schema yet.
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session.ask(layout::left_over_tables(&names)).await?;
    rows.iter().map(|row| Ok(format!("table {} is not in the schema any more", row.text(0)?))).collect()
}

/// What keeps a table of the user's own from being used.
fn unfit_columns(table: &Table, found: &TableState) -> Vec<String> {
    let unfit = [("id", "uuid"), ("data", "jsonb")].into_iter().filter_map(|(column, needed)| {
        let (_, kind) = found.kinds.iter().find(|(name, _)| name == column)?;
        let message = format!("column {column} of table {} is {kind}; Convoy needs {needed}", table.name);
        (kind != needed).then_some(message)
    });
    unfit.collect()
}

fn missing_columns(table: &Table, found: &TableState) -> Option<String> {
    let lacking: Vec<&str> = ["id", "created_at", "data"]
        .into_iter()
        // A table of the user's own needs no creation times.
        .filter(|name| table.managed || *name != "created_at")
        .filter(|name| !found.kinds.iter().any(|(column, _)| column == name))
        .collect();
    (!lacking.is_empty()).then(|| format!("table {} has no column {}", table.name, lacking.join(", ")))
}

async fn standing(session: &mut Session, tables: &[&Table]) -> Result<HashMap<String, TableState>, DbError> {
    let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
    let rows = session.ask(layout::catalog(&names)).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), TableState::of(row)?))).collect()
}
