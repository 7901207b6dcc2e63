//! Caches which tables a raw statement reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::op::Raw;
use crate::sql;

/// How long an entry is valid. A view may be replaced, or a partition attached, meanwhile.
const CACHE_TTL: Duration = Duration::from_secs(60);
/// The most cached statements.
const MAX_ENTRIES: usize = 1_000;

/// The tables that a statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawReads {
    /// These tables, with their schema unless it is the current one.
    Tables(Arc<[Arc<str>]>),
    /// Unknown: any table may be read.
    Everything,
}

/// The rows of a statement, and the tables it reads.
pub(crate) struct RawRows {
    /// The rows, each as a JSON object.
    pub rows: Vec<String>,
    /// The tables read; [`RawReads::Everything`] if they were not needed.
    pub reads: RawReads,
}

/// Whether the tables that a statement reads are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadsLookup {
    /// Look them up, unless they are cached.
    Needed,
    /// Do not look them up.
    NotNeeded,
}

/// Reads by the fingerprint of the statement.
#[derive(Default)]
pub(super) struct RawReadsCache(Mutex<HashMap<u128, (Instant, RawReads)>>);

impl RawReadsCache {
    /// The valid entry of a statement.
    pub(super) fn get(&self, raw: &Raw) -> Option<RawReads> {
        let entries = self.0.lock();
        entries
            .get(&sql::raw::fingerprint(raw))
            .filter(|(at, _)| at.elapsed() < CACHE_TTL)
            .map(|(_, reads)| reads.clone())
    }

    /// Adds an entry.
    pub(super) fn insert(&self, raw: &Raw, reads: RawReads) {
        let mut entries = self.0.lock();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(sql::raw::fingerprint(raw), (Instant::now(), reads));
    }
}
