//! The state of a worker pool: the workers, the calls assigned to each, and the placement
//! rules. Pure but for the clock. The methods return each value whose drop takes the pool's
//! lock, so that callers drop it after unlocking.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{CallId, HostInvocation, Unresponsive, UnstartedCall, Worker, WorkerId};

/// How long a worker may be unresponsive before the function that blocks it is logged, and
/// a spare is requested if no worker responds.
pub(super) const SPARE_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    pub slots: Vec<WorkerSlot>,
    /// The calls in progress.
    pub calls: HashMap<CallId, Running>,
    /// Calls that no worker can take yet. Bounded by the dispatcher's limit on concurrent
    /// calls.
    pub waiting: VecDeque<UnstartedCall>,
    /// The program was replaced: no more workers join.
    pub retired: bool,
    /// Functions that blocked a worker until it was terminated.
    pub blockers: HashSet<Arc<str>>,
    /// A spare was requested.
    spare_requested: bool,
    /// When the last worker left.
    empty_since: Instant,
}

/// A call assigned to a worker.
pub(super) struct Running {
    pub worker: Arc<Worker>,
    pub function: Arc<str>,
    /// Whether it may move to another worker.
    pub movable: bool,
    /// Dropped when the call ends; set for quarantined calls only.
    pub quarantine: Option<oneshot::Sender<()>>,
}

/// A worker of the pool, and the task that watches it.
pub(super) struct WorkerSlot {
    pub worker: Arc<Worker>,
    pub unresponsive: Option<Unresponsive>,
    /// The worker gets no more calls.
    draining: bool,
    _watch: AbortOnDropHandle<()>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            slots: Vec::new(),
            calls: HashMap::new(),
            waiting: VecDeque::new(),
            retired: false,
            blockers: HashSet::new(),
            spare_requested: false,
            empty_since: Instant::now(),
        }
    }
}

impl Running {
    pub(super) fn of(invocation: &HostInvocation, worker: &Arc<Worker>) -> Running {
        Running { worker: worker.clone(), function: invocation.function.clone(), movable: true, quarantine: None }
    }
}

impl WorkerSlot {
    pub(super) fn new(worker: Arc<Worker>, watch: AbortOnDropHandle<()>) -> WorkerSlot {
        WorkerSlot { worker, unresponsive: None, draining: false, _watch: watch }
    }

    /// Whether it is given no more calls.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    fn is_responsive(&self) -> bool {
        self.unresponsive.is_none() && !self.draining
    }
}

impl Pool {
    pub(super) fn add(&mut self, slot: WorkerSlot) {
        self.slots.push(slot);
    }

    /// Removes a worker. Also returns the names of the functions it was running, and its
    /// movable calls.
    pub(super) fn remove(&mut self, id: WorkerId) -> (Vec<WorkerSlot>, Vec<String>, Vec<CallId>) {
        let (gone, remaining): (Vec<WorkerSlot>, _) =
            std::mem::take(&mut self.slots).into_iter().partition(|slot| slot.worker.id == id);
        self.slots = remaining;
        if self.slots.is_empty() && !gone.is_empty() {
            self.empty_since = Instant::now();
        }
        self.spare_requested = false;
        self.blockers.extend(gone.iter().filter_map(|slot| slot.unresponsive.as_ref()?.function.clone()));
        let functions = gone.iter().flat_map(|slot| self.names(slot.worker.host.activity().calls)).collect();
        (gone, functions, self.movable(id))
    }

    pub(super) fn slot(&self, id: WorkerId) -> Option<&WorkerSlot> {
        self.slots.iter().find(|slot| slot.worker.id == id)
    }

    fn slot_mut(&mut self, id: WorkerId) -> Option<&mut WorkerSlot> {
        self.slots.iter_mut().find(|slot| slot.worker.id == id)
    }

    /// The least loaded responsive worker, or the least loaded one if none is responsive.
    pub(super) fn choose(&self) -> Option<Arc<Worker>> {
        let load = |slot: &&WorkerSlot| {
            let Worker { quarantined, calls, .. } = &*slot.worker;
            let (quarantined, calls) = (quarantined.load(Ordering::Relaxed), calls.load(Ordering::Relaxed));
            (slot.unresponsive.is_some(), slot.draining, quarantined, calls)
        };
        self.slots.iter().min_by_key(load).map(|slot| slot.worker.clone())
    }

    /// Whether this function blocks a worker now, and at most one worker is responsive.
    pub(super) fn would_block_last_responsive(&self, function: &str) -> bool {
        let is_blocking = |unresponsive: &Unresponsive| {
            unresponsive.function.as_deref() == Some(function) && unresponsive.since.elapsed() >= SPARE_AFTER
        };
        self.slots.iter().filter_map(|slot| slot.unresponsive.as_ref()).any(is_blocking)
            && self.slots.iter().filter(|slot| slot.is_responsive()).count() <= 1
    }

