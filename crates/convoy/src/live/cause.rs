//! Why a live query ran: the commit, the row and the read that it hit, or another event.
//!
//! Invariant: a cause that names a change names one that concerns a read of the query at the
//! time of the change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::change::{Change, ChangeKind, ChangeSource, Commit, CommitOrigin};
use crate::db::{ReadSet, TableRead};
use crate::invalidation::{Missed, Sequence};
use crate::key::{RowKeys, row_span};
use crate::op::Scan;

/// The kind of a [`RunCause`]: a label for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CauseKind {
    /// A subscriber needs an answer: the first one, or a newer one.
    Subscribed,
    /// Callers who shared an answer no longer do, so one of them needs its own.
    Sharing,
    /// A commit of a function of this process.
    Commit,
    /// A commit of another writer.
    Outside,
    /// A table without triggers counts as changed at intervals.
    Poll,
    /// Changes may have been missed, a commit is in doubt, or a run was interrupted.
    Recovery,
    /// The answer depends on the time.
    Expired,
    /// The previous run failed for a reason that may be gone.
    Retry,
    /// New code was loaded.
    Reload,
    /// The context of a caller was made again.
    Context,
    /// None was recorded, which is a defect.
    Unknown,
}

impl CauseKind {
    /// All kinds, in the order of their discriminants.
    pub(crate) const ALL: [CauseKind; 11] = [
        CauseKind::Subscribed,
        CauseKind::Sharing,
        CauseKind::Commit,
        CauseKind::Outside,
        CauseKind::Poll,
        CauseKind::Recovery,
        CauseKind::Expired,
        CauseKind::Retry,
        CauseKind::Reload,
        CauseKind::Context,
        CauseKind::Unknown,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            CauseKind::Subscribed => "subscribed",
            CauseKind::Sharing => "sharing",
            CauseKind::Commit => "commit",
            CauseKind::Outside => "outside",
            CauseKind::Poll => "poll",
            CauseKind::Recovery => "recovery",
            CauseKind::Expired => "expired",
            CauseKind::Retry => "retry",
            CauseKind::Reload => "reload",
            CauseKind::Context => "context",
            CauseKind::Unknown => "unknown",
        }
    }
}

/// Why a run was made.
#[derive(Debug, Clone)]
pub(crate) enum RunCause {
    /// A change concerns one of its reads.
    Change(Box<Hit>),
    /// An event that names no change.
    Event(CauseKind),
}

/// A change, and the read that it concerns.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    /// The number of the commit among those that this process has received.
    pub commit: Sequence,
    /// Its writer.
    pub by: ChangeSource,
    /// When it became known, and its span.
    pub origin: CommitOrigin,
    /// The table in Postgres.
    pub table: Arc<str>,
    /// The document; `None` if the whole table counts as changed.
    pub document: Option<Uuid>,
    /// The fields that were written; `None` if they are unknown.
    pub fields: Option<Arc<[String]>>,
    /// The read.
    pub read: HitRead,
}

/// A read that a change concerns.
#[derive(Debug, Clone)]
pub(crate) enum HitRead {
    /// One document, by its id.
    Point,
    /// A range of an index.
    Range {
        /// The scan that has read it.
        scan: Arc<Scan>,
        /// Whether bounds or a limit make it smaller than the values of the scan.
        cut: bool,
        /// The path of the document through the range.
        effect: Effect,
    },
    /// A whole table, by `raw`.
    Table,
    /// Any table, by `raw` of which the tables are unknown.
    Everything,
}

impl HitRead {
    /// Its kind, with the index of a range: no values.
    pub(crate) fn name(&self) -> String {
        match self {
            HitRead::Point => "document".to_owned(),
            HitRead::Range { scan, .. } => format!("range of {}", scan.index().name),
            HitRead::Table => "table".to_owned(),
            HitRead::Everything => "any table".to_owned(),
        }
    }
}

/// The path of a changed document through a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It was not in the range before.
    Entered,
    /// It is no longer in the range.
    Left,
    /// It was and is in the range, at another position.
    Moved,
    /// It was and is in the range, at the same position: only fields that are not in the index
    /// have changed.
    InPlace,
    /// Unknown, because the whole table counts as changed.
    Unknown,
}

impl RunCause {
    /// The kind.
    pub(crate) fn kind(&self) -> CauseKind {
        match self {
            RunCause::Event(kind) => *kind,
            RunCause::Change(hit) => match hit.by {
                ChangeSource::Function(_) => CauseKind::Commit,
                ChangeSource::Outside => CauseKind::Outside,
                ChangeSource::Poll => CauseKind::Poll,
                ChangeSource::Resync => CauseKind::Recovery,
            },
        }
    }

