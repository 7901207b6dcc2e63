//! Keeps results current: finds the queries a change concerns, runs each once,
//! and hands what is new to everyone who watches.

mod answer;
pub(crate) mod client_messages;
mod consistency_token;
mod delta;
mod intervals;
mod invalidate;
mod message;
mod registry;
mod result_cache;
mod run;
mod share_key;
mod shared;
mod sharing_audit;
mod stream;
mod turns;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use answer::hash_in;
pub(crate) use invalidate::QueryId;
pub(crate) use message::{EndReason, Message, SessionId};
pub(crate) use registry::{Counts, Described, Style};
pub(crate) use result_cache::Held;
pub(crate) use shared::SharedRegistry;
pub(crate) use stream::{Asked, OpenSession, Stream};

use crate::config::Limits;
use crate::db::ReadSet;
use crate::dispatch::{Dispatcher, Function, FunctionKind, Program};
use crate::error::{Code, Failure};
use crate::failpoints::{Failpoint, Failpoints};
use crate::supervise::Supervisor;
use consistency_token::Clock;
use registry::{QueryKey, Registry};
use turns::Turns;

/// The live queries of one engine.
pub(crate) struct Live {
    registry: Arc<SharedRegistry>,
    dispatcher: Dispatcher,
    program: Arc<ArcSwapOption<Program>>,
    limits: Limits,
    dev: bool,
    failpoints: Failpoints,
    clock: Clock,
    /// OpenSession the feed to read.
    read_now: Arc<Notify>,
    /// Another answer than before may be the first to grow old.
    due: Notify,
    /// Functions that were warned of.
    warned: Mutex<HashSet<Arc<str>>>,
    /// Functions that were seen to give different results to callers who share them.
    differing: Mutex<HashSet<Arc<str>>>,
    /// Which runs take place at once.
    turns: Turns,
    tasks: TaskTracker,
    stop: CancellationToken,
    supervisor: Supervisor,
}

/// What a set of live queries is made with.
pub(crate) struct Setting {
    /// The state of the live queries.
    pub registry: Arc<SharedRegistry>,
    /// What runs functions.
    pub dispatcher: Dispatcher,
    /// Where loaded code appears.
    pub program: Arc<ArcSwapOption<Program>>,
    /// The published limits.
    pub limits: Limits,
    /// How many live queries run at once.
    pub runs: usize,
    /// Tells this process from others.
    pub node: Uuid,
    /// Development: what people want to know is kept.
    pub dev: bool,
    /// OpenSession the feed to read.
    pub read_now: Arc<Notify>,
    /// Restarts the tasks that run queries.
    pub supervisor: Supervisor,
    /// What is done wrong on purpose.
    pub failpoints: Failpoints,
}

/// Everything that is live, for people to look at.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    sessions: usize,
    /// Functions that were seen to give different results to callers who share
    /// them, which is an error in them.
    differing: Vec<String>,
    queries: Vec<Described>,
}

impl Live {
    /// Runs the queries that the registry wants to be run, once it is told to.
    pub(crate) fn new(setting: Setting) -> Live {
        let Setting { registry, dispatcher, program, limits, runs, node, dev, read_now, supervisor, failpoints } =
            setting;
        let turns = Turns::new(runs, failpoints.has(Failpoint::WaitForTheFirst));
        Live {
            registry,
            dispatcher,
            program,
            limits,
            dev,
            failpoints,
            clock: Clock::new(node),
            read_now,
            due: Notify::new(),
            warned: Mutex::default(),
            differing: Mutex::default(),
            turns,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            supervisor,
        }
    }

    /// The state of the live queries.
    #[cfg(feature = "failpoints")]
    pub(crate) fn registry(&self) -> &SharedRegistry {
        &self.registry
    }

    /// The supervisor of long-lived tasks.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// New code was loaded. Where it has a context and the last one had none, or
    /// the other way round, nothing that is known of sessions holds.
    pub(crate) fn reloaded(&self, context_changed: bool) {
        self.with(|registry| match context_changed {
            true => registry.end_all(EndReason::Reload),
            false => registry.reloaded(),
        });
    }

    /// How much there is to keep current.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// Everything that is live.
    pub(crate) fn overview(&self) -> Overview {
        let differing = self.differing.lock().iter().map(|name| name.to_string()).collect();
        let registry = self.lock();
        Overview { sessions: registry.counts().sessions, differing, queries: registry.describe() }
    }

    /// When a client that loses us should come again, in milliseconds: not all at
    /// once.
    pub(crate) fn retry_ms(&self) -> u32 {
        message::retry_ms(&self.failpoints)
    }

    /// The position of who has seen what there is now.
    pub(crate) fn position(&self) -> String {
        self.clock.say(Instant::now())
    }

    /// Tells every stream that it is over.
    pub(crate) fn end_streams(&self) {
        self.stop.cancel();
        self.with(|registry| registry.end_all(EndReason::Shutdown));
    }

    /// Waits for the runs in flight.
    pub(crate) async fn close(&self) {
        self.end_streams();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The state; see [`SharedRegistry::lock`].
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock()
    }

    /// Lets an event happen, and does what follows from it.
    fn with<T>(&self, event: impl FnOnce(&mut Registry) -> T) -> T {
        self.registry.with(event)
    }

    /// The function and the canonical input that are asked for.
    fn find(&self, program: &Program, name: &str, input: &str) -> Result<(Arc<Function>, QueryKey), Failure> {
        let function = program.public(FunctionKind::Query, name)?;
        let input = crate::value::canonical(input)?;
        let query_key = QueryKey { function: function.name.clone(), input: input.into() };
        Ok((function, query_key))
    }

    /// The code that is loaded.
    fn loaded(&self) -> Result<Arc<Program>, Failure> {
        let missing = || Failure::new(Code::Unavailable, "no functions are loaded yet; try again shortly");
        self.program.load_full().ok_or_else(missing)
    }

    /// Says once of a function that it reads a whole table: right as it is, and
    /// slow when the table grows, as is running it for every change in it.
    fn warn_of_whole_tables(&self, function: &Arc<str>, reads: &ReadSet) {
        let Some(whole) = reads.ranges.iter().find(|range| range.is_whole()) else { return };
        if self.warned.lock().insert(function.clone()) {
            let table = &whole.table.name;
            tracing::warn!(
                "`{function}` reads the whole table `{table}`, so it runs again for every change in it; \
                 an index (withIndex) or a limit (take) narrows that"
            );
        }
    }

    fn recheck(&self) -> Duration {
        Duration::from_millis(self.limits.context_refresh_ms)
    }
}

/// Milliseconds since 1970.
fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
