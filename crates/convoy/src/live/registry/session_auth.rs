//! Sessions from their beginning to their end, and who they are meanwhile.

use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::query::{Phase, Query, What};
use super::session::{AuthState, GRACE, Known, Opened, Session, Style};
use super::subscriptions::Wanted;
use super::{Next, Registry};
use crate::db::ReadSet;
use crate::error::{Code, Failure};
use crate::failpoints::Failpoint;
use crate::live::invalidate::QueryId;
use crate::live::message::{ClientQueryId, EndReason, Message, SessionId, retry_ms};
use crate::live::share_key::Share;

/// A session to open.
#[derive(Debug)]
pub(crate) struct Opening {
    /// How it is spoken to.
    pub style: Style,
    /// Who asks, where the program has a context to make of it.
    pub caller: Option<Arc<str>>,
    /// What it watches.
    pub wanted: Vec<Wanted>,
    /// The client's address, where streams are counted by it.
    pub address: Option<IpAddr>,
}

/// Whether a session that was just opened may be served.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Its context is being made.
    NotYet,
    /// It may.
    Admitted,
    /// It may not, and is gone.
    Refused(Failure),
}

impl Registry {
    /// Opens a session. Where there is a context to make, it is not authenticated until
    /// that has been made.
    pub(crate) fn open(&mut self, opening: Opening, now: Instant) -> Opened {
        let Opening { style, caller, wanted, address } = opening;
        let opened = Opened { id: SessionId::random(), wake: Arc::default() };
        let mut session = Session::new(style, caller, opened.wake.clone());
        session.address = address;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
        if style == Style::Protocol {
            session.notices.push(Message::Session(opened.id));
        }
        match session.caller {
            None => session.auth = AuthState::Open,
            Some(_) => {
                let auth = Query::new(What::Auth(opened.id), Share::Nobody, self.history.next());
                session.gate_query = Some(self.add(auth));
            }
        }
        self.sessions.insert(opened.id, session);
        wanted.into_iter().for_each(|wanted| self.watch(opened.id, wanted, now));
        opened
    }

