//! Writes tables to files of JSON lines, from one snapshot of the database.
//!
//! A table is written to `<file>.partial`, in the order of the ids, and renamed when it is
//! complete. An interrupted export continues after the last complete line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::manifest::{Content, ExportedTable, MANIFEST, Manifest};
use super::{Tools, TransferError, lines, on_thread, unreadable, unwritable};
use crate::postgres::{Bulk, StoredRow};
use crate::schema::Table;
use crate::sql::transfer::{self, Rows};

/// The chunks of rows that wait for the disk.
const QUEUED_CHUNKS: usize = 4;

/// The options of an export, as JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportOptions {
    /// A folder, or a file whose name ends with `.tar`.
    to: PathBuf,
    /// The tables to export; all without it.
    tables: Option<Vec<String>>,
    /// Replaces an export that is there.
    #[serde(default)]
    force: bool,
}

/// The result of an export.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportReport {
    /// Where it was written.
    to: PathBuf,
    /// The tables with their counts and checksums.
    tables: Vec<ExportedTable>,
    /// It continued an interrupted export, so that its tables are of several snapshots.
    resumed: bool,
    /// Columns that are not part of documents and were left out.
    left_out: Vec<String>,
}

impl Tools {
    /// Exports tables.
    pub async fn export(&self, options: ExportOptions) -> Result<ExportReport, TransferError> {
        let tables = self.tables(options.tables.as_deref()).await?;
        let tar = options.to.extension().is_some_and(|extension| extension == "tar");
        let folder = if tar { with_suffix(&options.to, ".partial") } else { options.to.clone() };
        if tar && options.to.exists() && !options.force {
            return Err(exists(&options.to));
        }
        let fresh = Manifest::new(tables.iter().map(|table| table.name.as_str()));
        let (mut manifest, resumed) = prepare(&folder, fresh, options.force)?;
        let mut bulk = self.postgres.bulk().await?;
        bulk.begin_snapshot().await?;
        let rows = bulk.fetch(transfer::now()).await?;
        manifest.snapshots.push(rows.first().map_or(Ok(""), |row| row.text(0))?.to_owned());
        manifest.save(&folder)?;
        let names: Vec<&str> = tables.iter().map(|table| table.physical.as_str()).collect();
        let columns = bulk.fetch(transfer::other_columns(&names)).await?;
        let left_out = columns.iter().map(|row| Ok(format!("{}.{}", row.text(0)?, row.text(1)?)));
        let left_out = left_out.collect::<Result<Vec<String>, TransferError>>()?;
        for (at, table) in tables.iter().enumerate() {
            if manifest.tables[at].content.is_some() {
                continue;
            }
            let file = folder.join(&manifest.tables[at].file);
            manifest.tables[at].content = Some(self.export_table(&mut bulk, table, file).await?);
            manifest.save(&folder)?;
        }
        bulk.end_snapshot().await?;
        manifest.complete = true;
        manifest.save(&folder)?;
        if tar {
            self.progress.begin("packing", "", None);
            let (to, packed) = (options.to.clone(), manifest.clone());
            on_thread(move || pack(&folder, &packed, &to)).await?;
        }
        Ok(ExportReport { to: options.to, tables: manifest.tables, resumed, left_out })
    }

