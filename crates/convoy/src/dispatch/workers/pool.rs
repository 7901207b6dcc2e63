//! Which hosts there are, what runs where, and what may run where. Pure but for
//! the clock; whoever has the lock drops nothing in it that needs it again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{CallId, CallLink, Invocation, Silence, Worker, WorkerId};

/// How long a host may give no sign before a spare is asked for, and the function
/// that keeps it is named in the log.
pub(super) const SPARE_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    pub seats: Vec<Seat>,
    /// The calls that are not over.
    pub calls: HashMap<CallId, Running>,
    /// Calls that no host can have yet. The dispatcher bounds how many calls there
    /// are at all.
    pub waiting: VecDeque<(Invocation, CallLink)>,
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
    pub _apart: Option<oneshot::Sender<()>>,
}

/// A host's place, and the task that watches it.
pub(super) struct Seat {
    pub worker: Arc<Worker>,
    pub silence: Option<Silence>,
    /// It gets no more calls.
    draining: bool,
    _watch: AbortOnDropHandle<()>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            seats: Vec::new(),
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
    pub fn of(invocation: &Invocation, worker: &Arc<Worker>) -> Running {
        Running { worker: worker.clone(), function: invocation.function.clone(), movable: true, _apart: None }
    }
}

impl Seat {
    pub fn new(worker: Arc<Worker>, watch: AbortOnDropHandle<()>) -> Seat {
        Seat { worker, silence: None, draining: false, _watch: watch }
    }

    fn answers(&self) -> bool {
        self.silence.is_none() && !self.draining
    }
}

impl Pool {
    pub fn add(&mut self, seat: Seat) {
        self.seats.push(seat);
    }

    /// Removes a host; gives the functions that ran there, too.
    pub fn remove(&mut self, id: WorkerId) -> (Vec<Seat>, Vec<String>) {
        let (gone, stay): (Vec<Seat>, _) =
            std::mem::take(&mut self.seats).into_iter().partition(|seat| seat.worker.id == id);
        self.seats = stay;
        if self.seats.is_empty() && !gone.is_empty() {
            self.empty_since = Instant::now();
        }
        self.spare_asked = false;
        self.blockers.extend(gone.iter().filter_map(|seat| seat.silence.as_ref()?.function.clone()));
        let functions = gone.iter().flat_map(|seat| self.names(seat.worker.host.activity().calls)).collect();
        (gone, functions)
    }

    pub fn seat(&self, id: WorkerId) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.worker.id == id)
    }

    fn seat_mut(&mut self, id: WorkerId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.worker.id == id)
    }

    /// The least loaded of those that answer; of the others, where none does.
    pub fn choose(&self) -> Option<Arc<Worker>> {
        let load = |seat: &&Seat| {
            let Worker { at_risk, calls, .. } = &*seat.worker;
            let (at_risk, calls) = (at_risk.load(Ordering::Relaxed), calls.load(Ordering::Relaxed));
            (seat.silence.is_some(), seat.draining, at_risk, calls)
        };
        self.seats.iter().min_by_key(load).map(|seat| seat.worker.clone())
    }

    /// Whether this function keeps a host from answering now, and at most one is
    /// left that does.
    pub fn would_silence_the_last(&self, function: &str) -> bool {
        let keeps =
            |silence: &Silence| silence.function.as_deref() == Some(function) && silence.since.elapsed() >= SPARE_AFTER;
        self.seats.iter().filter_map(|seat| seat.silence.as_ref()).any(keeps)
            && self.seats.iter().filter(|seat| seat.answers()).count() <= 1
    }

    pub fn assign(&mut self, invocation: &Invocation, running: Running) {
        running.worker.calls.fetch_add(1, Ordering::Relaxed);
        self.calls.insert(invocation.call, running);
    }

    /// A call leaves its host, which has not begun it.
    pub fn unassign(&mut self, call: CallId) {
        if let Some(running) = self.calls.remove(&call) {
            running.worker.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A call is over. Gives the host that is drained by that.
    pub fn end(&mut self, call: CallId) -> (Option<Running>, Option<WorkerId>) {
        let Some(running) = self.calls.remove(&call) else { return (None, None) };
        let id = running.worker.id;
        let left = running.worker.calls.fetch_sub(1, Ordering::Relaxed) - 1;
        let drained = left == 0 && self.seat(id).is_some_and(|seat| seat.draining);
        (Some(running), drained.then_some(id))
    }

    /// A host gets no more calls. Whether it has none already.
    pub fn drain(&mut self, id: WorkerId) -> bool {
        let Some(seat) = self.seat_mut(id) else { return false };
        seat.draining = true;
        seat.worker.calls.load(Ordering::Relaxed) == 0
    }

    /// Hosts that give no sign, with calls that might be taken from them: none
    /// where no other answers.
    pub fn relievable(&self) -> Vec<(Arc<Worker>, Vec<CallId>)> {
        if !self.seats.iter().any(Seat::answers) {
            return Vec::new();
        }
        let silent = self.seats.iter().filter(|seat| seat.silence.is_some());
        silent.map(|seat| (seat.worker.clone(), self.movable(seat.worker.id))).collect()
    }

    fn movable(&self, id: WorkerId) -> Vec<CallId> {
        let there = self.calls.iter().filter(|(_, running)| running.movable && running.worker.id == id);
        there.map(|(&call, _)| call).collect()
    }

    /// A host has given no sign since this moment.
    pub fn silent(&mut self, id: WorkerId, since: Instant) {
        let Some(seat) = self.seat(id) else { return };
        let activity = seat.worker.host.activity();
        let current = activity.current.and_then(|call| self.calls.get(&call)).map(|running| running.function.clone());
        let at = clock(SystemTime::now() - since.elapsed());
        let why = match (&current, self.names(activity.calls)) {
            (Some(function), _) => format!("{function} has kept its thread busy since {at}"),
            (None, names) if names.is_empty() => {
                format!("code that runs by a timer or an event has kept its thread busy since {at}")
            }
            (None, names) => format!("one of {} has kept its thread busy since {at}", names.join(", ")),
        };
        if let Some(seat) = self.seat_mut(id) {
            // What was known at first stays known when its call has been given up.
            let known = seat.silence.take().filter(|before| before.function.is_some());
            seat.silence = Some(known.unwrap_or(Silence { since, function: current, why }));
        }
    }

    /// It answers; gives whether it was silent.
    pub fn recovered(&mut self, id: WorkerId) -> bool {
        let was_silent = self.seat_mut(id).is_some_and(|seat| seat.silence.take().is_some());
        if was_silent {
            self.spare_asked = false;
        }
        was_silent
    }

    /// Whether a spare has to be asked for now.
    pub fn wants_spare(&mut self) -> bool {
        let wanted = !self.retired && !self.spare_asked && !self.seats.iter().any(Seat::answers);
        self.spare_asked |= wanted;
        wanted
    }

    /// Whether none answers, and for how long none has.
    pub fn silence(&self) -> Option<Silence> {
        if self.retired || self.seats.iter().any(Seat::answers) {
            return None;
        }
        let shortest = self.seats.iter().filter_map(|seat| seat.silence.clone()).max_by_key(|silence| silence.since);
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
