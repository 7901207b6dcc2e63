//! Sessions as those who serve them see them: opened, changed, and read frame by
//! frame.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Live;
use super::answer::Hash;
use super::message::{ClientQueryId, Message, SessionId};
use super::registry::{Admission, Known, Opened, Opening, Style, Wanted, Watch};
use super::run::{asking_who, known};
use crate::config::Limits;
use crate::dispatch::{FunctionCall, FunctionKind, Program};
use crate::error::{Code, Failure};

/// A query as a client asks for it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What the client calls it.
    pub id: ClientQueryId,
    /// The function's name.
    pub name: String,
    /// Its input, JSON text.
    pub input: String,
    /// The result the client holds.
    pub held: Option<Hash>,
}

/// What a client wants.
#[derive(Debug)]
pub(crate) struct OpenSession<'a> {
    /// How it wants to be spoken to.
    pub style: Style,
    /// What it watches.
    pub queries: Vec<Asked>,
    /// The position it has seen, if it says one.
    pub position: Option<&'a str>,
    /// The client's address, where streams are counted by it.
    pub address: Option<IpAddr>,
}

/// What a client wants to be otherwise.
#[derive(Debug, Default)]
pub(crate) struct Alteration {
    /// Queries to watch as well.
    pub add: Vec<Asked>,
    /// Queries to watch no more.
    pub remove: Vec<ClientQueryId>,
    /// The caller's token is to take the place of the one before.
    pub renew: bool,
}

/// A session, until it is dropped.
pub(crate) struct Stream {
    live: Arc<Live>,
    opened: Opened,
}

impl Live {
    /// Opens a session. Ends when it is known whether the caller may have one:
    /// `caller` describes them, and is asked only where there is a context to make.
    pub(crate) async fn open(
        self: &Arc<Self>,
        asks: OpenSession<'_>,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<Stream, Failure> {
        let program = self.loaded()?;
        if self.stop.is_cancelled() {
            return Err(shutting_down());
        }
        let now = Instant::now();
        let OpenSession { style, queries, position, address } = asks;
        let wanted = self.wanted(&program, queries, 0, position, now);
        if let (Style::Plain, [Err((_, failure))]) = (style, wanted.as_slice()) {
            return Err(failure.clone());
        }
        let caller = program.has_context.then(caller);
        let opened = self.with(|registry| {
            // What ends all streams does so after it has said why, so one that is not
            // seen here ends this one too.
            if self.stop.is_cancelled() {
                return Err(shutting_down());
            }
            if self.loaded()?.has_context != caller.is_some() {
                return Err(Failure::new(Code::Unavailable, "new code was just loaded; try again shortly"));
            }
            self.has_room(registry.sessions(), address.map(|address| registry.sessions_of(address)))?;
            Ok::<_, Failure>(registry.open(Opening { style, caller, wanted, address }, now))
        })?;
        let stream = Stream { live: self.clone(), opened };
        loop {
            match self.with(|registry| registry.admission(stream.opened.id, Instant::now())) {
                Admission::Admitted => return Ok(stream),
                Admission::Refused(failure) => return Err(failure),
                Admission::NotYet => stream.opened.wake.notified().await,
            }
        }
    }

