//! Executes the steps of a schema sync for one table, without blocking its writers for long.
//!
//! A statement that waits for a lock on a table makes all later writers of the table wait
//! behind it. So it waits for a short time only, and is tried again after a pause.

use std::time::Duration;

use super::steps::Step;
use super::{LayoutReport, logged_paths};
use crate::postgres::{DbError, PgSession, Postgres};
use crate::schema::{BY_CREATION, Index, Table};
use crate::sql::{Statement, layout};

/// How often the progress of a long index build is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before another attempt to lock a table.
const TABLE_LOCK_PAUSE: Duration = Duration::from_secs(1);
/// How often a table is tried to be locked, each time for [`layout::begin_with_lock_timeout`].
const TABLE_LOCK_ATTEMPTS: u32 = 60;

/// Creates the missing objects of one table.
pub(super) struct Builder<'a> {
    pub postgres: &'a Postgres,
    pub session: &'a mut PgSession,
    pub table: &'a Table,
}

impl Builder<'_> {
    /// Executes the steps in their order.
    pub(super) async fn run(mut self, steps: &[Step<'_>], report: &mut LayoutReport) -> Result<(), DbError> {
        let table = self.table;
        for step in steps {
            match step {
                Step::CreateTable => {
                    self.session.execute(layout::create_table(table)).await?;
                    report.created.push(format!("table {}", table.name));
                }
                Step::DropBrokenIndex { name, concurrently } => {
                    self.session.execute(layout::drop_broken_index(name, *concurrently)).await?;
                }
                Step::BuildIndex { index, concurrently } => {
                    self.build_index(index, *concurrently).await?;
                    if index.name != BY_CREATION {
                        report.created.push(format!("index {}.{}", table.name, index.name));
                    }
                }
                Step::CreateTriggers => {
                    let rows = self.session.fetch_autocommit(layout::role()).await?;
                    let role = rows.first().ok_or_else(|| DbError::Row("no role".into()))?.text(0)?.to_owned();
                    self.execute_locking(|| layout::create_triggers(table, &logged_paths(table), &role)).await?;
                }
            }
        }
        Ok(())
    }

    /// Builds an index, and drops the invalid index of a failed build.
    async fn build_index(&mut self, index: &Index, concurrently: bool) -> Result<(), DbError> {
        let table = self.table;
        if !concurrently {
            let result = self.execute_locking(|| vec![layout::create_index(table, index, false)]).await;
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

    /// Executes statements that lock the table, in one transaction. While the lock is not free,
    /// the holders are logged, and the transaction is tried again.
    async fn execute_locking(&mut self, statements: impl Fn() -> Vec<Statement>) -> Result<(), DbError> {
        for attempt in 1.. {
            match self.execute_together(statements()).await {
                Err(error) if attempt < TABLE_LOCK_ATTEMPTS && error.is_lock_timeout() => self.log_lock_holders().await,
                result => return result,
            }
            tokio::time::sleep(TABLE_LOCK_PAUSE).await;
        }
        Ok(())
    }

    async fn execute_together(&mut self, statements: Vec<Statement>) -> Result<(), DbError> {
        self.session.execute(layout::begin_with_lock_timeout()).await?;
        for statement in statements {
            if let Err(error) = self.session.execute(statement).await {
                if !error.connection_lost() {
                    self.session.end("rollback").await?;
                }
                return Err(error);
            }
        }
        self.session.end("commit").await
    }

    async fn log_lock_holders(&mut self) {
        let table = &self.table.name;
        match self.session.fetch_autocommit(layout::lock_holders(self.table)).await {
            Ok(rows) => {
                let holders: Vec<&str> = rows.iter().filter_map(|row| row.text(0).ok()).collect();
                let holders = if holders.is_empty() { "another session".to_owned() } else { holders.join("; ") };
                tracing::info!("waiting for a lock on table {table}, held by {holders}");
            }
            Err(error) => tracing::debug!(cause = %error.cause(), "the holders of a lock cannot be read"),
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
