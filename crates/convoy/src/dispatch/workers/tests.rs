use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::watch::{MAX_BLOCKED_WITHOUT_CALL, PING_INTERVAL};
use super::*;
use crate::dispatch::host::FromHost;
use crate::dispatch::{Activity, CallMetadata, FunctionResult, HostTask};
use crate::failpoints::Failpoints;
use crate::supervise::tests::supervisor_with;
use std::collections::HashMap;

#[cfg(feature = "failpoints")]
mod stopped_tasks;

const UNRESPONSIVE_TIME: Duration = Duration::from_secs(5);

/// A host that records its calls and messages.
#[derive(Default)]
struct RecordingHost {
    links: Mutex<HashMap<CallId, CallLink>>,
    received: Mutex<Vec<String>>,
    is_stuck: AtomicBool,
    /// It refuses calls, and has not left the pool yet.
    has_exited: AtomicBool,
    /// The calls it was given while it was stuck.
    not_started: Mutex<Vec<UnstartedCall>>,
    current: Mutex<Option<CallId>>,
    pending_pings: Mutex<Vec<oneshot::Sender<()>>>,
}

impl RecordingHost {
    fn started(&self) -> Vec<u64> {
        let mut calls: Vec<u64> = self.links.lock().keys().map(|call| call.0).collect();
        calls.sort_unstable();
        calls
    }

    fn answer(&self, call: u64) {
        let link = self.links.lock().remove(&CallId(call)).expect("it runs here");
        link.respond(FunctionResult::Returned("null".into()), CallMetadata::default()).expect("the call waits");
    }

    fn recover(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
        for (invocation, link) in std::mem::take(&mut *self.not_started.lock()) {
            assert!(self.start(invocation, link).is_none());
        }
        self.pending_pings.lock().drain(..).for_each(|sign| sign.send(()).unwrap_or_default());
    }
}

impl FunctionHost for RecordingHost {
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        if self.has_exited.load(Ordering::Relaxed) {
            return Some((invocation, link));
        }
        if self.is_stuck.load(Ordering::Relaxed) {
            self.not_started.lock().push((invocation, link));
            return None;
        }
        *self.current.lock() = Some(invocation.call);
        self.links.lock().insert(invocation.call, link);
        None
    }

    fn take_back(&self, calls: &[CallId]) -> Vec<UnstartedCall> {
        self.not_started.lock().extract_if(.., |(invocation, _)| calls.contains(&invocation.call)).collect()
    }

    fn activity(&self) -> Activity {
        let calls: Vec<CallId> = self.links.lock().keys().copied().collect();
        Activity { begun: 0, current: *self.current.lock(), calls }
    }

    fn results(&self, call: CallId, _batch: u32, results: String) {
        self.received.lock().push(format!("{} {results}", call.0));
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.received.lock().push(format!("{} {}", call.0, why.code.as_str()));
        let link = self.links.lock().remove(&call);
        drop(link);
    }

    fn ping(&self, answered: oneshot::Sender<()>) {
        match self.is_stuck.load(Ordering::Relaxed) {
            true => self.pending_pings.lock().push(answered),
            false => answered.send(()).unwrap_or_default(),
        }
    }
}

struct Testing {
    workers: Arc<Workers>,
    hosts: Vec<Arc<RecordingHost>>,
    events: mpsc::UnboundedReceiver<WorkerEvent>,
}

fn workers(count: u32) -> Testing {
    workers_with(count, Failpoints::default())
}

fn workers_with(count: u32, failpoints: Failpoints) -> Testing {
    let (sender, events) = mpsc::unbounded_channel();
    // At the end of the test the receiver is gone.
    let supervisor = supervisor_with(failpoints);
    let workers = Workers::new(UNRESPONSIVE_TIME, supervisor, move |event| sender.send(event).unwrap_or_default());
    let hosts: Vec<Arc<RecordingHost>> = (0..count).map(|_| Arc::default()).collect();
    for (id, host) in (0..).zip(&hosts) {
        workers.join(WorkerId(id), host.clone());
    }
    Testing { workers, hosts, events }
}

impl Testing {
    fn start(&self, call: u64) -> mpsc::Receiver<FromHost> {
        start_on(&*self.workers, call)
    }

    fn start_function(&self, call: u64, function: &str) -> mpsc::Receiver<FromHost> {
        start_function_on(&*self.workers, call, function)
    }

