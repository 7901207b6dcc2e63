//! The steps that bring a table up to date, and their description for people. A sync executes
//! them; a plan lists them and changes nothing.

use std::time::Duration;

use serde::Serialize;

use super::{TableState, logged_paths};
use crate::postgres::{DbError, Postgres};
use crate::schema::{BY_CREATION, Index, Table};
use crate::sql::{Statement, layout};

/// How long the search for duplicates of one unique index may take.
const DUPLICATES_TIMEOUT: Duration = Duration::from_secs(30);

/// One step for a table. They are executed in the order of [`steps_of`].
pub(super) enum Step<'a> {
    CreateTable,
    /// Drops an invalid index, which a failed build has left.
    DropBrokenIndex {
        name: String,
        concurrently: bool,
    },
    BuildIndex {
        index: &'a Index,
        concurrently: bool,
    },
    CreateTriggers,
}

/// The kinds of planned steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// Creates Convoy's own schema, or missing objects of it.
    System,
    /// Creates a table.
    Table,
    /// Builds an index.
    Index,
    /// Drops what a failed build of an index has left.
    Cleanup,
    /// Creates or replaces the triggers of a table.
    Triggers,
}

/// A step that the schema requires and that was not executed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// The kind of the step.
    pub kind: StepKind,
    /// The object it creates, such as `index messages.by_room`.
    pub name: String,
    /// The statements, for people to read.
    pub sql: Vec<String>,
    /// Of an index: whether two documents may not have the same values.
    pub unique: bool,
    /// Of an index: whether writers of the table go on while it is built.
    pub concurrently: bool,
    /// The estimated number of documents that it has to read; absent if that is not known.
    pub rows: Option<i64>,
    /// Of a unique index: how many values more than one document has, 1,000 at most; absent
    /// if they could not be counted in time.
    pub duplicates: Option<i64>,
}

impl PlannedStep {
    /// Whether the schema cannot be used without it.
    pub(crate) fn is_required(&self) -> bool {
        self.kind != StepKind::Cleanup
    }

    /// The step that creates these missing objects of `_convoy`.
    pub(super) fn system(missing: &[String]) -> PlannedStep {
        PlannedStep {
            name: format!("schema _convoy ({} objects)", missing.len()),
            sql: Vec::new(),
            ..PlannedStep::new(StepKind::System)
        }
    }

    fn new(kind: StepKind) -> PlannedStep {
        PlannedStep {
            kind,
            name: String::new(),
            sql: Vec::new(),
            unique: false,
            concurrently: false,
            rows: None,
            duplicates: None,
        }
    }
}

/// The steps that a managed table needs; `found` is its state, if it exists.
pub(super) fn steps_of<'a>(table: &'a Table, found: Option<&TableState>) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    match found {
        None => steps.push(Step::CreateTable),
        // Also those of other versions of the schema: an invalid index is never used, but
        // each write has to maintain it, or is rejected by it.
        Some(found) => {
            for name in found.broken_indexes.iter().filter(|name| layout::is_convoy_index(table, name)) {
                steps.push(Step::DropBrokenIndex { name: name.clone(), concurrently: !found.partitioned });
            }
        }
    }
    for index in table.indexes.iter().filter(|index| layout::needs_index(index)) {
        let name = layout::index_name(table, index);
        if !found.is_some_and(|found| found.indexes.contains(&name)) {
            steps.push(Step::BuildIndex { index, concurrently: found.is_some_and(|found| found.non_empty) });
        }
    }
    if !found.is_some_and(|found| found.logs(&logged_paths(table)) && found.are_guarded()) {
        steps.push(Step::CreateTriggers);
    }
    steps
}

/// Describes a step. Reads the size of the table, and counts the duplicates that would make
/// the build of a unique index fail.
pub(super) async fn describe(
    postgres: &Postgres,
    table: &Table,
    step: &Step<'_>,
    found: Option<&TableState>,
    role: &str,
) -> Result<PlannedStep, DbError> {
    let texts = |statements: Vec<Statement>| statements.iter().map(|each| each.text().to_owned()).collect();
    let described = |kind, name, statements| PlannedStep { name, sql: texts(statements), ..PlannedStep::new(kind) };
    Ok(match step {
        Step::CreateTable => {
            described(StepKind::Table, format!("table {}", table.name), vec![layout::create_table(table)])
        }
        Step::DropBrokenIndex { name, concurrently } => described(
            StepKind::Cleanup,
            format!("invalid index {name}"),
            vec![layout::drop_broken_index(name, *concurrently)],
        ),
        Step::CreateTriggers => described(
            StepKind::Triggers,
            format!("triggers of {}", table.name),
            layout::create_triggers(table, &logged_paths(table), role),
        ),
        Step::BuildIndex { index, concurrently } => {
            let name = match index.name.as_str() {
                BY_CREATION => format!("index {} by creation time", table.name),
                name => format!("index {}.{name}", table.name),
            };
            let statements = vec![layout::create_index(table, index, *concurrently)];
            let mut planned = described(StepKind::Index, name, statements);
            (planned.unique, planned.concurrently) = (index.unique, *concurrently);
            if found.is_some_and(|found| found.has_pages) {
                let rows = postgres.read_within(DUPLICATES_TIMEOUT, &layout::estimated_rows(table)).await?;
                planned.rows = rows.first().map_or(Ok(None), |row| row.int8_or_null(0))?;
                if index.unique {
                    planned.duplicates = count_duplicates(postgres, table, index).await?;
                }
            }
            planned
        }
    })
}

/// `None` if the table is too large to tell in time.
async fn count_duplicates(postgres: &Postgres, table: &Table, index: &Index) -> Result<Option<i64>, DbError> {
    match postgres.read_within(DUPLICATES_TIMEOUT, &layout::duplicates(table, index)).await {
        Ok(rows) => rows.first().map_or(Ok(None), |row| row.int8_or_null(0)),
        Err(error) if error.connection_lost() || matches!(error, DbError::Cancelled(_)) => {
            tracing::debug!(cause = %error.cause(), "duplicates could not be counted");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
