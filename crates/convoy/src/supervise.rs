//! Supervises the long-lived tasks of an engine. A task that panics is logged and
//! restarted from its factory with exponential backoff, and all live queries run
//! again, because the work it had in progress is lost.
//!
//! ```text
//! running ──panic──▶ pause 20 ms … 5 s ──▶ running      (live queries run again)
//!                      └─ five in a row: `/api/health` is 503 until the task has run a minute
//! ```

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::change::{ChangeSink, ChangeSource, Changes};
use crate::events::Events;
use crate::failpoints::{Failpoint, Failpoints};
use crate::health::{Health, Remedy};

/// The first and the longest pause before a part is restarted.
const MIN_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a restarted part must run to count as recovered.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);
/// After this many panics in a row a health condition is set.
const MAX_PANICS: u32 = 5;

/// A long-lived part of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Reads the change log.
    Log,
    /// Notifies peers.
    Notifier,
    /// Listens to peers.
    Listener,
    /// Checks triggers, and polls untracked tables.
    Tables,
    /// Runs live queries again whose answers have expired.
    Timer,
    /// Starts the runs of live queries.
    LiveRuns,
    /// Removes stored responses after their retention.
    StoredResponses,
    /// Checks whether functions can run.
    Functions,
    /// Accepts connections.
    Accept,
    /// Serves the metrics.
    Metrics,
    /// Exports telemetry.
    Telemetry,
    /// Runs one live query.
    LiveQuery,
    /// Sends the batched commits to some tables.
    CommitBatching,
    /// Runs the calls of one serial queue.
    SerialQueue,
    /// Watches one worker.
    WorkerWatch,
    /// Retries calls that have lost their host.
    LostCalls,
    /// Hands events to their reader.
    Events,
    /// The state of all live queries: not a task, but an event may panic half-way.
    Registry,
}

impl Part {
    /// The name in logs and health conditions.
    pub fn name(self) -> &'static str {
        match self {
            Part::Log => "reading the change log",
            Part::Notifier => "notifying other processes",
            Part::Listener => "listening to other processes",
            Part::Tables => "looking at tables",
            Part::Timer => "refreshing old answers",
            Part::LiveRuns => "starting live queries",
            Part::StoredResponses => "removing old answers",
            Part::Functions => "running functions",
            Part::Accept => "accepting connections",
            Part::Metrics => "serving metrics",
            Part::Telemetry => "exporting telemetry",
            Part::LiveQuery => "running a live query",
            Part::CommitBatching => "a batch of commits",
            Part::SerialQueue => "a serial queue",
            Part::WorkerWatch => "watching a worker",
            Part::LostCalls => "running the calls of lost workers again",
            Part::Events => "handing out events",
            Part::Registry => "the state of live queries",
        }
    }

    /// Whether the engine has one such task, which every live query depends on. The
    /// others serve one query or one queue, and recover their own work on restart.
    pub(crate) fn is_vital(self) -> bool {
        match self {
            Part::Log | Part::Notifier | Part::Listener | Part::Tables => true,
            Part::Timer | Part::LiveRuns | Part::StoredResponses | Part::Functions | Part::Accept | Part::Registry => {
                true
            }
            Part::LiveQuery
            | Part::CommitBatching
            | Part::SerialQueue
            | Part::WorkerWatch
            | Part::LostCalls
            | Part::Metrics
            | Part::Telemetry
            | Part::Events => false,
        }
    }
}

/// Restarts tasks after panics. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    sink: Arc<dyn ChangeSink>,
    health: Health,
    failpoints: Failpoints,
}

impl Supervisor {
    /// After a panic, `sink` is notified that everything may have changed; repeated panics
    /// set a condition in `health`.
    pub fn new(sink: Arc<dyn ChangeSink>, health: Health, failpoints: Failpoints) -> Supervisor {
        Supervisor { sink, health, failpoints }
    }

    /// The events of the engine.
    pub(crate) fn events(&self) -> &Events {
        self.health.events()
    }

    /// Panics if the part is armed; see [`Failpoints::reach`].
    pub fn reach(&self, part: Part) {
        self.failpoints.reach(part);
    }

