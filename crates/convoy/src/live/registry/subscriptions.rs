//! Which query serves which query of a session, and who is served by it.

use std::time::Instant;

use super::Registry;
use super::query::{Member, Phase, Query, What};
use super::query_index::QueryKey;
use super::session::{Known, Sub};
use crate::failpoints::Failpoint;
use crate::live::answer::Hash;
use crate::live::invalidate::QueryId;
use crate::live::message::{ClientQueryId, Message, SessionId};
use crate::live::share_key::Share;

/// A query that a client wants to watch.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What it calls it.
    pub id: ClientQueryId,
    /// What it asks.
    pub query_key: QueryKey,
    /// Whether the function's results may be shared at all.
    pub shareable: bool,
    /// The result it holds.
    pub held: Option<Hash>,
    /// It has seen things until then, so no earlier answer will do; nothing where
    /// it does not say.
    pub since: Option<Instant>,
}

/// A [`Watch`], or why there is none.
pub(crate) type Wanted = Result<Watch, (ClientQueryId, crate::error::Failure)>;

impl Registry {
    /// A session watches something more.
    pub(crate) fn watch(&mut self, session: SessionId, wanted: Wanted, now: Instant) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        let Watch { id, query_key, shareable, held, since } = match wanted {
            Ok(watch) => watch,
            Err((id, failure)) => {
                self.notify(session, Message::Refused { id: Some(id), failure });
                return;
            }
        };
        let sub = Sub { query_key, shareable, query: None, held, told: None, after: since };
        open.subs.insert(id, sub);
        self.watching += 1;
        // Before it is authenticated it is not known who asks.
        if open.is_known() {
            self.attach(session, id, now);
        }
    }

    /// A session does not watch something any more.
    pub(crate) fn unwatch(&mut self, session: SessionId, id: ClientQueryId, now: Instant) {
        self.detach(session, id, now);
        if let Some(open) = self.sessions.get_mut(&session)
            && open.subs.remove(&id).is_some()
        {
            self.watching -= 1;
            open.dirty.remove(&id);
            if open.waits() {
                self.effects.wake.push(open.wake.clone());
            }
        }
    }

    /// Finds what serves a query of a session, or makes it.
    pub(super) fn attach(&mut self, session: SessionId, id: ClientQueryId, now: Instant) {
        let Some(open) = self.sessions.get(&session) else { return };
        let Some(sub) = open.subs.get(&id) else { return };
        let identity = open.known.identity.clone();
        let (query_key, shareable) = (sub.query_key.clone(), sub.shareable);
        let found = if shareable { self.variants.find(&query_key, &identity) } else { None };
        let query = match (found, shareable) {
            (Some(found), _) => found,
            (None, true) => self.create(query_key.clone(), Share::expected(&identity, self.variants.keys(&query_key))),
            (None, false) => self.create(query_key, Share::Nobody),
        };
        self.join(query, session, id, now);
    }

    fn create(&mut self, query_key: QueryKey, share: Share) -> QueryId {
        let id = self.add(Query::new(What::Query(query_key.clone()), share.clone(), self.history.next()));
        self.variants.list(&query_key, &share, id);
        id
    }

    /// Makes a query serve a query of a session, at once where its answer will do.
    fn join(&mut self, id: QueryId, session: SessionId, member: ClientQueryId, now: Instant) {
        let (Some(query), Some(open)) = (self.queries.get_mut(&id), self.sessions.get_mut(&session)) else { return };
        let Some(sub) = open.subs.get_mut(&member) else { return };
        sub.query = Some(id);
        query.members.insert((session, member));
        query.left = None;
        query.runner.get_or_insert(session);
        let true_at = query.true_at(self.fed);
        let is_idle = matches!(query.phase, Phase::Idle);
        let will_do = is_idle && true_at.is_some_and(|true_at| sub.after.is_none_or(|after| after <= true_at));
        if will_do {
            sub.after = None;
            if let Some(answer) = &query.answer
                && open.has_news(member, answer.hash(), now)
            {
                self.effects.wake.push(open.wake.clone());
            }
            return;
        }
        // What changed before it came must be in its first answer, and what the
        // answer so far lacks is not known in time order.
        if query.answer.is_some() {
            sub.after.get_or_insert(now);
        }
        if is_idle {
            query.phase = Phase::Queued;
            self.effects.run.push(id);
        }
    }

    /// Ends what [`Registry::attach`] began.
    pub(super) fn detach(&mut self, session: SessionId, member: ClientQueryId, now: Instant) {
        let sub = self.sessions.get_mut(&session).and_then(|open| open.subs.get_mut(&member));
        let Some(id) = sub.and_then(|sub| sub.query.take()) else { return };
        let Some(query) = self.queries.get_mut(&id) else { return };
        query.members.remove(&(session, member));
        if !query.members.is_empty() {
            return;
        }
        let worth_keeping = matches!(query.phase, Phase::Idle)
            && query.share != Share::Nobody
            && query.answer.as_ref().is_some_and(|answer| answer.data().is_some());
        if worth_keeping {
            query.left = Some(now);
            self.lingering.push_back((now, id));
            self.sweep(now);
        } else {
            self.forget(id);
        }
    }

    /// A run has shown that others may share its results than was thought. Those
    /// who may not are served by other queries from here on.
    pub(super) fn reshare(&mut self, id: QueryId, share: Share, runner: Option<(SessionId, u64)>, now: Instant) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        let Some(query_key) = query.query_key().cloned() else { return };
        self.variants.unlist(&query_key, &query.share, id);
        query.share = share.clone();
        let began = query.confirmed;
        let twin = self.variants.list(&query_key, &share, id);
        let leaves = |session: &SessionId| {
            let Some(open) = self.sessions.get(session) else { return true };
            let ran_for_it = runner == Some((*session, open.epoch));
            !(ran_for_it || share.admits(&open.known.identity))
        };
        let leaving: Vec<_> =
            query.members.iter().filter(|(session, _)| twin.is_some() || leaves(session)).copied().collect();
        for (session, member) in &leaving {
            query.members.remove(&(*session, *member));
        }
        let empty = query.members.is_empty();
        for (session, member) in leaving {
            let Some(open) = self.sessions.get_mut(&session) else { continue };
            let admitted = share.admits(&open.known.identity);
            let Some(sub) = open.subs.get_mut(&member) else { continue };
            sub.query = None;
            open.dirty.remove(&member);
            match twin {
                // It is served the same by the other, but nothing older.
                Some(twin) if admitted => {
                    sub.after = sub.after.max(began);
                    self.join(twin, session, member, now);
                }
                _ => self.attach(session, member, now),
            }
        }
        if empty {
            self.forget(id);
        }
    }

    /// A query has failed for its caller, or takes long: those who are not like its
    /// caller are served by another from here on, which takes its place. So they are
    /// not told of that failure, and of all callers in whose names nothing runs each is
    /// waited for once.
    pub(crate) fn part(&mut self, id: QueryId, now: Instant) {
        let Some(query) = self.queries.get_mut(&id).filter(|query| query.may_part()) else { return };
        let runner = query.runner.and_then(|runner| self.sessions.get(&runner));
        let (Some(query_key), Some(runner)) = (query.query_key().cloned(), runner) else { return };
        let is_other =
            |(session, _): &&Member| self.sessions.get(session).is_none_or(|open| !open.known.is_like(&runner.known));
        let leaving: Vec<_> = query.members.iter().filter(is_other).copied().collect();
        let keys: Vec<_> = runner.known.identity.keys().cloned().collect();
        let own = Share::expected(&runner.known.identity, &keys);
        if own == query.share || self.failpoints.has(Failpoint::WaitForTheFirst) {
            return;
        }
        for member in &leaving {
            query.members.remove(member);
        }
        // It stays off the list until it has run: who comes now is not kept waiting.
        let share = std::mem::replace(&mut query.share, own);
        let (guessed, parted, took) = (query.guessed, query.parted + 1, query.took);
        let (covered, pending) = (query.covered, query.pending);
        self.variants.unlist(&query_key, &share, id);
        if leaving.is_empty() {
            return;
        }
        let other = self.create(query_key, share);
        if let Some(other) = self.queries.get_mut(&other) {
            (other.guessed, other.parted, other.took) = (guessed, parted, took);
            // What the answer lacks that they hold, they still lack.
            if !guessed {
                (other.covered, other.pending) = (covered, pending.or(other.pending));
            }
        }
        for (session, member) in leaving {
            let Some(open) = self.sessions.get_mut(&session) else { continue };
            open.dirty.remove(&member);
            self.join(other, session, member, now);
        }
    }

    /// Nothing could be run in the name of a query's caller: the next run is made for
    /// another of those it serves, for each of them before it is for one again. One
    /// whom the result would not have been for by right stays its caller.
    pub(super) fn change_runner(&mut self, id: QueryId) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        let Some(runner) = query.runner else { return };
        let sessions = &self.sessions;
        let open = sessions.get(&runner);
        if !open.is_none_or(|open| query.share.admits(&open.known.identity)) {
            return;
        }
        let is_tried = |tried: &[Known], known: &Known| tried.iter().any(|one| one.is_like(known));
        let others = || query.members.iter().map(|(session, _)| *session).filter(|session| *session != runner);
        let untried = |tried: &[Known]| {
            others().find(|other| sessions.get(other).is_some_and(|open| !is_tried(tried, &open.known)))
        };
        let mut tried = std::mem::take(&mut query.tried);
        let failed = open.map(|open| open.known.clone());
        tried.extend(failed.clone().filter(|known| !is_tried(&tried, known)));
        let next = untried(&tried).or_else(|| {
            tried.clear();
            untried(failed.as_slice())
        });
        query.runner = next.or_else(|| others().next()).or(query.runner);
        query.tried = tried;
    }

    /// Something could be run for a query again.
    pub(super) fn forgive(&mut self, id: QueryId) {
        if let Some(query) = self.queries.get_mut(&id) {
            query.tried.clear();
        }
    }

    /// Tells members of a query's answer, made by a run that began at `began`.
    /// `false`: some need an answer from later.
    pub(super) fn deliver(&mut self, id: QueryId, began: Instant, now: Instant) -> bool {
        let Some(query) = self.queries.get(&id) else { return true };
        let Some(hash) = query.answer.as_ref().map(|answer| answer.hash()) else { return true };
        let mut all = true;
        for (session, member) in &query.members {
            let Some(open) = self.sessions.get_mut(session) else { continue };
            let Some(sub) = open.subs.get_mut(member) else { continue };
            if sub.after.is_some_and(|after| after > began) {
                all = false;
                continue;
            }
            sub.after = None;
            if open.has_news(*member, hash, now) || open.waits() {
                self.effects.wake.push(open.wake.clone());
            }
        }
        all
    }
}
