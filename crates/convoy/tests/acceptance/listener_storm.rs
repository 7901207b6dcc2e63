//! Acceptance 1: the connections that listen for other processes' commits are killed, reset and
//! silenced while both nodes write. Every subscriber converges to the table.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use convoy_testkit::{App, Connection, End, Proxy, Psql, Reader, StreamState, TestDb, within};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};

use crate::barrier::Barrier;
use crate::chat::{bodies, serve};
use crate::scale::{report, scale, seeded, split, with_seeds};

const WRITERS: usize = 8;
const SUBSCRIBERS: usize = 200;
/// How long after the last fault has healed every subscriber has the last state.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

/// A fault of a listener's connection.
#[derive(Clone)]
enum Fault {
    Kill,
    Reset,
    Silence,
}

struct Storm {
    mutations: usize,
    killed: usize,
    reset: usize,
    silenced: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_converges_to_the_table_despite_failing_listeners() {
    let storm =
        Storm { mutations: scale(480, 20_000), killed: scale(4, 100), reset: scale(3, 50), silenced: scale(1, 20) };
    with_seeds("listener_storm", async |mut random| {
        let (equal, converged) = storm.run(&mut random, json!([])).await;
        assert_eq!(equal, SUBSCRIBERS);
        assert!(converged <= CONVERGENCE_LIMIT, "{converged:?} after the last listener was replaced");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_listener_that_does_not_catch_up_is_detected() {
    let storm = Storm { mutations: 160, killed: 1, reset: 0, silenced: 1 };
    let (equal, _) = storm.run(&mut seeded(), json!(["listenerSkipsCatchUp"])).await;
    assert!(equal < SUBSCRIBERS, "the failpoint was not detected");
}

impl Storm {
    /// How many of the subscribers have the contents of the table at the end, and the time from
    /// the replacement of the last listener until then.
    async fn run(&self, random: &mut StdRng, failpoints: Value) -> (usize, Duration) {
        let db = TestDb::new().await;
        let (proxy_a, url_a) = Proxy::before(&db.url()).await;
        let (proxy_b, url_b) = Proxy::before(&db.url()).await;
        // Writers keep their connections while a silent listener is replaced.
        let limits = json!({ "headerMs": 300_000 });
        let options = |url: String| json!({ "databaseUrl": url, "limits": limits, "failpoints": failpoints });
        let (a, b) = (serve(&db, options(url_a)).await, serve(&db, options(url_b)).await);
        let nodes = [(&a, &proxy_a), (&b, &proxy_b)];
        let mut psql = db.psql().await;

        let (mut watches, mut sessions) = (Vec::new(), Vec::new());
        for at in 0..SUBSCRIBERS / 2 {
            let (app, args) = (nodes[at % 2].0, json!({ "channel": channel(at) }));
            watches.push(app.client().watch("messages.list", args.clone()).await.read_continuously());
            let query = json!([{ "id": 0, "name": "messages.list", "args": args }]);
            sessions.push(app.client().live(query).await.read_continuously());
        }
        let mut barrier = Barrier::of(&[&a, &b]).await;

        let faults = self.faults(random);
        let mut writers = Vec::new();
        for at in 0..WRITERS {
            writers.push(Writer::new(nodes[at % 2].0, at, random).await);
        }
        let each = self.mutations.div_ceil(faults.len() * WRITERS);
        for (fault, at) in faults.iter().zip(0..) {
            let proxy = nodes[at % 2].1;
            let listener = proxy.listener_after(0).await;
            match fault {
                Fault::Kill => kill(&mut psql, listener.port).await,
                Fault::Reset => proxy.end(listener.number, End::Reset),
                Fault::Silence => proxy.end(listener.number, End::Silence),
            }
            let writing = writers.into_iter().map(|writer| tokio::spawn(writer.write(each)));
            writers = Vec::new();
            for writing in writing.collect::<Vec<_>>() {
                writers.push(writing.await.expect("every mutation is acknowledged"));
            }
            proxy.listener_after(listener.number).await;
        }
        let healed = Instant::now();
        barrier.wait_for_notifications().await;

        let table = lists(&mut psql).await;
        let mut equal = 0;
        for (at, (watch, session)) in watches.iter_mut().zip(&mut sessions).enumerate() {
            let expected = table.get(&channel(at));
            equal += usize::from(shows(watch, expected).await) + usize::from(shows(session, expected).await);
        }
        let converged = healed.elapsed();
        report(&format!(
            "{equal} of {SUBSCRIBERS} equal the table {} ms after the last listener was replaced, after {} mutations, \
             {} listeners killed, {} reset, {} silenced",
            converged.as_millis(),
            each * WRITERS * faults.len(),
            self.killed,
            self.reset,
            self.silenced
        ));
        a.engine.close().await;
        b.engine.close().await;
        (equal, converged)
    }

    /// In random order, with a silence at the end: no later write would cover a change that
    /// is lost during it.
    fn faults(&self, random: &mut StdRng) -> Vec<Fault> {
        let mut faults = vec![Fault::Kill; self.killed];
        faults.extend(vec![Fault::Reset; self.reset]);
        faults.extend(vec![Fault::Silence; self.silenced - 1]);
        faults.shuffle(random);
        faults.push(Fault::Silence);
        faults
    }
}

/// Each pair of subscribers has its own channel, so that channels are rarely written and no
/// later change covers a lost one.
fn channel(at: usize) -> String {
    format!("c{at}")
}

async fn kill(psql: &mut Psql, port: u16) {
    let kill = format!("select pg_terminate_backend(pid) from pg_stat_activity where client_port = {port}");
    psql.run(&kill).await;
}

/// The lists of all channels, as the query returns them.
pub(crate) async fn lists(psql: &mut Psql) -> HashMap<String, Vec<String>> {
    let rows = psql
        .column(
            "select (data ->> 'channel') || '=' || string_agg(data ->> 'body', ',' order by (data ->> 'n')::int desc, created_at desc, id desc)
             from (
               select *, row_number() over (partition by data ->> 'channel' order by (data ->> 'n')::int desc, created_at desc, id desc) as place
               from messages
             ) as placed
             where place <= 20
             group by data ->> 'channel'",
        )
        .await;
    let parse = |row: String| {
        let (channel, bodies) = row.split_once('=')?;
        Some((channel.to_owned(), bodies.split(',').map(str::to_owned).collect()))
    };
    rows.into_iter().map(|row| parse(row).expect("a channel and its bodies")).collect()
}

async fn shows<H: StreamState>(reader: &mut Reader<H>, expected: Option<&Vec<String>>) -> bool {
    let expected = expected.map_or(&[][..], Vec::as_slice);
    reader.reaches(0, |list| bodies(list) == expected).await
}

/// Writes messages of its own, moves them, and removes them.
struct Writer {
    connection: Connection,
    name: usize,
    sent: usize,
    ids: Vec<Value>,
    random: StdRng,
}

impl Writer {
    async fn new(app: &App, name: usize, random: &mut StdRng) -> Writer {
        Writer { connection: app.client().connect().await, name, sent: 0, ids: Vec::new(), random: split(random) }
    }

    async fn write(mut self, mutations: usize) -> Writer {
        for _ in 0..mutations {
            let channel = channel(self.random.random_range(0..SUBSCRIBERS / 2));
            let mine = self.ids.choose(&mut self.random).cloned();
            match (self.random.random_range(0..10), mine) {
                (0..2, Some(id)) => {
                    self.mutate("messages.move", &json!({ "id": id, "channel": channel })).await;
                }
                (2..4, Some(id)) => {
                    self.ids.retain(|other| *other != id);
                    self.mutate("messages.remove", &json!({ "id": id })).await;
                }
                _ => {
                    self.sent += 1;
                    let body = format!("{}/{}", self.name, self.sent);
                    let message = json!({ "channel": channel, "n": self.sent, "body": body });
                    let id = self.mutate("messages.send", &message).await;
                    self.ids.push(id);
                }
            }
        }
        self
    }

    /// Calls a mutation, again while it is `UNAVAILABLE`: on a machine without idle time, a
    /// new connection to Postgres may not be ready in time.
    async fn mutate(&mut self, name: &str, args: &Value) -> Value {
        within(async {
            loop {
                let reply = self.connection.mutate(name, args).await;
                if reply.code() != "UNAVAILABLE" {
                    return reply.data();
                }
            }
        })
        .await
    }
}
