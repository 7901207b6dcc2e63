//! A TCP proxy in front of Postgres that behaves like networks do: it ends connections with a
//! reset, or silently, without closing them; it delays data, limits its rate, and holds the
//! data of some connections back while that of others passes. It can also end a connection in
//! place of an answer, which Postgres has sent.
//!
//! Within one connection TCP keeps the order of bytes. Between connections there is no order:
//! the notification of a commit may overtake the commit's own answer, or arrive long after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How many flushes of one direction may wait; then no more are read.
const MAX_WAITING: usize = 256;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides receive a reset.
    Reset,
    /// No more data arrives on either side, and neither is closed.
    Silence,
}

/// A direction of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to Postgres.
    ToServer,
    /// From Postgres to the client.
    ToClient,
}

/// The data of all connections that listen, or that do not, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Whether the connections have sent `LISTEN`.
    pub listens: bool,
    /// The direction.
    pub direction: Direction,
}

impl Flow {
    /// All flows.
    pub const ALL: [Flow; 4] = [
        Flow { listens: true, direction: Direction::ToClient },
        Flow { listens: true, direction: Direction::ToServer },
        Flow { listens: false, direction: Direction::ToClient },
        Flow { listens: false, direction: Direction::ToServer },
    ];
    /// The notifications that clients receive.
    pub const NOTIFICATIONS: Flow = Flow { listens: true, direction: Direction::ToClient };
    /// The answers to statements.
    pub const ANSWERS: Flow = Flow { listens: false, direction: Direction::ToClient };

    fn index(self) -> usize {
        usize::from(self.listens) * 2 + usize::from(self.direction == Direction::ToClient)
    }
}

/// What happens to the data of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// How much later each flush arrives.
    pub delay: Duration,
    /// The rate of each connection; `None` is unlimited.
    pub bytes_per_second: Option<u32>,
    /// Nothing arrives until this is unset, and then all of it, in order.
    pub held: bool,
}

/// How many flushes of a flow the proxy has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flushes {
    /// Passed on.
    pub passed: u64,
    /// Held back, even if they were passed on later.
    pub held: u64,
}

/// A proxy, which ends with the test.
pub struct Proxy {
    connections: Arc<Connections>,
}

/// The conditions by flow.
#[derive(Default)]
struct AllConditions([Conditions; 4]);

impl AllConditions {
    fn of(&self, flow: Flow) -> Conditions {
        self.0[flow.index()]
    }
}

/// The open connections, with a channel that signals changes.
#[derive(Default)]
struct Connections {
    /// Where new connections lead, `host:port`.
    target: Mutex<String>,
    open: Mutex<HashMap<u64, ProxiedConnection>>,
    changed: watch::Sender<()>,
    conditions: watch::Sender<AllConditions>,
    flushes: watch::Sender<[Flushes; 4]>,
    /// The answer in place of which a connection ends.
    losing: Mutex<Option<LosingAnswer>>,
}

/// A connection ends in place of its next answer that contains this.
struct LosingAnswer {
    part: &'static str,
    how: End,
    lost: oneshot::Sender<()>,
}

impl Connections {
    /// Whether this answer is the one that is lost; then its connection ends.
    fn loses(&self, number: u64, answer: &[u8]) -> bool {
        let matches = |losing: &mut LosingAnswer| contains(answer, losing.part.as_bytes());
        let Some(LosingAnswer { how, lost, .. }) = self.losing.lock().take_if(matches) else { return false };
        self.end(number, how);
        // Without a receiver, the test no longer waits for it.
        lost.send(()).ok();
        true
    }

    /// Ends a connection, unless it has ended already.
    fn end(&self, number: u64, how: End) {
        if let Some(connection) = self.open.lock().remove(&number) {
            // Without a receiver, the connection has ended by itself.
            connection.end.send(how).ok();
        }
    }

    fn count(&self, flow: Flow, change: impl FnOnce(&mut Flushes)) {
        self.flushes.send_modify(|flushes| change(&mut flushes[flow.index()]));
    }
}

struct ProxiedConnection {
    /// Its local port towards Postgres.
    port: u16,
    /// Whether it has sent `LISTEN`.
    listens: bool,
    end: oneshot::Sender<End>,
}

