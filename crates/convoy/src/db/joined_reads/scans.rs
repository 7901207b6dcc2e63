//! Short scans, which differ only by their values.

use super::{Joinable, MAX_SIZE};
use crate::postgres::{DbError, Postgres, Row};
use crate::sql::Statement;

/// The most scans of a joined statement: each takes longer than a read by id, and all wait for
/// the last.
const MAX_SCANS: usize = 16;

/// The statement of a scan.
#[derive(Clone)]
pub(super) struct Scan(pub Statement);

impl Joinable for Scan {
    /// A hash of the text.
    type Kind = u64;
    type Found = Vec<Row>;

    fn kind(&self) -> u64 {
        self.0.text_hash()
    }

    fn size(&self) -> usize {
        MAX_SIZE / MAX_SCANS
    }

    async fn read(&self, postgres: &Postgres, others: &[Self]) -> Result<(Vec<Row>, Vec<Vec<Row>>), DbError> {
        let all: Vec<&Statement> = std::iter::once(self).chain(others).map(|scan| &scan.0).collect();
        let joined = if others.is_empty() { None } else { Statement::joined(&all) };
        let Some(joined) = joined else { return Ok((postgres.read(&self.0).await?, Vec::new())) };
        let mut found: Vec<Vec<Row>> = all.iter().map(|_| Vec::new()).collect();
        for row in postgres.read(&joined).await? {
            // Its number, counted from 1, is the last column.
            let number = row.int8(row.width() - 1)?;
            let of = usize::try_from(number - 1).ok().and_then(|at| found.get_mut(at));
            of.ok_or_else(|| DbError::Row("a row of no scan".into()))?.push(row);
        }
        let others = found.split_off(1);
        Ok((found.pop().unwrap_or_default(), others))
    }
}
