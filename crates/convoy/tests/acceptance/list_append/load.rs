//! Clients that send transactions, and write down their history.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use convoy_testkit::list_append::{Outcome, Step, Transaction};
use convoy_testkit::{Client, Connection, Reply, within};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::program::{Kind, id, key_of};
use crate::scale::split;

pub(super) const CLIENTS: usize = 16;
/// Lists in use at a time: few, so that transactions conflict.
const LISTS: u64 = 5;
/// The number of values after which clients use other lists, so that lists stay short.
const VALUES_PER_LISTS: u64 = 150;
const MAX_STEPS: usize = 4;

/// Transactions of `CLIENTS` clients.
pub(super) struct Load {
    pub transactions: usize,
    pub kinds: Vec<Kind>,
    /// Whether mutations that take a key have one.
    pub keyed: bool,
}

/// What the clients of a load share.
struct Shared {
    servers: watch::Receiver<Vec<Client>>,
    began: Instant,
    next_value: AtomicU64,
    /// The number of transactions that have ended.
    ended: watch::Sender<usize>,
}

impl Load {
    /// How many lists it uses.
    fn lists(&self) -> u64 {
        ((self.transactions * MAX_STEPS) as u64 / VALUES_PER_LISTS + 1) * LISTS
    }

    /// Sends the transactions, each client to one of the servers; the list of servers may
    /// change. Reads every list at the end. Returns the history; `ended` counts it.
    pub(super) async fn run(
        &self,
        random: &mut StdRng,
        servers: watch::Receiver<Vec<Client>>,
        ended: watch::Sender<usize>,
    ) -> Vec<Transaction> {
        let last = servers.clone();
        last.borrow().clone()[0].mutate("lists.create", json!({ "count": self.lists() })).await.data();
        let shared = Arc::new(Shared { servers, began: Instant::now(), next_value: AtomicU64::new(0), ended });
        let clients = (0..CLIENTS).map(|at| {
            let sender = Sender { at, connection: None, random: split(random), shared: shared.clone() };
            tokio::spawn(sender.send(self.transactions / CLIENTS, self.kinds.clone(), self.keyed))
        });
        let histories = join_all(clients.collect::<Vec<_>>()).await;
        let mut history: Vec<Transaction> = histories.into_iter().flat_map(|each| each.expect("a client")).collect();
        let begin = shared.now();
        let client = last.borrow()[0].clone();
        let all = read_all(&client).await;
        let steps = all.as_array().expect("documents").iter().map(|document| read(key_of(document), &document["list"]));
        let (steps, outcome) = (steps.collect(), Outcome::Committed);
        history.push(Transaction { steps, begin, end: shared.now(), outcome });
        history
    }
}

/// Reads every list, also over a connection to Postgres that was lost.
async fn read_all(client: &Client) -> Value {
    within(async {
        loop {
            let reply = client.query("lists.all", json!({})).await;
            if !matches!(reply.code(), "UNAVAILABLE" | "TIMEOUT") {
                return reply.data();
            }
        }
    })
    .await
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One client. It has one connection at a time.
struct Sender {
    at: usize,
    connection: Option<Connection>,
    random: StdRng,
    shared: Arc<Shared>,
}

impl Sender {
    async fn send(mut self, transactions: usize, kinds: Vec<Kind>, keyed: bool) -> Vec<Transaction> {
        let mut history = Vec::new();
        for number in 0..transactions {
            let kind = *kinds.choose(&mut self.random).expect("a kind");
            let steps = self.steps(kind);
            let input = json!({ "steps": steps });
            let key = (keyed && kind.takes_key()).then(|| format!("{}/{number}", self.at));
            let begin = self.shared.now();
            let (outcome, lists) = self.call(kind, &input, key.as_deref()).await;
            let steps = recorded(kind, &steps, lists.as_ref());
            history.push(Transaction { steps, begin, end: self.shared.now(), outcome });
            self.shared.ended.send_modify(|ended| *ended += 1);
        }
        history
    }

    fn steps(&mut self, kind: Kind) -> Vec<Value> {
        let count = if kind.is_statement() { 1 } else { self.random.random_range(1..=MAX_STEPS) };
        let step = |_| {
            let append = kind.is_statement() || self.random.random();
            let value = match append {
                true => self.shared.next_value.fetch_add(1, Ordering::Relaxed),
                false => self.shared.next_value.load(Ordering::Relaxed),
            };
            let key = value / VALUES_PER_LISTS * LISTS + self.random.random_range(0..LISTS);
            // The name of the document, for serial queues.
            let list = format!("lists:{}", id(key));
            if append {
                json!({ "list": list, "key": key, "value": value })
            } else {
                json!({ "list": list, "key": key })
            }
        };
        (0..count).map(step).collect()
    }

    /// Calls a function until its outcome is known, or cannot be. Returns what it has read.
    async fn call(&mut self, kind: Kind, input: &Value, key: Option<&str>) -> (Outcome, Option<Value>) {
        within(async {
            let mut in_doubt = false;
            loop {
                let reply = self.try_call(kind, input, key).await;
                match reply.as_ref().map_or(0, |reply| reply.status) {
                    200 => return (Outcome::Committed, reply.map(Reply::data)),
                    // The engine says so only of an attempt without effect.
                    409 if !in_doubt => return (Outcome::Failed, None),
                    // A repeated call with a key finds out.
                    0 | 409 | 503 | 504 if key.is_some() => in_doubt = true,
                    0 | 503 | 504 => return (Outcome::Unknown, None),
                    status => panic!("{kind:?} answered {status}: {:?}", reply.map(|reply| reply.body)),
                }
            }
        })
        .await
    }

    /// `None` if the server ended before it answered.
    async fn try_call(&mut self, kind: Kind, input: &Value, key: Option<&str>) -> Option<Reply> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await,
        };
        let reply = connection.try_call(kind.path(), input, key).await.ok()?;
        self.connection = Some(connection);
        Some(reply)
    }

    async fn connect(&mut self) -> Connection {
        let mut servers = self.shared.servers.clone();
        loop {
            let server = {
                let servers = servers.borrow_and_update();
                servers.get(self.at % servers.len().max(1)).cloned()
            };
            if let Some(server) = server
                && let Ok(connection) = server.try_connect().await
            {
                return connection;
            }
            servers.changed().await.expect("the test has the sender");
        }
    }
}

/// The steps with what they have read.
fn recorded(kind: Kind, steps: &[Value], lists: Option<&Value>) -> Vec<Step> {
    let mut lists = lists.and_then(Value::as_array).into_iter().flatten();
    let key = |step: &Value| step["key"].as_u64().expect("a key");
    let mut recorded: Vec<Step> = Vec::new();
    for step in steps {
        match step["value"].as_u64() {
            Some(value) => recorded.push(Step::Append { key: key(step), value }),
            None => recorded.extend(lists.next().map(|list| read(key(step), list))),
        }
    }
    if kind.is_statement() {
        recorded.extend(lists.next().map(|list| read(key(&steps[0]), list)));
    }
    recorded
}

fn read(key: u64, list: &Value) -> Step {
    let list = list.as_array().expect("a list").iter().map(|value| value.as_u64().expect("a value"));
    Step::Read { key, list: list.collect() }
}
