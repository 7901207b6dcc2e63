//! The manifest of an export: its tables with their files, counts and checksums. It is
//! written before the first table and after each one, so that an interrupted export can
//! be continued.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::{TransferError, unreadable, unwritable};

/// The file's name.
pub(super) const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "convoy-export";
const VERSION: u32 = 1;
/// Bytes that all file systems take in names.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    format: String,
    version: u32,
    /// All tables are finished.
    pub complete: bool,
    /// When the database was read: once, and once more for each continuation.
    pub snapshots: Vec<String>,
    /// In the order in which they are written.
    pub tables: Vec<ExportedTable>,
}

/// The file of one table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExportedTable {
    /// The table's name in the schema.
    pub table: String,
    /// The file's name in the archive.
    pub file: String,
    /// `None` until the table is finished.
    pub content: Option<Content>,
}

/// The content of a finished file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    /// Its lines.
    pub documents: u64,
    /// Its size.
    pub bytes: u64,
    /// Its checksum, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of an export that begins.
    pub(super) fn new<'a>(tables: impl Iterator<Item = &'a str>) -> Manifest {
        let mut files: Vec<String> = Vec::new();
        let tables = tables.map(|table| {
            let name = utf8_percent_encode(table, ESCAPED).to_string();
            // Some file systems ignore case.
            let taken = files.iter().filter(|file| file.eq_ignore_ascii_case(&name)).count();
            files.push(name.clone());
            let file = if taken == 0 { format!("{name}.jsonl") } else { format!("{name}.{taken}.jsonl") };
            ExportedTable { table: table.to_owned(), file, content: None }
        });
        let tables = tables.collect();
        Manifest { format: FORMAT.to_owned(), version: VERSION, complete: false, snapshots: Vec::new(), tables }
    }

    /// The manifest in a folder, if there is one.
    pub(super) fn load(folder: &Path) -> Result<Option<Manifest>, TransferError> {
        let file = folder.join(MANIFEST);
        match fs::read(&file) {
            Ok(bytes) => Manifest::parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&file)(error)),
        }
    }

    /// Parses a manifest and checks its version.
    pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, TransferError> {
        let foreign =
            |why: String| TransferError::Refused(format!("{MANIFEST} is not that of a Convoy export: {why}."));
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(foreign(format!("its format is `{}`", manifest.format)));
        }
        if manifest.version != VERSION {
            return Err(TransferError::Refused(format!(
                "The export has format version {}, and this Convoy reads version {VERSION}; use the version of Convoy \
                 that wrote it.",
                manifest.version
            )));
        }
        Ok(manifest)
    }

    /// Replaces the manifest in a folder atomically.
    pub(super) fn save(&self, folder: &Path) -> Result<(), TransferError> {
        let (file, draft) = (folder.join(MANIFEST), folder.join("manifest.json.new"));
        let write = || {
            let mut out = File::create(&draft)?;
            serde_json::to_writer_pretty(&mut out, self)?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            fs::rename(&draft, &file)
        };
        write().map_err(unwritable(&file))
    }
}
