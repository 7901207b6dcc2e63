//! Keeps results current: finds the queries a change concerns, runs each once,
//! and hands what is new to everyone who watches.

mod frame;
mod intervals;
mod invalidate;
mod registry;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use frame::Frame;
pub use invalidate::QueryId;

use crate::change::{By, ChangeSink, Changes, TablesRead};
use crate::config::Limits;
use crate::db::ReadSet;
use crate::dispatch::{Dispatcher, FunctionKind, Program, QueryRun, Request};
use crate::error::{Code, Failure};
pub use registry::Counts;
use registry::{Key, Next, Registry, Ticket};

/// The pauses between runs of a query that cannot be run at the moment.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// The live queries of one engine.
pub struct Live {
    this: Weak<Live>,
    /// Never locked across an await or a call into the host.
    registry: Mutex<Registry>,
    dispatcher: Dispatcher,
    program: Arc<ArcSwapOption<Program>>,
    streams: usize,
    /// Makes the keys of results that nobody shares unique.
    privates: AtomicU64,
    /// How many live queries run at once: fewer than there are connections, so
    /// that a burst of re-runs does not starve calls.
    runs: Semaphore,
    watched: watch::Sender<bool>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Live {
    /// An empty set. `program` is where loaded code appears.
    pub fn new(
        this: Weak<Live>,
        dispatcher: Dispatcher,
        program: Arc<ArcSwapOption<Program>>,
        limits: &Limits,
        runs: usize,
    ) -> Live {
        Live {
            this,
            registry: Mutex::new(Registry::default()),
            dispatcher,
            program,
            streams: limits.streams,
            privates: AtomicU64::new(0),
            runs: Semaphore::new(runs.max(1)),
            watched: watch::Sender::new(false),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// What runs the queries.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Whether anything is live, for the feed.
    pub fn watched(&self) -> watch::Receiver<bool> {
        self.watched.subscribe()
    }

    /// Watches a query. The first frame comes when its first run has ended, or
    /// at once where others watch it already.
    ///
    /// `caller` says who asks; it is called only where that matters.
    pub fn subscribe(
        &self,
        name: &str,
        input: &str,
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<Subscription, Failure> {
        let program = self.program.load_full().ok_or_else(not_loaded)?;
        let function = program.public(FunctionKind::Query, name)?;
        let input = crate::value::canonical(input)
            .map_err(|error| Failure::new(Code::InvalidArgs, format!("the arguments do not fit: {error}")))?;
        if self.stop.is_cancelled() {
            return Err(Failure::new(Code::Unavailable, "the server is shutting down; try again shortly"));
        }
        let caller = program.has_context.then(caller);
        let shared = function.share && caller.is_none();
        let mut registry = self.registry.lock();
        if registry.subscribers() >= self.streams {
            return Err(Failure::new(
                Code::Unavailable,
                format!("this server already serves {} live streams, its limit", self.streams),
            ));
        }
        let private = (!shared).then(|| self.privates.fetch_add(1, Ordering::Relaxed));
        let key = Key { function: function.name.clone(), input: input.into(), private };
        let (id, frames, new) = registry.subscribe(Ticket { key, caller });
        self.note_watched(&registry);
        drop(registry);
        if new {
            self.run(id);
        }
        Ok(Subscription { live: self.this.clone(), id, frames })
    }

    /// New code was loaded in place of `before`.
    pub fn reloaded(&self, context_changed: bool) {
        let start = {
            let mut registry = self.registry.lock();
            if context_changed {
                // What was shared may not be any more: everyone asks anew.
                registry.clear();
            }
            registry.reloaded()
        };
        start.into_iter().for_each(|id| self.run(id));
    }

    /// How much there is to keep current.
    pub fn counts(&self) -> Counts {
        self.registry.lock().counts()
    }

    /// Ends every stream and waits for the runs in flight.
    pub async fn close(&self) {
        self.stop.cancel();
        self.registry.lock().clear();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn run(&self, id: QueryId) {
        let Some(live) = self.this.upgrade() else { return };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let driven = AssertUnwindSafe(live.drive(id)).catch_unwind();
            let panicked = tokio::select! {
                () = stop.cancelled() => false,
                driven = driven => driven.is_err(),
            };
            if panicked {
                live.crashed(id);
            }
        });
    }

    /// Runs a queued query until it rests. Only ever one task per query.
    async fn drive(&self, id: QueryId) {
        let mut pause = RETRY_FIRST;
        loop {
            let Ok(permit) = self.runs.acquire().await else { return };
            let Some(ticket) = self.registry.lock().begin(id) else { return };
            let QueryRun { result, reads, .. } = self.run_once(&ticket).await;
            let passing = matches!(&result, Err(failure) if matches!(failure.code, Code::Unavailable | Code::Timeout));
            drop(permit);
            let frame = Frame::new(&ticket.key.function, result, now());
            let refresh = reads.refresh;
            let next = self.registry.lock().finish(id, reads, frame);
            if passing {
                // The run ended before it had read everything, and what made it
                // end is no change: it asks again by itself.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MOST);
                if next == Next::Rest && !self.registry.lock().requeue(id) {
                    return;
                }
                continue;
            }
            pause = RETRY_FIRST;
            if next == Next::Rest {
                self.run_after(id, refresh);
                return;
            }
        }
    }

    /// Runs a query again when its answer has grown old, unless something else
    /// has made it run by then: that run sets its own time.
    fn run_after(&self, id: QueryId, refresh: Option<Duration>) {
        let Some(refresh) = refresh else { return };
        let (this, stop) = (self.this.clone(), self.stop.clone());
        let runs = self.registry.lock().runs(id);
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(refresh) => {}
            }
            let Some(live) = this.upgrade() else { return };
            let due = {
                let mut registry = live.registry.lock();
                registry.runs(id) == runs && registry.requeue(id)
            };
            if due {
                live.run(id);
            }
        });
    }

