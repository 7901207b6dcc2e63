//! Opens, authenticates and closes sessions.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::query::{Phase, Query, RunTarget};
use super::session::{AUTH_GRACE, AuthState, LiveSession, SessionContext, SessionHandle, StreamFormat};
use super::subscriptions::ResolvedRequest;
use super::{EndedRun, NextStep, Registry};
use crate::db::ReadSet;
use crate::error::{Code, Failure};
use crate::failpoints::Failpoint;
use crate::live::QueryId;
use crate::live::cause::CauseKind;
use crate::live::message::{ClientQueryId, EndReason, SessionId, SessionMessage, retry_ms};
use crate::live::share_key::ShareKey;
use crate::trusted_proxies::ClientNetwork;

/// A session to open.
#[derive(Debug)]
pub(crate) struct NewSession {
    /// Its wire format.
    pub format: StreamFormat,
    /// The caller, as JSON for the host, if the program has a context.
    pub caller: Option<Arc<str>>,
    /// Its first subscriptions.
    pub requests: Vec<ResolvedRequest>,
    /// The client, if its streams are counted.
    pub counted: Option<ClientNetwork>,
}

/// The result of opening a session.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Its context is being made.
    Pending,
    /// It is authenticated.
    Admitted,
    /// It was refused and removed.
    Refused(Failure),
}

impl Registry {
    /// Opens a session. If the program has a context, the session is authenticated once
    /// its context has been made.
    pub(crate) fn open(&mut self, new: NewSession, now: Instant) -> SessionHandle {
        let NewSession { format, caller, requests, counted } = new;
        let opened = SessionHandle { id: SessionId::random(), wake: Arc::default() };
        let mut session = LiveSession::new(format, caller, opened.wake.clone());
        session.counted = counted;
        if let Some(client) = counted {
            *self.by_client.entry(client).or_default() += 1;
        }
        if format == StreamFormat::Protocol {
            session.control_messages.push(SessionMessage::Session(opened.id));
        }
        match session.caller {
            None => session.auth = AuthState::Open,
            Some(_) => {
                let auth = Query::new(
                    RunTarget::Auth(opened.id),
                    ShareKey::Private,
                    self.recent_commits.next(),
                    CauseKind::Subscribed,
                );
                session.auth_query = Some(self.add(auth));
            }
        }
        self.sessions.insert(opened.id, Box::new(session));
        requests.into_iter().for_each(|request| self.subscribe(opened.id, request, now));
        opened
    }

    /// The state of a session that was just opened.
    pub(crate) fn admission(&mut self, id: SessionId, now: Instant) -> Admission {
        match self.sessions.get(&id).map(|session| &session.auth) {
            // It ended before it was authenticated.
            Some(AuthState::Unknown) if self.sessions[&id].ended => {
                self.close(id, now);
                Admission::Refused(Failure::new(Code::Unavailable, "The server ended this stream; try again shortly."))
            }
            Some(AuthState::Unknown) => Admission::Pending,
            Some(AuthState::Refused(failure)) => {
                let failure = failure.clone();
                self.close(id, now);
                Admission::Refused(failure)
            }
            Some(AuthState::Open | AuthState::Checking | AuthState::Rejected(_)) => Admission::Admitted,
            None => {
                Admission::Refused(Failure::new(Code::Unavailable, "The server is shutting down; try again shortly."))
            }
        }
    }