    /// Waits for the first event for which `find` returns a value.
    async fn event<T>(&mut self, find: impl Fn(&WorkerEvent) -> Option<T>) -> T {
        loop {
            let event = self.events.recv().await.expect("the workers are still there");
            if let Some(found) = find(&event) {
                return found;
            }
        }
    }

    async fn stuck_event(&mut self) -> (WorkerId, String) {
        self.event(|event| match event {
            WorkerEvent::Stuck { worker, why } => Some((*worker, why.clone())),
            _ => None,
        })
        .await
    }

    fn was_reported_stuck(&mut self) -> bool {
        std::iter::from_fn(|| self.events.try_recv().ok()).any(|event| matches!(event, WorkerEvent::Stuck { .. }))
    }

    fn started(&self) -> Vec<Vec<u64>> {
        self.hosts.iter().map(|host| host.started()).collect()
    }

    fn abandon(&self, call: u64) {
        self.workers.abandon(CallId(call), &Failure::new(Code::Timeout, "too long"));
    }
}

fn start_on(host: &dyn FunctionHost, call: u64) -> mpsc::Receiver<FromHost> {
    start_function_on(host, call, "messages.list")
}

fn start_function_on(host: &dyn FunctionHost, call: u64, function: &str) -> mpsc::Receiver<FromHost> {
    let (link, messages) = CallLink::new(None);
    let (work, input) = (HostTask::Function(0), "{}".into());
    let invocation = HostInvocation {
        call: CallId(call),
        work,
        function: function.into(),
        input,
        request: None,
        observed: false,
        span: None,
        prefetched: None,
    };
    drop(host.start(invocation, link));
    messages
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_least_loaded_worker_with_their_messages() {
    let it = workers(2);
    let _open: Vec<_> = (1..=4).map(|call| it.start(call)).collect();
    assert_eq!(it.started(), [vec![1, 3], vec![2, 4]]);
    it.hosts[1].answer(2);
    it.hosts[1].answer(4);
    let _more = [it.start(5), it.start(6)];
    assert_eq!(it.started(), [vec![1, 3], vec![5, 6]]);
    it.workers.results(CallId(5), 0, "[]".into());
    it.abandon(6);
    it.workers.results(CallId(6), 0, "[]".into());
    assert_eq!(*it.hosts[1].received.lock(), ["5 []", "6 TIMEOUT"]);
    assert!(it.hosts[0].received.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pinned_call_runs_on_its_worker_and_counts_as_load() {
    let it = workers(2);
    let second = it.workers.clone().at(WorkerId(1)).expect("the worker exists");
    let _open = [start_on(&*second, 1), start_on(&*second, 2), it.start(3), it.start(4), it.start(5)];
    assert_eq!(it.started(), [vec![3, 4, 5], vec![1, 2]]);
    assert!(it.workers.clone().at(WorkerId(7)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lost_worker_loses_its_calls_and_others_wait_for_the_next() {
    let it = workers(1);
    let mut lost = it.start(1);
    it.workers.leave(WorkerId(0));
    it.hosts[0].links.lock().clear();
    assert!(lost.recv().await.is_none(), "the link is dropped");
    let (mut waiting, mut unwanted) = (it.start(2), it.start(3));
    it.workers.abandon(CallId(3), &Failure::new(Code::Unavailable, "The caller disconnected."));
    assert!(unwanted.recv().await.is_none());
    let next = Arc::new(RecordingHost::default());
    it.workers.join(WorkerId(1), next.clone());
    assert_eq!(next.started(), [2]);
    next.answer(2);
    assert!(waiting.recv().await.is_some());
    assert_eq!(it.workers.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_do_not_wait_for_workers_of_replaced_code() {
    let it = workers(1);
    it.workers.leave(WorkerId(0));
    let mut before = it.start(1);
    it.workers.retire();
    let mut after = it.start(2);
    assert!(before.recv().await.is_none());
    assert!(after.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_worker_gets_no_calls_until_it_recovers() {
    let mut it = workers(2);
    let _first = it.start(1);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(PING_INTERVAL * 3).await;
    let _open: Vec<_> = (2..=5).map(|call| it.start(call)).collect();
    assert_eq!(it.started(), [vec![1], vec![2, 3, 4, 5]]);
    // A long call is not a fault as long as no call has timed out.
    tokio::time::sleep(UNRESPONSIVE_TIME * 10).await;
    assert!(!it.was_reported_stuck());
    it.hosts[0].recover();
    tokio::time::sleep(PING_INTERVAL * 3).await;
    let _sixth = it.start(6);
    assert_eq!(it.started()[0], [1, 6]);
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_worker_is_reported_stuck_after_a_call_timed_out() {
    let mut it = workers(2);
    let _first = it.start(1);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(PING_INTERVAL * 4).await;
    it.abandon(1);
    tokio::time::sleep(UNRESPONSIVE_TIME / 2).await;
    assert!(!it.was_reported_stuck(), "not yet");
    let (worker, why) = it.stuck_event().await;
    assert_eq!(worker, WorkerId(0));
    let expected = "since a call took too long there: messages.list has kept its thread busy since ";
    assert!(why.starts_with(expected), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_blocked_without_a_call_is_reported_stuck() {
    let mut it = workers(1);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _unbegun = it.start(1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spare = Arc::new(RecordingHost::default());
    it.workers.join(WorkerId(7), spare.clone());
    assert_eq!(spare.started(), [1], "no call is left there");
    tokio::time::sleep(MAX_BLOCKED_WITHOUT_CALL - PING_INTERVAL * 2).await;
    assert!(!it.was_reported_stuck(), "not yet");
    let (worker, why) = it.stuck_event().await;
    assert_eq!(worker, WorkerId(0));
    assert!(why.starts_with("for a minute, with no call there: "), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_responsive_worker_is_not_reported_stuck_after_calls_timed_out() {
    let mut it = workers(1);
    for call in 1..=20 {
        let _open = it.start(call);
        it.abandon(call);
        tokio::time::sleep(UNRESPONSIVE_TIME).await;
    }
    assert!(!it.was_reported_stuck());
}

#[tokio::test(start_paused = true)]
async fn calls_that_lost_a_worker_run_one_by_one_in_quarantine() {
    let it = workers(2);
    let quarantine = it.workers.clone().quarantine().expect("a pool has a quarantine");
    let _lost = [start_on(&*quarantine, 1), start_on(&*quarantine, 2), start_on(&*quarantine, 3)];
    tokio::time::sleep(PING_INTERVAL).await;
    let _fresh = [it.start(4), it.start(5)];
    assert_eq!(it.started(), [vec![1], vec![4, 5]], "no call shares the worker of the first");
    it.hosts[0].answer(1);
    tokio::time::sleep(PING_INTERVAL).await;
    assert_eq!(it.started(), [vec![2], vec![4, 5]]);
    // A long call does not delay the next.
    tokio::time::sleep(PING_INTERVAL * 3).await;
    assert_eq!(it.started(), [vec![2, 3], vec![4, 5]]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_lost_a_worker_wait_for_the_next_until_the_pool_is_retired() {
    let it = workers(0);
    let quarantine = it.workers.clone().quarantine().expect("a pool has a quarantine");
    let _lost = start_on(&*quarantine, 1);
    tokio::time::sleep(PING_INTERVAL).await;
    let host = Arc::new(RecordingHost::default());
    it.workers.join(WorkerId(1), host.clone());
    tokio::time::sleep(PING_INTERVAL).await;
    assert_eq!(host.started(), [1]);
    it.workers.leave(WorkerId(1));
    it.workers.retire();
    assert!(start_on(&*quarantine, 2).recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn calls_that_an_exited_worker_refuses_go_to_another() {
    let it = workers(2);
    it.hosts[0].has_exited.store(true, Ordering::Relaxed);
    let _first = it.start(1);
    assert_eq!(it.started(), [vec![], vec![1]]);
    assert_eq!(it.workers.count(), 1);
    // A refused call that waited in quarantine is still run apart from others.
    it.hosts[1].has_exited.store(true, Ordering::Relaxed);
    let quarantine = it.workers.clone().quarantine().expect("a pool has a quarantine");
    let mut lost = [start_on(&*quarantine, 2), start_on(&*quarantine, 3)];
    tokio::time::sleep(PING_INTERVAL).await;
    assert_eq!(it.workers.count(), 0);
    let host = Arc::new(RecordingHost::default());
    it.workers.join(WorkerId(7), host.clone());
    tokio::time::sleep(PING_INTERVAL).await;
    assert_eq!(host.started(), [2]);
    host.answer(2);
    tokio::time::sleep(PING_INTERVAL).await;
    assert_eq!(host.started(), [3]);
    host.answer(3);
    for messages in &mut lost {
        assert!(messages.recv().await.is_some(), "none was ended by the exits");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_not_started_by_a_worker_that_leaves_move_to_another() {
    let it = workers(2);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _calls = [it.start(1), it.start(2)];
    assert_eq!(it.started(), [vec![], vec![2]]);
    it.workers.leave(WorkerId(0));
    assert_eq!(it.started(), [vec![], vec![1, 2]]);
    // Without another worker they wait for the next.
    it.hosts[1].is_stuck.store(true, Ordering::Relaxed);
    let _third = it.start(3);
    it.workers.leave(WorkerId(1));
    let host = Arc::new(RecordingHost::default());
    it.workers.join(WorkerId(7), host.clone());
    assert_eq!(host.started(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_spare_is_requested_once_and_takes_calls_not_started() {
    let mut it = workers(1);
    let _loop = it.start_function(1, "messages.loop");
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _queued = [it.start(2), it.start(3)];
    let why = it.event(|event| match event {
        WorkerEvent::AllUnresponsive { why } => Some(why.clone()),
        _ => None,
    });
    assert!(why.await.starts_with("messages.loop has kept its thread busy since "));
    tokio::time::sleep(UNRESPONSIVE_TIME).await;
    assert!(it.events.try_recv().is_err(), "requested once");
    let unresponsive = it.workers.unresponsive().expect("no worker is responsive");
    assert!(unresponsive.since.elapsed() >= UNRESPONSIVE_TIME);
    let spare = Arc::new(RecordingHost::default());
    it.workers.join(WorkerId(7), spare.clone());
    assert_eq!(spare.started(), [2, 3], "each is started once");
    assert!(it.workers.unresponsive().is_none());
    // The function that blocks the first worker is not given to the last responsive one.
    let _again = it.start_function(4, "messages.loop");
    assert_eq!(spare.started(), [2, 3]);
    it.hosts[0].recover();
    assert_eq!(it.event(|event| (*event == WorkerEvent::Recovered(WorkerId(0))).then_some(())).await, ());
    tokio::time::sleep(PING_INTERVAL).await;
    assert_eq!(it.started(), [vec![1, 4]]);
    // The spare is drained when its calls have ended.
    it.workers.drain(WorkerId(7));
    spare.answer(2);
    let _fresh = it.start(5);
    assert_eq!(it.started(), [vec![1, 4, 5]]);
    assert!(it.events.try_recv().is_err(), "not yet");
    spare.answer(3);
    assert_eq!(it.events.recv().await, Some(WorkerEvent::Drained(WorkerId(7))));
}

#[tokio::test(start_paused = true)]
async fn calls_not_started_by_an_unresponsive_worker_move_to_another() {
    let it = workers(2);
    let _first = it.start(1);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _second = it.start(2);
    let _third = it.start(3);
    assert_eq!(it.started(), [vec![1], vec![2]], "the third waits on the worker that is not known to be stuck yet");
    tokio::time::sleep(PING_INTERVAL * 4).await;
    assert_eq!(it.started(), [vec![1], vec![2, 3]]);
}

#[tokio::test(start_paused = true)]
async fn a_function_whose_worker_was_terminated_is_not_run_again() {
    let it = workers(2);
    let _loop = it.start_function(1, "messages.loop");
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(PING_INTERVAL * 4).await;
    it.workers.leave(WorkerId(0));
    let quarantine = it.workers.clone().quarantine().expect("a pool has a quarantine");
    assert!(start_function_on(&*quarantine, 2, "messages.loop").recv().await.is_none());
    let _other = start_on(&*quarantine, 3);
    tokio::time::sleep(PING_INTERVAL).await;
    assert_eq!(it.hosts[1].started(), [3]);
}

#[tokio::test(start_paused = true)]
async fn the_owner_is_notified_when_a_replaced_program_has_no_calls() {
    let mut it = workers(1);
    let _open = it.start(1);
    it.workers.retire();
    it.workers = Workers::new(UNRESPONSIVE_TIME, supervisor_with(Failpoints::default()), |_| {});
    assert_eq!(it.events.recv().await, Some(WorkerEvent::Retired));
}
