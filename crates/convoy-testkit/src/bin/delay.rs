//! A TCP proxy that delays what it forwards: `delay <host:port> <microseconds>`, for each
//! direction. Prints its port, and exits when its standard input closes.
//!
//! Uses threads, because timers of the runtime have a resolution of a millisecond.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// The most pieces in flight in one direction.
const MAX_PIECES: usize = 1_024;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(target), Some(delay)) = (args.next(), args.next()) else {
        eprintln!("usage: delay <host:port> <microseconds>");
        std::process::exit(2);
    };
    let delay = Duration::from_micros(delay.parse().expect("a number of microseconds"));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    spawn(|| {
        // The input closes when the program that started it ends.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("an open input");
        std::process::exit(0);
    });
    for client in listener.incoming() {
        let (client, server) = (client?, TcpStream::connect(&target)?);
        pass(client.try_clone()?, server.try_clone()?, delay)?;
        pass(server, client, delay)?;
    }
    Ok(())
}

/// Forwards data from one side to the other.
fn pass(from: TcpStream, to: TcpStream, delay: Duration) -> std::io::Result<()> {
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let (pieces, delayed) = sync_channel(MAX_PIECES);
    spawn(move || read_pieces(from, &pieces));
    spawn(move || write_delayed(to, &delayed, delay));
    Ok(())
}

fn read_pieces(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now(), buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}

fn write_delayed(mut to: TcpStream, delayed: &Receiver<(Instant, Vec<u8>)>, delay: Duration) {
    while let Ok((at, piece)) = delayed.recv() {
        sleep((at + delay).saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    // A side that is already closed needs no shutdown.
    to.shutdown(Shutdown::Write).ok();
}
