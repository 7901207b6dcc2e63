//! Acceptance 6: clients that hang up while their mutation runs. Each mutation whose function
//! began takes effect as a whole, no session stays in a transaction, and no connection of the
//! pool is lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use convoy_testkit::{App, Functions, TestDb, table, within};
use futures_util::future::join_all;
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::scale::{report, scale, seeded, split, with_seeds};

const CLIENTS: usize = 16;
const POOL_SIZE: usize = 6;
/// The latest time of a hang-up, in milliseconds after the request was sent.
const LATEST: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_whose_client_hangs_up_takes_effect_as_a_whole() {
    with_seeds("hang_ups", async |mut random| {
        let Counted { halves, missing, .. } = hang_up(scale(400, 20_000), &mut random, json!([])).await;
        assert_eq!((halves, missing), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_mutations_that_end_with_their_client_are_detected() {
    let Counted { missing, .. } = hang_up(400, &mut seeded(), json!(["dropWithCaller"])).await;
    assert!(missing > 0, "the failpoint was not detected");
}

struct Counted {
    /// Mutations with one of their two effects.
    halves: usize,
    /// Mutations whose function began, and that have no effect.
    missing: usize,
}

/// Calls mutations, half of which lose their client.
async fn hang_up(mutations: usize, random: &mut StdRng, failpoints: Value) -> Counted {
    let db = TestDb::new().await;
    let began: Arc<Mutex<HashSet<u64>>> = Arc::default();
    let gate = Arc::new(Barrier::new(POOL_SIZE));
    // Postgres ends an idle transaction after the limit, which would hide it.
    let limits = json!({ "mutationMs": 300_000 });
    let options = json!({ "poolSize": POOL_SIZE, "limits": limits, "failpoints": failpoints });
    let tables = json!([table("left", &[]), table("right", &[]), table("guard", &[])]);
    let app = db.app_with(options, tables, functions(began.clone(), gate)).await;
    let clients = (0..CLIENTS).map(|at| {
        let (app, mut random) = (&app, split(random));
        async move {
            for number in (at..mutations).step_by(CLIENTS) {
                let name = if random.random() { "pairs.add" } else { "pairs.addWithin" };
                let stays = number % 2 == 0;
                let time = Duration::from_micros(random.random_range(0..=LATEST * 1_000));
                call(app, name, number, (!stays).then_some(time)).await;
            }
        }
    });
    join_all(clients).await;

    // Every connection is needed at once, so none was lost.
    let holds = (0..POOL_SIZE).map(|_| async { app.client().mutate("hold", json!({})).await.data() });
    join_all(holds).await;
    let mut psql = db.psql().await;
    let open = "select count(*)::text from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'";
    within(async { while psql.column(open).await != ["0"] {} }).await;
    // Waits for the mutations that still run.
    app.engine.close().await;

    let [left, right] = [numbers(&mut psql, "left").await, numbers(&mut psql, "right").await];
    let began = began.lock().clone();
    let counted = Counted {
        halves: left.symmetric_difference(&right).count(),
        missing: began.difference(&left).filter(|number| !right.contains(number)).count(),
    };
    let (begun, halves, missing) = (began.len(), counted.halves, counted.missing);
    report(&format!("{begun} of {mutations} began: {halves} with half of their effect, {missing} without any"));
    counted
}

fn functions(began: Arc<Mutex<HashSet<u64>>>, gate: Arc<Barrier>) -> Functions {
    let add = |within: bool| {
        let began = began.clone();
        move |ctx: convoy_testkit::Ctx, input: Value| {
            let began = began.clone();
            async move {
                began.lock().insert(input["number"].as_u64().expect("a number"));
                if within {
                    ctx.op(guard()).await?;
                }
                ctx.insert("left", input.clone()).await?;
                ctx.insert("right", input).await?;
                Ok(Value::Null)
            }
        }
    };
    let (add_plainly, add_within) = (add(false), add(true));
    Functions::new().mutation("pairs.add", add_plainly).mutation("pairs.addWithin", add_within).mutation(
        "hold",
        move |ctx, _| {
            let gate = gate.clone();
            async move {
                ctx.op(guard()).await?;
                gate.wait().await;
                Ok(Value::Null)
            }
        },
    )
}

/// An operation that only a transaction answers.
fn guard() -> Value {
    json!({ "op": "scan", "table": "guard", "index": null, "eq": [], "order": "asc", "limit": 1 })
}

/// Calls a mutation. A client that hangs up closes its connection after this time, unless it was
/// answered before.
async fn call(app: &App, name: &str, number: usize, hangs_up: Option<Duration>) {
    let Some(time) = hangs_up else {
        app.client().mutate(name, json!({ "number": number })).await.data();
        return;
    };
    let (host, body) = (app.address, json!({ "number": number }).to_string());
    let length = body.len();
    let request = format!(
        "POST /api/mutation/{name} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut socket = TcpStream::connect(host).await.expect("the server listens");
    socket.write_all(request.as_bytes()).await.expect("the server reads");
    // An answer may come first.
    drop(tokio::time::timeout(time, socket.read_u8()).await);
}

async fn numbers(psql: &mut convoy_testkit::Psql, table: &str) -> HashSet<u64> {
    let stored = psql.column(&format!("select data ->> 'number' from \"{table}\"")).await;
    stored.iter().map(|number| number.parse().expect("a number")).collect()
}
