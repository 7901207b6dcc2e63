//! A TCP proxy before Postgres whose connections end as networks end them: reset,
//! or open and silent for ever.

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
    /// Both sides are sent a reset.
    Reset,
    /// Nothing arrives any more, on neither side, and neither is told.
    Silence,
}

/// A proxy; it ends with the test.
pub struct Proxy {
    lines: Arc<Lines>,
}

/// The connections that are open, and a word when that changes.
#[derive(Default)]
struct Lines {
    open: Mutex<HashMap<u64, Line>>,
    changed: watch::Sender<()>,
}

struct Line {
    /// Its port on the side of Postgres.
    port: u16,
    /// It has sent `LISTEN`.
    listens: bool,
    end: oneshot::Sender<End>,
}

/// A connection that listens for notifications.
#[derive(Debug, Clone, Copy)]
pub struct Listener {
    /// Greater than those of all connections before it; the first is 1.
    pub number: u64,
    /// What Postgres knows it by: its `client_port` in `pg_stat_activity`.
    pub port: u16,
}

impl Proxy {
    /// A proxy before the server that `url` names; and the URL by way of it.
    pub async fn before(url: &str) -> (Proxy, String) {
        let (role, place) = url.rsplit_once('@').expect("a URL with a role");
        let (target, database) = place.split_once('/').expect("a URL with a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("an address").port();
        let lines: Arc<Lines> = Arc::default();
        let (target, accepted) = (target.to_owned(), lines.clone());
        tokio::spawn(async move {
            let mut line = 0;
            while let Ok((near, _)) = listener.accept().await {
                line += 1;
                let far = TcpStream::connect(&target).await.expect("Postgres listens");
                tokio::spawn(relay(line, near, far, accepted.clone()));
            }
        });
        (Proxy { lines }, format!("{role}@127.0.0.1:{port}/{database}"))
    }

    /// Waits for a connection that listens and came after the one of this number;
    /// after 0, for any.
    pub async fn listener_after(&self, number: u64) -> Listener {
        let mut changed = self.lines.changed.subscribe();
        crate::within(async {
            loop {
                let listening = {
                    let open = self.lines.open.lock();
                    let later = open.iter().find(|(other, line)| line.listens && **other > number);
                    later.map(|(number, line)| Listener { number: *number, port: line.port })
                };
                if let Some(listener) = listening {
                    return listener;
                }
                changed.changed().await.expect("the proxy lives");
            }
        })
        .await
    }

    /// Ends a connection, unless it has ended.
    pub fn end(&self, number: u64, how: End) {
        if let Some(line) = self.lines.open.lock().remove(&number) {
            // Where nobody receives this, its own end came first.
            line.end.send(how).ok();
        }
    }
}

async fn relay(number: u64, near: TcpStream, far: TcpStream, lines: Arc<Lines>) {
    let (end, ended) = oneshot::channel();
    let port = far.local_addr().expect("an address").port();
    lines.open.lock().insert(number, Line { port, listens: false, end });
    let (from_client, to_client) = near.into_split();
    let (from_server, to_server) = far.into_split();
    let mut ways = Ways { from_client, to_client, from_server, to_server };
    let end = tokio::select! {
        () = ways.carry(number, &lines) => None,
        end = ended => end.ok(),
    };
    lines.open.lock().remove(&number);
    lines.changed.send_replace(());
    match end {
        Some(End::Reset) => ways.reset(),
        // Held open until the test's runtime ends.
        Some(End::Silence) => std::future::pending().await,
        None => {}
    }
}

struct Ways {
    from_client: OwnedReadHalf,
    to_client: OwnedWriteHalf,
    from_server: OwnedReadHalf,
    to_server: OwnedWriteHalf,
}

impl Ways {
    /// Until either side ends.
    async fn carry(&mut self, number: u64, lines: &Lines) {
        let Ways { from_client, to_client, from_server, to_server } = self;
        let there = async {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                if to_server.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
                if says_listen(&buffer[..read]) {
                    if let Some(line) = lines.open.lock().get_mut(&number) {
                        line.listens = true;
                    }
                    lines.changed.send_replace(());
                }
            }
        };
        tokio::select! {
            () = there => {}
            _ = copy(from_server, to_client) => {}
        }
    }

    fn reset(self) {
        let sides = [self.from_client.reunite(self.to_client), self.from_server.reunite(self.to_server)];
        for side in sides {
            let side = side.expect("halves of one socket");
            // Dropped with nothing to linger for, a socket sends a reset. A side
            // that is gone already needs none.
            drop(side.set_zero_linger());
        }
    }
}

/// Whether a statement among these bytes is `LISTEN`.
fn says_listen(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| !window[0].is_ascii_alphabetic() && window[1..].eq_ignore_ascii_case(b"listen "))
}

#[cfg(test)]
mod tests {
    use super::says_listen;

    #[test]
    fn listening_is_told_from_its_opposite() {
        assert!(says_listen(b"Q\0\0\0\x14LISTEN \"convoy\"\0"));
        assert!(says_listen(b"Q\0\0\0\x14listen convoy\0"));
        assert!(!says_listen(b"Q\0\0\0\x14unlisten convoy\0"));
        assert!(!says_listen(b"Q\0\0\0\x14select pg_listening_channels()\0"));
    }
}
