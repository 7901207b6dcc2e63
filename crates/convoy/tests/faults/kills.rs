//! A process that ends at a point, as by SIGKILL, and is started again: nothing acknowledged is
//! lost, nothing happens twice, and the live queries of another process stay current.

use std::collections::BTreeSet;

use convoy_testkit::{App, ServerProcess, TestDb, options_of_server, serve_until_input_ends};
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use convoy::{Place, Point, Stop};

use crate::pairs::{
    Damage, Mutation, Stored, Watcher, Way, functions, open_transactions, report, serve, tables, with_limits, write,
    wrong_queries,
};

const SERVER: &str = "kills::serves_until_its_input_ends";
const WRITES: u64 = 9;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server of other tests, which start it"]
async fn serves_until_its_input_ends() {
    let Some(config) = options_of_server() else { return };
    let app = App::open(config, tables(), functions()).await;
    let failpoints = app.engine.config().failpoints.clone();
    // Each line is a point where the process ends.
    let arm = move |line: &str| {
        let point: Point = serde_json::from_value(json!(line)).expect("the name of a point");
        failpoints.stop_once(Place::Point(point), Stop::Abort);
        line.to_owned()
    };
    serve_until_input_ends(app, arm).await;
}

/// Starts a server process on this URL.
pub(crate) fn start(url: &str, mut options: Value) -> ServerProcess {
    options["databaseUrl"] = json!(url);
    block_in_place(|| ServerProcess::start(SERVER, &with_limits(options)))
}

/// The same by a command that runs the program in its arguments.
pub(crate) fn start_under(command: &[&str], url: &str, mut options: Value) -> ServerProcess {
    options["databaseUrl"] = json!(url);
    block_in_place(|| ServerProcess::start_under(command, SERVER, &with_limits(options)))
}

/// Ends a process at each of these points while it writes; repeats the keyed mutations at the next one.
async fn kill_at(points: &[(Point, &str)], failpoints: &[&str]) -> Vec<(Point, Damage)> {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    let options = json!({ "failpoints": failpoints });
    let observer = serve(&db, json!({})).await;
    let mut server = start(&db.url(), options.clone());
    let mut found = Vec::new();
    for ((point, name), first) in points.iter().zip((0..).step_by(WRITES as usize)) {
        let numbers = first..first + WRITES;
        let mut watcher = Watcher::open(observer.client(), numbers.clone()).await;
        // So that the process has frames to write, and queries to run.
        let own = Watcher::open(server.client(), numbers.clone()).await;
        assert_eq!(block_in_place(|| server.command(name)), *name);
        if *point == Point::ListenerReady {
            psql.run("select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN %'").await;
        }
        let mut writing = JoinSet::new();
        let mutation = |number: u64| Mutation {
            number,
            function: Way::ALL[number as usize % 3].function(),
            keyed: (number / 3).is_multiple_of(2),
        };
        for number in numbers.clone() {
            // Sent once; those with a key are repeated at the next process.
            let (client, mutation) = (server.client(), mutation(number));
            let client = if mutation.keyed { with_key(&client, number) } else { client };
            writing.spawn(async move { write(&client, Mutation { keyed: false, ..mutation }).await.then_some(number) });
        }
        let status = block_in_place(|| server.until_end());
        assert!(!status.success(), "it ended at {point:?}: {status}");
        let mut acknowledged: BTreeSet<u64> = writing.join_all().await.into_iter().flatten().collect();
        let before = acknowledged.len();
        drop(own);

        server = start(&db.url(), options.clone());
        for number in numbers.clone().filter(|number| mutation(*number).keyed) {
            assert!(write(&server.client(), mutation(number)).await);
            acknowledged.insert(number);
        }
        let stored = Stored::read(&mut psql).await;
        let mut damage = Damage::of(&stored, &acknowledged);
        damage.stale = watcher.stale(Some(&observer), &stored).await;
        damage.wrong = wrong_queries(&server.client(), numbers.clone(), &stored).await;
        damage.open_transactions = open_transactions(&mut psql).await;
        report(&format!("killed at {point:?}: {before} of {WRITES} acknowledged before"));
        found.push((*point, damage));
    }
    observer.engine.close().await;
    found
}

fn with_key(client: &convoy_testkit::Client, number: u64) -> convoy_testkit::Client {
    client.with_header("idempotency-key", &format!("key-{number}"))
}

const POINTS: [(Point, &str); 9] = [
    (Point::HostCall, "hostCall"),
    (Point::BeforeBegin, "beforeBegin"),
    (Point::BeforeCommit, "beforeCommit"),
    (Point::BeforeApplying, "beforeApplying"),
    (Point::BeforeAnswer, "beforeAnswer"),
    (Point::ListenerReady, "listenerReady"),
    (Point::BeforeSnapshot, "beforeSnapshot"),
    (Point::BeforeDelivery, "beforeDelivery"),
    (Point::StreamWrite, "streamWrite"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_at_any_point_loses_nothing_that_was_acknowledged() {
    for (point, damage) in kill_at(&POINTS, &[]).await {
        assert_eq!(damage, Damage::default(), "{point:?}");
    }
}

/// The call that reaches the point first may have no key, and then nothing is repeated.
const ATTEMPTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn control_a_repeated_mutation_of_a_killed_process_is_detected() {
    for _ in 0..ATTEMPTS {
        let found = kill_at(&[(Point::BeforeAnswer, "beforeAnswer")], &["forgetKeys"]).await;
        if found.iter().any(|(_, damage)| !damage.doubled.is_empty()) {
            return;
        }
    }
    panic!("the failpoint was not detected");
}
