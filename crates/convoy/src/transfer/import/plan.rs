//! The content of an archive: its format, its files by table, and whether they are intact.
//! Nothing is written to the database before this is known.

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use crate::schema::Schema;
use crate::transfer::archive::{Archive, hex};
use crate::transfer::convex::{KnownIds, id_in};
use crate::transfer::lines::Format;
use crate::transfer::manifest::{Content, MANIFEST, Manifest};
use crate::transfer::{Progress, TransferError, unwritable};

const DOCUMENTS: &str = "/documents.jsonl";

/// See the module.
pub(super) struct Plan {
    pub archive: Archive,
    pub format: Format,
    pub files: Vec<PlannedFile>,
    /// Files that are not imported.
    pub ignored: Vec<String>,
    /// New ids were written to the file for them.
    pub has_ids_file: bool,
}

/// The file of one table.
#[derive(Debug, Clone)]
pub(super) struct PlannedFile {
    /// The table's name in the schema.
    pub table: String,
    /// The file's name in the archive.
    pub name: String,
    /// Its lines.
    pub lines: u64,
    /// Its checksum.
    pub sha256: String,
}

/// A file that may be imported, and what the manifest says of it.
struct Candidate {
    table: String,
    name: String,
    expected: Option<Content>,
}

enum Kind {
    Export,
    Documents,
    Convex,
}

impl Plan {
    /// Makes the plan. `only` selects tables; the new ids of a Convex export are written to `ids`.
    pub(super) fn make(
        from: &Path,
        only: Option<&[String]>,
        schema: &Schema,
        ids: &Path,
        progress: &Progress,
    ) -> Result<Plan, TransferError> {
        let archive = Archive::open(from)?;
        let (kind, candidates) = candidates(&archive, from)?;
        let (selected, skipped): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|each| only.is_none_or(|only| only.contains(&each.table)));
        check_tables(&selected, only, schema)?;
        let used: Vec<&str> = selected.iter().map(|each| each.name.as_str()).chain([MANIFEST]).collect();
        let mut ignored: Vec<String> = archive.names().filter(|name| !used.contains(name)).map(str::to_owned).collect();
        ignored.retain(|name| !skipped.iter().any(|each| each.name == *name));
        let mut known = KnownIds::default();
        let is_convex = matches!(kind, Kind::Convex);
        let mut mapping = match is_convex {
            true => Some(BufWriter::new(File::create(ids).map_err(unwritable(ids))?)),
            false => None,
        };
        let mut files = Vec::new();
        for Candidate { table, name, expected } in selected {
            progress.begin("reading", &table, expected.as_ref().map(|content| content.documents));
            let number = known.add_table(&table);
            let mut failed = Ok(());
            let found = archive.read(&name, |file| {
                content_of(file, |line| {
                    progress.add(1);
                    if let (Some(out), Some(id)) = (&mut mapping, is_convex.then(|| id_in(line)).flatten()) {
                        known.add(number, &id);
                        let to = format!("{table}:{}", KnownIds::uuid_for(&table, &id));
                        let entry = serde_json::json!({ "table": table, "from": id, "to": to });
                        if failed.is_ok() {
                            failed = writeln!(out, "{entry}");
                        }
                    }
                })
            })?;
            failed.map_err(unwritable(ids))?;
            check_content(&name, expected.as_ref(), &found)?;
            files.push(PlannedFile { table, name, lines: found.documents, sha256: found.sha256 });
        }
        if let Some(mut out) = mapping {
            out.flush().map_err(unwritable(ids))?;
        }
        let format = match kind {
            Kind::Export => Format::Export,
            Kind::Documents => Format::Documents,
            Kind::Convex => Format::Convex(known),
        };
        Ok(Plan { archive, format, files, ignored, has_ids_file: is_convex })
    }
}

fn candidates(archive: &Archive, from: &Path) -> Result<(Kind, Vec<Candidate>), TransferError> {
    if archive.has(MANIFEST) {
        let mut text = Vec::new();
        archive.read(MANIFEST, |file| file.read_to_end(&mut text))?;
        let manifest = Manifest::parse(&text)?;
        if !manifest.complete {
            return Err(TransferError::Refused(format!(
                "{} is an interrupted export; continue it with the same convoy export, then import it.",
                from.display()
            )));
        }
        let tables = manifest.tables.into_iter();
        let candidates = tables.map(|each| Candidate { table: each.table, name: each.file, expected: each.content });
        return Ok((Kind::Export, candidates.collect()));
    }
    let of_table = |table: &str, name: &str| Candidate {
        table: percent_decode_str(table).decode_utf8_lossy().into_owned(),
        name: name.to_owned(),
        expected: None,
    };
    // Tables of Convex's own begin with an underscore.
    let convex: Vec<Candidate> = archive
        .names()
        .filter_map(|name| Some((name.strip_suffix(DOCUMENTS)?, name)))
        .filter(|(table, _)| !table.starts_with('_') && !table.contains('/'))
        .map(|(table, name)| of_table(table, name))
        .collect();
    if !convex.is_empty() {
        return Ok((Kind::Convex, convex));
    }
    let documents: Vec<Candidate> = archive
        .names()
        .filter(|name| !name.contains('/'))
        .filter_map(|name| Some(of_table(name.strip_suffix(".jsonl")?, name)))
        .collect();
    if documents.is_empty() {
        return Err(TransferError::Refused(format!(
            "{} has nothing to import: no {MANIFEST} of a Convoy export, no <table>.jsonl, and no <table>{DOCUMENTS} of a \
             Convex export.",
            from.display()
        )));
    }
    Ok((Kind::Documents, documents))
}

/// Refuses tables that the schema or the archive does not have.
fn check_tables(selected: &[Candidate], only: Option<&[String]>, schema: &Schema) -> Result<(), TransferError> {
    let unknown: Vec<&str> =
        selected.iter().map(|each| each.table.as_str()).filter(|table| schema.table(table).is_none()).collect();
    if !unknown.is_empty() {
        return Err(TransferError::Refused(format!(
            "The archive has tables that are not in the schema: {}; nothing was imported. Add them to convoy/schema.ts, or \
             choose what to import with --tables.",
            unknown.join(", ")
        )));
    }
    let absent = only.unwrap_or_default().iter().find(|name| !selected.iter().any(|each| each.table == **name));
    match absent {
        Some(name) => Err(TransferError::Refused(format!("The archive has no table `{name}`, which --tables names."))),
        None => Ok(()),
    }
}

fn content_of(file: &mut dyn BufRead, mut each: impl FnMut(&str)) -> std::io::Result<Content> {
    let mut hash = Sha256::new();
    let mut content = Content { documents: 0, bytes: 0, sha256: String::new() };
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        hash.update(&line);
        content.bytes += line.len() as u64;
        content.documents += 1;
        each(&String::from_utf8_lossy(&line));
        line.clear();
    }
    content.sha256 = hex(&hash.finalize());
    Ok(content)
}

fn check_content(name: &str, expected: Option<&Content>, found: &Content) -> Result<(), TransferError> {
    match expected {
        Some(expected) if expected != found => Err(TransferError::Refused(format!(
            "{name} is damaged: it has {} lines and {} bytes with the checksum {}, and {MANIFEST} states {} lines, {} bytes \
             and {}. Nothing was imported. Copy or export it again; to import a file that was edited on purpose, delete \
             its \"content\" in {MANIFEST}.",
            found.documents, found.bytes, found.sha256, expected.documents, expected.bytes, expected.sha256
        ))),
        _ => Ok(()),
    }
}