    /// Closes a session.
    pub(crate) fn close(&mut self, id: SessionId, now: Instant) {
        let client_queries: Vec<_> =
            self.sessions.get(&id).map_or(Vec::new(), |open| open.subscriptions.keys().copied().collect());
        client_queries.into_iter().for_each(|client_query| self.unsubscribe(id, client_query, now));
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(auth) = session.auth_query {
            self.remove_query(auth);
        }
        if let Some(Entry::Occupied(mut count)) = session.counted.map(|client| self.by_client.entry(client)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Applies the result of a context run to its session.
    pub(crate) fn finish_auth(
        &mut self,
        id: QueryId,
        reads: ReadSet,
        result: Result<SessionContext, Failure>,
        refresh_after: Duration,
        now: Instant,
    ) -> EndedRun {
        let unwatched = self.failpoints.has(Failpoint::ContextUnwatched);
        let reads = if unwatched { ReadSet::default() } else { reads };
        let transient = result.as_ref().is_err_and(|failure| matches!(failure.code, Code::Unavailable | Code::Timeout));
        let Some(began) = self.end_run(id, reads, transient) else { return EndedRun::removed() };
        let Some(query) = self.queries.get_mut(&id) else { return EndedRun::removed() };
        let RunTarget::Auth(of) = query.target else { return EndedRun::removed() };
        let must_rerun = matches!(query.phase, Phase::Queued);
        let Some(session) = self.sessions.get_mut(&of) else { return EndedRun::removed() };
        let previous = session.is_identified().then_some(&session.context.identity);
        let equal = previous.zip(result.as_ref().ok()).map(|(previous, context)| *previous == context.identity);
        let record = query.record_run(began, equal, now);
        self.context_runs.add(&record);
        session.refresh_at = Some(now + refresh_after);
        self.effects.wake.push(session.wake.clone());
        let is_valid = |context: &SessionContext| context.expires_at.is_none_or(|expires_at| now < expires_at);
        let ignores_expiry = self.failpoints.has(Failpoint::IgnoreExpiry);
        let result =
            result.and_then(|context| if ignores_expiry || is_valid(&context) { Ok(context) } else { Err(expired()) });
        match result {
            // The read set or the token has changed meanwhile: delivery pauses until the
            // context has been made again.
            _ if must_rerun => {
                if matches!(session.auth, AuthState::Open) {
                    session.auth = AuthState::Checking;
                }
            }
            Ok(context) => self.apply_context(of, context, began, now),
            Err(_) if transient => {}
            Err(failure) if matches!(session.auth, AuthState::Unknown) => session.auth = AuthState::Refused(failure),
            Err(failure) => session.reject(failure, now),
        }
        EndedRun { next: if must_rerun { NextStep::RunAgain } else { NextStep::Idle }, record: Some(record) }
    }

    /// Authenticates a session by a context whose run began at `began`, and moves its
    /// subscriptions to queries that may serve this context.
    fn apply_context(&mut self, id: SessionId, context: SessionContext, began: Instant, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let first = !session.is_identified();
        // Values that cannot be compared may differ each time.
        let is_comparable = context.identity.values().all(Option::is_some);
        let changed = first || session.context.identity != context.identity;
        session.auth = AuthState::Open;
        session.context = context;
        if self.failpoints.has(Failpoint::IgnoreExpiry) {
            session.context.expires_at = None;
        }
        if !changed && is_comparable {
            return;
        }
        session.identity_version += 1;
        let identity = session.context.identity.clone();
        let moving: Vec<_> = session
            .subscriptions
            .iter()
            .filter(|(_, subscription)| {
                let query = subscription.query.and_then(|query| self.queries.get(&query));
                query.is_none_or(|query| !query.share.admits(&identity))
            })
            .map(|(client_query, subscription)| (*client_query, subscription.query))
            .collect();
        for (client_query, query) in moving {
            let query = query.and_then(|query| self.queries.get(&query)).filter(|_| !changed);
            if query.is_some_and(|query| query.share == ShareKey::Private && query.is_made_since(began)) {
                continue;
            }
            self.detach(id, client_query, now);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.dirty.remove(&client_query);
            }
            self.attach(id, client_query, if first { CauseKind::Subscribed } else { CauseKind::Context }, now);
        }
    }

    /// Replaces the token of a session and makes its context again.
    pub(crate) fn replace_token(&mut self, id: SessionId, caller: Arc<str>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.caller = Some(caller);
        session.identity_version += 1;
        session.context.expires_at = None;
        if session.is_identified() {
            session.auth = AuthState::Checking;
        }
        self.refresh_context(id);
    }

    /// Makes the contexts that expire again, after the clock was set: the expiry that was
    /// converted before is wrong. Until that is done, delivery pauses.
    pub(crate) fn check_expiring_contexts(&mut self) {
        let expires = |session: &LiveSession| session.context.expires_at.is_some();
        let ids: Vec<_> = self.sessions.iter().filter(|(_, session)| expires(session)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if matches!(session.auth, AuthState::Open) {
                session.auth = AuthState::Checking;
            }
            session.context.expires_at = None;
            self.refresh_context(id);
        }
    }

    /// Makes a session's context again.
    fn refresh_context(&mut self, id: SessionId) {
        let Some(auth) = self.sessions.get(&id).and_then(|session| session.auth_query) else { return };
        let sequence = self.recent_commits.next();
        let Some(query) = self.queries.get_mut(&auth) else { return };
        match query.phase {
            Phase::Idle => {
                query.phase = Phase::Queued;
                query.first_missing.get_or_insert(sequence);
                query.runs_because(CauseKind::Context);
                self.effects.run.push(auth);
            }
            Phase::Queued => {}
            // The run in flight uses the old token, so its result is discarded.
            Phase::Running { since, began, .. } => {
                query.phase = Phase::Running { since, began, generation: u64::MAX };
            }
        }
    }

    /// Applies the timers of a session: the expiry and the refresh of its context, and the
    /// end of its grace period. Returns when the next one is due.
    pub(super) fn apply_timers(&mut self, id: SessionId, now: Instant) -> Option<Instant> {
        let session = self.sessions.get_mut(&id)?;
        if session.ended {
            return None;
        }
        match &session.auth {
            AuthState::Unknown | AuthState::Refused(_) => None,
            AuthState::Rejected(since) => {
                let end = *since + AUTH_GRACE;
                if now < end {
                    return Some(end);
                }
                session.end(EndReason::Auth, retry_ms(&self.failpoints));
                None
            }
            AuthState::Open | AuthState::Checking => {
                if session.context.expires_at.is_some_and(|expires_at| expires_at <= now) {
                    session.reject(expired(), now);
                    return Some(now + AUTH_GRACE);
                }
                let due = session.refresh_at.is_some_and(|refresh_at| refresh_at <= now);
                if due {
                    // Set again when the context has been made.
                    session.refresh_at = None;
                }
                let next = [session.context.expires_at, session.refresh_at].into_iter().flatten().min();
                if due {
                    self.refresh_context(id);
                }
                next
            }
        }
    }

    /// Checks that a caller may update a session: only the one that opened it may.
    pub(crate) fn authorize_update(&self, id: SessionId, context: &SessionContext) -> Result<(), Failure> {
        let unknown = || Failure::new(Code::NotFound, "This server has no such session; open a new stream.");
        let session = self.sessions.get(&id).filter(|session| !session.ended).ok_or_else(unknown)?;
        // A session without a context may be changed by any client that knows its id.
        if session.caller.is_none() || session.context.fingerprint == context.fingerprint {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, "This session belongs to another caller."))
    }

    /// The number of a session's subscriptions; `None` if there is no such session.
    pub(crate) fn subscription_count_of(&self, id: SessionId) -> Option<usize> {
        self.sessions.get(&id).filter(|session| !session.ended).map(|session| session.subscriptions.len())
    }

    /// The user that a session's context has found.
    pub(crate) fn user_of(&self, id: SessionId) -> Option<Arc<str>> {
        self.sessions.get(&id)?.context.user.clone()
    }

    /// Whether a session has a subscription with this id.
    pub(crate) fn has_subscription(&self, id: SessionId, client_query: ClientQueryId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.subscriptions.contains_key(&client_query))
    }
}

fn expired() -> Failure {
    Failure::new(Code::Unauthorized, "The credentials have expired; send a new token.")
}
