//! Which hosts there are, what runs where, and what may run where. Pure but for
//! the clock; no value is dropped under its lock whose drop needs the lock again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{CallId, CallLink, HostInvocation, Silence, Worker, WorkerId};

/// How long a host may give no sign before a spare is asked for, and the function
/// that keeps it is named in the log.
pub(super) const SPARE_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    pub slots: Vec<WorkerSlot>,
    /// The calls that are not over.
    pub calls: HashMap<CallId, Running>,
    /// Calls that no host can have yet. The dispatcher bounds how many calls there
    /// are at all.
    pub waiting: VecDeque<(HostInvocation, CallLink)>,
    /// No host comes any more.
    pub retired: bool,
    /// Functions that kept a host until it was ended.
    pub blockers: HashSet<Arc<str>>,
    /// A spare was asked for.
    spare_asked: bool,
    /// Since when there is no host.
    empty_since: Instant,
}

/// Where a call runs.
pub(super) struct Running {
    pub worker: Arc<Worker>,
    pub function: Arc<str>,
    /// Whether another host may have it, too.
    pub movable: bool,
    /// Dropped when it ends; only of one that runs apart.
    pub _quarantine: Option<oneshot::Sender<()>>,
}

/// A host's place, and the task that watches it.
pub(super) struct WorkerSlot {
    pub worker: Arc<Worker>,
    pub silence: Option<Silence>,
    /// It gets no more calls.
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
            spare_asked: false,
            empty_since: Instant::now(),
        }
    }
}

impl Running {
    pub(super) fn of(invocation: &HostInvocation, worker: &Arc<Worker>) -> Running {
        Running { worker: worker.clone(), function: invocation.function.clone(), movable: true, _quarantine: None }
    }
}

impl WorkerSlot {
    pub(super) fn new(worker: Arc<Worker>, watch: AbortOnDropHandle<()>) -> WorkerSlot {
        WorkerSlot { worker, silence: None, draining: false, _watch: watch }
    }

    fn answers(&self) -> bool {
        self.silence.is_none() && !self.draining
    }
}

impl Pool {
    pub(super) fn add(&mut self, slot: WorkerSlot) {
        self.slots.push(slot);
    }

    /// Removes a host; gives the functions that ran there, too.
    pub(super) fn remove(&mut self, id: WorkerId) -> (Vec<WorkerSlot>, Vec<String>) {
        let (gone, stay): (Vec<WorkerSlot>, _) =
            std::mem::take(&mut self.slots).into_iter().partition(|slot| slot.worker.id == id);
        self.slots = stay;
        if self.slots.is_empty() && !gone.is_empty() {
            self.empty_since = Instant::now();
        }
        self.spare_asked = false;
        self.blockers.extend(gone.iter().filter_map(|slot| slot.silence.as_ref()?.function.clone()));
        let functions = gone.iter().flat_map(|slot| self.names(slot.worker.host.activity().calls)).collect();
        (gone, functions)
    }

    pub(super) fn slot(&self, id: WorkerId) -> Option<&WorkerSlot> {
        self.slots.iter().find(|slot| slot.worker.id == id)
    }

    fn slot_mut(&mut self, id: WorkerId) -> Option<&mut WorkerSlot> {
        self.slots.iter_mut().find(|slot| slot.worker.id == id)
    }

    /// The least loaded of those that answer; of the others, where none does.
    pub(super) fn choose(&self) -> Option<Arc<Worker>> {
        let load = |slot: &&WorkerSlot| {
            let Worker { quarantined, calls, .. } = &*slot.worker;
            let (quarantined, calls) = (quarantined.load(Ordering::Relaxed), calls.load(Ordering::Relaxed));
            (slot.silence.is_some(), slot.draining, quarantined, calls)
        };
        self.slots.iter().min_by_key(load).map(|slot| slot.worker.clone())
    }

    /// Whether this function keeps a host from answering now, and at most one is
    /// left that does.
    pub(super) fn would_silence_the_last(&self, function: &str) -> bool {
        let keeps =
            |silence: &Silence| silence.function.as_deref() == Some(function) && silence.since.elapsed() >= SPARE_AFTER;
        self.slots.iter().filter_map(|slot| slot.silence.as_ref()).any(keeps)
            && self.slots.iter().filter(|slot| slot.answers()).count() <= 1
    }

