//! A panic, or a pause with writes meanwhile, at every point and in every supervised task: each
//! live query ends at the answer of a new query, acknowledged mutations are there exactly once,
//! others as a whole or not at all, new calls are answered, and no connection stays in a
//! transaction.

use std::collections::BTreeSet;

use convoy::{Gate, Part, Place, Point, Stop};
use convoy_testkit::{App, TestDb, within};
use serde_json::json;
use tokio::task::JoinSet;

use crate::pairs::{
    Damage, Mutation, Stored, Watcher, Way, answers, open_transactions, report, serve, use_all_connections, write,
    wrong_queries,
};

/// The mutations of one case at the node with the fault, at the same time.
const WRITES: u64 = 12;
/// The mutations of the other node while the first one is stopped.
const MEANWHILE: u64 = 6;

/// The tasks that every engine has, or starts with the load of these tests.
const TASKS: [Part; 11] = [
    Part::Log,
    Part::Notifier,
    Part::Listener,
    Part::Tables,
    Part::Timer,
    Part::LiveRuns,
    Part::StoredResponses,
    Part::Functions,
    Part::Accept,
    Part::LiveQuery,
    Part::CommitBatching,
];

/// What a case does at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Panic,
    Pause,
}

/// Two nodes on one database. Faults happen in the first one.
struct World {
    db: TestDb,
    nodes: [App; 2],
    next: u64,
}

/// The mutations of a case.
struct Load {
    ways: &'static [Way],
    /// The functions in place of those of the ways.
    function: Option<&'static str>,
    /// Every other mutation has an idempotency key, or all have one.
    all_keyed: bool,
    /// The other node runs the mutations, so that only live queries reach the place.
    elsewhere: bool,
    /// All calls of a function run one after another, so they cannot wait for each other.
    queued: bool,
}

impl Default for Load {
    fn default() -> Load {
        Load { ways: &Way::ALL, function: None, all_keyed: false, elsewhere: false, queued: false }
    }
}

impl World {
    async fn open(failpoints: &[&str]) -> World {
        let db = TestDb::new().await;
        let options = |failpoints: &[&str]| json!({ "failpoints": failpoints });
        let nodes = [serve(&db, options(failpoints)).await, serve(&db, options(&[])).await];
        World { db, nodes, next: 0 }
    }

    /// Stops the first node at a place while both nodes write; returns the damage.
    async fn stop(&mut self, place: Place, fault: Fault, load: &Load) -> Damage {
        let [here, there] = &self.nodes;
        let first = self.next;
        let (during, end) = (first + WRITES, first + WRITES + MEANWHILE);
        self.next = end;
        let mut watcher = Watcher::open(here.client(), first..end).await;
        let failpoints = &here.engine.config().failpoints;
        let gate = Gate::default();
        failpoints.stop_once(
            place,
            match fault {
                Fault::Panic => Stop::Panic,
                Fault::Pause => Stop::Pause(gate.clone()),
            },
        );
        let mut psql = self.db.psql().await;
        if place == Place::Point(Point::ListenerReady) {
            psql.run("select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN %'").await;
        }
        let mut writing = JoinSet::new();
        for number in first..during {
            let client = if load.elsewhere { there.client() } else { here.client() };
            let mutation = load.mutation(number);
            writing.spawn(async move { write(&client, mutation).await.then_some(number) });
        }
        let mut acknowledged = BTreeSet::new();
        if fault == Fault::Pause {
            within(gate.reached()).await;
            for number in during..end {
                assert!(write(&there.client(), Mutation { keyed: true, ..load.mutation(number) }).await);
                acknowledged.insert(number);
            }
            gate.release();
        } else {
            within(async {
                while failpoints.will_stop(place) {
                    tokio::task::yield_now().await
                }
            })
            .await;
        }
        acknowledged.extend(within(writing.join_all()).await.into_iter().flatten());

        if !answers(&here.client()).await {
            return Damage { silent: true, ..Damage::default() };
        }
        if !load.queued {
            use_all_connections(&here.client()).await;
        }
        let stored = Stored::read(&mut psql).await;
        let mut damage = Damage::of(&stored, &acknowledged);
        damage.stale = watcher.stale(Some(here), &stored).await;
        damage.wrong = wrong_queries(&here.client(), first..end, &stored).await;
        damage.wrong.extend(wrong_queries(&there.client(), first..end, &stored).await);
        damage.open_transactions = open_transactions(&mut psql).await;
        report(&format!("{place:?}, {fault:?}: {} of {} acknowledged", acknowledged.len(), end - first));
        damage
    }

    async fn close(self) {
        for node in &self.nodes {
            node.engine.close().await;
        }
    }
}

