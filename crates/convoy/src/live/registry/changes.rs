//! What has changed: in the database, in the code, and in what is known of both.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::query::{Phase, What};
use super::session::AuthState;
use super::{MOST_LINGERING, Registry, reads_only};
use crate::change::{Change, ChangeKind, ChangeSource, Changes};
use crate::failpoints::Failpoint;
use crate::live::invalidate::{QueryId, ReadIndex};
use crate::live::message::{EndReason, retry_ms};
use crate::supervise::Part;

/// The changes that [`Failpoint::NewKeysOnly`] leaves.
fn new_keys_only(changes: &Changes) -> Changes {
    let Changes::Some(changes) = changes else { return changes.clone() };
    let strip = |change: &Change| match &change.kind {
        ChangeKind::Row { id, new: Some(new), .. } => {
            let kind = ChangeKind::Row { id: *id, old: None, new: Some(new.clone()) };
            Change { table: change.table.clone(), kind }
        }
        ChangeKind::Row { new: None, .. } | ChangeKind::Whole => change.clone(),
    };
    Changes::Some(changes.iter().map(strip).collect())
}

impl Registry {
    /// Something was committed. Queries already waiting to run will see it; those
    /// running are compared with it when they finish.
    pub(crate) fn changed(&mut self, changes: &Changes, by: &ChangeSource) {
        let place = self.history.add(changes);
        self.failpoints.reach(Part::Registry);
        let new_keys_only = self.failpoints.has(Failpoint::NewKeysOnly).then(|| new_keys_only(changes));
        match new_keys_only.as_ref().unwrap_or(changes) {
            Changes::Everything => {
                let all: Vec<QueryId> = self.queries.keys().copied().collect();
                all.into_iter().for_each(|id| self.hit(id, place, None, by));
            }
            Changes::Some(changes) => {
                let mut seen = HashSet::new();
                let mut hits = HashSet::new();
                for change in changes.iter() {
                    self.index.hits(change, &mut hits);
                    for id in hits.drain() {
                        if seen.insert(id) {
                            self.hit(id, place, Some(change), by);
                        }
                    }
                }
            }
        }
    }

    fn hit(&mut self, id: QueryId, place: u64, change: Option<&Change>, by: &ChangeSource) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        if query.members.is_empty() && !query.is_auth() {
            // It has no subscribers, so it is not run.
            self.forget(id);
            return;
        }
        query.pending.get_or_insert(place);
        if self.explains {
            query.cause = Some((change.cloned(), by.clone()));
        }
        if let What::Auth(session) = query.what
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

    /// New code was loaded: every result may be another, every context too, and
    /// what was read under the old schema says nothing.
    pub(crate) fn reloaded(&mut self) {
        self.generation += 1;
        self.index = ReadIndex::default();
        let place = self.history.next();
        let mut unwatched = Vec::new();
        for (id, query) in &mut self.queries {
            query.reads = Default::default();
            if query.members.is_empty() && !query.is_auth() {
                unwatched.push(*id);
                continue;
            }
            query.pending.get_or_insert(place);
            if matches!(query.phase, Phase::Idle) {
                query.phase = Phase::Queued;
                self.effects.run.push(*id);
            }
        }
        unwatched.into_iter().for_each(|id| self.forget(id));
        for session in self.sessions.values_mut() {
            if session.gate_query.is_some() && matches!(session.auth, AuthState::Open) {
                session.auth = AuthState::Checking;
            }
        }
    }

    /// Ends every session, and with them all queries.
    pub(crate) fn end_all(&mut self, reason: EndReason) {
        for session in self.sessions.values_mut() {
            session.end(reason, retry_ms(&self.failpoints));
            self.effects.wake.push(session.wake.clone());
        }
        let all: Vec<QueryId> = self.queries.keys().copied().collect();
        all.into_iter().for_each(|id| self.forget(id));
    }

    /// These are the tables of which every write is told.
    pub(crate) fn watched_are(&mut self, tables: HashSet<Arc<str>>) {
        self.watched = tables;
        for query in self.queries.values_mut() {
            query.is_told = reads_only(&query.reads, &self.watched);
        }
    }

    /// Whatever was visible in the database at `at` has been told, of tables that
    /// are watched.
    pub(crate) fn caught_up(&mut self, at: Instant) {
        self.fed = self.fed.max(Some(at));
        let before = self.history.next();
        let unread = std::mem::take(&mut self.unread);
        for id in unread {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            for settling in session.settling.iter_mut().filter(|it| it.unread.is_some_and(|unread| unread <= at)) {
                (settling.before, settling.unread) = (before, None);
            }
            if session.settling.iter().any(|it| it.unread.is_some()) {
                self.unread.insert(id);
            }
            self.effects.wake.push(session.wake.clone());
        }
        self.sweep(at);
    }

    /// The answer that this run of a query gave grows old at this moment.
    pub(crate) fn grows_old(&mut self, id: QueryId, run: u64, at: Instant) {
        let Some(query) = self.queries.get_mut(&id).filter(|query| query.runs == run) else { return };
        if let Some(before) = query.due.replace(at) {
            self.due.remove(&(before, id));
        }
        self.due.insert((at, id));
    }

    /// When the first answer grows old.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Makes queries run whose answers have grown old by now.
    pub(crate) fn grown_old(&mut self, now: Instant) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            let Some(query) = self.queries.get_mut(&id) else { continue };
            query.due = None;
            let run = query.runs;
            if self.requeue(id, run) {
                self.effects.run.push(id);
            }
        }
    }

    /// Drops results without subscribers after their retention.
    pub(super) fn sweep(&mut self, now: Instant) {
        while let Some((since, id)) = self.lingering.front().copied() {
            let full = self.lingering.len() > MOST_LINGERING;
            if !full && now.saturating_duration_since(since) < self.linger {
                return;
            }
            self.lingering.pop_front();
            // Somebody may have come back, and even left again.
            if self.queries.get(&id).is_some_and(|query| query.left == Some(since)) {
                self.forget(id);
            }
        }
    }
}