    /// The origin of the commit, if it is one.
    pub(crate) fn origin(&self) -> Option<CommitOrigin> {
        match self {
            RunCause::Change(hit) => Some(hit.origin),
            RunCause::Event(_) => None,
        }
    }

    /// The cause of a run after one that has missed a change. `reads` are those of that run.
    pub(crate) fn of_missed(missed: &Missed, reads: &ReadSet) -> RunCause {
        match &missed.commit {
            Some(commit) => of_change(missed.sequence, commit, missed.change(), reads),
            None => RunCause::Event(CauseKind::Recovery),
        }
    }
}

/// The cause of a run that has not begun.
#[derive(Debug)]
pub(crate) enum PendingCause {
    /// Known already.
    Known(RunCause),
    /// A commit, by its number, and the position of the change in it. The read is looked for when
    /// the run begins, so that a commit with many hits costs little.
    Commit(Sequence, Arc<Commit>, usize),
}

impl From<CauseKind> for PendingCause {
    fn from(kind: CauseKind) -> PendingCause {
        PendingCause::Known(RunCause::Event(kind))
    }
}

impl PendingCause {
    /// The cause. `reads` are the reads of the query at the time of the commit.
    pub(crate) fn resolve(self, reads: &ReadSet) -> RunCause {
        match self {
            PendingCause::Known(cause) => cause,
            PendingCause::Commit(sequence, commit, at) => of_change(sequence, &commit, commit.change(at), reads),
        }
    }
}

fn of_change(sequence: Sequence, commit: &Commit, change: Option<&Change>, reads: &ReadSet) -> RunCause {
    let Some(change) = change else { return RunCause::Event(CauseKind::Recovery) };
    let Some(read) = read_hit(reads, change) else { return RunCause::Event(CauseKind::Unknown) };
    let (document, fields) = match &change.kind {
        ChangeKind::Row { id, fields, .. } => (Some(*id), fields.clone()),
        ChangeKind::Whole => (None, None),
    };
    RunCause::Change(Box::new(Hit {
        commit: sequence,
        by: commit.by.clone(),
        origin: commit.origin,
        table: change.table.clone(),
        document,
        fields,
        read,
    }))
}

/// The narrowest read that a change concerns: without a wider one, the query would have run, too.
fn read_hit(reads: &ReadSet, change: &Change) -> Option<HitRead> {
    let of_table = |range: &&TableRead| *range.table().physical == *change.table;
    let ranges = || reads.ranges.iter().filter(of_table);
    let of_range =
        |(range, effect): (&TableRead, Effect)| HitRead::Range { scan: range.scan.clone(), cut: range.cut, effect };
    let narrowness = |range: &TableRead| (range.scan.eq.len(), range.cut);
    let narrow = match &change.kind {
        ChangeKind::Row { id, .. } if reads.points.contains(&(change.table.clone(), *id)) => Some(HitRead::Point),
        ChangeKind::Row { old, new, .. } => {
            let hit = ranges().filter_map(|range| Some((range, effect(range, old.as_ref(), new.as_ref())?)));
            hit.max_by_key(|(range, _)| narrowness(range)).map(of_range)
        }
        ChangeKind::Whole if reads.points.iter().any(|(table, _)| *table == change.table) => Some(HitRead::Point),
        ChangeKind::Whole => {
            ranges().max_by_key(|range| narrowness(range)).map(|range| of_range((range, Effect::Unknown)))
        }
    };
    narrow
        .or_else(|| reads.tables.contains(&change.table).then_some(HitRead::Table))
        .or_else(|| reads.everything.then_some(HitRead::Everything))
}

/// The path of a document through a range; `None` if it is outside of it before and after.
fn effect(range: &TableRead, old: Option<&RowKeys>, new: Option<&RowKeys>) -> Option<Effect> {
    let has = |row: Option<&RowKeys>| row.is_some_and(|row| range.has(row));
    match (has(old), has(new)) {
        (false, false) => None,
        (false, true) => Some(Effect::Entered),
        (true, false) => Some(Effect::Left),
        (true, true) => {
            let position = |row: Option<&RowKeys>| row.map(|row| row_span(range.scan.index(), row));
            Some(if position(old) == position(new) { Effect::InPlace } else { Effect::Moved })
        }
    }
}

/// One run that has ended.
#[derive(Debug)]
pub(crate) struct RunRecord {
    /// Its number among the runs of its query.
    pub run: u64,
    /// Why it was made.
    pub cause: Arc<RunCause>,
    /// How many more commits concerned the query before the run began, and are in its answer.
    pub further: u32,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// Whether its answer equals the previous one; `None` if there was none.
    pub equal: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_the_order_of_their_discriminants() {
        for (at, kind) in CauseKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{}", kind.name());
        }
    }
}
