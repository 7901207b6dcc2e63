//! A proxy before Postgres that reads what is said to it: counts statements, and
//! cuts the line at a chosen one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The code of the request for TLS, which comes before the start-up message.
const TLS_REQUEST: u32 = 80_877_103;

/// Where the line is cut, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The statement does not arrive.
    Before(&'static str),
    /// The statement arrives and is answered, but the answer does not.
    After(&'static str),
}

/// A proxy; it ends with the test.
pub struct Wire {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// With the number of the connection they were sent on.
    statements: Vec<(usize, String)>,
    cut: Option<Cut>,
    /// Lines are cut whenever one sends a statement that begins so.
    unwanted: Option<&'static str>,
    /// Notifications do not come through.
    deaf: bool,
}

impl Wire {
    /// A proxy before the server at `target`, `host:port`.
    pub async fn to(target: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("an address").port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&target).await.expect("Postgres listens");
                tokio::spawn(relay(near, far, shared.clone()));
            }
        });
        Wire { port, state }
    }

    /// The URL by way of this proxy.
    pub async fn before(url: &str) -> (Wire, String) {
        let (role, place) = url.rsplit_once('@').expect("a URL with a role");
        let (authority, database) = place.split_once('/').expect("a URL with a database");
        let wire = Wire::to(authority.to_owned()).await;
        let url = format!("{role}@127.0.0.1:{}/{database}", wire.port);
        (wire, url)
    }

    /// The statements sent since the last time this was asked: their text, or
    /// `execute` for prepared ones; without those that nodes speak to each other by.
    pub fn take_statements(&self) -> Vec<String> {
        let all = self.take_conversations().into_iter().map(|(_, statement)| statement);
        // What a node says to others by itself belongs to no call.
        all.filter(|statement| !is_between_nodes(statement)).collect()
    }

    /// The same, each with the number of its connection.
    pub fn take_conversations(&self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.state.lock().statements)
    }

    /// From now on cuts every line on which a statement is sent that begins so.
    pub fn cut_whenever(&self, beginning: &'static str) {
        self.state.lock().unwanted = Some(beginning);
    }

    /// From now on keeps notifications to itself, as some poolers do.
    pub fn swallow_notifications(&self) {
        self.state.lock().deaf = true;
    }

    /// Cuts the next connection that says so.
    pub fn cut(&self, at: Cut) {
        self.state.lock().cut = Some(at);
    }

    /// Whether the line is still to be cut.
    pub fn is_to_cut(&self) -> bool {
        self.state.lock().cut.is_some()
    }
}

async fn relay(near: TcpStream, far: TcpStream, state: Arc<Mutex<State>>) {
    for socket in [&near, &far] {
        socket.set_nodelay(true).expect("an open socket");
    }
    let (mut from_client, to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    let answers = Arc::new(tokio::sync::Mutex::new(to_client));
    let writer = answers.clone();
    let deaf = state.lock().deaf;
    let back = tokio::spawn(async move {
        if deaf {
            return answers_but_notifications(&mut from_server, &writer).await.unwrap_or_default();
        }
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if writer.lock().await.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    // Ends when the client does, or when the line is cut.
    let ended = forward(&mut from_client, &mut to_server, &answers, &state).await;
    if ended.is_none() {
        drop(to_server.shutdown().await);
    }
    back.abort();
}

/// Passes on what Postgres says, except notifications.
async fn answers_but_notifications(from: &mut OwnedReadHalf, to: &tokio::sync::Mutex<OwnedWriteHalf>) -> Option<()> {
    // The answer to a request for TLS is one byte.
    let first = from.read_u8().await.ok()?;
    to.lock().await.write_u8(first).await.ok()?;
    if first != b'N' {
        let message = untyped(from).await?;
        to.lock().await.write_all(&message).await.ok()?;
    }
    loop {
        let kind = from.read_u8().await.ok()?;
        let message = untyped(from).await?;
        if kind != b'A' {
            to.lock().await.write_all(&[&[kind], &*message].concat()).await.ok()?;
        }
    }
}

/// `None` when the line is at its end.
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
        let first = untyped(from).await?;
        to.write_all(&first).await.ok()?;
        if u32::from_be_bytes(first[4..8].try_into().expect("four bytes")) != TLS_REQUEST {
            break;
        }
    }
    loop {
        let kind = from.read_u8().await.ok()?;
        let body = untyped(from).await?;
        let said = match kind {
            b'Q' => Some(String::from_utf8_lossy(&body[4..body.len() - 1]).into_owned()),
            b'E' => Some("execute".to_owned()),
            _ => None,
        };
        let cut = said.as_deref().and_then(|said| due(said, state));
        if let Some(said) = said {
            let mut state = state.lock();
            let unwanted = state.unwanted.is_some_and(|beginning| said.starts_with(beginning));
            state.statements.push((connection, said));
            if unwanted {
                return None;
            }
        }
        if matches!(cut, Some(Cut::Before(_))) {
            return None;
        }
        // Held, so that no answer to this passes.
        let held = if cut.is_some() { Some(answers.lock().await) } else { None };
        to.write_all(&[&[kind], &*body].concat()).await.ok()?;
        if held.is_some() {
            // Postgres ends what it was told before it sees that nobody is there.
            return None;
        }
    }
}

fn is_between_nodes(statement: &str) -> bool {
    statement.starts_with("LISTEN ") || statement.contains("; notify ")
}

fn due(said: &str, state: &Mutex<State>) -> Option<Cut> {
    let mut state = state.lock();
    let is_due = match state.cut {
        Some(Cut::Before(text) | Cut::After(text)) => said == text,
        None => false,
    };
    if is_due { state.cut.take() } else { None }
}

/// A message without its type: its length and the rest.
async fn untyped(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}
