//! Requests and responses over a keep-alive connection, without a client library, which would
//! cost as much as the servers that are measured.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failed;

/// The bytes of a POST with a JSON body.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The bytes of a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n").into_bytes()
}

/// One connection, with one request on it at a time.
pub(crate) struct Exchange {
    socket: TcpStream,
    /// The response being read.
    answer: Vec<u8>,
}

impl Exchange {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Exchange, Failed> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Exchange { socket, answer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request and reads the whole response; returns the status.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<u16, Failed> {
        self.socket.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.socket.read_buf(&mut self.answer).await? == 0 {
                return Err("the server closed a connection".into());
            }
            let Some(end) = head_end(&self.answer) else { continue };
            let length = content_length(&self.answer[..end])?;
            while self.answer.len() < end + length {
                if self.socket.read_buf(&mut self.answer).await? == 0 {
                    return Err("the server closed a connection within an answer".into());
                }
            }
            return status(&self.answer);
        }
    }

    /// A header of the last response.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        header(&self.answer[..head_end(&self.answer)?], name)
    }

    /// The last response, for error messages.
    pub(crate) fn answer(&self) -> String {
        String::from_utf8_lossy(&self.answer).into_owned()
    }
}

/// The position of the body, once the head of a response was read.
pub(crate) fn head_end(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The status in the first line of a response.
pub(crate) fn status(answer: &[u8]) -> Result<u16, Failed> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or("an answer is no HTTP/1.1")?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

fn content_length(head: &[u8]) -> Result<usize, Failed> {
    let length =
        header(head, "content-length").ok_or("an answer has no Content-Length, and chunks are not read here")?;
    Ok(std::str::from_utf8(length)?.parse()?)
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (key, value) = (line.get(..name.len())?, line.get(name.len() + 1..)?);
        (key.eq_ignore_ascii_case(name.as_bytes()) && line[name.len()] == b':').then(|| value.trim_ascii())
    })
}
