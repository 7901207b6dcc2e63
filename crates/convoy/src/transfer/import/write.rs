//! Writes a batch: in one statement where all of it can be stored, and else in parts, until
//! the lines that cannot be are found.

use std::collections::HashSet;

use super::read::{Batch, Line};
use super::rejects::Rejection;
use super::{Import, Output};
use crate::postgres::{Bulk, DbError};
use crate::schema::Table;
use crate::sql::transfer::{self, StoredDocument};
use crate::transfer::TransferError;

/// How often a statement that lost against others is repeated.
const ATTEMPTS: usize = 5;

/// The result of writing a batch.
#[derive(Default)]
struct Written {
    unchanged: u64,
    /// By their position.
    rejected: Vec<(usize, String)>,
}

impl Output {
    /// Writes what fits and records the rest.
    pub(super) async fn write(
        &mut self,
        import: &Import,
        batch: Batch,
        unfit: Vec<(usize, String)>,
    ) -> Result<(), TransferError> {
        let (table, file) = (&import.tables[batch.file], &import.files[batch.file]);
        let unfit_places: HashSet<usize> = unfit.iter().map(|(at, _)| *at).collect();
        let fitting: Vec<usize> = (0..batch.lines.len()).filter(|at| !unfit_places.contains(at)).collect();
        let mut written = match import.dry_run {
            true => Written::default(),
            false => write_all(&mut self.bulk, table, &batch.lines, fitting, import.replace).await?,
        };
        written.rejected.extend(unfit);
        let mut rejected: Vec<(u64, String, &str)> = Vec::new();
        for (at, reason) in written.rejected {
            let line = batch.lines.get(at).ok_or_else(|| TransferError::Refused("A verdict names no line.".into()))?;
            rejected.push((line.number, reason, &line.text));
        }
        for broken in &batch.broken {
            rejected.push((broken.number, broken.reason.clone(), &broken.text));
        }
        rejected.sort_by_key(|(number, _, _)| *number);
        let counts = &mut self.counts[batch.file];
        counts.lines += (batch.lines.len() + batch.broken.len()) as u64;
        counts.rejected += rejected.len() as u64;
        counts.unchanged += written.unchanged;
        counts.written = counts.lines - counts.rejected - counts.unchanged;
        for (line, reason, text) in rejected {
            let rejection = Rejection { file: file.name.clone(), line, table: file.table.clone(), reason };
            self.rejects.add(rejection, text)?;
        }
        self.rejects.flush()
    }
}

async fn write_all(
    bulk: &mut Bulk,
    table: &Table,
    lines: &[Line],
    fitting: Vec<usize>,
    replace: bool,
) -> Result<Written, TransferError> {
    let mut written = Written::default();
    let mut ids = HashSet::new();
    // A statement would ignore the second line with an id.
    let (first, again): (Vec<usize>, Vec<usize>) =
        fitting.into_iter().partition(|at| ids.insert(lines[*at].document.id));
    let mut parts: Vec<Vec<usize>> = again.into_iter().map(|at| vec![at]).rev().collect();
    parts.push(first);
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let documents: Vec<StoredDocument> = part.iter().map(|at| lines[*at].document.clone()).collect();
        match write_part(bulk, table, &documents, replace).await {
            Ok(others) => {
                for (id, other) in others {
                    let at = part.iter().find(|at| lines[**at].document.id == id);
                    match (other, at) {
                        (Other::Unchanged, _) | (_, None) => written.unchanged += 1,
                        (Other::Rejected(reason), Some(at)) => written.rejected.push((*at, reason)),
                    }
                }
            }
            Err(error) if part.len() == 1 && is_of_document(&error) => {
                written.rejected.push((part[0], format!("Postgres refuses it: {}", error.cause())));
            }
            Err(error) if is_of_document(&error) => {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// Why a document was not written.
enum Other {
    Unchanged,
    Rejected(String),
}

async fn write_part(
    bulk: &mut Bulk,
    table: &Table,
    documents: &[StoredDocument],
    replace: bool,
) -> Result<Vec<(uuid::Uuid, Other)>, DbError> {
    let mut attempt = 1;
    let rows = loop {
        match bulk.run(transfer::write(table, documents, replace)).await {
            Err(DbError::Retry(_)) if attempt < ATTEMPTS => attempt += 1,
            result => break result?,
        }
    };
    let other = |row: &crate::postgres::Row| {
        let other = match (row.bool(1)?, row.bool(2)?) {
            (true, true) => Other::Unchanged,
            (true, false) => {
                Other::Rejected("another document with this id exists; --replace overwrites it".to_owned())
            }
            (false, _) => Other::Rejected("a unique index has another document with the same values".to_owned()),
        };
        Ok((row.uuid(0)?, other))
    };
    rows.iter().map(other).collect()
}

/// Whether another document might be accepted: not where the table or the connection is at fault.
fn is_of_document(error: &DbError) -> bool {
    match error {
        DbError::Value { .. } | DbError::Constraint { .. } => true,
        // Invalid values, such as times; exceptions of triggers; limits.
        DbError::Other(_) => error
            .state()
            .is_some_and(|state| ["22", "23", "54"].iter().any(|class| state.starts_with(class)) || state == "P0001"),
        _ => false,
    }
}
