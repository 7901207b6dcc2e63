//! A proxy in front of Postgres that parses the protocol: it counts statements, and cuts the
//! connection at a chosen one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The code of the request for TLS, which comes before the start-up message.
const TLS_REQUEST: u32 = 80_877_103;

/// Where a connection is cut, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the statement arrives.
    Before(&'static str),
    /// After the statement is answered, but before the answer arrives.
    After(&'static str),
}

/// A proxy, which ends with the test.
pub struct Wire {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// With the number of their connection.
    statements: Vec<(usize, String)>,
    cut: Option<Cut>,
    /// Cuts every connection that sends a statement with this beginning.
    cut_on: Option<&'static str>,
    /// Whether notifications are dropped.
    drops_notifications: bool,
    /// Whether connections are refused.
    is_down: bool,
}

impl Wire {
    /// Starts a proxy in front of the server at `target`, `host:port`.
    pub async fn to(target: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("an address").port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.lock().is_down {
                    continue;
                }
                let server = TcpStream::connect(&target).await.expect("Postgres listens");
                tokio::spawn(relay(client, server, shared.clone()));
            }
        });
        Wire { port, state }
    }

    /// Starts a proxy in front of the server of `url`; returns it and the URL through it.
    pub async fn before(url: &str) -> (Wire, String) {
        let (role, server) = url.rsplit_once('@').expect("a URL with a role");
        let (authority, database) = server.split_once('/').expect("a URL with a database");
        let wire = Wire::to(authority.to_owned()).await;
        let url = format!("{role}@127.0.0.1:{}/{database}", wire.port);
        (wire, url)
    }

    /// The statements sent since the last call: their text, or `execute` for prepared ones;
    /// without the notifications between engines.
    pub fn take_statements(&self) -> Vec<String> {
        let all = self.take_statements_by_connection().into_iter().map(|(_, statement)| statement);
        // Notifications between engines belong to no call.
        all.filter(|statement| !is_notification_traffic(statement)).collect()
    }

    /// All statements since the last call, each with the number of its connection.
    pub fn take_statements_by_connection(&self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.state.lock().statements)
    }

    /// From now on cuts every connection that sends a statement with this beginning.
    pub fn cut_on(&self, beginning: &'static str) {
        self.state.lock().cut_on = Some(beginning);
    }

    /// From now on drops notifications, as some poolers do.
    pub fn drop_notifications(&self) {
        self.state.lock().drops_notifications = true;
    }

    /// Cuts the next connection that sends this statement.
    pub fn cut(&self, at: Cut) {
        self.state.lock().cut = Some(at);
    }

    /// From now on closes new connections at once, and open ones when they send a statement;
    /// or no longer.
    pub fn set_down(&self, is_down: bool) {
        self.state.lock().is_down = is_down;
    }

    /// Whether a cut is still pending.
    pub fn cut_is_pending(&self) -> bool {
        self.state.lock().cut.is_some()
    }
}

async fn relay(client: TcpStream, server: TcpStream, state: Arc<Mutex<State>>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("an open socket");
    }
    let (mut from_client, to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = Arc::new(tokio::sync::Mutex::new(to_client));
    let writer = answers.clone();
    let drops_notifications = state.lock().drops_notifications;
    let back = tokio::spawn(async move {
        if drops_notifications {
            return forward_without_notifications(&mut from_server, &writer).await.unwrap_or_default();
        }
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if writer.lock().await.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    // Ends when the client does, or when the connection is cut.
    let ended = forward(&mut from_client, &mut to_server, &answers, &state).await;
    if ended.is_none() {
        drop(to_server.shutdown().await);
    }
    back.abort();
}

/// Forwards the messages of Postgres, except notifications.
async fn forward_without_notifications(
    from: &mut OwnedReadHalf,
    to: &tokio::sync::Mutex<OwnedWriteHalf>,
) -> Option<()> {
    // The answer to a request for TLS is one byte.
    let first = from.read_u8().await.ok()?;
    to.lock().await.write_u8(first).await.ok()?;
    if first != b'N' {
        let message = read_message(from).await?;
        to.lock().await.write_all(&message).await.ok()?;
    }
    loop {
        let kind = from.read_u8().await.ok()?;
        let message = read_message(from).await?;
        if kind != b'A' {
            to.lock().await.write_all(&[&[kind], &*message].concat()).await.ok()?;
        }
    }
}

/// Forwards the messages of the client. Returns `None` when the connection has ended.
async fn forward(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    answers: &tokio::sync::Mutex<OwnedWriteHalf>,
    state: &Mutex<State>,
) -> Option<()> {
    let connection = {
        let mut state = state.lock();
        state.connections += 1;
        state.connections
    };
    loop {
        let first = read_message(from).await?;
        to.write_all(&first).await.ok()?;
        if u32::from_be_bytes(first[4..8].try_into().expect("four bytes")) != TLS_REQUEST {
            break;
        }
    }
    loop {
        let kind = from.read_u8().await.ok()?;
        let body = read_message(from).await?;
        let statement = match kind {
            b'Q' => Some(String::from_utf8_lossy(&body[4..body.len() - 1]).into_owned()),
            b'E' => Some("execute".to_owned()),
            _ => None,
        };
        let cut = statement.as_deref().and_then(|statement| take_cut(statement, state));
        if let Some(statement) = statement {
            let mut state = state.lock();
            let cut_on = state.is_down || state.cut_on.is_some_and(|beginning| statement.starts_with(beginning));
            state.statements.push((connection, statement));
            if cut_on {
                return None;
            }
        }
        if matches!(cut, Some(Cut::Before(_))) {
            return None;
        }
        // The lock keeps the answer to this from passing.
        let guard = if cut.is_some() { Some(answers.lock().await) } else { None };
        to.write_all(&[&[kind], &*body].concat()).await.ok()?;
        if guard.is_some() {
            // Postgres finishes the statement before it notices that the client is gone.
            return None;
        }
    }
}

fn is_notification_traffic(statement: &str) -> bool {
    statement.starts_with("LISTEN ") || statement.contains("; notify ")
}

fn take_cut(statement: &str, state: &Mutex<State>) -> Option<Cut> {
    let mut state = state.lock();
    let matches = match state.cut {
        Some(Cut::Before(text) | Cut::After(text)) => statement == text,
        None => false,
    };
    if matches { state.cut.take() } else { None }
}

/// Reads a message without its type: its length and the rest.
async fn read_message(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}
