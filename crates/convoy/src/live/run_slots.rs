//! Limits how many live queries run at once.
//!
//! There are fewer slots than connections, so that a burst of re-runs does not starve
//! calls. One caller has at most three quarters of them, and a long run gives its slot
//! back, so that a caller whose runs never end does not delay other callers. A long run
//! still counts against its caller's limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How long a run keeps its shared slot.
const SLOT_TIMEOUT: Duration = Duration::from_secs(1);

/// The slots for runs.
pub(super) struct RunSlots {
    all: Semaphore,
    /// How many runs one caller may have.
    per_caller: usize,
    /// The callers that run a query or wait for a slot.
    by_caller: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    /// Failpoint: no limit per caller, and a run keeps its slot until it ends.
    unfair: bool,
}

/// The slot of one run.
pub(super) struct RunSlot<'a> {
    shared: Option<SemaphorePermit<'a>>,
    _own: Option<CallerSlot<'a>>,
    timeout: Option<Duration>,
}

impl RunSlots {
    /// `runs` slots. `unfair` turns the limits per caller and per run off.
    pub(super) fn new(runs: usize, unfair: bool) -> RunSlots {
        let runs = runs.max(1);
        let per_caller = runs.saturating_sub((runs / 4).max(1)).max(1);
        RunSlots { all: Semaphore::new(runs), per_caller, by_caller: Mutex::default(), unfair }
    }

    /// Waits for a slot for a run of `caller`. `None`: the slots are closed.
    pub(super) async fn acquire(&self, caller: Option<Arc<str>>) -> Option<RunSlot<'_>> {
        let own = match caller.filter(|_| !self.unfair) {
            Some(caller) => Some(CallerSlot::acquire(self, caller).await?),
            None => None,
        };
        let shared = Some(self.all.acquire().await.ok()?);
        Some(RunSlot { shared, _own: own, timeout: (!self.unfair).then_some(SLOT_TIMEOUT) })
    }
}

impl RunSlot<'_> {
    /// Executes a run. After [`SLOT_TIMEOUT`] other runs may use the shared slot.
    pub(super) async fn run<T>(mut self, run: impl Future<Output = T>) -> T {
        let Some(timeout) = self.timeout else { return run.await };
        let mut run = std::pin::pin!(run);
        match tokio::time::timeout(timeout, &mut run).await {
            Ok(done) => done,
            Err(_elapsed) => {
                self.shared = None;
                run.await
            }
        }
    }
}

/// A slot among those of one caller.
struct CallerSlot<'a> {
    slots: &'a RunSlots,
    caller: Arc<str>,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<'a> CallerSlot<'a> {
    async fn acquire(slots: &'a RunSlots, caller: Arc<str>) -> Option<CallerSlot<'a>> {
        let new_semaphore = || Semaphore::new(slots.per_caller).into();
        let semaphore = slots.by_caller.lock().entry(caller.clone()).or_insert_with(new_semaphore).clone();
        let mut slot = CallerSlot { slots, caller, semaphore, permit: None };
        slot.permit = Some(slot.semaphore.clone().acquire_owned().await.ok()?);
        Some(slot)
    }
}

impl Drop for CallerSlot<'_> {
    fn drop(&mut self) {
        self.permit = None;
        let mut by_caller = self.slots.by_caller.lock();
        // Only the map and this slot refer to it.
        if Arc::strong_count(&self.semaphore) == 2 {
            by_caller.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn endless_runs_of_one_caller_leave_slots_to_others_and_stay_within_its_limit() {
        let slots = RunSlots::new(8, false);
        let bad = || async { slots.acquire(Some("bad".into())).await.expect("a slot").run(pending::<()>()).await };
        let mut runs: Vec<_> = (0..64).map(|_| Box::pin(bad())).collect();
        for run in &mut runs {
            assert!(run.now_or_never().is_none());
        }
        // Two of eight are free at once, and all of them a little later.
        assert_eq!(slots.all.available_permits(), 2);
        drop(slots.acquire(Some("ann".into())).now_or_never().flatten().expect("a slot"));
        tokio::time::sleep(SLOT_TIMEOUT * 2).await;
        for run in &mut runs {
            assert!(run.now_or_never().is_none());
        }
        assert_eq!(slots.all.available_permits(), 8);
        assert!(slots.acquire(Some("bad".into())).now_or_never().is_none(), "the caller is at its limit");
        drop(runs);
        assert!(slots.by_caller.lock().is_empty(), "callers without runs are removed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_without_a_caller_counts_only_against_the_total() {
        let slots = RunSlots::new(1, false);
        let slot = slots.acquire(None).await.expect("a slot");
        assert!(slots.acquire(None).now_or_never().is_none());
        assert_eq!(slot.run(async { 1 }).await, 1);
        assert!(slots.acquire(None).now_or_never().is_some());
    }
}
