//! Listens, and accepts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve;
use crate::Engine;
use crate::supervise::Part;

/// How many connections may wait to be accepted; systems have a limit of their own, such as
/// `net.core.somaxconn`. Clients that return together connect faster than a busy process accepts.
/// Beyond the queue, Linux drops the last packet of the handshake: to its client the connection
/// is open, and if that waits for the server to speak or to close, it waits in vain.
const BACKLOG: u32 = 4_096;

/// How many bytes of a connection may wait in the kernel to be sent. A stream sends its newest result
/// when the kernel takes it, so a result that waits there is out of date when it arrives. Without a
/// limit, megabytes of older results wait for a client that reads slowly, and the server writes each.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 16 << 10;

/// The time between two warnings about connections that cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A listening server. Dropping it does not stop it; [`Server::close`] does.
pub struct Server {
    /// The address it listens on.
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Binds the address and starts to serve.
    pub async fn start(engine: Arc<Engine>, host: &str, port: u16) -> std::io::Result<Server> {
        let listener = bind(host, port).await?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let acceptor = Acceptor { listener, engine, stop: stop.clone(), tasks: tasks.clone() };
        tasks.spawn(async move {
            let supervisor = acceptor.engine.supervisor().clone();
            supervisor.keep(Part::Accept, &acceptor.stop, || acceptor.run()).await;
        });
        Ok(Server { address, stop, tasks })
    }

    /// Stops accepting, waits for requests in flight, and closes idle connections.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Binds the first address of the host that can be bound, with a queue of [`BACKLOG`].
async fn bind(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let mut failed = None;
    for address in lookup_host((host, port)).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "the host has no address")))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart may bind while connections of the last process are still in TIME_WAIT. On
    // Windows the option would let two processes have the same port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    // The connections that it accepts inherit the option.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(cause = %error, "TCP_NOTSENT_LOWAT could not be set");
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections.
struct Acceptor {
    listener: TcpListener,
    engine: Arc<Engine>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Acceptor {
    async fn run(&self) {
        let mut warned: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            self.engine.config().failpoints.reach(Part::Accept);
            match accepted {
                Ok((socket, peer)) => {
                    let (engine, stop, tasks) = (self.engine.clone(), self.stop.clone(), self.tasks.clone());
                    self.tasks.spawn(serve(socket, peer, engine, stop, tasks));
                }
                Err(error) => {
                    // Usually out of file descriptors: wait until some are closed.
                    if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                        tracing::warn!(cause = %error, "a connection could not be accepted; it is tried again");
                        warned = Some(Instant::now());
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}