    /// Runs a task until it returns. `start` creates its future, first and after each
    /// panic; once `stop` is cancelled it is not restarted.
    pub async fn keep<F: Future<Output = ()>>(
        &self,
        part: Part,
        stop: &CancellationToken,
        mut start: impl FnMut() -> F,
    ) {
        let (mut panics, mut backoff) = (0, MIN_BACKOFF);
        loop {
            let supervised = AssertUnwindSafe(async {
                let mut running = std::pin::pin!(self.failpoints.run_task(part, start()));
                if panics > 0 {
                    tokio::select! {
                        () = &mut running => return,
                        () = tokio::time::sleep(RECOVERED_AFTER) => self.health.clear(part.name()),
                    }
                    (panics, backoff) = (0, MIN_BACKOFF);
                }
                running.await;
            });
            let Err(panic) = supervised.catch_unwind().await else { return self.health.clear(part.name()) };
            panics += 1;
            let message = message_of(&*panic);
            if self.failpoints.has(Failpoint::Unsupervised) {
                return;
            }
            tracing::error!(panic = message, "{} panicked and is restarted. This is a defect of Convoy", part.name());
            if part.is_vital() {
                if panics >= MAX_PANICS {
                    let reason = format!("it has panicked {panics} times in a row; see the log");
                    self.health.set(part.name(), Remedy::Restart, reason);
                }
                self.rerun_live_queries();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(MAX_BACKOFF),
            }
        }
    }

    fn rerun_live_queries(&self) {
        let notified =
            catch_unwind(AssertUnwindSafe(|| self.sink.committed(Changes::Everything, &ChangeSource::Resync)));
        if let Err(panic) = notified {
            // The next access finds the state inconsistent and resets it.
            tracing::error!(panic = message_of(&*panic), "live queries could not be notified to run again");
        }
    }
}

/// The message of a panic.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::change::{CommitNumber, CommitReader, TablesRead};

    #[derive(Default)]
    struct Notifications(AtomicU32);

    impl CommitReader for Notifications {
        fn committed(&self, changes: Changes, _: &ChangeSource) -> Option<CommitNumber> {
            assert!(matches!(changes, Changes::Everything));
            self.0.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    impl ChangeSink for Notifications {
        fn caught_up(&self, _: Instant, _: u64) {}
        fn set_tracked_tables(&self, _: HashSet<Arc<str>>) {}
        fn tables_read(&self) -> TablesRead {
            TablesRead::default()
        }
    }

    /// A supervisor whose engine has no live queries.
    pub(crate) fn supervisor_with(failpoints: Failpoints) -> Supervisor {
        Supervisor::new(Arc::new(Notifications::default()), Health::default(), failpoints)
    }

    fn supervisor(notifications: &Arc<Notifications>) -> (Supervisor, Health) {
        let health = Health::default();
        (Supervisor::new(notifications.clone(), health.clone(), Failpoints::default()), health)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_restarts_until_it_returns() {
        let notifications = Arc::default();
        let (supervisor, health) = supervisor(&notifications);
        for part in [Part::Log, Part::LiveQuery] {
            let mut starts = 0;
            let never = CancellationToken::new();
            let running = supervisor.keep(part, &never, || {
                starts += 1;
                let start = starts;
                async move { assert!(start >= 3, "not yet") }
            });
            running.await;
            assert_eq!(starts, 3);
        }
        assert_eq!(notifications.0.load(Ordering::Relaxed), 2, "only vital parts run all live queries again");
        assert!(health.conditions().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_the_factory_restarts_too() {
        let (supervisor, _) = supervisor(&Arc::default());
        let mut starts = 0;
        let start = || {
            starts += 1;
            assert!(starts > 1, "at first");
            std::future::ready(())
        };
        supervisor.keep(Part::StoredResponses, &CancellationToken::new(), start).await;
        assert_eq!(starts, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_panics_set_a_condition_until_a_minute_without_one() {
        let (supervisor, health) = supervisor(&Arc::default());
        let stop = CancellationToken::new();
        let mut starts = 0;
        let running = supervisor.keep(Part::Tables, &stop, || {
            starts += 1;
            let start = starts;
            let (health, stop) = (health.clone(), stop.clone());
            async move {
                let set = !health.conditions().is_empty();
                assert_eq!(set, start > MAX_PANICS, "{start}");
                if start <= MAX_PANICS {
                    panic!("number {start}");
                }
                assert_eq!(health.conditions()[Part::Tables.name()].remedy, Remedy::Restart);
                tokio::time::sleep(RECOVERED_AFTER * 2).await;
                assert!(health.conditions().is_empty());
                stop.cancel();
            }
        });
        running.await;
        assert_eq!(starts, MAX_PANICS + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_task_is_not_restarted() {
        let (supervisor, _) = supervisor(&Arc::default());
        let stop = CancellationToken::new();
        let mut starts = 0;
        let start = || {
            starts += 1;
            stop.cancel();
            async { panic!("at the end") }
        };
        supervisor.keep(Part::Log, &stop, start).await;
        assert_eq!(starts, 1);
    }
}