    /// Whether a session that was just opened may be served.
    pub(crate) fn admission(&mut self, id: SessionId, now: Instant) -> Admission {
        match self.sessions.get(&id).map(|session| &session.auth) {
            // It was ended before anything was known of it.
            Some(AuthState::Unknown) if self.sessions[&id].over => {
                self.close(id, now);
                Admission::Refused(Failure::new(Code::Unavailable, "the server ended this stream; try again shortly"))
            }
            Some(AuthState::Unknown) => Admission::NotYet,
            Some(AuthState::Refused(failure)) => {
                let failure = failure.clone();
                self.close(id, now);
                Admission::Refused(failure)
            }
            Some(AuthState::Open | AuthState::Checking | AuthState::Rejected(_)) => Admission::Admitted,
            None => {
                Admission::Refused(Failure::new(Code::Unavailable, "the server is shutting down; try again shortly"))
            }
        }
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, id: SessionId, now: Instant) {
        let watched: Vec<_> = self.sessions.get(&id).map_or(Vec::new(), |open| open.subs.keys().copied().collect());
        watched.into_iter().for_each(|member| self.unwatch(id, member, now));
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(auth) = session.gate_query {
            self.forget(auth);
        }
        if let Some(Entry::Occupied(mut count)) = session.address.map(|address| self.by_address.entry(address)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// A session's context was made, or refused.
    pub(crate) fn admitted(
        &mut self,
        id: QueryId,
        reads: ReadSet,
        made: Result<Known, Failure>,
        recheck: Duration,
        now: Instant,
    ) -> Next {
        let unwatched = self.failpoints.has(Failpoint::ContextUnwatched);
        let reads = if unwatched { ReadSet::default() } else { reads };
        let passing = made.as_ref().is_err_and(|failure| matches!(failure.code, Code::Unavailable | Code::Timeout));
        let Some(began) = self.conclude(id, reads, passing) else { return Next::Rest };
        let Some(query) = self.queries.get(&id) else { return Next::Rest };
        let What::Auth(of) = query.what else { return Next::Rest };
        let again = matches!(query.phase, Phase::Queued);
        let Some(session) = self.sessions.get_mut(&of) else { return Next::Rest };
        session.recheck = Some(now + recheck);
        self.effects.wake.push(session.wake.clone());
        let holds = |known: &Known| known.expires.is_none_or(|expires| now < expires);
        let ignored = self.failpoints.has(Failpoint::IgnoreExpiry);
        let made = made.and_then(|known| if ignored || holds(&known) { Ok(known) } else { Err(expired()) });
        match made {
            // What was read has changed meanwhile, or the token: not a word before it is
            // known again.
            _ if again => {
                if matches!(session.auth, AuthState::Open) {
                    session.auth = AuthState::Checking;
                }
            }
            Ok(known) => self.opened(of, known, began, now),
            Err(_) if passing => {}
            Err(failure) if matches!(session.auth, AuthState::Unknown) => session.auth = AuthState::Refused(failure),
            Err(failure) => session.bar(failure, now),
        }
        if again { Next::Again } else { Next::Rest }
    }

    /// It is known who asks, and they may: by a context that was made from `began` on.
    fn opened(&mut self, id: SessionId, known: Known, began: Instant, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let first = !session.is_known();
        // What cannot be compared may be another each time.
        let is_comparable = known.identity.values().all(Option::is_some);
        let changed = first || session.known.identity != known.identity;
        session.auth = AuthState::Open;
        session.known = known;
        if self.failpoints.has(Failpoint::IgnoreExpiry) {
            session.known.expires = None;
        }
        if !changed && is_comparable {
            return;
        }
        session.epoch += 1;
        let identity = session.known.identity.clone();
        let moving: Vec<_> = session
            .subs
            .iter()
            .filter(|(_, sub)| {
                let query = sub.query.and_then(|query| self.queries.get(&query));
                query.is_none_or(|query| !query.share.admits(&identity))
            })
            .map(|(member, sub)| (*member, sub.query))
            .collect();
        for (member, query) in moving {
            let query = query.and_then(|query| self.queries.get(&query)).filter(|_| !changed);
            if query.is_some_and(|query| query.share == Share::Nobody && query.is_made_since(began)) {
                continue;
            }
            self.detach(id, member, now);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.dirty.remove(&member);
            }
            self.attach(id, member, now);
        }
    }

    /// A session's client has brought another token.
    pub(crate) fn renew(&mut self, id: SessionId, caller: Arc<str>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.caller = Some(caller);
        session.epoch += 1;
        session.known.expires = None;
        if session.is_known() {
            session.auth = AuthState::Checking;
        }
        self.check(id);
    }

    /// Makes a session's context again.
    fn check(&mut self, id: SessionId) {
        let Some(auth) = self.sessions.get(&id).and_then(|session| session.gate_query) else { return };
        let place = self.history.next();
        let Some(query) = self.queries.get_mut(&auth) else { return };
        match query.phase {
            Phase::Idle => {
                query.phase = Phase::Queued;
                query.pending.get_or_insert(place);
                self.effects.run.push(auth);
            }
            Phase::Queued => {}
            // What runs has asked in the name of the old token.
            Phase::Running { since, began, .. } => {
                query.phase = Phase::Running { since, began, generation: u64::MAX };
            }
        }
    }

    /// What the time brings: a context that ceases to hold, one that is to be made
    /// again, and patience that is at its end. Gives when to look again.
    pub(super) fn tick(&mut self, id: SessionId, now: Instant) -> Option<Instant> {
        let session = self.sessions.get_mut(&id)?;
        if session.over {
            return None;
        }
        match &session.auth {
            AuthState::Unknown | AuthState::Refused(_) => None,
            AuthState::Rejected(since) => {
                let end = *since + GRACE;
                if now < end {
                    return Some(end);
                }
                session.end(EndReason::Auth, retry_ms(&self.failpoints));
                None
            }
            AuthState::Open | AuthState::Checking => {
                if session.known.expires.is_some_and(|expires| expires <= now) {
                    session.bar(expired(), now);
                    return Some(now + GRACE);
                }
                let due = session.recheck.is_some_and(|recheck| recheck <= now);
                if due {
                    // Set again when that has been done.
                    session.recheck = None;
                }
                let next = [session.known.expires, session.recheck].into_iter().flatten().min();
                if due {
                    self.check(id);
                }
                next
            }
        }
    }

    /// Whether a caller may change a session: only the one that opened it.
    pub(crate) fn speaks_for(&self, id: SessionId, known: &Known) -> Result<(), Failure> {
        let unknown = || Failure::new(Code::NotFound, "this server has no such session; open a new stream");
        let session = self.sessions.get(&id).filter(|session| !session.over).ok_or_else(unknown)?;
        // A session without a context may be changed by any client that knows its id.
        if session.caller.is_none() || session.known.fingerprint == known.fingerprint {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, "this session belongs to another caller"))
    }

    /// How many queries a session watches; nothing where there is none of this name.
    pub(crate) fn watches(&self, id: SessionId) -> Option<usize> {
        self.sessions.get(&id).filter(|session| !session.over).map(|session| session.subs.len())
    }

    /// Whether a session calls a query of its own so.
    pub(crate) fn watches_as(&self, id: SessionId, member: ClientQueryId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.subs.contains_key(&member))
    }
}

fn expired() -> Failure {
    Failure::new(Code::Unauthorized, "the credentials have expired; send a new token")
}