/// A connection that listens for notifications.
#[derive(Debug, Clone, Copy)]
pub struct Listener {
    /// Connections are numbered from 1, in the order in which they were opened.
    pub number: u64,
    /// Its `client_port` in `pg_stat_activity`.
    pub port: u16,
}

impl Proxy {
    /// Starts a proxy in front of the server of `url`; returns it and the URL through it.
    pub async fn before(url: &str) -> (Proxy, String) {
        let (role, server) = url.rsplit_once('@').expect("a URL with a role");
        let (target, database) = server.split_once('/').expect("a URL with a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("an address").port();
        let connections: Arc<Connections> = Arc::default();
        target.clone_into(&mut connections.target.lock());
        let accepted = connections.clone();
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((near, _)) = listener.accept().await {
                let target = accepted.target.lock().clone();
                // Without a server behind it, the connection ends at once.
                let Ok(far) = TcpStream::connect(target).await else { continue };
                connection += 1;
                tokio::spawn(relay(connection, near, far, accepted.clone()));
            }
        });
        (Proxy { connections }, format!("{role}@127.0.0.1:{port}/{database}"))
    }

    /// Has new connections lead to the server of another URL.
    pub fn point_to(&self, url: &str) {
        let (_, server) = url.rsplit_once('@').expect("a URL with a role");
        let (target, _) = server.split_once('/').expect("a URL with a database");
        target.clone_into(&mut self.connections.target.lock());
    }

    /// Waits for a listening connection with a higher number than this one; 0 for any.
    pub async fn listener_after(&self, number: u64) -> Listener {
        let mut changed = self.connections.changed.subscribe();
        crate::within(async {
            loop {
                let listening = {
                    let open = self.connections.open.lock();
                    let later = open.iter().find(|(other, connection)| connection.listens && **other > number);
                    later.map(|(number, connection)| Listener { number: *number, port: connection.port })
                };
                if let Some(listener) = listening {
                    return listener;
                }
                changed.changed().await.expect("the proxy lives");
            }
        })
        .await
    }

    /// Sets what happens to the data of these flows from now on.
    pub fn set(&self, flows: &[Flow], conditions: Conditions) {
        self.connections.conditions.send_modify(|all| {
            for flow in flows {
                all.0[flow.index()] = conditions;
            }
        });
    }

    /// Holds the data of a flow back.
    pub fn hold(&self, flow: Flow) {
        self.set(&[flow], Conditions { held: true, ..Conditions::default() });
    }

    /// Passes all data on, at once.
    pub fn release(&self) {
        self.set(&Flow::ALL, Conditions::default());
    }

    /// The flushes of a flow until now.
    pub fn flushes(&self, flow: Flow) -> Flushes {
        self.connections.flushes.borrow()[flow.index()]
    }

    /// Waits until the flushes of a flow are `wanted`.
    pub async fn until_flushes(&self, flow: Flow, wanted: impl Fn(Flushes) -> bool) {
        let mut flushes = self.connections.flushes.subscribe();
        let reached = flushes.wait_for(|flushes| wanted(flushes[flow.index()]));
        drop(crate::within(reached).await.expect("the proxy lives"));
    }

    /// The numbers of the open connections, in order.
    pub fn open_connections(&self) -> Vec<u64> {
        let mut open: Vec<u64> = self.connections.open.lock().keys().copied().collect();
        open.sort_unstable();
        open
    }

    /// Ends a connection, unless it has ended already.
    pub fn end(&self, number: u64, how: End) {
        self.connections.end(number, how);
    }

    /// Ends a connection that does not listen, in place of its next answer that contains `part`,
    /// and waits until that has happened. `COMMIT` is in the answer to a commit that was made;
    /// every answer contains the empty text. One answer at a time.
    pub async fn lose_answer(&self, part: &'static str, how: End) {
        let (lost, is_lost) = oneshot::channel();
        *self.connections.losing.lock() = Some(LosingAnswer { part, how, lost });
        crate::within(is_lost).await.expect("one answer is lost at a time");
    }
}