    async fn export_table(&self, bulk: &mut Bulk, table: &Table, file: PathBuf) -> Result<Content, TransferError> {
        let rows = bulk.fetch(transfer::estimate(table)).await?;
        let total = rows.first().map_or(Ok(0), |row| row.int8(0))?;
        self.progress.begin("exporting", &table.name, u64::try_from(total).ok());
        let partial = with_suffix(&file, ".partial");
        let (path, name) = (partial.clone(), table.name.clone());
        let output = on_thread(move || Output::open(&path, &name).map_err(unwritable(&path))).await?;
        self.progress.add(usize::try_from(output.documents).unwrap_or(usize::MAX));
        let last = output.last;
        let (send, receive) = mpsc::channel(QUEUED_CHUNKS);
        let progress = self.progress.clone();
        let writing = tokio::task::spawn_blocking(move || write(output, receive, |written| progress.add(written)));
        let copied = bulk.copy(table, Rows::After(last), &send).await;
        drop(send);
        let content = match writing.await {
            Ok(written) => written.map_err(unwritable(&partial))?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        copied?;
        fs::rename(&partial, &file).map_err(unwritable(&file))?;
        Ok(content)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn exists(path: &Path) -> TransferError {
    TransferError::Refused(format!(
        "{} holds a complete export already; name another place, or replace it with --force.",
        path.display()
    ))
}

/// Makes the folder ready: the manifest to go on with, and whether it continues one.
fn prepare(folder: &Path, fresh: Manifest, force: bool) -> Result<(Manifest, bool), TransferError> {
    fs::create_dir_all(folder).map_err(unwritable(folder))?;
    let Some(found) = Manifest::load(folder)? else {
        let mut entries = fs::read_dir(folder).map_err(unreadable(folder))?;
        if entries.next().is_some() {
            return Err(TransferError::Refused(format!(
                "{} is not empty and holds no export; name a new folder.",
                folder.display()
            )));
        }
        return Ok((fresh, false));
    };
    let names = |manifest: &Manifest| manifest.tables.iter().map(|each| each.table.clone()).collect::<Vec<_>>();
    if !force && found.complete {
        return Err(exists(folder));
    }
    if !force && names(&found) != names(&fresh) {
        return Err(TransferError::Refused(format!(
            "{} holds an interrupted export of other tables ({}); name another place, or replace it with --force.",
            folder.display(),
            names(&found).join(", ")
        )));
    }
    if !force {
        return Ok((found, true));
    }
    // The manifest goes first: what is left without it is not taken for an export.
    for name in std::iter::once(MANIFEST).chain(found.tables.iter().map(|each| each.file.as_str())) {
        for file in [folder.join(name), with_suffix(&folder.join(name), ".partial")] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(&file)(error)),
                _ => {}
            }
        }
    }
    Ok((fresh, false))
}

/// A file of lines that is being written.
struct Output {
    file: BufWriter<File>,
    table: String,
    hash: Sha256,
    documents: u64,
    bytes: u64,
    /// The id in its last line.
    last: Option<Uuid>,
}

impl Output {
    /// Opens a new file, or one that was interrupted, and removes the incomplete line at its end.
    fn open(path: &Path, table: &str) -> io::Result<Output> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut reader = BufReader::new(&file);
        let (mut hash, mut documents, mut bytes, mut last) = (Sha256::new(), 0, 0, None);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            let Some(id) = lines::id_of_row(&line) else { break };
            last = Some(id);
            hash.update(&line);
            documents += 1;
            bytes += line.len() as u64;
            line.clear();
        }
        file.set_len(bytes)?;
        Ok(Output { file: BufWriter::new(file), table: table.to_owned(), hash, documents, bytes, last })
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.hash.update(line);
        self.documents += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// Writes rows until there are no more. Ends early at an error, which ends the sender too.
fn write(mut output: Output, mut rows: mpsc::Receiver<Vec<StoredRow>>, written: impl Fn(usize)) -> io::Result<Content> {
    let mut line = Vec::new();
    while let Some(chunk) = rows.blocking_recv() {
        for row in &chunk {
            line.clear();
            lines::write_row(&mut line, &output.table, row)?;
            output.line(&line)?;
        }
        output.file.flush()?;
        written(chunk.len());
    }
    output.file.get_ref().sync_all()?;
    let sha256 = super::archive::hex(&output.hash.finalize());
    Ok(Content { documents: output.documents, bytes: output.bytes, sha256 })
}

/// Packs a complete folder into a tar file and removes the folder.
fn pack(folder: &Path, manifest: &Manifest, to: &Path) -> Result<(), TransferError> {
    let draft = with_suffix(to, ".new");
    let packed = || {
        let mut tar = tar::Builder::new(BufWriter::new(File::create(&draft)?));
        for name in std::iter::once(MANIFEST).chain(manifest.tables.iter().map(|each| each.file.as_str())) {
            tar.append_path_with_name(folder.join(name), name)?;
        }
        let file = tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&draft, to)
    };
    packed().map_err(unwritable(to))?;
    fs::remove_dir_all(folder).map_err(unwritable(folder))
}
