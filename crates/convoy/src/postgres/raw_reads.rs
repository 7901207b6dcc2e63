//! What statements of the user's own read, found out once and remembered a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::op::Raw;
use crate::sql;

/// How long an answer holds: someone may replace a view, or attach a partition.
const HOLDS: Duration = Duration::from_secs(60);
/// The most statements that are remembered.
const MOST: usize = 1_000;

/// What a statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawReads {
    /// These tables, with their schema where that is not ours.
    Tables(Arc<[Arc<str>]>),
    /// Unknown: any table may be read.
    Everything,
}

/// The rows a statement gave, and what it reads, where that was asked.
pub(crate) struct RawRows {
    /// Each a JSON object.
    pub rows: Vec<String>,
    /// What was read; [`RawReads::Everything`] where it was not looked up.
    pub reads: RawReads,
}

/// Whether it matters what a statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Find out, unless it is known.
    AtReads,
    /// It does not.
    Away,
}

/// The answers.
#[derive(Default)]
pub(super) struct Remembered(Mutex<HashMap<u128, (Instant, RawReads)>>);

impl Remembered {
    /// What is known of a statement.
    pub(super) fn get(&self, raw: &Raw) -> Option<RawReads> {
        let known = self.0.lock();
        known.get(&sql::raw::fingerprint(raw)).filter(|(at, _)| at.elapsed() < HOLDS).map(|(_, reads)| reads.clone())
    }

    /// Notes an answer.
    pub(super) fn note(&self, raw: &Raw, reads: RawReads) {
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(sql::raw::fingerprint(raw), (Instant::now(), reads));
    }
}
