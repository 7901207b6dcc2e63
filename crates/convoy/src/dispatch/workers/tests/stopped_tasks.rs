//! The tasks of a pool of workers, stopped by a panic or a pause.

use super::*;
use crate::failpoints::{Gate, Place, Stop};

#[tokio::test(start_paused = true)]
async fn a_watch_detects_stuck_workers_and_recovery_after_a_panic() {
    let failpoints = Failpoints::default();
    let mut it = workers_with(1, failpoints.clone());
    failpoints.panic_once(Part::WorkerWatch);
    let _open = it.start(1);
    while failpoints.will_panic(Part::WorkerWatch) {
        tokio::time::sleep(PING_INTERVAL).await;
    }
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    it.abandon(1);
    assert_eq!(it.stuck_event().await.0, WorkerId(0));
    // A panic while the worker is unresponsive: the restarted watch detects the recovery.
    failpoints.panic_once(Part::WorkerWatch);
    it.hosts[0].recover();
    while failpoints.will_panic(Part::WorkerWatch) || !it.workers.unresponsive_workers().is_empty() {
        it.start(2);
        tokio::time::sleep(PING_INTERVAL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_lost_a_worker_still_run_after_a_panic() {
    let failpoints = Failpoints::default();
    let it = workers_with(1, failpoints.clone());
    let quarantine = it.workers.clone().quarantine().expect("a pool has a quarantine");
    failpoints.panic_once(Part::LostCalls);
    let mut unlucky = start_on(&*quarantine, 1);
    assert!(unlucky.recv().await.is_none(), "the link is dropped");
    let _next = start_on(&*quarantine, 2);
    while it.hosts[0].started() != [2] {
        tokio::time::sleep(PING_INTERVAL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_watch_holds_up_no_call_and_detects_stuck_workers_afterwards() {
    let failpoints = Failpoints::default();
    let mut it = workers_with(1, failpoints.clone());
    let gate = Gate::default();
    failpoints.stop_once(Place::Task(Part::WorkerWatch), Stop::Pause(gate.clone()));
    let _first = it.start(1);
    gate.reached().await;
    let _second = it.start(2);
    assert_eq!(it.hosts[0].started(), [1, 2]);
    it.hosts[0].answer(2);
    it.hosts[0].is_stuck.store(true, Ordering::Relaxed);
    it.abandon(1);
    tokio::time::sleep(UNRESPONSIVE_TIME * 2).await;
    assert!(it.events.try_recv().is_err(), "the watch was not paused");
    gate.release();
    assert_eq!(it.stuck_event().await.0, WorkerId(0));
}

#[tokio::test(start_paused = true)]
async fn a_paused_quarantine_holds_up_lost_calls_only() {
    let failpoints = Failpoints::default();
    let it = workers_with(1, failpoints.clone());
    let quarantine = it.workers.clone().quarantine().expect("a pool has a quarantine");
    let gate = Gate::default();
    failpoints.stop_once(Place::Task(Part::LostCalls), Stop::Pause(gate.clone()));
    let _lost = start_on(&*quarantine, 1);
    gate.reached().await;
    let _other = it.start(2);
    tokio::time::sleep(PING_INTERVAL * 4).await;
    assert_eq!(it.hosts[0].started(), [2]);
    gate.release();
    while it.hosts[0].started() != [1, 2] {
        tokio::time::sleep(PING_INTERVAL).await;
    }
}