    /// A run panicked, which is a defect of ours: its watchers are told, and the
    /// query may run again.
    fn crashed(&self, id: QueryId) {
        let failure = Failure::internal("live query", &"its run panicked");
        let mut registry = self.registry.lock();
        let next = registry.finish(id, ReadSet::default(), Frame::new("", Err(failure), now()));
        drop(registry);
        if next == Next::Again {
            self.run(id);
        }
    }

    async fn run_once(&self, ticket: &Ticket) -> QueryRun {
        let found = self
            .program
            .load_full()
            .ok_or_else(not_loaded)
            .and_then(|program| Ok((program.public(FunctionKind::Query, &ticket.key.function)?, program)));
        match found {
            // Loaded since: results of this key were shared, and may not be any
            // more. Its subscribers are about to be sent away.
            Ok((_, program)) if program.has_context && ticket.caller.is_none() => {
                let failure = Failure::new(Code::Unavailable, "new code was loaded; connect again");
                QueryRun::refused(failure)
            }
            Ok((function, program)) => {
                let request =
                    Request { function, input: ticket.key.input.clone(), caller: ticket.caller.clone(), key: None };
                self.dispatcher.query(&program, &request).await
            }
            Err(failure) => QueryRun::refused(failure),
        }
    }

    fn unsubscribe(&self, id: QueryId) {
        let mut registry = self.registry.lock();
        registry.unsubscribe(id);
        self.note_watched(&registry);
    }

    /// Tells the feed whether anything is live, where that changed.
    fn note_watched(&self, registry: &Registry) {
        let live = !registry.is_empty();
        self.watched.send_if_modified(|watched| std::mem::replace(watched, live) != live);
    }
}

impl ChangeSink for Live {
    fn committed(&self, changes: Changes, _by: &By) {
        let start = self.registry.lock().changed(&changes);
        start.into_iter().for_each(|id| self.run(id));
    }

    fn caught_up(&self, _at: Instant) {}

    fn tables_read(&self) -> TablesRead {
        self.registry.lock().tables_read()
    }
}

/// A place among a query's watchers; dropping it gives the place up.
pub struct Subscription {
    live: Weak<Live>,
    id: QueryId,
    frames: watch::Receiver<Option<Arc<Frame>>>,
}

impl Subscription {
    /// The next answer, the newest one: those a slow reader missed are skipped.
    /// `None` when the stream is over.
    pub async fn next(&mut self) -> Option<Arc<Frame>> {
        loop {
            self.frames.changed().await.ok()?;
            if let Some(frame) = self.frames.borrow_and_update().clone() {
                return Some(frame);
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(live) = self.live.upgrade() {
            live.unsubscribe(self.id);
        }
    }
}

fn not_loaded() -> Failure {
    Failure::new(Code::Unavailable, "no functions are loaded yet; try again shortly")
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