    /// Changes what a session watches, or who it is. `caller` must be who it was
    /// opened by.
    pub(crate) async fn alter(
        &self,
        id: SessionId,
        alteration: Alteration,
        position: Option<&str>,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<(), Failure> {
        let program = self.loaded()?;
        let Alteration { add, remove, renew } = alteration;
        let caller = program.has_context.then(caller);
        let known = match &caller {
            Some(caller) => self.who(&program, asking_who(caller)).await?,
            None => Known::default(),
        };
        let now = Instant::now();
        self.with(|registry| {
            registry.speaks_for(id, &known)?;
            if renew && let Some(caller) = caller {
                registry.renew(id, caller);
            }
            remove.into_iter().for_each(|member| registry.unwatch(id, member, now));
            let watched = registry.watches(id).unwrap_or_default();
            for wanted in self.wanted(&program, add, watched, position, now) {
                let wanted = wanted.and_then(|watch| match registry.watches_as(id, watch.id) {
                    true => {
                        Err((watch.id, Failure::new(Code::InvalidArgs, "this session already has a query of this id")))
                    }
                    false => Ok(watch),
                });
                registry.watch(id, wanted, now);
            }
            Ok(())
        })
    }

    /// Says something to a session beside its queries' answers: a message of its
    /// client's was not understood.
    pub(crate) fn refuse(&self, id: SessionId, failure: Failure) {
        self.with(|registry| registry.notify(id, Message::Refused { id: None, failure }));
    }

    /// A mutation of a session, of the function `name`, has ended; it hears when
    /// everything it has changed has been sent. What another process may have done
    /// (`replayed`), or `raw` has written, the feed has to read first.
    pub(crate) fn settle(&self, id: SessionId, key: String, name: &str, replayed: bool) {
        let function = self.loaded().and_then(|program| program.public(FunctionKind::Mutation, name));
        let unread = replayed || function.is_ok_and(|function| function.learned.writes_raw.is_set());
        let unread = unread.then(Instant::now);
        self.with(|registry| registry.settle(id, key, unread));
        if unread.is_some() {
            self.read_now.notify_one();
        }
    }

    /// What a caller's context says of them.
    pub(super) async fn who(&self, program: &Arc<Program>, caller: Arc<str>) -> Result<Known, Failure> {
        let function = program.context.clone();
        let request = FunctionCall { function, input: "{}".into(), caller: Some(caller), key: None };
        let (known, _reads) = known(self.dispatcher.query(program, &request).await);
        let known = known?;
        if known.expires.is_some_and(|expires| expires <= Instant::now()) {
            return Err(Failure::new(Code::Unauthorized, "the credentials have expired; send a new token"));
        }
        Ok(known)
    }

    /// Whether there may be one more stream; `of_address`: so many has its client.
    fn has_room(&self, streams: usize, of_address: Option<usize>) -> Result<(), Failure> {
        let Limits { streams: most, streams_per_address: most_of_address, .. } = self.limits;
        if streams >= most {
            let message = format!("this server already serves {most} live streams, its limit");
            return Err(Failure::new(Code::Unavailable, message));
        }
        if of_address.is_some_and(|streams| streams >= most_of_address) {
            let message = format!("this address already has {most_of_address} live streams, its limit");
            return Err(Failure::new(Code::RateLimited, message));
        }
        Ok(())
    }

    /// What is asked for, in our words; `watched` queries there are already.
    fn wanted(
        &self,
        program: &Program,
        queries: Vec<Asked>,
        watched: usize,
        position: Option<&str>,
        now: Instant,
    ) -> Vec<Wanted> {
        let since = position.map(|position| self.clock.read(position, now));
        let most = self.limits.queries_per_stream;
        let mut ids = std::collections::HashSet::new();
        let mut all = watched;
        let one = |Asked { id, name, input, held }: Asked| {
            if !ids.insert(id) {
                return Err((id, Failure::new(Code::InvalidArgs, "two queries of this message have the same id")));
            }
            all += 1;
            if all > most {
                let message = format!("this session already watches {most} queries, its limit");
                return Err((id, Failure::new(Code::PayloadTooLarge, message)));
            }
            let (function, query_key) = self.find(program, &name, &input).map_err(|failure| (id, failure))?;
            Ok(Watch { id, query_key, shareable: function.share, held, since })
        };
        queries.into_iter().map(one).collect()
    }
}

impl Stream {
    /// The session's name.
    pub(crate) fn id(&self) -> SessionId {
        self.opened.id
    }

    /// What is to be sent next, as one frame: the newest there is; what a slow
    /// reader missed is skipped. `None` when the stream is over. Nothing is lost
    /// where the future is dropped.
    pub(crate) async fn next(&mut self) -> Option<Vec<Message>> {
        loop {
            let taken = self.live.with(|registry| registry.take(self.opened.id, Instant::now()));
            if !taken.messages.is_empty() {
                return Some(taken.messages);
            }
            if taken.over {
                return None;
            }
            let woken = self.opened.wake.notified();
            match taken.wake_at {
                Some(at) => tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                },
                None => woken.await,
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.live.with(|registry| registry.close(self.opened.id, Instant::now()));
    }
}

fn shutting_down() -> Failure {
    Failure::new(Code::Unavailable, "the server is shutting down; try again shortly")
}
