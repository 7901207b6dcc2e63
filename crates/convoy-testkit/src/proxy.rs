//! A TCP proxy in front of Postgres that ends connections like networks do: with a reset, or
//! silently, without closing them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// How a connection ends.
#[derive(Debug)]
pub enum End {
    /// Both sides receive a reset.
    Reset,
    /// No more data arrives on either side, and neither is closed.
    Silence,
}

/// A proxy, which ends with the test.
pub struct Proxy {
    connections: Arc<Connections>,
}

/// The open connections, with a channel that signals changes.
#[derive(Default)]
struct Connections {
    open: Mutex<HashMap<u64, ProxiedConnection>>,
    changed: watch::Sender<()>,
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
        let (target, accepted) = (target.to_owned(), connections.clone());
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((near, _)) = listener.accept().await {
                connection += 1;
                let far = TcpStream::connect(&target).await.expect("Postgres listens");
                tokio::spawn(relay(connection, near, far, accepted.clone()));
            }
        });
        (Proxy { connections }, format!("{role}@127.0.0.1:{port}/{database}"))
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

    /// Ends a connection, unless it has ended already.
    pub fn end(&self, number: u64, how: End) {
        if let Some(connection) = self.connections.open.lock().remove(&number) {
            // Without a receiver, the connection has ended by itself.
            connection.end.send(how).ok();
        }
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
        let to_postgres = async {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                if to_server.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
                if contains_listen(&buffer[..read]) {
                    if let Some(connection) = connections.open.lock().get_mut(&number) {
                        connection.listens = true;
                    }
                    connections.changed.send_replace(());
                }
            }
        };
        tokio::select! {
            () = to_postgres => {}
            _ = copy(from_server, to_client) => {}
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

/// Whether a statement among these bytes is `LISTEN`.
fn contains_listen(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| !window[0].is_ascii_alphabetic() && window[1..].eq_ignore_ascii_case(b"listen "))
}

#[cfg(test)]
mod tests {
    use super::contains_listen;

    #[test]
    fn listen_is_distinguished_from_unlisten() {
        assert!(contains_listen(b"Q\0\0\0\x14LISTEN \"convoy\"\0"));
        assert!(contains_listen(b"Q\0\0\0\x14listen convoy\0"));
        assert!(!contains_listen(b"Q\0\0\0\x14unlisten convoy\0"));
        assert!(!contains_listen(b"Q\0\0\0\x14select pg_listening_channels()\0"));
    }
}
