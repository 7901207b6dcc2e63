//! Follows the mutations of clients that have a live session, so that the session reports
//! which of its results have their changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::message::ReportedMutation;
use super::{Live, SessionId};
use crate::dispatch::{Answer, CommitObserver, FunctionKind};
use crate::error::Failure;

/// A mutation of a session's client.
struct SessionMutation {
    live: Arc<Live>,
    session: SessionId,
    /// Its idempotency key.
    key: String,
    /// The name of its function.
    function: Box<str>,
    ended: AtomicBool,
}

impl Live {
    /// The observer of a mutation with this idempotency key. `None`: this process does not
    /// have the session.
    pub(crate) fn observe_mutation(
        self: &Arc<Self>,
        session: SessionId,
        key: &str,
        function: &str,
    ) -> Option<Arc<dyn CommitObserver>> {
        let (key, function) = (key.to_owned(), function.into());
        self.with(|registry| registry.acknowledges(session)).then(|| {
            Arc::new(SessionMutation { live: self.clone(), session, key, function, ended: AtomicBool::new(false) })
                as Arc<dyn CommitObserver>
        })
    }
}

impl CommitObserver for SessionMutation {
    fn committing(&self) {
        let now = Instant::now();
        self.live.with(|registry| registry.committing(self.session, &self.key, now));
    }

    fn rolled_back(&self) {
        self.live.with(|registry| registry.not_committed(self.session, &self.key));
    }

    /// Changes that another process may have made (a replayed answer) or that `raw` has
    /// written are first read from the change log.
    fn ended(&self, result: &Result<Answer, Failure>) {
        self.ended.store(true, Ordering::Relaxed);
        let Ok(Answer { result, replayed }) = result else {
            self.rolled_back();
            return;
        };
        let program = self.live.loaded();
        let function = program.and_then(|program| program.public(FunctionKind::Mutation, &self.function));
        let needs_feed = *replayed || function.is_ok_and(|function| function.learned.writes_raw.is_set());
        let await_feed = needs_feed.then(Instant::now);
        self.live.with(|registry| {
            registry.ack_when_visible(self.session, ReportedMutation::new(&self.key, result), await_feed)
        });
        if await_feed.is_some() {
            self.live.read_requests.make();
        }
    }
}

/// A mutation that ends without a result, by a panic, must not withhold answers any longer.
impl Drop for SessionMutation {
    fn drop(&mut self) {
        if !*self.ended.get_mut() {
            self.rolled_back();
        }
    }
}
