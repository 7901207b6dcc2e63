//! Counts runs and equal answers: per live query by cause, and per function by the reads that
//! made runs whose answer was equal.

use std::sync::Arc;

use crate::live::cause::{CauseKind, HitRead, RunCause, RunRecord};

/// How many runs of a query are remembered.
pub(super) const MAX_HISTORY: usize = 20;
/// How many different reads of a function are counted; more are counted together.
const MAX_READS: usize = 16;

/// Counters by cause.
#[derive(Debug, Clone, Default)]
pub(super) struct RunCounts {
    runs: [u64; CauseKind::ALL.len()],
    equal: [u64; CauseKind::ALL.len()],
}

impl RunCounts {
    /// Counts a run.
    pub(super) fn add(&mut self, record: &RunRecord) {
        let kind = record.cause.kind() as usize;
        self.runs[kind] += 1;
        self.equal[kind] += u64::from(record.equal == Some(true));
    }

    /// The causes that occurred, with the number of runs and of equal answers.
    pub(super) fn by_cause(&self) -> impl Iterator<Item = (CauseKind, u64, u64)> {
        let all = CauseKind::ALL.into_iter().zip(self.runs).zip(self.equal);
        all.map(|((kind, runs), equal)| (kind, runs, equal)).filter(|(_, runs, _)| *runs > 0)
    }

    /// The number of runs.
    pub(super) fn runs(&self) -> u64 {
        self.runs.iter().sum()
    }

    /// The number of runs whose answer equalled the previous one.
    pub(super) fn equal(&self) -> u64 {
        self.equal.iter().sum()
    }
}

/// The runs of one function since its code was loaded, of all its live queries.
#[derive(Debug, Default)]
pub(super) struct FunctionRuns {
    /// Its runs.
    pub counts: RunCounts,
    /// Runs that had a previous answer to compare with.
    pub compared: u64,
    /// The reads of runs that a change caused.
    pub reads: Vec<ReadRuns>,
    /// Equal answers of reads beyond [`MAX_READS`].
    pub other_equal: u64,
}

/// The runs that changes to one kind of read have caused.
#[derive(Debug)]
pub(super) struct ReadRuns {
    /// Runs.
    pub runs: u64,
    /// Runs whose answer was equal.
    pub equal: u64,
    /// The last of those with an equal answer; until there is one, the last of all.
    pub example: Arc<RunRecord>,
}

impl FunctionRuns {
    /// Counts a run.
    pub(super) fn add(&mut self, record: &Arc<RunRecord>) {
        self.counts.add(record);
        self.compared += u64::from(record.equal.is_some());
        let RunCause::Change(hit) = &*record.cause else { return };
        let equal = record.equal == Some(true);
        let is_same = |other: &ReadRuns| match &*other.example.cause {
            RunCause::Change(other) => other.table == hit.table && is_same_read(&other.read, &hit.read),
            RunCause::Event(_) => false,
        };
        match self.reads.iter().position(is_same) {
            Some(at) => {
                let read = &mut self.reads[at];
                read.runs += 1;
                if equal || read.equal == 0 {
                    read.example = record.clone();
                }
                read.equal += u64::from(equal);
            }
            None if self.reads.len() < MAX_READS => {
                self.reads.push(ReadRuns { runs: 1, equal: u64::from(equal), example: record.clone() });
            }
            None => self.other_equal += u64::from(equal),
        }
    }
}

/// Whether two reads of a table differ only in the values that they compare with.
fn is_same_read(one: &HitRead, other: &HitRead) -> bool {
    match (one, other) {
        (HitRead::Point, HitRead::Point)
        | (HitRead::Table, HitRead::Table)
        | (HitRead::Everything, HitRead::Everything) => true,
        (HitRead::Range { scan: one, cut: one_cut, .. }, HitRead::Range { scan: other, cut: other_cut, .. }) => {
            one_cut == other_cut && one.has_same_form(other)
        }
        _ => false,
    }
}
