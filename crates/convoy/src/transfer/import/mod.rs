//! Imports the documents of an archive with their ids and times.
//!
//! A thread reads the files in batches; the caller validates each against the schema, and
//! what fits is written in one statement. Documents that are there already are compared and
//! not written again, so an interrupted import is continued by repeating it. No line is
//! lost: what cannot be stored is in the file of rejected lines.

mod plan;
mod read;
mod rejects;
mod write;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use super::{Tools, TransferError, on_thread};
use crate::postgres::Bulk;
use crate::schema::Table;
use plan::{Plan, PlannedFile};
use read::{Batch, BatchSource};
use rejects::Rejects;

/// The batches that are read ahead.
const PREFETCH: usize = 2;

/// The options of an import, as JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportOptions {
    /// A folder, a tar file, or a zip file of Convex's.
    from: PathBuf,
    /// The tables to import; all without it.
    tables: Option<Vec<String>>,
    /// Overwrites documents that exist and differ.
    #[serde(default)]
    replace: bool,
    /// Validates, and writes nothing.
    #[serde(default)]
    dry_run: bool,
    /// The file for rejected lines.
    rejects: PathBuf,
    /// The file for the new ids of documents from Convex.
    ids: PathBuf,
}

/// The result of an import.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    /// In the order of the import.
    tables: Vec<ImportedTable>,
    /// The first rejected lines.
    rejected: Vec<rejects::Rejection>,
    /// Where all of them are, if there are any.
    rejects_file: Option<PathBuf>,
    /// The new ids of documents from Convex.
    ids_file: Option<PathBuf>,
    /// Files of the archive that were not imported.
    ignored: Vec<String>,
}

/// The counts of one table.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportedTable {
    table: String,
    /// Its lines.
    lines: u64,
    /// Documents that were written; with `dryRun`, that could be.
    written: u64,
    /// Documents that were there already, with the same content.
    unchanged: u64,
    /// Lines that are in the file of rejected lines.
    rejected: u64,
}

/// The documents of a batch that do not fit the schema, by their position, with the reasons.
#[derive(Debug, Deserialize)]
pub struct Verdict {
    /// The number of the batch.
    batch: u64,
    /// Positions in the batch, increasing.
    rejected: Vec<(usize, String)>,
}

/// A running import.
pub struct Import {
    tables: Vec<Arc<Table>>,
    files: Vec<PlannedFile>,
    ignored: Vec<String>,
    ids_file: Option<PathBuf>,
    replace: bool,
    dry_run: bool,
    batches: Mutex<BatchSource>,
    /// Batches that are being validated, by their numbers.
    pending: Mutex<HashMap<u64, Batch>>,
    output: Mutex<Output>,
}

struct Output {
    bulk: Bulk,
    rejects: Rejects,
    counts: Vec<ImportedTable>,
}

impl Tools {
    /// Checks the archive, its checksums included, and begins to read it.
    pub async fn import(&self, options: ImportOptions) -> Result<Import, TransferError> {
        let ImportOptions { from, tables, replace, dry_run, rejects, ids } = options;
        let (schema, progress, to) = (self.schema.clone(), self.progress.clone(), ids.clone());
        let plan = on_thread(move || Plan::make(&from, tables.as_deref(), &schema, &to, &progress)).await?;
        let Plan { archive, format, files, ignored, has_ids_file } = plan;
        let names: Vec<String> = files.iter().map(|file| file.table.clone()).collect();
        self.tables(Some(&names)).await?;
        let tables = names.iter().map(|name| self.table(name)).collect::<Result<Vec<_>, _>>()?;
        let counts = names.into_iter().map(|table| ImportedTable { table, ..ImportedTable::default() }).collect();
        let bulk = self.postgres.bulk().await?;
        let rejects = on_thread(move || Rejects::open(rejects)).await?;
        let (send, batches) = mpsc::channel(PREFETCH);
        let read = files.clone();
        let reading = tokio::task::spawn_blocking(move || read::read(&archive, &format, &read, &send));
        Ok(Import {
            tables,
            files,
            ignored,
            ids_file: has_ids_file.then_some(ids),
            replace,
            dry_run,
            batches: Mutex::new(BatchSource { batches, reading: Some(reading) }),
            pending: Mutex::default(),
            output: Mutex::new(Output { bulk, rejects, counts }),
        })
    }

    /// The next batch to validate, as JSON: `{"batch","table","documents":[…]}`. `None` at the end.
    pub async fn next_batch(&self, import: &Import) -> Result<Option<String>, TransferError> {
        let Some(batch) = import.batches.lock().await.next().await? else { return Ok(None) };
        if batch.is_first {
            self.progress.begin("importing", &import.files[batch.file].table, Some(import.files[batch.file].lines));
        }
        let mut json = format!(r#"{{"batch":{},"table":"#, batch.number);
        // Writing to a string cannot fail.
        let _ = write!(json, "{}", serde_json::Value::from(import.files[batch.file].table.as_str()));
        json.push_str(r#","documents":["#);
        for (at, line) in batch.lines.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            json.push_str(&line.document.data);
        }
        json.push_str("]}");
        import.pending.lock().await.insert(batch.number, batch);
        Ok(Some(json))
    }

    /// Writes the documents of a batch that fit.
    pub async fn write_batch(&self, import: &Import, verdict: Verdict) -> Result<(), TransferError> {
        let batch = import.pending.lock().await.remove(&verdict.batch);
        let batch = batch.ok_or_else(|| TransferError::Refused("A batch was written twice.".into()))?;
        let mut output = import.output.lock().await;
        let lines = batch.lines.len() + batch.broken.len();
        output.write(import, batch, verdict.rejected).await?;
        self.progress.add(lines);
        Ok(())
    }

    /// Ends an import whose batches have all been written.
    pub async fn end_import(&self, import: &Import) -> Result<ImportReport, TransferError> {
        let mut output = import.output.lock().await;
        let rejected = output.rejects.first().to_vec();
        Ok(ImportReport {
            tables: output.counts.clone(),
            rejected,
            rejects_file: output.rejects.close()?,
            ids_file: import.ids_file.clone(),
            ignored: import.ignored.clone(),
        })
    }
}
