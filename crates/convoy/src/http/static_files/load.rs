//! Reads a folder into memory. What is left out: hidden files, symbolic links, source maps,
//! and names that are not text.

use std::collections::HashMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use super::{File, StaticFiles, names};
use crate::config::Limits;

/// The only hidden folder that is served (RFC 8615), at the top.
const WELL_KNOWN: &str = ".well-known";

/// The reason that a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StaticError {
    /// There is no such folder.
    #[error(
        "There is no folder {} to serve static files from; build the front end first, for example with `vite build`, \
         or correct `static`.",
        .0.display()
    )]
    Missing(PathBuf),
    /// It has no files.
    #[error("The folder of static files {} is empty; build the front end first, for example with `vite build`.", .0.display())]
    Empty(PathBuf),
    /// It is too large.
    #[error(
        "The folder of static files {} is too large: it has more than {max_bytes} bytes (limits.staticBytes) or \
         {max_files} files (limits.staticFiles), which would stay in memory. Serve large files from elsewhere, such as an \
         object store.",
        .folder.display()
    )]
    TooLarge {
        /// The folder.
        folder: PathBuf,
        /// The size that all files may have together.
        max_bytes: u64,
        /// The number of files that it may have.
        max_files: usize,
    },
    /// A file or folder cannot be read.
    #[error("The static file {} cannot be read: {cause}.", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        cause: io::Error,
    },
    /// The API has all paths.
    #[error("Static files need a base path of the API other than `/`, such as the default `/api`; change `basePath`.")]
    NoBasePath,
    /// The process ends.
    #[error("The static files were not read, because the process ends.")]
    Stopped,
}

/// Reads a folder. Paths below `base_path` belong to the API.
pub(super) fn read(folder: &Path, base_path: String, limits: &Limits) -> Result<StaticFiles, StaticError> {
    if base_path.is_empty() {
        return Err(StaticError::NoBasePath);
    }
    // The folder itself may be a link to the current release.
    if !fs::metadata(folder).is_ok_and(|found| found.is_dir()) {
        return Err(StaticError::Missing(folder.to_owned()));
    }
    let mut reading = Reading { folder, limits, files: HashMap::new(), bytes: 0, left_out: Vec::new() };
    reading.read_folder(folder, "")?;
    let Reading { files, left_out, .. } = reading;
    if files.is_empty() {
        return Err(StaticError::Empty(folder.to_owned()));
    }
    if let Some(first) = left_out.first() {
        tracing::warn!("{} symbolic links among the static files are not served, such as {first}", left_out.len());
    }
    if let Some(path) = files.keys().find(|path| names::is_below(path, &base_path)) {
        tracing::warn!("the static file {path} is not served: paths below {base_path} belong to the API");
    }
    Ok(StaticFiles { files, base_path })
}

struct Reading<'a> {
    folder: &'a Path,
    limits: &'a Limits,
    files: HashMap<String, File>,
    bytes: u64,
    left_out: Vec<String>,
}

impl Reading<'_> {
    /// Reads one folder, and those in it. `prefix` is its path with a slash at the end.
    fn read_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), StaticError> {
        let unreadable = |cause| StaticError::Unreadable { path: folder.to_owned(), cause };
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            self.read_entry(&entry.map_err(unreadable)?, prefix)?;
        }
        Ok(())
    }

    fn read_entry(&mut self, entry: &DirEntry, prefix: &str) -> Result<(), StaticError> {
        let unreadable = |cause| StaticError::Unreadable { path: entry.path(), cause };
        // `file_type` and `metadata` of an entry do not follow links.
        let kind = entry.file_type().map_err(unreadable)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return Ok(()) };
        if name.starts_with('.') && !(prefix.is_empty() && name == WELL_KNOWN && kind.is_dir()) {
            return Ok(());
        }
        let path = format!("{prefix}{name}");
        if kind.is_symlink() {
            self.left_out.push(path);
            return Ok(());
        }
        if kind.is_dir() {
            return self.read_folder(&entry.path(), &format!("{path}/"));
        }
        let is_map = Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("map"));
        if !kind.is_file() || is_map {
            return Ok(());
        }
        // Before it is read: the file may be larger than memory.
        self.count(entry.metadata().map_err(unreadable)?.len())?;
        let bytes = fs::read(entry.path()).map_err(unreadable)?;
        self.files.insert(path.clone(), File::new(&path, bytes.into()));
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), StaticError> {
        self.bytes = self.bytes.saturating_add(bytes);
        let Limits { static_bytes: max_bytes, static_files: max_files, .. } = *self.limits;
        if self.bytes > max_bytes || self.files.len() >= max_files {
            return Err(StaticError::TooLarge { folder: self.folder.to_owned(), max_bytes, max_files });
        }
        Ok(())
    }
}
