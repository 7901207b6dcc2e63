//! Attaches the subscriptions of sessions to live queries, and delivers answers to them.

use std::time::Instant;

use super::Registry;
use super::query::{Phase, Query, RunTarget, Subscriber};
use super::query_index::QueryKey;
use super::session::{SessionContext, Subscription};
use crate::failpoints::Failpoint;
use crate::live::QueryId;
use crate::live::answer::Hash;
use crate::live::cause::CauseKind;
use crate::live::message::{ClientQueryId, SessionId, SessionMessage};
use crate::live::share_key::ShareKey;

/// A request for a subscription.
#[derive(Debug)]
pub(crate) struct SubscribeRequest {
    /// The id that the client has given to it.
    pub id: ClientQueryId,
    /// The function and its input.
    pub query_key: QueryKey,
    /// Whether results of the function may be shared at all.
    pub shareable: bool,
    /// The hash of the result that the client has.
    pub client_hash: Option<Hash>,
    /// The moment until which the client has seen everything; earlier answers are not
    /// sent.
    pub since: Option<Instant>,
}

/// A valid [`SubscribeRequest`], or the failure to send for its id.
pub(crate) type ResolvedRequest = Result<SubscribeRequest, (ClientQueryId, crate::error::Failure)>;

impl Registry {
    /// Adds a subscription to a session.
    pub(crate) fn subscribe(&mut self, session: SessionId, request: ResolvedRequest, now: Instant) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        let SubscribeRequest { id, query_key, shareable, client_hash, since } = match request {
            Ok(request) => request,
            Err((id, failure)) => {
                self.notify(session, SessionMessage::Refused { id: Some(id), failure });
                return;
            }
        };
        let subscription =
            Subscription { query_key, shareable, query: None, client_hash, last_sent: None, not_before: since };
        open.subscriptions.insert(id, subscription);
        self.subscription_count += 1;
        // Before the session is authenticated, its caller is unknown.
        if open.is_identified() {
            self.attach(session, id, CauseKind::Subscribed, now);
        }
    }

    /// Removes a subscription of a session.
    pub(crate) fn unsubscribe(&mut self, session: SessionId, id: ClientQueryId, now: Instant) {
        self.detach(session, id, now);
        if let Some(open) = self.sessions.get_mut(&session)
            && open.subscriptions.remove(&id).is_some()
        {
            self.subscription_count -= 1;
            open.dirty.remove(&id);
            if open.has_pending() {
                self.effects.wake.push(open.wake.clone());
            }
        }
    }

    /// Finds or creates the live query that serves a subscription. `cause`: why it is attached.
    pub(super) fn attach(&mut self, session: SessionId, id: ClientQueryId, cause: CauseKind, now: Instant) {
        let Some(open) = self.sessions.get(&session) else { return };
        let Some(subscription) = open.subscriptions.get(&id) else { return };
        let identity = open.context.identity.clone();
        let (query_key, shareable) = (subscription.query_key.clone(), subscription.shareable);
        let found = if shareable { self.query_index.find(&query_key, &identity) } else { None };
        let query = match (found, shareable) {
            (Some(found), _) => found,
            (None, true) => {
                let share = ShareKey::expected(&identity, self.query_index.keys(&query_key));
                self.create(query_key, share, cause)
            }
            (None, false) => self.create(query_key, ShareKey::Private, cause),
        };
        self.join(query, (session, id), cause, now);
    }

    fn create(&mut self, query_key: QueryKey, share: ShareKey, cause: CauseKind) -> QueryId {
        let sequence = self.recent_commits.next();
        let id = self.add(Query::new(RunTarget::Query(query_key.clone()), share.clone(), sequence, cause));
        self.query_index.insert(&query_key, &share, id);
        id
    }

    /// Adds a subscription to a live query, and sends its answer at once if it is new
    /// enough.
    fn join(&mut self, id: QueryId, (session, client_query): Subscriber, cause: CauseKind, now: Instant) {
        let (Some(query), Some(open)) = (self.queries.get_mut(&id), self.sessions.get_mut(&session)) else { return };
        if open.has_pending() {
            // It may have waited for the query that served the subscription before.
            self.effects.wake.push(open.wake.clone());
        }
        let Some(subscription) = open.subscriptions.get_mut(&client_query) else { return };
        subscription.query = Some(id);
        query.subscribers.insert((session, client_query));
        self.retained.remove(id);
        query.runner.get_or_insert(session);
        let valid_at = query.valid_at(self.caught_up_at);
        let is_idle = matches!(query.phase, Phase::Idle);
        let is_new_enough =
            valid_at.is_some_and(|valid_at| subscription.not_before.is_none_or(|not_before| not_before <= valid_at));
        if is_idle && is_new_enough {
            subscription.not_before = None;
            if let Some(answer) = &query.answer
                && open.mark_dirty(client_query, answer.hash(), now)
            {
                self.effects.wake.push(open.wake.clone());
            }
            return;
        }
        // The first answer must include every change before the subscription, and the
        // changes that the present answer lacks are not ordered by time.
        if query.answer.is_some() {
            subscription.not_before.get_or_insert(now);
        }
        if is_idle {
            query.phase = Phase::Queued;
            query.runs_because(cause);
            self.effects.run.push(id);
        }
    }

    /// Removes a subscription from its live query.
    pub(super) fn detach(&mut self, session: SessionId, client_query: ClientQueryId, now: Instant) {
        let subscription = self.sessions.get_mut(&session).and_then(|open| open.subscriptions.get_mut(&client_query));
        let Some(id) = subscription.and_then(|subscription| subscription.query.take()) else { return };
        let Some(query) = self.queries.get_mut(&id) else { return };
        query.subscribers.remove(&(session, client_query));
        if !query.subscribers.is_empty() {
            return;
        }
        let worth_keeping = matches!(query.phase, Phase::Idle)
            && query.share != ShareKey::Private
            && query.answer.as_ref().is_some_and(|answer| answer.data().is_some());
        if worth_keeping {
            self.retain(id, now);
        } else {
            self.remove_query(id);
        }
    }

    /// Replaces the share key of a query after a run. Subscribers that the new key does not
    /// admit move to other queries.
    pub(super) fn update_share(
        &mut self,
        id: QueryId,
        share: ShareKey,
        runner: Option<(SessionId, u64)>,
        now: Instant,
    ) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        let Some(query_key) = query.query_key().cloned() else { return };
        self.query_index.remove(&query_key, &query.share, id);
        query.share = share.clone();
        let began = query.confirmed_at;
        let existing = self.query_index.insert(&query_key, &share, id);
        let leaves = |session: &SessionId| {
            let Some(open) = self.sessions.get(session) else { return true };
            let ran_for_it = runner == Some((*session, open.identity_version));
            !(ran_for_it || share.admits(&open.context.identity))
        };
        let leaving: Vec<_> =
            query.subscribers.iter().filter(|(session, _)| existing.is_some() || leaves(session)).copied().collect();
        for (session, client_query) in &leaving {
            query.subscribers.remove(&(*session, *client_query));
        }
        let empty = query.subscribers.is_empty();
        for (session, client_query) in leaving {
            let Some(open) = self.sessions.get_mut(&session) else { continue };
            let is_admitted = share.admits(&open.context.identity);
            let Some(subscription) = open.subscriptions.get_mut(&client_query) else { continue };
            subscription.query = None;
            open.dirty.remove(&client_query);
            match existing {
                // The other query may have an older answer, which must not be sent.
                Some(existing) if is_admitted => {
                    subscription.not_before = subscription.not_before.max(began);
                    self.join(existing, (session, client_query), CauseKind::Sharing, now);
                }
                _ => self.attach(session, client_query, CauseKind::Sharing, now),
            }
        }
        if empty {
            self.remove_query(id);
        }
    }

    /// Isolates the caller of a query whose run has failed or takes long: subscribers with
    /// another identity move to a new query, which takes its place in the index. So they
    /// do not receive that failure, and each caller whose runs fail delays them once.
    pub(crate) fn isolate_runner(&mut self, id: QueryId, now: Instant) {
        let Some(query) = self.queries.get_mut(&id).filter(|query| query.can_isolate()) else { return };
        let runner = query.runner.and_then(|runner| self.sessions.get(&runner));
        let (Some(query_key), Some(runner)) = (query.query_key().cloned(), runner) else { return };
        let is_other = |(session, _): &&Subscriber| {
            self.sessions.get(session).is_none_or(|open| !open.context.is_same_caller(&runner.context))
        };
        let leaving: Vec<_> = query.subscribers.iter().filter(is_other).copied().collect();
        let keys: Vec<_> = runner.context.identity.keys().cloned().collect();
        let own_key = ShareKey::expected(&runner.context.identity, &keys);
        if own_key == query.share || self.failpoints.has(Failpoint::WaitForTheFirst) {
            return;
        }
        for subscriber in &leaving {
            query.subscribers.remove(subscriber);
        }
        // It is not in the index until it has run, so that new subscribers do not wait for it.
        let share = std::mem::replace(&mut query.share, own_key);
        let (provisional, isolations, last_duration) = (query.provisional, query.isolations + 1, query.last_duration);
        let (covered_until, first_missing) = (query.covered_until, query.first_missing);
        self.query_index.remove(&query_key, &share, id);
        if leaving.is_empty() {
            return;
        }
        let other = self.create(query_key, share, CauseKind::Sharing);
        if let Some(other) = self.queries.get_mut(&other) {
            (other.provisional, other.isolations, other.last_duration) = (provisional, isolations, last_duration);
            // The changes that their present answer lacks are still missing.
            if !provisional {
                (other.covered_until, other.first_missing) = (covered_until, first_missing.or(other.first_missing));
            }
        }
        for (session, client_query) in leaving {
            let Some(open) = self.sessions.get_mut(&session) else { continue };
            open.dirty.remove(&client_query);
            self.join(other, (session, client_query), CauseKind::Sharing, now);
        }
    }

    /// Selects the caller of the next run after a transient failure: another subscriber,
    /// round-robin over distinct callers. A caller that the share key does not admit
    /// stays.
    pub(super) fn rotate_runner(&mut self, id: QueryId) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        let Some(runner) = query.runner else { return };
        let sessions = &self.sessions;
        let open = sessions.get(&runner);
        if !open.is_none_or(|open| query.share.admits(&open.context.identity)) {
            return;
        }
        let is_tried =
            |tried: &[SessionContext], context: &SessionContext| tried.iter().any(|one| one.is_same_caller(context));
        let others = || query.subscribers.iter().map(|(session, _)| *session).filter(|session| *session != runner);
        let untried = |tried: &[SessionContext]| {
            others().find(|other| sessions.get(other).is_some_and(|open| !is_tried(tried, &open.context)))
        };
        let mut tried = std::mem::take(&mut query.tried);
        let failed = open.map(|open| open.context.clone());
        tried.extend(failed.clone().filter(|context| !is_tried(&tried, context)));
        let next = untried(&tried).or_else(|| {
            tried.clear();
            untried(failed.as_slice())
        });
        query.runner = next.or_else(|| others().next()).or(query.runner);
        query.tried = tried;
    }

    /// Clears the list of failed callers after a run that succeeded.
    pub(super) fn clear_tried(&mut self, id: QueryId) {
        if let Some(query) = self.queries.get_mut(&id) {
            query.tried.clear();
        }
    }

    /// Delivers a query's answer, from a run that began at `began`, to its subscribers.
    /// `false`: some need a newer one.
    pub(super) fn deliver(&mut self, id: QueryId, began: Instant, now: Instant) -> bool {
        let Some(query) = self.queries.get(&id) else { return true };
        let Some(hash) = query.answer.as_ref().map(|answer| answer.hash()) else { return true };
        let mut all = true;
        for (session, client_query) in &query.subscribers {
            let Some(open) = self.sessions.get_mut(session) else { continue };
            let Some(subscription) = open.subscriptions.get_mut(client_query) else { continue };
            if subscription.not_before.is_some_and(|not_before| not_before > began) {
                all = false;
                continue;
            }
            subscription.not_before = None;
            if open.mark_dirty(*client_query, hash, now) || open.has_pending() {
                self.effects.wake.push(open.wake.clone());
            }
        }
        all
    }
}
