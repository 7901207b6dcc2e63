//! Reads the documents of a table for a check in JavaScript: all, or a random sample.

use std::fmt::Write;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::{Tools, TransferError};
use crate::postgres::StoredRow;
use crate::sql::transfer::{self, Rows};

/// The chunks that are read ahead.
const PREFETCH: usize = 2;
/// How many times the rows of a sample are read, since blocks have different numbers of rows.
const SURPLUS: u64 = 3;

/// A running read.
pub struct Scan {
    is_whole: bool,
    state: Mutex<State>,
}

struct State {
    chunks: mpsc::Receiver<Vec<StoredRow>>,
    /// The task that reads; gone once it has ended.
    reading: Option<JoinHandle<Result<(), TransferError>>>,
}

impl Tools {
    /// Begins to read a table. With `sample`, a table of more documents than that is sampled.
    pub async fn scan(&self, table: &str, sample: Option<u64>) -> Result<Scan, TransferError> {
        let tables = self.tables(Some(std::slice::from_ref(&table.to_owned()))).await?;
        let table = Arc::clone(&tables[0]);
        let mut bulk = self.postgres.bulk().await?;
        let rows = bulk.run(transfer::estimate(&table)).await?;
        let total = u64::try_from(rows.first().map_or(Ok(0), |row| row.int8(0))?).unwrap_or(0);
        let rows = match sample {
            Some(limit) if total > limit => Rows::Sample { limit, percent: (100 * SURPLUS * limit).div_ceil(total) },
            _ => Rows::After(None),
        };
        self.progress.begin("checking", &table.name, Some(sample.map_or(total, |limit| limit.min(total))));
        let (send, chunks) = mpsc::channel(PREFETCH);
        let reading = tokio::spawn(async move {
            bulk.begin_snapshot().await?;
            bulk.copy(&table, rows, &send).await?;
            Ok(())
        });
        let is_whole = matches!(rows, Rows::After(_));
        Ok(Scan { is_whole, state: Mutex::new(State { chunks, reading: Some(reading) }) })
    }

    /// The next documents of a scan as JSON, `[[id,data],…]` with bare uuids; `None` at the end.
    pub async fn next_documents(&self, scan: &Scan) -> Result<Option<String>, TransferError> {
        let mut state = scan.state.lock().await;
        let Some(chunk) = state.chunks.recv().await else {
            if let Some(reading) = state.reading.take() {
                match reading.await {
                    Ok(result) => result?,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
            return Ok(None);
        };
        self.progress.add(chunk.len());
        let mut json = String::from("[");
        for row in &chunk {
            // Writing to a string cannot fail.
            let _ = write!(json, "{}[\"{}\",{}]", if json.len() > 1 { "," } else { "" }, row.id, row.data);
        }
        json.push(']');
        Ok(Some(json))
    }
}

impl Scan {
    /// Whether it reads all documents of the table.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}
