//! Requests and answers as bytes on the wire.

use convoy_testkit::{App, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes and reads until the server closes, or until an upgrade is granted.
pub(crate) async fn exchange(app: &App, sent: &[u8]) -> String {
    let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
    socket.write_all(sent).await.expect("sent");
    let mut answer = Vec::new();
    within(async {
        let mut chunk = [0; 4096];
        loop {
            let read = socket.read(&mut chunk).await.expect("the answer can be read to its end");
            answer.extend_from_slice(&chunk[..read]);
            if read == 0 || answer.starts_with(b"HTTP/1.1 101") {
                return;
            }
        }
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request with an empty object for its body, and these further header lines.
pub(crate) async fn send_request(app: &App, first: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let body = if first.starts_with("POST") { "content-length: 2\r\n\r\n{}" } else { "\r\n" };
    // Each character of the lines is one byte, so that headers can have any bytes.
    let text = format!("{first}\r\nconnection: close\r\n{lines}{body}");
    let bytes: Vec<u8> = text.chars().map(|char| u8::try_from(u32::from(char)).expect("a byte")).collect();
    exchange(app, &bytes).await
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

pub(crate) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| *found == name).map(|(_, value)| value)
}
