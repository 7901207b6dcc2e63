//! Acceptance 9: each client reads its own writes, and nothing goes backwards: in calls, in plain
//! streams, in sessions, with more tabs of the same user, and over reconnects to either node.
//!
//! Every client sends the newest consistency token that it has received. It has one node at a
//! time, like behind a load balancer that keeps a client at its process.

use convoy_testkit::{Answers, App, Client, Functions, LiveSession, Reply, StreamState, TestDb, Wire, table, within};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::chat::with_heartbeats;
use crate::scale::{report, scale, seeded, split, with_seeds};

/// Half of them are second tabs, which write to the same counters as the first.
const CLIENTS: usize = 8;
/// Counters, each with its own live query.
const COUNTERS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn clients_read_their_writes_and_never_go_backwards() {
    with_seeds("session_guarantees", async |mut random| {
        assert_eq!(violations(scale(40, 3_000), &mut random, json!([])).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_ignored_consistency_tokens_are_detected() {
    let found = violations(80, &mut seeded(), json!(["ignorePosition"])).await;
    assert!(!found.is_empty(), "the failpoint was not detected");
}

async fn violations(steps: usize, random: &mut StdRng, failpoints: Value) -> Vec<String> {
    let db = TestDb::new().await;
    // Without notifications a node learns of the other's commits late, unless a token requires
    // them.
    let (wire, url) = Wire::before(&db.url()).await;
    wire.drop_notifications();
    let limits = json!({ "pollMs": 500 });
    let options = json!({ "databaseUrl": url, "limits": limits, "failpoints": failpoints });
    let nodes = [serve(&db, options.clone()).await, serve(&db, options).await];
    create_counters(&nodes[0]).await;
    let found = violations_of_clients(&nodes, steps, random).await;
    for node in &nodes {
        node.engine.close().await;
    }
    found
}

/// Serves the counters.
pub(crate) async fn serve(db: &TestDb, options: Value) -> App {
    db.app_with(with_heartbeats(options), json!([table("counters", &[])]), functions()).await
}

/// Creates the counters, by one of the nodes.
pub(crate) async fn create_counters(node: &App) {
    until_available(async || node.client().mutate("counters.create", json!({})).await).await.data();
}

/// Runs clients against two nodes; returns the violations that they have noticed. In the end
/// their streams must reach the counters that a new query returns.
pub(crate) async fn violations_of_clients(nodes: &[App; 2], steps: usize, random: &mut StdRng) -> Vec<String> {
    let clients = (0..CLIENTS).map(|at| {
        let mut random = split(random);
        async move {
            let mut tab = Tab::open(&nodes[at % 2], at).await;
            for _ in 0..steps {
                tab.step(nodes, &mut random).await;
            }
            tab.converge(nodes).await;
            tab
        }
    });
    let tabs: Vec<Tab> = join_all(clients).await;
    let total = |count: fn(&Tab) -> usize| tabs.iter().map(count).sum::<usize>();
    let found: Vec<String> = tabs.iter().flat_map(|tab| tab.violations.clone()).collect();
    report(&format!(
        "{} writes, {} reads and {} reconnects of {CLIENTS} clients: {} violations",
        total(|tab| tab.writes),
        total(|tab| tab.reads),
        total(|tab| tab.reconnects),
        found.len()
    ));
    found.iter().take(3).for_each(|violation| report(violation));
    found
}

fn id(counter: u64) -> String {
    format!("00000000-0000-4000-8000-{counter:012}")
}

fn args(counter: u64) -> Value {
    json!({ "counter": format!("counters:{}", id(counter)) })
}

fn functions() -> Functions {
    let get = |input: &Value| {
        let id = input["counter"].as_str().and_then(|name| name.rsplit(':').next()).expect("a name");
        json!({ "op": "get", "table": "counters", "id": id })
    };
    Functions::new()
        .mutation("counters.create", |ctx, _| async move {
            for counter in 0..COUNTERS {
                let doc = json!({ "n": 0 });
                ctx.op(json!({ "op": "insert", "table": "counters", "id": id(counter), "doc": doc })).await?;
            }
            Ok(Value::Null)
        })
        .mutation(
            "counters.another",
            |ctx, _| async move { Ok(json!(ctx.insert("counters", json!({ "n": 0 })).await?)) },
        )
        .mutation("counters.add", move |ctx, input| async move {
            let read = get(&input);
            let n = ctx.op(read.clone()).await?["n"].as_u64().expect("a number") + 1;
            let set = json!({ "n": n });
            ctx.op(json!({ "op": "patch", "table": "counters", "id": read["id"], "set": set, "unset": [] })).await?;
            Ok(json!(n))
        })
        .query("counters.get", move |ctx, input| async move {
            ctx.saw_nothing();
            Ok(ctx.op(get(&input)).await?["n"].clone())
        })
}

/// One client: calls, and a session that watches every counter.
struct Tab {
    name: usize,
    node: usize,
    session: LiveSession,
    token: Option<String>,
    /// The highest value of each counter that it has written or received.
    seen: Vec<u64>,
    /// The last value of each counter on the current stream.
    shown: Vec<u64>,
    writes: usize,
    reads: usize,
    reconnects: usize,
    violations: Vec<String>,
}

impl Tab {
    async fn open(app: &App, name: usize) -> Tab {
        let session = app.client().live(queries(&Answers::default())).await;
        let zeros = vec![0; COUNTERS as usize];
        let mut tab = Tab {
            name,
            node: name % 2,
            session,
            token: None,
            seen: zeros.clone(),
            shown: zeros,
            writes: 0,
            reads: 0,
            reconnects: 0,
            violations: Vec::new(),
        };
        tab.until_answered().await;
        tab
    }

    async fn step(&mut self, nodes: &[App], random: &mut StdRng) {
        let counter = random.random_range(0..COUNTERS);
        match random.random_range(0..10) {
            0..3 => self.write(&nodes[self.node], counter, random.random()).await,
            3..6 => {
                let client = self.client(&nodes[self.node]);
                let reply = until_available(async || client.query("counters.get", args(counter)).await).await;
                self.advance(reply.header("convoy-position").map(str::to_owned));
                self.read("a call", counter, &reply.data());
            }
            6 => {
                let mut watch = self.client(&nodes[self.node]).watch("counters.get", args(counter)).await;
                let first = watch.until(|_| true).await;
                self.read("a plain stream", counter, &first);
            }
            7 => self.receive().await,
            _ => {
                self.node = if random.random() { self.node } else { 1 - self.node };
                self.reconnect(&nodes[self.node]).await;
            }
        }
    }

    /// The client of the node, with the newest token.
    fn client(&self, app: &App) -> Client {
        match &self.token {
            Some(token) => app.client().with_header("convoy-position", token),
            None => app.client(),
        }
    }

    /// Like in JavaScript: the newest token of a process, and the last one of several.
    fn advance(&mut self, token: Option<String>) {
        let Some(token) = token else { return };
        let node = |token: &str| token.split('.').next().map(str::to_owned);
        let is_older = self.token.as_ref().is_some_and(|old| node(old) == node(&token) && *old > token);
        if !is_older {
            self.token = Some(token);
        }
    }

    /// Increments a counter. With `settles`, it waits until the stream has the change.
    async fn write(&mut self, app: &App, counter: u64, settles: bool) {
        self.writes += 1;
        let key = format!("{}/{}", self.name, self.writes);
        let client = self.client(app).with_header("idempotency-key", &key);
        let client = client.with_header("convoy-session", self.session.id());
        let reply = until_available(async || client.mutate("counters.add", args(counter)).await).await;
        if reply.code() == "CONFLICT" {
            return;
        }
        self.advance(reply.header("convoy-position").map(str::to_owned));
        let written = reply.data().as_u64().expect("a number");
        let at = counter as usize;
        self.seen[at] = self.seen[at].max(written);
        if settles {
            let is_settled = |answers: &Answers| {
                answers.messages.iter().any(|message| message["type"] == "settled" && message["key"] == key.as_str())
            };
            while !is_settled(self.session.answers()) {
                self.receive().await;
            }
            if self.shown[at] < written {
                self.violations.push(format!("{written} was settled, and the stream shows {}", self.shown[at]));
            }
        }
    }

    /// Checks a value that was read now.
    fn read(&mut self, by: &str, counter: u64, value: &Value) {
        self.reads += 1;
        let (value, at) = (value.as_u64().expect("a number"), counter as usize);
        if value < self.seen[at] {
            self.violations.push(format!("{by} of client {} returned {value} after {}", self.name, self.seen[at]));
        }
        self.seen[at] = self.seen[at].max(value);
    }

    /// Receives one event of the stream, whose values may be older than what calls returned,
    /// but not than those before.
    async fn receive(&mut self) {
        assert!(within(self.session.receive()).await, "the stream goes on");
        self.look();
    }

    /// Takes what the stream shows now.
    fn look(&mut self) {
        for counter in 0..COUNTERS {
            let Some(value) = self.session.answers().latest(counter).and_then(Value::as_u64) else { continue };
            let at = counter as usize;
            if value < self.shown[at] {
                self.violations.push(format!("a stream showed {value} after {}", self.shown[at]));
            }
            self.shown[at] = value;
            self.seen[at] = self.seen[at].max(value);
        }
        let position = self.session.answers().position.clone();
        self.advance(position);
    }

    /// Receives until the stream shows what a new query returns. Others may still write, so the
    /// stream may be ahead of it.
    async fn converge(&mut self, nodes: &[App]) {
        for counter in 0..COUNTERS {
            let client = self.client(&nodes[self.node]);
            let reply = until_available(async || client.query("counters.get", args(counter)).await).await;
            let current = reply.data().as_u64().expect("a number");
            while self.shown[counter as usize] < current {
                self.receive().await;
            }
        }
    }

    /// Receives until the stream has answered every query, which was requested at a moment when
    /// the client had seen `self.seen`.
    async fn until_answered(&mut self) {
        let required = self.seen.clone();
        // The first event may have answers, too.
        self.look();
        while (0..COUNTERS).any(|counter| self.session.answers().answered(counter) == 0) {
            self.receive().await;
        }
        for (counter, required) in required.iter().enumerate() {
            if self.shown[counter] < *required {
                let shown = self.shown[counter];
                self.violations.push(format!("a new stream of client {} showed {shown} after {required}", self.name));
            }
        }
    }

    async fn reconnect(&mut self, app: &App) {
        self.reconnects += 1;
        let client = self.client(app);
        let fresh = app.client().live(json!([])).await;
        let ended = std::mem::replace(&mut self.session, fresh).disconnect();
        let queries = queries(&ended);
        self.session = client.resume(ended, queries).await.expect("the server takes the session");
        self.until_answered().await;
    }
}

/// Calls until the server is available: on a machine without idle time, a new connection to
/// Postgres may not be ready in time.
async fn until_available(call: impl AsyncFn() -> Reply) -> Reply {
    within(async {
        loop {
            let reply = call().await;
            if reply.code() != "UNAVAILABLE" {
                return reply;
            }
        }
    })
    .await
}

fn queries(known: &Answers) -> Value {
    let query = |counter: u64| {
        let mut query = json!({ "id": counter, "name": "counters.get", "args": args(counter) });
        if let Some(hash) = known.hash(counter) {
            query["hash"] = json!(hash);
        }
        query
    };
    json!((0..COUNTERS).map(query).collect::<Vec<_>>())
}
