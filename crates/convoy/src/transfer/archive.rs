//! Reads the files of an archive: a folder, a tar file, or a zip file.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::manifest::MANIFEST;
use super::{TransferError, unreadable};

/// The bytes that are read from a file at once.
const BUFFER: usize = 256 * 1024;

/// An archive and the names of its files, with `/` between folders.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    path: PathBuf,
    files: Vec<ArchivedFile>,
}

#[derive(Debug, Clone)]
struct ArchivedFile {
    name: String,
    place: FilePlace,
}

#[derive(Debug, Clone)]
enum FilePlace {
    Folder(PathBuf),
    Tar { offset: u64, size: u64 },
    Zip(usize),
}

impl Archive {
    /// Lists the files. Where all of an export is in one folder of the archive, names are relative to that.
    pub(super) fn open(path: &Path) -> Result<Archive, TransferError> {
        let is_folder = fs::metadata(path).map_err(unreadable(path))?.is_dir();
        let mut files = if is_folder {
            let mut files = Vec::new();
            list_folder(path, "", &mut files).map_err(unreadable(path))?;
            files
        } else if path.extension().is_some_and(|extension| extension == "zip") {
            list_zip(path)?
        } else {
            list_tar(path).map_err(|source| {
                let why = format!("it is neither a folder, nor a tar or zip file ({source})");
                TransferError::Refused(format!("{} cannot be imported: {why}.", path.display()))
            })?
        };
        let nested: Vec<String> =
            files.iter().filter_map(|file| file.name.strip_suffix(MANIFEST)).map(str::to_owned).collect();
        if let [prefix] = &*nested {
            for file in &mut files {
                if let Some(name) = file.name.strip_prefix(prefix.as_str()) {
                    file.name = name.to_owned();
                }
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Archive { path: path.to_owned(), files })
    }

    /// The names of its files, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|each| each == name)
    }

    /// Reads a file.
    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&mut dyn BufRead) -> io::Result<T>,
    ) -> Result<T, TransferError> {
        let found = self.files.iter().find(|file| file.name == name);
        let found = found.ok_or_else(|| TransferError::Refused(format!("{} has no {name}.", self.path.display())))?;
        let reading = || match &found.place {
            FilePlace::Folder(file) => read(&mut BufReader::with_capacity(BUFFER, File::open(file)?)),
            FilePlace::Tar { offset, size } => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(*offset))?;
                read(&mut BufReader::with_capacity(BUFFER, file.take(*size)))
            }
            FilePlace::Zip(at) => {
                let mut zip = zip::ZipArchive::new(BufReader::new(File::open(&self.path)?))?;
                let file = zip.by_index(*at)?;
                read(&mut BufReader::with_capacity(BUFFER, file))
            }
        };
        reading().map_err(unreadable(&self.path.join(name)))
    }
}

fn list_folder(folder: &Path, prefix: &str, files: &mut Vec<ArchivedFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(own) = entry.file_name().into_string() else { continue };
        let name = format!("{prefix}{own}");
        if fs::metadata(entry.path())?.is_dir() {
            // Convex's export has one level of folders.
            if prefix.is_empty() {
                list_folder(&entry.path(), &format!("{name}/"), files)?;
            }
        } else {
            files.push(ArchivedFile { name, place: FilePlace::Folder(entry.path()) });
        }
    }
    Ok(())
}

fn list_tar(path: &Path) -> io::Result<Vec<ArchivedFile>> {
    let mut tar = tar::Archive::new(File::open(path)?);
    let mut files = Vec::new();
    for entry in tar.entries_with_seek()? {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        files.push(ArchivedFile {
            name,
            place: FilePlace::Tar { offset: entry.raw_file_position(), size: entry.size() },
        });
    }
    Ok(files)
}

fn list_zip(path: &Path) -> Result<Vec<ArchivedFile>, TransferError> {
    let file = File::open(path).map_err(unreadable(path))?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| unreadable(path)(error.into()))?;
    let mut files = Vec::new();
    for at in 0..zip.len() {
        let entry = zip.by_index_raw(at).map_err(|error| unreadable(path)(error.into()))?;
        if entry.is_file() {
            let name = entry.name().map_err(|error| unreadable(path)(error.into()))?.into_owned();
            files.push(ArchivedFile { name, place: FilePlace::Zip(at) });
        }
    }
    Ok(files)
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
