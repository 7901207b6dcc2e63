use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::watch::PULSE;
use super::*;
use crate::dispatch::host::FromHost;
use crate::dispatch::{Outcome, Rest, Work};

const PATIENCE: Duration = Duration::from_secs(5);

/// A host that only notes what it is asked.
#[derive(Default)]
struct Noting {
    links: Mutex<HashMap<CallId, CallLink>>,
    told: Mutex<Vec<String>>,
    is_stuck: AtomicBool,
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
        link.respond(Outcome::Returned("null".into()), Rest::default()).expect("somebody waits");
    }

    fn recover(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
        self.unanswered.lock().drain(..).for_each(|sign| sign.send(()).unwrap_or_default());
    }
}

impl FunctionHost for Noting {
    fn start(&self, invocation: Invocation, link: CallLink) {
        self.links.lock().insert(invocation.call, link);
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
    stuck: mpsc::UnboundedReceiver<WorkerId>,
}

fn workers(count: u32) -> Testing {
    let (tell, stuck) = mpsc::unbounded_channel();
    let workers = Workers::new(PATIENCE, move |id| tell.send(id).expect("the test listens"));
    let hosts: Vec<Arc<Noting>> = (0..count).map(|_| Arc::default()).collect();
    for (id, host) in (0..).zip(&hosts) {
        workers.join(WorkerId(id), host.clone());
    }
    Testing { workers, hosts, stuck }
}

impl Testing {
    fn start(&self, call: u64) -> mpsc::Receiver<FromHost> {
        start_on(&*self.workers, call)
    }

    fn started(&self) -> Vec<Vec<u64>> {
        self.hosts.iter().map(|host| host.started()).collect()
    }

    fn give_up(&self, call: u64) {
        self.workers.abandon(CallId(call), &Failure::new(Code::Timeout, "too long"));
    }
}

fn start_on(host: &dyn FunctionHost, call: u64) -> mpsc::Receiver<FromHost> {
    let (link, messages) = CallLink::new();
    let invocation = Invocation { call: CallId(call), work: Work::Function(0), input: "{}".into(), request: None };
    host.start(invocation, link);
    messages
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_to_the_least_loaded_and_so_does_what_is_said_of_it() {
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
async fn one_that_goes_takes_its_calls_with_it_and_others_wait_for_the_next() {
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
async fn nobody_waits_for_workers_of_code_that_was_replaced() {
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
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _first = it.start(1);
    tokio::time::sleep(PULSE * 3).await;
    let _open: Vec<_> = (2..=5).map(|call| it.start(call)).collect();
    assert_eq!(it.started(), [vec![1], vec![2, 3, 4, 5]]);
    // Long work is none of our business while nobody has been kept waiting.
    tokio::time::sleep(PATIENCE * 10).await;
    assert!(it.stuck.try_recv().is_err());
    it.hosts[0].recover();
    tokio::time::sleep(PULSE * 3).await;
    let _sixth = it.start(6);
    assert_eq!(it.started()[0], [1, 6]);
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_no_sign_after_a_call_was_given_up_is_stuck() {
    let mut it = workers(2);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    let _first = it.start(1);
    it.give_up(1);
    tokio::time::sleep(PATIENCE / 2).await;
    assert!(it.stuck.try_recv().is_err(), "not yet");
    assert_eq!(it.stuck.recv().await, Some(WorkerId(0)));
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_after_a_call_was_given_up_is_not() {
    let mut it = workers(1);
    for call in 1..=20 {
        let _open = it.start(call);
        it.give_up(call);
        tokio::time::sleep(PATIENCE).await;
    }
    assert!(it.stuck.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn calls_that_have_lost_a_host_run_one_by_one_and_apart_from_others() {
    let it = workers(2);
    let apart = it.workers.clone().apart().expect("there are several");
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
    let apart = it.workers.clone().apart().expect("there may be several");
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
