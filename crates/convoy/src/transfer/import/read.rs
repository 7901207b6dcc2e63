//! Reads the files of an archive in batches, on a thread.

use std::io::{self, BufRead};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::plan::PlannedFile;
use crate::sql::transfer::StoredDocument;
use crate::transfer::TransferError;
use crate::transfer::archive::Archive;
use crate::transfer::lines::{self, Format, Place};

/// A batch ends at this many documents, or bytes of lines.
const BATCH_DOCUMENTS: usize = 2_000;
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// A line whose document may fit.
pub(super) struct Line {
    /// Counted from 1.
    pub number: u64,
    /// As it is in the file.
    pub text: String,
    pub document: StoredDocument,
}

/// A line that is no document.
pub(super) struct BrokenLine {
    pub number: u64,
    pub text: String,
    pub reason: String,
}

/// Lines of one file.
pub(super) struct Batch {
    pub number: u64,
    /// Its index in the plan.
    pub file: usize,
    /// It is the first of its file.
    pub is_first: bool,
    pub lines: Vec<Line>,
    pub broken: Vec<BrokenLine>,
}

/// The receiving end of the thread.
pub(super) struct BatchSource {
    pub batches: mpsc::Receiver<Batch>,
    /// The thread; gone once it has ended.
    pub reading: Option<JoinHandle<Result<(), TransferError>>>,
}

impl BatchSource {
    /// The next batch. An error of the thread comes after the batches before it.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, TransferError> {
        if let Some(batch) = self.batches.recv().await {
            return Ok(Some(batch));
        }
        match self.reading.take() {
            None => Ok(None),
            Some(reading) => match reading.await {
                Ok(result) => result.map(|()| None),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
}

/// Reads all files. Ends early when the receiver is gone.
pub(super) fn read(
    archive: &Archive,
    format: &Format,
    files: &[PlannedFile],
    to: &mpsc::Sender<Batch>,
) -> Result<(), TransferError> {
    let mut batches = 0;
    for (file, planned) in files.iter().enumerate() {
        let mut reader = FileReader { format, planned, file, batches, line: 0, is_first: true };
        let is_read = archive.read(&planned.name, |input| reader.read(input, to))?;
        batches = reader.batches;
        if !is_read {
            break;
        }
    }
    Ok(())
}

struct FileReader<'a> {
    format: &'a Format,
    planned: &'a PlannedFile,
    file: usize,
    /// The batches of this and the files before.
    batches: u64,
    line: u64,
    is_first: bool,
}

impl FileReader<'_> {
    /// Whether the receiver took everything.
    fn read(&mut self, input: &mut dyn BufRead, to: &mpsc::Sender<Batch>) -> io::Result<bool> {
        loop {
            let (batch, is_last) = self.batch(input)?;
            let is_empty = batch.lines.is_empty() && batch.broken.is_empty();
            if !is_empty && to.blocking_send(batch).is_err() {
                return Ok(false);
            }
            if is_last {
                return Ok(true);
            }
        }
    }

    /// The next batch, and whether the file ends with it.
    fn batch(&mut self, input: &mut dyn BufRead) -> io::Result<(Batch, bool)> {
        let is_first = std::mem::take(&mut self.is_first);
        let mut batch =
            Batch { number: self.batches, file: self.file, is_first, lines: Vec::new(), broken: Vec::new() };
        self.batches += 1;
        let mut bytes = 0;
        let mut line = Vec::new();
        while bytes < BATCH_BYTES && batch.lines.len() + batch.broken.len() < BATCH_DOCUMENTS {
            line.clear();
            let read = input.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok((batch, true));
            }
            bytes += read;
            self.line += 1;
            let number = self.line;
            match self.parse(&line) {
                // Editors add an empty line at the end.
                Ok(None) => {}
                Ok(Some(document)) => {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    batch.lines.push(Line { number, text, document });
                }
                Err(reason) => {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    batch.broken.push(BrokenLine { number, text, reason });
                }
            }
        }
        Ok((batch, false))
    }

    fn parse(&self, line: &[u8]) -> Result<Option<StoredDocument>, String> {
        let text = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let PlannedFile { table, sha256, .. } = self.planned;
        lines::parse(self.format, &Place { table, file: sha256, line: self.line }, text).map(Some)
    }
}