    pub(super) fn assign(&mut self, invocation: &HostInvocation, running: Running) {
        running.worker.calls.fetch_add(1, Ordering::Relaxed);
        self.calls.insert(invocation.call, running);
    }

    /// A call leaves its host, which has not begun it.
    pub(super) fn unassign(&mut self, call: CallId) {
        if let Some(running) = self.calls.remove(&call) {
            running.worker.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A call is over. Gives the host that is drained by that.
    pub(super) fn end(&mut self, call: CallId) -> (Option<Running>, Option<WorkerId>) {
        let Some(running) = self.calls.remove(&call) else { return (None, None) };
        let id = running.worker.id;
        let left = running.worker.calls.fetch_sub(1, Ordering::Relaxed) - 1;
        let drained = left == 0 && self.slot(id).is_some_and(|slot| slot.draining);
        (Some(running), drained.then_some(id))
    }

    /// A host gets no more calls. Whether it has none already.
    pub(super) fn drain(&mut self, id: WorkerId) -> bool {
        let Some(slot) = self.slot_mut(id) else { return false };
        slot.draining = true;
        slot.worker.calls.load(Ordering::Relaxed) == 0
    }

    /// Hosts that give no sign, with calls that might be taken from them: none
    /// where no other answers.
    pub(super) fn relievable(&self) -> Vec<(Arc<Worker>, Vec<CallId>)> {
        if !self.slots.iter().any(WorkerSlot::answers) {
            return Vec::new();
        }
        let silent = self.slots.iter().filter(|slot| slot.silence.is_some());
        silent.map(|slot| (slot.worker.clone(), self.movable(slot.worker.id))).collect()
    }

    fn movable(&self, id: WorkerId) -> Vec<CallId> {
        let there = self.calls.iter().filter(|(_, running)| running.movable && running.worker.id == id);
        there.map(|(&call, _)| call).collect()
    }

    /// A host has given no sign since this moment.
    pub(super) fn silent(&mut self, id: WorkerId, since: Instant) {
        let Some(slot) = self.slot(id) else { return };
        let activity = slot.worker.host.activity();
        let current = activity.current.and_then(|call| self.calls.get(&call)).map(|running| running.function.clone());
        let at = clock(SystemTime::now() - since.elapsed());
        let why = match (&current, self.names(activity.calls)) {
            (Some(function), _) => format!("{function} has kept its thread busy since {at}"),
            (None, names) if names.is_empty() => {
                format!("code that runs by a timer or an event has kept its thread busy since {at}")
            }
            (None, names) => format!("one of {} has kept its thread busy since {at}", names.join(", ")),
        };
        if let Some(slot) = self.slot_mut(id) {
            // What was known at first stays known when its call has been given up.
            let known = slot.silence.take().filter(|before| before.function.is_some());
            slot.silence = Some(known.unwrap_or(Silence { since, function: current, why }));
        }
    }

    /// It answers; gives whether it was silent.
    pub(super) fn recovered(&mut self, id: WorkerId) -> bool {
        let was_silent = self.slot_mut(id).is_some_and(|slot| slot.silence.take().is_some());
        if was_silent {
            self.spare_asked = false;
        }
        was_silent
    }

    /// Whether a spare has to be asked for now.
    pub(super) fn wants_spare(&mut self) -> bool {
        let wanted = !self.retired && !self.spare_asked && !self.slots.iter().any(WorkerSlot::answers);
        self.spare_asked |= wanted;
        wanted
    }

    /// Whether none answers, and for how long none has.
    pub(super) fn silence(&self) -> Option<Silence> {
        if self.retired || self.slots.iter().any(WorkerSlot::answers) {
            return None;
        }
        let shortest = self.slots.iter().filter_map(|slot| slot.silence.clone()).max_by_key(|silence| silence.since);
        Some(shortest.unwrap_or_else(|| Silence {
            since: self.empty_since,
            function: None,
            why: "there is no thread that runs functions".to_owned(),
        }))
    }

    /// The names of the functions of these calls, each once.
    fn names(&self, calls: Vec<CallId>) -> Vec<String> {
        let mut names: Vec<String> =
            calls.iter().filter_map(|call| self.calls.get(call)).map(|running| running.function.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The time of day, as the log has it.
fn clock(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02} UTC", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}
