//! A proxy for TCP that delays what it passes on: `delay <host:port> <microseconds>`, for
//! each direction. Says its own port, and ends with its standard input.
//!
//! Threads, because timers of the runtime are exact to a millisecond only.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// How many pieces of one direction may be on their way.
const MOST: usize = 1_024;

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
        // The program that started it has ended once its input ends.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("an open input");
        std::process::exit(0);
    });
    for near in listener.incoming() {
        let (near, far) = (near?, TcpStream::connect(&target)?);
        pass(near.try_clone()?, far.try_clone()?, delay)?;
        pass(far, near, delay)?;
    }
    Ok(())
}

/// Passes on what comes from one side to the other.
fn pass(from: TcpStream, to: TcpStream, delay: Duration) -> std::io::Result<()> {
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let (pieces, arriving) = sync_channel(MOST);
    spawn(move || take(from, &pieces));
    spawn(move || give(to, &arriving, delay));
    Ok(())
}

fn take(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now(), buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, arriving: &Receiver<(Instant, Vec<u8>)>, delay: Duration) {
    while let Ok((at, piece)) = arriving.recv() {
        sleep((at + delay).saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    // A side that is gone already needs no word.
    to.shutdown(Shutdown::Write).ok();
}
