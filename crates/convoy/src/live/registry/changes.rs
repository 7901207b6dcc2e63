//! Events that change results: commits, loads of new code, and time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::Registry;
use super::query::{Phase, RunTarget};
use super::session::AuthState;
use crate::change::{Change, ChangeKind, Changes, Commit};
use crate::failpoints::Failpoint;
use crate::invalidation::{ReadIndex, Sequence};
use crate::live::QueryId;
use crate::live::cause::{CauseKind, PendingCause, RunCause};
use crate::live::message::{EndReason, retry_ms};
use crate::supervise::Part;

/// The changes without their old keys, for [`Failpoint::NewKeysOnly`].
fn new_keys_only(changes: &Changes) -> Changes {
    let Changes::Some(changes) = changes else { return changes.clone() };
    let strip = |change: &Change| match &change.kind {
        ChangeKind::Row { id, new: Some(new), .. } => {
            let kind = ChangeKind::Row { id: *id, old: None, new: Some(new.clone()), fields: None };
            Change { table: change.table.clone(), kind }
        }
        ChangeKind::Row { new: None, .. } | ChangeKind::Whole => change.clone(),
    };
    Changes::Some(changes.iter().map(strip).collect())
}

impl Registry {
    /// Applies a commit. Queued queries include it in their next run; running ones are
    /// compared with it when they finish. Returns its number, by which causes name it.
    pub(crate) fn changed(&mut self, commit: &Arc<Commit>) -> Sequence {
        std::mem::take(&mut self.dropped_late).into_iter().for_each(|id| self.remove_query(id));
        let sequence = self.recent_commits.add(commit);
        let changes = &commit.changes;
        self.failpoints.reach(Part::Registry);
        let new_keys_only = self.failpoints.has(Failpoint::NewKeysOnly).then(|| new_keys_only(changes));
        match new_keys_only.as_ref().unwrap_or(changes) {
            Changes::Everything => {
                let all: Vec<QueryId> = self.queries.keys().copied().collect();
                all.into_iter().for_each(|id| self.hit(id, sequence, || CauseKind::Recovery.into()));
            }
            Changes::Some(changes) => {
                let mut seen = HashSet::new();
                let mut hits = HashSet::new();
                let misattributes = self.failpoints.has(Failpoint::MisattributeRuns);
                for (at, change) in changes.iter().enumerate() {
                    self.read_index.hits(change, &mut hits);
                    for id in hits.drain() {
                        if seen.insert(id) {
                            let named = if misattributes { changes.len() - 1 } else { at };
                            self.hit(id, sequence, || PendingCause::Commit(sequence, commit.clone(), named));
                        }
                    }
                }
            }
        }
        sequence
    }

    fn hit(&mut self, id: QueryId, sequence: u64, cause: impl FnOnce() -> PendingCause) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        if query.subscribers.is_empty() && !query.is_auth() {
            // It has no subscribers, so it is removed instead of run.
            match self.failpoints.has(Failpoint::DropResultsLate) {
                true => self.dropped_late.push(id),
                false => self.remove_query(id),
            }
            return;
        }
        query.first_missing.get_or_insert(sequence);
        // A run in flight is compared with the commit when it ends, by what it has read then.
        if !matches!(query.phase, Phase::Running { .. }) {
            query.runs_because(cause());
        }
        if let RunTarget::Auth(session) = query.target
            && let Some(session) = self.sessions.get_mut(&session)
            && matches!(session.auth, AuthState::Open)
        {
            session.auth = AuthState::Checking;
        }
        if matches!(query.phase, Phase::Idle) {
            query.phase = Phase::Queued;
            self.effects.run.push(id);
        }
    }

    /// Applies a load of new code: every result and every context may change, and read
    /// sets of the old schema are invalid.
    pub(crate) fn reloaded(&mut self) {
        self.generation += 1;
        self.read_index = ReadIndex::default();
        // Other code has other reads.
        self.function_runs.clear();
        self.context_runs = Default::default();
        let sequence = self.recent_commits.next();
        let mut unused = Vec::new();
        for (id, query) in &mut self.queries {
            query.reads = Default::default();
            if query.subscribers.is_empty() && !query.is_auth() {
                unused.push(*id);
                continue;
            }
            query.first_missing.get_or_insert(sequence);
            // The reads that an earlier cause names are gone.
            query.pending_cause = Some(PendingCause::Known(RunCause::Event(CauseKind::Reload)));
            if matches!(query.phase, Phase::Idle) {
                query.phase = Phase::Queued;
                self.effects.run.push(*id);
            }
        }
        unused.into_iter().for_each(|id| self.remove_query(id));
        for session in self.sessions.values_mut() {
            if session.auth_query.is_some() && matches!(session.auth, AuthState::Open) {
                session.auth = AuthState::Checking;
            }
        }
    }

    /// Ends every session, and with them all queries.
    pub(crate) fn end_all(&mut self, reason: EndReason) {
        // Runs of calls in flight may be of code that makes other contexts.
        self.generation += 1;
        for session in self.sessions.values_mut() {
            session.end(reason, retry_ms(&self.failpoints));
            self.effects.wake.push(session.wake.clone());
        }
        let all: Vec<QueryId> = self.queries.keys().copied().collect();
        all.into_iter().for_each(|id| self.remove_query(id));
    }

    /// Sets the tables of which the feed reports every write.
    pub(crate) fn set_tracked_tables(&mut self, tables: HashSet<Arc<str>>) {
        self.tracked_tables = tables;
        for query in self.queries.values_mut() {
            query.is_tracked = query.reads.is_within(&self.tracked_tables);
        }
    }

    /// Notes that every change of tracked tables that was visible in the database at `at`
    /// has been applied.
    pub(crate) fn caught_up(&mut self, at: Instant) {
        self.caught_up_at = self.caught_up_at.max(Some(at));
        let before = self.recent_commits.next();
        for id in std::mem::take(&mut self.awaiting_feed) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            for ack in session.pending_acks.iter_mut().filter(|ack| ack.await_feed.is_some_and(|until| until <= at)) {
                (ack.before, ack.await_feed) = (before, None);
            }
            if session.pending_acks.iter().any(|ack| ack.await_feed.is_some()) {
                self.awaiting_feed.insert(id);
            }
            self.effects.wake.push(session.wake.clone());
        }
        self.remove_excess(at);
    }

    /// Sets the moment at which the answer of this run expires.
    pub(crate) fn schedule_refresh(&mut self, id: QueryId, run: u64, at: Instant) {
        let Some(query) = self.queries.get_mut(&id).filter(|query| query.runs == run) else { return };
        if let Some(previous) = query.due.replace(at) {
            self.due.remove(&(previous, id));
        }
        self.due.insert((at, id));
    }

    /// When the next answer expires.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Queues the queries whose answers have expired.
    pub(crate) fn refresh_due(&mut self, now: Instant) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            let Some(query) = self.queries.get_mut(&id) else { continue };
            query.due = None;
            let run = query.runs;
            if self.requeue(id, run, CauseKind::Expired) {
                self.effects.run.push(id);
            }
        }
    }
}