impl Load {
    fn mutation(&self, number: u64) -> Mutation {
        let way = self.ways[number as usize % self.ways.len()];
        let function = self.function.unwrap_or_else(|| way.function());
        // Neither pattern follows that of the ways.
        Mutation { number, function, keyed: self.all_keyed || (number / 3).is_multiple_of(2) }
    }
}

async fn every_place_is_harmless(places: impl IntoIterator<Item = Place>, fault: Fault) {
    let mut world = World::open(&[]).await;
    for place in places {
        let damage = world.stop(place, fault, &Load::default()).await;
        assert_eq!(damage, Damage::default(), "{place:?}, {fault:?}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_any_point_does_no_damage() {
    every_place_is_harmless(Point::ALL.map(Place::Point), Fault::Panic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_at_any_point_does_no_damage() {
    every_place_is_harmless(Point::ALL.map(Place::Point), Fault::Pause).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_anywhere_in_a_supervised_task_does_no_damage() {
    every_place_is_harmless(TASKS.map(Place::Task), Fault::Panic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_anywhere_in_a_supervised_task_does_no_damage() {
    every_place_is_harmless(TASKS.map(Place::Task), Fault::Pause).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_or_a_pause_in_a_serial_queue_does_no_damage() {
    let mut world = World::open(&["alwaysSerialQueue"]).await;
    let load = Load { queued: true, ..Load::default() };
    for fault in [Fault::Panic, Fault::Pause] {
        let damage = world.stop(Place::Task(Part::SerialQueue), fault, &load).await;
        assert_eq!(damage, Damage::default(), "{fault:?}");
    }
    world.close().await;
}

/// Only runs of live queries reach these points.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_run_of_a_live_query_does_no_damage() {
    let mut world = World::open(&[]).await;
    let load = Load { elsewhere: true, ..Load::default() };
    for point in [Point::HostCall, Point::BeforeBegin] {
        let damage = world.stop(Place::Point(point), Fault::Panic, &load).await;
        assert_eq!(damage, Damage::default(), "{point:?}");
    }
    world.close().await;
}

/// A commit that is dropped between Postgres and the write log is lost to live queries, if nothing
/// counts it as lost.
#[tokio::test(flavor = "multi_thread")]
async fn control_a_change_that_no_one_misses_is_detected() {
    let mut world = World::open(&["unsupervised"]).await;
    let load = Load { ways: &[Way::Transaction], ..Load::default() };
    let damage = world.stop(Place::Point(Point::BeforeApplying), Fault::Panic, &load).await;
    assert!(!damage.stale.is_empty(), "the failpoint was not detected: {damage:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_mutation_that_takes_effect_twice_is_detected() {
    let mut world = World::open(&["forgetKeys"]).await;
    let load = Load { ways: &[Way::Optimistic, Way::Transaction], all_keyed: true, ..Load::default() };
    let damage = world.stop(Place::Point(Point::BeforeAnswer), Fault::Panic, &load).await;
    assert!(!damage.doubled.is_empty(), "the failpoint was not detected: {damage:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_mutation_without_a_transaction_is_detected() {
    let mut world = World::open(&[]).await;
    let load = Load { function: Some("pairs.addTorn"), ..Load::default() };
    let damage = world.stop(Place::Point(Point::BeforeApplying), Fault::Panic, &load).await;
    assert!(!damage.halves.is_empty(), "the mistake was not detected: {damage:?}");
    world.close().await;
}

/// The next statement on the connection is acknowledged inside the transaction, which never ends.
#[tokio::test(flavor = "multi_thread")]
async fn control_a_connection_that_returns_inside_a_transaction_is_detected() {
    let world = World::open(&["returnBusy"]).await;
    let here = &world.nodes[0];
    here.engine.config().failpoints.stop_once(Place::Point(Point::BeforeCommit), Stop::Panic);
    let mutation = |number, way: Way| Mutation { number, function: way.function(), keyed: false };
    assert!(!write(&here.client(), mutation(0, Way::Transaction)).await, "it panicked before its commit");
    assert!(write(&here.client(), mutation(1, Way::Optimistic)).await);
    let mut psql = world.db.psql().await;
    let lost = Damage::of(&Stored::read(&mut psql).await, &BTreeSet::from([1])).lost;
    assert_eq!((lost.len(), open_transactions(&mut psql).await), (1, 1), "the failpoint was not detected");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_server_that_accepts_no_calls_is_detected() {
    let mut world = World::open(&["unsupervised"]).await;
    let load = Load { elsewhere: true, ..Load::default() };
    let damage = world.stop(Place::Task(Part::Accept), Fault::Panic, &load).await;
    assert!(damage.silent, "the failpoint was not detected: {damage:?}");
    world.close().await;
}
