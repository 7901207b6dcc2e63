//! The file of rejected lines: each with its place, the reason, and its text.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::transfer::{TransferError, unwritable};

/// How many rejections a report lists.
const LISTED: usize = 20;

/// One rejected line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rejection {
    /// The file in the archive.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// The table's name in the schema.
    pub table: String,
    /// For people.
    pub reason: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    rejection: &'a Rejection,
    text: &'a str,
}

/// See the module.
pub(super) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    first: Vec<Rejection>,
}

impl Rejects {
    /// Removes the file of an earlier import; a new one is created by the first rejection.
    pub(super) fn open(path: PathBuf) -> Result<Rejects, TransferError> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(&path)(error)),
            _ => Ok(Rejects { path, file: None, first: Vec::new() }),
        }
    }

    /// The first ones.
    pub(super) fn first(&self) -> &[Rejection] {
        &self.first
    }

    /// Adds a line.
    pub(super) fn add(&mut self, rejection: Rejection, text: &str) -> Result<(), TransferError> {
        let mut write = || {
            if self.file.is_none() {
                self.file = Some(BufWriter::new(File::create(&self.path)?));
            }
            let Some(file) = &mut self.file else { return Ok(()) };
            serde_json::to_writer(&mut *file, &Entry { rejection: &rejection, text })?;
            file.write_all(b"\n")
        };
        write().map_err(unwritable(&self.path))?;
        if self.first.len() < LISTED {
            self.first.push(rejection);
        }
        Ok(())
    }

    /// Makes sure that all lines added so far are in the file.
    pub(super) fn flush(&mut self) -> Result<(), TransferError> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush).map_err(unwritable(&self.path))
    }

    /// Ends the file; its path, if there is one.
    pub(super) fn close(&mut self) -> Result<Option<PathBuf>, TransferError> {
        self.flush()?;
        Ok(self.file.take().map(|_file| self.path.clone()))
    }
}
