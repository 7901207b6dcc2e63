//! Moves all documents of a database to and from files, and reads them for checks:
//! what the commands `export`, `import`, `check` and `doctor` do.
//!
//! Works without a running engine. Memory is bounded: documents move in batches, and
//! the next one is read when the previous one was taken.

mod archive;
mod convex;
mod export;
mod import;
mod lines;
mod manifest;
mod scan;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use export::{ExportOptions, ExportReport};
pub use import::{Import, ImportOptions, ImportReport, Verdict};
pub use scan::Scan;

use crate::config::Config;
use crate::error::{Code, Failure};
use crate::postgres::{DbError, Diagnosis, Drift, Postgres, Tracking};
use crate::schema::{Schema, SchemaDescription, SchemaError, Table};
use crate::telemetry::Metrics;

/// How long the catalog may take to answer.
const CATALOG_TIME: Duration = Duration::from_secs(30);

/// The database and schema that a command works on, as JSON: `{"databaseUrl","schema"}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolsOptions {
    database_url: String,
    schema: SchemaDescription,
}

/// A database opened for commands. Opening it changes nothing.
#[derive(Clone)]
pub struct Tools {
    postgres: Postgres,
    schema: Arc<Schema>,
    progress: Progress,
}

/// The reason that a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The database failed.
    #[error("{}", .0.to_failure("this command").message)]
    Database(#[from] DbError),
    /// The schema was refused.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The request cannot be carried out; the message states what to change.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read or written.
    #[error("{} cannot be {action}: {source}.", .path.display())]
    File {
        /// `read` or `written`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl TransferError {
    /// The failure for the person who runs the command; its message includes the cause.
    pub fn to_failure(&self) -> Failure {
        match self {
            TransferError::Database(error) => {
                let failure = error.to_failure("this command");
                match error {
                    DbError::Address(_) | DbError::Setup(_) => failure,
                    _ => failure.with_cause(&error.cause()),
                }
            }
            TransferError::Schema(_) | TransferError::Refused(_) => Failure::new(Code::InvalidArgs, self.to_string()),
            TransferError::File { .. } => Failure::new(Code::Unavailable, self.to_string()),
        }
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.to_owned();
    move |source| TransferError::File { action: "read", path, source }
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.to_owned();
    move |source| TransferError::File { action: "written", path, source }
}

/// Runs blocking work on files. A panic in it is ours and is passed on.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The step of a command in progress, for display.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Step {
    /// `reading`, `writing`, ….
    pub action: &'static str,
    /// The table it is about.
    pub table: String,
    /// The documents of this table so far.
    pub documents: u64,
    /// About how many there are, where that is known.
    pub total: Option<u64>,
}

#[derive(Clone, Default)]
struct Progress(Arc<Mutex<Step>>);

impl Progress {
    fn begin(&self, action: &'static str, table: &str, total: Option<u64>) {
        *self.0.lock() = Step { action, table: table.to_owned(), documents: 0, total };
    }

    fn add(&self, documents: usize) {
        self.0.lock().documents += documents as u64;
    }
}

impl Tools {
    /// Connects to the database.
    pub async fn open(options: ToolsOptions) -> Result<Tools, TransferError> {
        let schema = Arc::new(Schema::parse(options.schema)?);
        let postgres = Postgres::open(&config_for(&options.database_url), &Metrics::default()).await?;
        Ok(Tools { postgres, schema, progress: Progress::default() })
    }

    /// The step in progress.
    pub fn progress(&self) -> Step {
        self.progress.0.lock().clone()
    }

    /// The differences between the schema and the database.
    pub async fn drift(&self) -> Result<Drift, TransferError> {
        Ok(self.postgres.drift(&self.schema).await?)
    }

    /// The server, the connection and the privileges of the role.
    pub async fn diagnose(&self) -> Result<Diagnosis, TransferError> {
        Ok(self.postgres.diagnose(&self.schema).await?)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.postgres.close().await;
    }

    /// These tables, or all, in the order of their names; each exists in the database.
    async fn tables(&self, names: Option<&[String]>) -> Result<Vec<Arc<Table>>, TransferError> {
        let mut tables: Vec<Arc<Table>> = match names {
            None => self.schema.tables().cloned().collect(),
            Some(names) => names.iter().map(|name| self.table(name)).collect::<Result<_, _>>()?,
        };
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables.dedup_by(|a, b| a.name == b.name);
        let found = self.postgres.inspect_tables(CATALOG_TIME, &tables).await?;
        let absent = tables.iter().zip(found).filter(|(_, found)| *found == Tracking::Missing);
        let absent: Vec<&str> = absent.map(|(table, _)| table.name.as_str()).collect();
        if absent.is_empty() {
            return Ok(tables);
        }
        Err(TransferError::Refused(format!(
            "The database does not have the tables {}; create them first: npx convoy migrate",
            absent.join(", ")
        )))
    }

    fn table(&self, name: &str) -> Result<Arc<Table>, TransferError> {
        self.schema.table(name).cloned().ok_or_else(|| {
            let mut known: Vec<&str> = self.schema.tables().map(|table| table.name.as_str()).collect();
            known.sort_unstable();
            TransferError::Refused(format!("The schema has no table `{name}`; it has {}.", known.join(", ")))
        })
    }
}

fn config_for(database_url: &str) -> Config {
    let options = serde_json::json!({ "databaseUrl": database_url, "poolSize": 1 });
    serde_json::from_value(options).expect("these options are valid")
}
