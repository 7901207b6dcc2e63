use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::watch::{CALLLESS, PULSE};
use super::*;
use crate::dispatch::host::FromHost;
use crate::dispatch::{Activity, CallMetadata, FunctionResult, HostTask};
use crate::failpoints::Failpoints;
use crate::supervise::tests::supervisor_with;
use std::collections::HashMap;

const PATIENCE: Duration = Duration::from_secs(5);

/// A host that only notes what it is asked.
#[derive(Default)]
struct Noting {
    links: Mutex<HashMap<CallId, CallLink>>,
    told: Mutex<Vec<String>>,
    is_stuck: AtomicBool,
    /// What it was given and has not begun, while it is stuck.
    unbegun: Mutex<Vec<(HostInvocation, CallLink)>>,
    current: Mutex<Option<CallId>>,
    unanswered: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Noting {
    fn started(&self) -> Vec<u64> {
        let mut calls: Vec<u64> = self.links.lock().keys().map(|call| call.0).collect();
        calls.sort_unstable();
        calls
    }

    fn answer(&self, call: u64) {
        let link = self.links.lock().remove(&CallId(call)).expect("it runs here");
        link.respond(FunctionResult::Returned("null".into()), CallMetadata::default()).expect("somebody waits");
    }

    fn recover(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
        for (invocation, link) in std::mem::take(&mut *self.unbegun.lock()) {
            self.start(invocation, link);
        }
        self.unanswered.lock().drain(..).for_each(|sign| sign.send(()).unwrap_or_default());
    }
}

impl FunctionHost for Noting {
    fn start(&self, invocation: HostInvocation, link: CallLink) {
        if self.is_stuck.load(Ordering::Relaxed) {
            self.unbegun.lock().push((invocation, link));
            return;
        }
        *self.current.lock() = Some(invocation.call);
        self.links.lock().insert(invocation.call, link);
    }

    fn take_back(&self, calls: &[CallId]) -> Vec<(HostInvocation, CallLink)> {
        self.unbegun.lock().extract_if(.., |(invocation, _)| calls.contains(&invocation.call)).collect()
    }

    fn activity(&self) -> Activity {
        let calls: Vec<CallId> = self.links.lock().keys().copied().collect();
        Activity { begun: 0, current: *self.current.lock(), calls }
    }

    fn results(&self, call: CallId, _batch: u32, results: String) {
        self.told.lock().push(format!("{} {results}", call.0));
    }

    fn abandon(&self, call: CallId, why: &Failure) {
        self.told.lock().push(format!("{} {}", call.0, why.code.as_str()));
        let link = self.links.lock().remove(&call);
        drop(link);
    }

    fn ping(&self, answered: oneshot::Sender<()>) {
        match self.is_stuck.load(Ordering::Relaxed) {
            true => self.unanswered.lock().push(answered),
            false => answered.send(()).unwrap_or_default(),
        }
    }
}

struct Testing {
    workers: Arc<Workers>,
    hosts: Vec<Arc<Noting>>,
    notices: mpsc::UnboundedReceiver<Notice>,
}

fn workers(count: u32) -> Testing {
    workers_with(count, Failpoints::default())
}

fn workers_with(count: u32, failpoints: Failpoints) -> Testing {
    let (tell, notices) = mpsc::unbounded_channel();
    // At its end the test listens no more.
    let supervisor = supervisor_with(failpoints);
    let workers = Workers::new(PATIENCE, supervisor, move |notice| tell.send(notice).unwrap_or_default());
    let hosts: Vec<Arc<Noting>> = (0..count).map(|_| Arc::default()).collect();
    for (id, host) in (0..).zip(&hosts) {
        workers.join(WorkerId(id), host.clone());
    }
    Testing { workers, hosts, notices }
}

impl Testing {
    fn start(&self, call: u64) -> mpsc::Receiver<FromHost> {
        start_on(&*self.workers, call)
    }

    fn start_function(&self, call: u64, function: &str) -> mpsc::Receiver<FromHost> {
        start_function_on(&*self.workers, call, function)
    }

    /// Waits for the notice that this finds something in.
    async fn told<T>(&mut self, find: impl Fn(&Notice) -> Option<T>) -> T {
        loop {
            let notice = self.notices.recv().await.expect("the workers are still there");
            if let Some(found) = find(&notice) {
                return found;
            }
        }
    }

    async fn told_of_stuck(&mut self) -> (WorkerId, String) {
        self.told(|notice| match notice {
            Notice::Stuck { worker, why } => Some((*worker, why.clone())),
            _ => None,
        })
        .await
    }

    fn was_told_of_stuck(&mut self) -> bool {
        std::iter::from_fn(|| self.notices.try_recv().ok()).any(|notice| matches!(notice, Notice::Stuck { .. }))
    }

