//! Reads streams of server-sent events from plain sockets at minimal cost, because the server
//! runs on the same cores.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::ready;

use futures_util::{StreamExt, TryStreamExt, stream};
use memchr::memmem;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::Failed;
use crate::exchange::{get, head_end, post, status};

/// The default number of streams opened concurrently.
pub(crate) const AT_ONCE: usize = 64;

thread_local! {
    /// Filled and read within one poll, so one buffer serves all streams.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 << 10]);
}

/// The request that opens a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Opening {
    path: String,
    /// The body of a POST; a GET without one.
    body: Option<String>,
    /// The number of its queries, each of which gets a first result.
    #[serde(default = "one")]
    queries: usize,
}

fn one() -> usize {
    1
}

/// An open stream whose queries have their first results.
pub(crate) struct Stream {
    socket: TcpStream,
    chunks: Chunks,
    /// An event that is not complete yet.
    partial: Vec<u8>,
}

impl Stream {
    /// Opens the streams in order, `copies` of each, `at_once` concurrently; returns them with
    /// their indexes.
    pub(crate) async fn open_all<'a>(
        address: SocketAddr,
        openings: impl Iterator<Item = &'a Opening>,
        copies: usize,
        at_once: usize,
    ) -> Result<Vec<(usize, Stream)>, Failed> {
        let all = openings.enumerate().flat_map(|each| std::iter::repeat_n(each, copies));
        let opening = all.map(async |(place, opening)| Ok((place, Stream::open(address, opening).await?)));
        stream::iter(opening).buffered(at_once).try_collect().await
    }

    async fn open(address: SocketAddr, opening: &Opening) -> Result<Stream, Failed> {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let request = match &opening.body {
            Some(body) => post(address, &opening.path, body),
            None => get(address, &opening.path),
        };
        socket.write_all(&request).await?;
        let mut answer = Vec::new();
        let head = loop {
            if socket.read_buf(&mut answer).await? == 0 {
                return Err("the server closed a stream before it began".into());
            }
            if let Some(end) = head_end(&answer) {
                break end;
            }
        };
        let heading = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        if status(&answer)? != 200 || !heading.contains("transfer-encoding: chunked") {
            return Err(format!("{} opens no stream: {}", opening.path, String::from_utf8_lossy(&answer)).into());
        }
        let mut stream = Stream { socket, chunks: Chunks::default(), partial: Vec::new() };
        let mut first = First::default();
        take(&mut stream.chunks, &mut stream.partial, &answer[head..], &mut |event| first.see(event))?;
        while first.answers < opening.queries && first.error.is_none() {
            stream.read(|event| first.see(event)).await?;
        }
        match first.error {
            Some(error) => Err(format!("{}: {error}", opening.path).into()),
            None => Ok(stream),
        }
    }

    /// Waits for bytes, and passes on every event they complete, without comments.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Failed> {
        poll_fn(|context| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut came = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.socket).poll_read(context, &mut came))?;
                if came.filled().is_empty() {
                    return Err("the server closed a stream".into()).into();
                }
                take(&mut self.chunks, &mut self.partial, came.filled(), &mut each).into()
            })
        })
        .await
    }
}

/// Passes on the events that `bytes` complete.
fn take(
    chunks: &mut Chunks,
    partial: &mut Vec<u8>,
    mut bytes: &[u8],
    each: &mut impl FnMut(&[u8]),
) -> Result<(), Failed> {
    while let Some(piece) = chunks.next(&mut bytes)? {
        if partial.is_empty() {
            partial.extend_from_slice(events(piece, each));
        } else {
            partial.extend_from_slice(piece);
            let left = events(partial, each).len();
            partial.drain(..partial.len() - left);
        }
    }
    Ok(())
}

/// The progress of the first results.
#[derive(Default)]
struct First {
    answers: usize,
    error: Option<String>,
}

impl First {
    fn see(&mut self, event: &[u8]) {
        self.answers += memmem::find_iter(event, br#""type":"result""#).count();
        if memmem::find(event, br#""type":"error""#).is_some() {
            self.error.get_or_insert_with(|| String::from_utf8_lossy(event).into_owned());
        }
    }
}

/// Passes on each complete event with data, and returns what follows the last.
fn events<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(&[u8])) -> &'a [u8] {
    while let Some(end) = memmem::find(bytes, b"\n\n") {
        let (event, rest) = bytes.split_at(end + 2);
        if memmem::find(event, b"data:").is_some() {
            each(event);
        }
        bytes = rest;
    }
    bytes
}

/// Decodes a chunked body that arrives in any pieces.
#[derive(Default)]
struct Chunks {
    at: At,
}

enum At {
    /// In the line with the size of the next chunk, with the size read so far.
    Size(usize),
    Data {
        left: usize,
    },
    /// After the data of a chunk.
    End,
}

impl Default for At {
    fn default() -> At {
        At::Size(0)
    }
}

impl Chunks {
    /// Removes the next piece of the body from `bytes` and returns it.
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Failed> {
        loop {
            if bytes.is_empty() {
                return Ok(None);
            }
            if let At::Data { left } = self.at {
                let (piece, rest) = bytes.split_at(left.min(bytes.len()));
                *bytes = rest;
                self.at = if piece.len() == left { At::End } else { At::Data { left: left - piece.len() } };
                return Ok(Some(piece));
            }
            let byte = bytes[0];
            *bytes = &bytes[1..];
            self.at = match (&self.at, byte) {
                (At::Size(0), b'\n') => return Err("the server ended a stream".into()),
                (At::Size(size), b'\n') => At::Data { left: *size },
                (At::Size(size), _) => {
                    let digit = char::from(byte).to_digit(16);
                    At::Size(digit.map_or(*size, |digit| size * 16 + digit as usize))
                }
                (_, b'\n') => At::Size(0),
                (_, _) => At::End,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a body that arrives in pieces of a size.
    fn seen(body: &[u8], size: usize) -> Result<Vec<String>, Failed> {
        let mut chunks = Chunks::default();
        let mut partial = Vec::new();
        let mut seen = Vec::new();
        for bytes in body.chunks(size) {
            take(&mut chunks, &mut partial, bytes, &mut |event| {
                seen.push(String::from_utf8_lossy(event).into_owned());
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn events_are_complete_for_any_piece_size() -> Result<(), Failed> {
        let pieces = ["data: one\n\n", ":\n\n", "data: two", "\n\nid: 3\ndata: thr", "ee\n\n"];
        let body: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
        for size in 1..=body.len() {
            let events = seen(body.as_bytes(), size)?;
            assert_eq!(events, ["data: one\n\n", "data: two\n\n", "id: 3\ndata: three\n\n"], "in pieces of {size}");
        }
        Ok(())
    }

    #[test]
    fn a_stream_that_ends_is_a_failure() {
        assert!(seen(b"b\r\ndata: one\n\n\r\n0\r\n\r\n", 100).is_err());
    }
}
