//! Which runs of live queries take place at once.
//!
//! There are fewer than connections, so that a burst of re-runs does not starve calls.
//! No caller has all of them, and a run that takes long gives its place to others, so
//! that a caller whose runs never end delays no other caller. It still counts as one of
//! its caller's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How long a run keeps its place among all.
const KEEP: Duration = Duration::from_secs(1);

/// The places of runs.
pub(super) struct Turns {
    all: Semaphore,
    /// How many runs one caller may have.
    of_one: usize,
    /// Of callers who have runs, or wait for one.
    by_caller: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    /// All of them are anyone's, for as long as a run takes.
    unfair: bool,
}

/// The place of one run.
pub(super) struct Turn<'a> {
    all: Option<SemaphorePermit<'a>>,
    _own: Option<Own<'a>>,
    keep: Option<Duration>,
}

impl Turns {
    /// `unfair`: callers are not told apart.
    pub(super) fn new(runs: usize, unfair: bool) -> Turns {
        let runs = runs.max(1);
        let of_one = runs.saturating_sub((runs / 4).max(1)).max(1);
        Turns { all: Semaphore::new(runs), of_one, by_caller: Mutex::default(), unfair }
    }

    /// Waits for a place, for a run in the name of `caller`. `None`: there are none any
    /// more.
    pub(super) async fn take(&self, caller: Option<Arc<str>>) -> Option<Turn<'_>> {
        let own = match caller.filter(|_| !self.unfair) {
            Some(caller) => Some(Own::take(self, caller).await?),
            None => None,
        };
        let all = Some(self.all.acquire().await.ok()?);
        Some(Turn { all, _own: own, keep: (!self.unfair).then_some(KEEP) })
    }
}

impl Turn<'_> {
    /// Makes a run. Where it takes long, others begin meanwhile.
    pub(super) async fn run<T>(mut self, run: impl Future<Output = T>) -> T {
        let Some(keep) = self.keep else { return run.await };
        let mut run = std::pin::pin!(run);
        match tokio::time::timeout(keep, &mut run).await {
            Ok(done) => done,
            Err(_long) => {
                self.all = None;
                run.await
            }
        }
    }
}

/// A place among those of one caller.
struct Own<'a> {
    turns: &'a Turns,
    caller: Arc<str>,
    places: Arc<Semaphore>,
    place: Option<OwnedSemaphorePermit>,
}

impl<'a> Own<'a> {
    async fn take(turns: &'a Turns, caller: Arc<str>) -> Option<Own<'a>> {
        let known =
            turns.by_caller.lock().entry(caller.clone()).or_insert_with(|| Semaphore::new(turns.of_one).into()).clone();
        let mut own = Own { turns, caller, places: known, place: None };
        own.place = Some(own.places.clone().acquire_owned().await.ok()?);
        Some(own)
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        self.place = None;
        let mut by_caller = self.turns.by_caller.lock();
        // The map and this one are the last that know of it.
        if Arc::strong_count(&self.places) == 2 {
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
    async fn a_caller_whose_runs_never_end_leaves_places_to_others_and_has_no_more_than_its_own() {
        let turns = Turns::new(8, false);
        let bad = || async { turns.take(Some("bad".into())).await.expect("a place").run(pending::<()>()).await };
        let mut runs: Vec<_> = (0..64).map(|_| Box::pin(bad())).collect();
        for run in &mut runs {
            assert!(run.now_or_never().is_none());
        }
        // Two of eight are left at once, and all of them a little later.
        assert_eq!(turns.all.available_permits(), 2);
        drop(turns.take(Some("ann".into())).now_or_never().flatten().expect("a place"));
        tokio::time::sleep(KEEP * 2).await;
        for run in &mut runs {
            assert!(run.now_or_never().is_none());
        }
        assert_eq!(turns.all.available_permits(), 8);
        assert!(turns.take(Some("bad".into())).now_or_never().is_none(), "it waits for its own");
        drop(runs);
        assert!(turns.by_caller.lock().is_empty(), "nothing is kept of callers without runs");
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_without_a_caller_counts_only_against_the_total() {
        let turns = Turns::new(1, false);
        let turn = turns.take(None).await.expect("a place");
        assert!(turns.take(None).now_or_never().is_none());
        assert_eq!(turn.run(async { 1 }).await, 1);
        assert!(turns.take(None).now_or_never().is_some());
    }
}