    pub(super) fn assign(&mut self, invocation: &HostInvocation, running: Running) {
        running.worker.calls.fetch_add(1, Ordering::Relaxed);
        self.calls.insert(invocation.call, running);
    }

    /// Takes a call that was not started from its worker.
    pub(super) fn unassign(&mut self, call: CallId) -> Option<Running> {
        let running = self.calls.remove(&call)?;
        running.worker.calls.fetch_sub(1, Ordering::Relaxed);
        Some(running)
    }

    /// Removes a call that has ended. Also returns the worker that is drained now, if any.
    pub(super) fn end(&mut self, call: CallId) -> (Option<Running>, Option<WorkerId>) {
        let Some(running) = self.calls.remove(&call) else { return (None, None) };
        let id = running.worker.id;
        let left = running.worker.calls.fetch_sub(1, Ordering::Relaxed) - 1;
        let drained = left == 0 && self.slot(id).is_some_and(|slot| slot.draining);
        (Some(running), drained.then_some(id))
    }

    /// Gives a worker no more calls. Returns whether it has none already.
    pub(super) fn drain(&mut self, id: WorkerId) -> bool {
        let Some(slot) = self.slot_mut(id) else { return false };
        slot.draining = true;
        slot.worker.calls.load(Ordering::Relaxed) == 0
    }

    /// The unresponsive workers with their movable calls; empty if no worker is responsive.
    pub(super) fn calls_to_move(&self) -> Vec<(Arc<Worker>, Vec<CallId>)> {
        if !self.slots.iter().any(WorkerSlot::is_responsive) {
            return Vec::new();
        }
        let unresponsive = self.slots.iter().filter(|slot| slot.unresponsive.is_some());
        unresponsive.map(|slot| (slot.worker.clone(), self.movable(slot.worker.id))).collect()
    }

    fn movable(&self, id: WorkerId) -> Vec<CallId> {
        let movable = self.calls.iter().filter(|(_, running)| running.movable && running.worker.id == id);
        movable.map(|(&call, _)| call).collect()
    }

    /// Marks a worker as unresponsive since this time.
    pub(super) fn mark_unresponsive(&mut self, id: WorkerId, since: Instant) {
        let Some(slot) = self.slot(id) else { return };
        let activity = slot.worker.host.activity();
        let current = activity.current.and_then(|call| self.calls.get(&call)).map(|running| running.function.clone());
        let at = time_of_day(SystemTime::now() - since.elapsed());
        let why = match (&current, self.names(activity.calls)) {
            (Some(function), _) => format!("{function} has kept its thread busy since {at}"),
            (None, names) if names.is_empty() => {
                format!("code that runs by a timer or an event has kept its thread busy since {at}")
            }
            (None, names) => format!("one of {} has kept its thread busy since {at}", names.join(", ")),
        };
        if let Some(slot) = self.slot_mut(id) {
            // The function found first stays named after its call was abandoned.
            let known = slot.unresponsive.take().filter(|before| before.function.is_some());
            slot.unresponsive = Some(known.unwrap_or(Unresponsive { since, function: current, why }));
        }
    }

    /// Marks a worker as responsive. Returns whether it was unresponsive.
    pub(super) fn recovered(&mut self, id: WorkerId) -> bool {
        let was_unresponsive = self.slot_mut(id).is_some_and(|slot| slot.unresponsive.take().is_some());
        if was_unresponsive {
            self.spare_requested = false;
        }
        was_unresponsive
    }

    /// Whether a spare must be requested now; true once for each time that no worker is
    /// responsive.
    pub(super) fn needs_spare(&mut self) -> bool {
        let needed = !self.retired && !self.spare_requested && !self.slots.iter().any(WorkerSlot::is_responsive);
        self.spare_requested |= needed;
        needed
    }

    /// Since when no worker is responsive; `None` if one is.
    pub(super) fn unresponsive(&self) -> Option<Unresponsive> {
        if self.retired || self.slots.iter().any(WorkerSlot::is_responsive) {
            return None;
        }
        let unresponsive = self.slots.iter().filter_map(|slot| slot.unresponsive.clone());
        let latest = unresponsive.max_by_key(|unresponsive| unresponsive.since);
        Some(latest.unwrap_or_else(|| Unresponsive {
            since: self.empty_since,
            function: None,
            why: "no worker thread is running".to_owned(),
        }))
    }

    /// The distinct function names of these calls, sorted.
    fn names(&self, calls: Vec<CallId>) -> Vec<String> {
        let mut names: Vec<String> =
            calls.iter().filter_map(|call| self.calls.get(call)).map(|running| running.function.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The time of day, in the format of the log.
fn time_of_day(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02} UTC", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}