    fn started(&self) -> Vec<Vec<u64>> {
        self.hosts.iter().map(|host| host.started()).collect()
    }

    fn give_up(&self, call: u64) {
        self.workers.abandon(CallId(call), &Failure::new(Code::Timeout, "too long"));
    }
}

fn start_on(host: &dyn FunctionHost, call: u64) -> mpsc::Receiver<FromHost> {
    start_function_on(host, call, "messages.list")
}

fn start_function_on(host: &dyn FunctionHost, call: u64, function: &str) -> mpsc::Receiver<FromHost> {
    let (link, messages) = CallLink::new();
    let (work, input) = (HostTask::Function(0), "{}".into());
    let invocation = HostInvocation { call: CallId(call), work, function: function.into(), input, request: None };
    host.start(invocation, link);
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
    it.give_up(6);
    it.workers.results(CallId(6), 0, "[]".into());
    assert_eq!(*it.hosts[1].told.lock(), ["5 []", "6 TIMEOUT"]);
    assert!(it.hosts[0].told.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_has_to_be_somewhere_runs_there_and_counts() {
    let it = workers(2);
    let second = it.workers.clone().at(WorkerId(1)).expect("it is there");
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
    assert!(lost.recv().await.is_none(), "the call is told");
    let (mut waiting, mut unwanted) = (it.start(2), it.start(3));
    it.workers.abandon(CallId(3), &Failure::new(Code::Unavailable, "the caller went away"));
    assert!(unwanted.recv().await.is_none());
    let next = Arc::new(Noting::default());
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
async fn one_that_gives_no_sign_gets_no_calls_until_it_does() {
    let mut it = workers(2);
    let _first = it.start(1);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(PULSE * 3).await;
    let _open: Vec<_> = (2..=5).map(|call| it.start(call)).collect();
    assert_eq!(it.started(), [vec![1], vec![2, 3, 4, 5]]);
    // Long work is none of our business while nobody has been kept waiting.
    tokio::time::sleep(PATIENCE * 10).await;
    assert!(!it.was_told_of_stuck());
    it.hosts[0].recover();
    tokio::time::sleep(PULSE * 3).await;
    let _sixth = it.start(6);
    assert_eq!(it.started()[0], [1, 6]);
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_no_sign_after_a_call_was_given_up_is_stuck() {
    let mut it = workers(2);
    let _first = it.start(1);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(PULSE * 4).await;
    it.give_up(1);
    tokio::time::sleep(PATIENCE / 2).await;
    assert!(!it.was_told_of_stuck(), "not yet");
    let (worker, why) = it.told_of_stuck().await;
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
    let spare = Arc::new(Noting::default());
    it.workers.join(WorkerId(7), spare.clone());
    assert_eq!(spare.started(), [1], "no call is left there");
    tokio::time::sleep(CALLLESS - PULSE * 2).await;
    assert!(!it.was_told_of_stuck(), "not yet");
    let (worker, why) = it.told_of_stuck().await;
    assert_eq!(worker, WorkerId(0));
    assert!(why.starts_with("for a minute, with no call there: "), "{why}");
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_after_a_call_was_given_up_is_not() {
    let mut it = workers(1);
    for call in 1..=20 {
        let _open = it.start(call);
        it.give_up(call);
        tokio::time::sleep(PATIENCE).await;
    }
    assert!(!it.was_told_of_stuck());
}

#[tokio::test(start_paused = true)]
async fn calls_that_have_lost_a_host_run_one_by_one_and_apart_from_others() {
    let it = workers(2);
    let apart = it.workers.clone().quarantine().expect("there are several");
    let _lost = [start_on(&*apart, 1), start_on(&*apart, 2), start_on(&*apart, 3)];
    tokio::time::sleep(PULSE).await;
    let _fresh = [it.start(4), it.start(5)];
    assert_eq!(it.started(), [vec![1], vec![4, 5]], "nobody joins the first");
    it.hosts[0].answer(1);
    tokio::time::sleep(PULSE).await;
    assert_eq!(it.started(), [vec![2], vec![4, 5]]);
    // One that goes on for long does not hold up the next.
    tokio::time::sleep(PULSE * 3).await;
    assert_eq!(it.started(), [vec![2, 3], vec![4, 5]]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_have_lost_a_host_wait_for_one_as_long_as_one_may_come() {
    let it = workers(0);
    let apart = it.workers.clone().quarantine().expect("there may be several");
    let _lost = start_on(&*apart, 1);
    tokio::time::sleep(PULSE).await;
    let host = Arc::new(Noting::default());
    it.workers.join(WorkerId(1), host.clone());
    tokio::time::sleep(PULSE).await;
    assert_eq!(host.started(), [1]);
    it.workers.leave(WorkerId(1));
    it.workers.retire();
    assert!(start_on(&*apart, 2).recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_spare_is_requested_once_and_takes_calls_not_begun() {
    let mut it = workers(1);
    let _loop = it.start_function(1, "messages.loop");
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _queued = [it.start(2), it.start(3)];
    let why = it.told(|notice| match notice {
        Notice::AllSilent { why } => Some(why.clone()),
        _ => None,
    });
    assert!(why.await.starts_with("messages.loop has kept its thread busy since "));
    tokio::time::sleep(PATIENCE).await;
    assert!(it.notices.try_recv().is_err(), "asked for once");
    let silence = it.workers.silence().expect("none answers");
    assert!(silence.since.elapsed() >= PATIENCE);
    let spare = Arc::new(Noting::default());
    it.workers.join(WorkerId(7), spare.clone());
    assert_eq!(spare.started(), [2, 3], "each is begun in one place");
    assert!(it.workers.silence().is_none());
    // What keeps the one is kept from the last.
    let _again = it.start_function(4, "messages.loop");
    assert_eq!(spare.started(), [2, 3]);
    it.hosts[0].recover();
    assert_eq!(it.told(|notice| (*notice == Notice::Recovered(WorkerId(0))).then_some(())).await, ());
    tokio::time::sleep(PULSE).await;
    assert_eq!(it.started(), [vec![1, 4]]);
    // The spare goes when its calls are over.
    it.workers.drain(WorkerId(7));
    spare.answer(2);
    let _fresh = it.start(5);
    assert_eq!(it.started(), [vec![1, 4, 5]]);
    assert!(it.notices.try_recv().is_err(), "not yet");
    spare.answer(3);
    assert_eq!(it.notices.recv().await, Some(Notice::Drained(WorkerId(7))));
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_silent_host_has_not_begun_go_to_another() {
    let it = workers(2);
    let _first = it.start(1);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _second = it.start(2);
    let _third = it.start(3);
    assert_eq!(it.started(), [vec![1], vec![2]], "the third waits where nobody knows yet");
    tokio::time::sleep(PULSE * 4).await;
    assert_eq!(it.started(), [vec![1], vec![2, 3]]);
}

#[tokio::test(start_paused = true)]
async fn a_function_whose_worker_was_ended_is_not_run_again() {
    let it = workers(2);
    let _loop = it.start_function(1, "messages.loop");
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(PULSE * 4).await;
    it.workers.leave(WorkerId(0));
    let apart = it.workers.clone().quarantine().expect("there are several");
    assert!(start_function_on(&*apart, 2, "messages.loop").recv().await.is_none());
    let _innocent = start_on(&*apart, 3);
    tokio::time::sleep(PULSE).await;
    assert_eq!(it.hosts[1].started(), [3]);
}

#[tokio::test(start_paused = true)]
async fn the_owner_is_notified_when_replaced_code_has_no_calls() {
    let mut it = workers(1);
    let _open = it.start(1);
    it.workers.retire();
    it.workers = Workers::new(PATIENCE, supervisor_with(Failpoints::default()), |_| {});
    assert_eq!(it.notices.recv().await, Some(Notice::Over));
}

#[cfg(feature = "failpoints")]
#[tokio::test(start_paused = true)]
async fn a_watch_that_panicked_notices_a_stuck_host_and_its_recovery_all_the_same() {
    let failpoints = Failpoints::default();
    let mut it = workers_with(1, failpoints.clone());
    failpoints.panic_once(Part::WorkerWatch);
    let _open = it.start(1);
    while failpoints.will_panic(Part::WorkerWatch) {
        tokio::time::sleep(PULSE).await;
    }
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    it.give_up(1);
    assert_eq!(it.told_of_stuck().await.0, WorkerId(0));
    // Once more while it is silent: the next watch finds that it answers.
    failpoints.panic_once(Part::WorkerWatch);
    it.hosts[0].recover();
    while failpoints.will_panic(Part::WorkerWatch) || !it.workers.silent().is_empty() {
        it.start(2);
        tokio::time::sleep(PULSE).await;
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test(start_paused = true)]
async fn calls_that_have_lost_a_host_run_again_after_a_panic_too() {
    let failpoints = Failpoints::default();
    let it = workers_with(1, failpoints.clone());
    let apart = it.workers.clone().quarantine().expect("there is a place apart");
    failpoints.panic_once(Part::LostCalls);
    let mut unlucky = start_on(&*apart, 1);
    assert!(unlucky.recv().await.is_none(), "the call is told");
    let _next = start_on(&*apart, 2);
    while it.hosts[0].started() != [2] {
        tokio::time::sleep(PULSE).await;
    }
}