async fn relay(number: u64, near: TcpStream, far: TcpStream, connections: Arc<Connections>) {
    let (end, end_receiver) = oneshot::channel();
    let port = far.local_addr().expect("an address").port();
    connections.open.lock().insert(number, ProxiedConnection { port, listens: false, end });
    let (from_client, to_client) = near.into_split();
    let (from_server, to_server) = far.into_split();
    let mut halves = Halves { from_client, to_client, from_server, to_server };
    let end = tokio::select! {
        () = halves.forward(number, &connections) => None,
        end = end_receiver => end.ok(),
    };
    connections.open.lock().remove(&number);
    connections.changed.send_replace(());
    match end {
        Some(End::Reset) => halves.reset(),
        // Stays open until the runtime of the test ends.
        Some(End::Silence) => std::future::pending().await,
        None => {}
    }
}

struct Halves {
    from_client: OwnedReadHalf,
    to_client: OwnedWriteHalf,
    from_server: OwnedReadHalf,
    to_server: OwnedWriteHalf,
}

impl Halves {
    /// Forwards data until either side ends.
    async fn forward(&mut self, number: u64, connections: &Connections) {
        let Halves { from_client, to_client, from_server, to_server } = self;
        let towards = |direction| Forwarded { number, direction, connections };
        tokio::select! {
            () = pump(from_client, to_server, towards(Direction::ToServer)) => {}
            () = pump(from_server, to_client, towards(Direction::ToClient)) => {}
        }
    }

    fn reset(self) {
        let sides = [self.from_client.reunite(self.to_client), self.from_server.reunite(self.to_server)];
        for side in sides {
            let side = side.expect("halves of one socket");
            // Dropped with a linger of zero, a socket sends a reset. It fails for a side that is
            // already closed, which needs none.
            drop(side.set_zero_linger());
        }
    }
}

/// One direction of one connection.
#[derive(Clone, Copy)]
struct Forwarded<'a> {
    number: u64,
    direction: Direction,
    connections: &'a Connections,
}

impl Forwarded<'_> {
    fn flow(&self) -> Flow {
        let listens = self.connections.open.lock().get(&self.number).is_some_and(|connection| connection.listens);
        Flow { listens, direction: self.direction }
    }

    /// Waits until this flush, which arrived then, may go on.
    async fn until_due(&self, arrived: Instant, bytes: usize) {
        let mut conditions = self.connections.conditions.subscribe();
        let mut flow = self.flow();
        let delay = self.connections.conditions.borrow().of(flow).delay;
        tokio::time::sleep_until(arrived + delay).await;
        if self.connections.conditions.borrow().of(flow).held {
            self.connections.count(flow, |count| count.held += 1);
            // It may have become a listening connection while it waited.
            let released = |conditions: &AllConditions| {
                flow = self.flow();
                !conditions.of(flow).held
            };
            conditions.wait_for(released).await.expect("the connections keep the sender");
        }
        let rate = self.connections.conditions.borrow().of(flow).bytes_per_second;
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / f64::from(rate))).await;
        }
    }
}

/// Forwards one direction, in order, until either side ends. Data is read while earlier data
/// waits, so that a delay is one of each flush, and not of all together.
async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, forwarded: Forwarded<'_>) {
    let (sender, mut receiver) = mpsc::channel(MAX_WAITING);
    let read = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..read].to_vec())).await.is_err() {
                return;
            }
        }
        drop(sender);
        // The writer ends after the data that still waits.
        std::future::pending().await
    };
    let write = async {
        while let Some((arrived, bytes)) = receiver.recv().await {
            forwarded.until_due(arrived, bytes.len()).await;
            let flow = forwarded.flow();
            if flow == Flow::ANSWERS && forwarded.connections.loses(forwarded.number, &bytes) {
                // The relay ends the connection.
                return std::future::pending().await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
            let Forwarded { number, direction, connections } = forwarded;
            if direction == Direction::ToServer && contains_listen(&bytes) {
                if let Some(connection) = connections.open.lock().get_mut(&number) {
                    connection.listens = true;
                }
                connections.changed.send_replace(());
            }
            connections.count(forwarded.flow(), |count| count.passed += 1);
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Whether a statement among these bytes is `LISTEN`.
fn contains_listen(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| !window[0].is_ascii_alphabetic() && window[1..].eq_ignore_ascii_case(b"listen "))
}

#[cfg(test)]
mod tests;
