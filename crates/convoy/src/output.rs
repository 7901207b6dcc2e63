//! Non-blocking writes to standard output and standard error from any thread. They
//! never fail either: a full disk, a full pipe or a closed one costs lines, not calls.
//!
//! Each stream has a bounded queue and a thread that writes. A line that finds the
//! queue full, or that cannot be written, is dropped and counted; the count is
//! written as soon as writing works again. Long lines are cut.
//!
//! `tracing-appender` bounds its queue by lines only, and a line that is lost to a write
//! error, `EAGAIN` included, is not counted there.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The most bytes of one line; the rest is cut, and counted behind it.
pub const MOST_OF_LINE: usize = 16 << 10;
/// The most lines and bytes that wait for one stream.
const MOST_LINES: usize = 10_000;
const MOST_BYTES: usize = 4 << 20;
/// How long to wait where a stream takes nothing at the moment and says so.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// One stream.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines that were dropped, and not said yet.
    dropped: u64,
    writing: bool,
}

/// Standard output of this process.
pub fn stdout() -> &'static Output {
    static STDOUT: OnceLock<Output> = OnceLock::new();
    STDOUT.get_or_init(|| Output::unbuffered(io::stdout().as_fd().try_clone_to_owned()))
}

/// Standard error of this process.
pub fn stderr() -> &'static Output {
    static STDERR: OnceLock<Output> = OnceLock::new();
    STDERR.get_or_init(|| Output::unbuffered(io::stderr().as_fd().try_clone_to_owned()))
}

/// Waits until both streams have taken what was written so far, but not for long.
pub fn flush(most: Duration) {
    let deadline = Instant::now() + most;
    stdout().flush(deadline);
    stderr().flush(deadline);
}

/// `text` cut to [`MOST_OF_LINE`], with a note of how much was cut. What is long is
/// neither copied nor looked at.
pub fn cut(text: &dyn std::fmt::Display) -> String {
    let mut cut = Cut::default();
    if write!(cut, "{text}").is_err() {
        cut.text.push_str(" … (the rest cannot be written out)");
    }
    cut.finish()
}

#[derive(Default)]
struct Cut {
    text: String,
    over: usize,
}

impl Cut {
    fn finish(mut self) -> String {
        if self.over > 0 {
            let over = self.over;
            self.text.push_str(&format!(" … ({over} more bytes were cut)"));
        }
        self.text
    }
}

impl std::fmt::Write for Cut {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let room = if self.over > 0 { 0 } else { MOST_OF_LINE - self.text.len() };
        let taken = part.floor_char_boundary(room.min(part.len()));
        self.text.push_str(&part[..taken]);
        self.over += part.len() - taken;
        Ok(())
    }
}

impl Output {
    fn unbuffered(stream: io::Result<std::os::fd::OwnedFd>) -> Output {
        match stream {
            Ok(stream) => Output::to(File::from(stream)),
            // The stream is closed; there is no reader.
            Err(_closed) => Output::to(io::sink()),
        }
    }

    /// To anything, from a thread of its own.
    fn to(stream: impl Write + Send + 'static) -> Output {
        let shared = Arc::<Shared>::default();
        let writer = Writer { stream, shared: shared.clone(), torn: false };
        // Without a thread nothing is written, and the queue stays bounded.
        drop(std::thread::Builder::new().name("convoy-output".into()).spawn(move || writer.run()));
        Output(shared)
    }

    /// Adds text. Never waits; lines for which there is no room are dropped.
    pub fn write(&self, text: &str) {
        let mut queue = self.0.queue.lock();
        for line in text.split_inclusive('\n') {
            if queue.lines.len() >= MOST_LINES || queue.bytes + line.len().min(MOST_OF_LINE) > MOST_BYTES {
                queue.dropped += 1;
                continue;
            }
            let line = match line.len() <= MOST_OF_LINE {
                true => line.to_owned(),
                false => {
                    let ended = line.strip_suffix('\n');
                    cut(&ended.unwrap_or(line)) + if ended.is_some() { "\n" } else { "" }
                }
            };
            queue.bytes += line.len();
            queue.lines.push_back(line);
        }
        self.0.changed.notify_all();
    }

    fn flush(&self, deadline: Instant) {
        let mut queue = self.0.queue.lock();
        while queue.writing || !queue.lines.is_empty() {
            if self.0.changed.wait_until(&mut queue, deadline).timed_out() {
                return;
            }
        }
    }
}

/// The thread of a stream.
struct Writer<W> {
    stream: W,
    shared: Arc<Shared>,
    /// The last line was not written to its end.
    torn: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        loop {
            let (line, dropped) = self.next();
            // What was dropped is said first, where it was missed.
            let said = dropped == 0 || self.write(&note(dropped, self.torn));
            let written = said && self.write(&line);
            let mut queue = self.shared.queue.lock();
            if said {
                queue.dropped -= dropped;
            }
            queue.dropped += u64::from(!written);
            queue.writing = false;
            self.shared.changed.notify_all();
        }
    }

    fn next(&self) -> (String, u64) {
        let mut queue = self.shared.queue.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.writing = true;
                return (line, queue.dropped);
            }
            self.shared.changed.wait(&mut queue);
        }
    }

    /// Whether the stream took all of it.
    fn write(&mut self, text: &str) -> bool {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(0) => break,
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The stream is non-blocking and full.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TRY_AGAIN),
                // A full disk, a pipe without a reader: this line is lost.
                Err(_) => break,
            }
        }
        self.torn = if left.len() == text.len() { self.torn } else { !left.is_empty() };
        left.is_empty()
    }
}

fn note(dropped: u64, torn: bool) -> String {
    let (begin, lines) = (if torn { "\n" } else { "" }, if dropped == 1 { "line" } else { "lines" });
    format!("{begin}convoy: {dropped} {lines} could not be written here and were dropped\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that takes what it is allowed to.
    #[derive(Clone, Default)]
    struct Stream(Arc<(Mutex<Held>, Condvar)>);

    #[derive(Default)]
    struct Held {
        bytes: Vec<u8>,
        asked: u64,
        /// It waits until this is taken away.
        shut: bool,
        fails_with: Option<ErrorKind>,
    }

    impl Stream {
        fn set(&self, change: impl FnOnce(&mut Held)) {
            change(&mut self.0.0.lock());
            self.0.1.notify_all();
        }

        /// Waits until it was asked to write.
        fn asked(&self) {
            let mut held = self.0.0.lock();
            while held.asked == 0 {
                self.0.1.wait(&mut held);
            }
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().bytes.clone()).expect("text")
        }
    }

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut held = self.0.0.lock();
            held.asked += 1;
            self.0.1.notify_all();
            while held.shut {
                self.0.1.wait(&mut held);
            }
            match held.fails_with {
                Some(kind) => Err(kind.into()),
                None => {
                    // A byte less than everything: a stream need not take all at once.
                    let taken = if bytes.len() > 1 { bytes.len() - 1 } else { 1 };
                    held.bytes.extend(&bytes[..taken]);
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn flushed(output: &Output) {
        let deadline = Instant::now() + Duration::from_secs(20);
        output.flush(deadline);
        assert!(Instant::now() < deadline, "it is written in time");
    }

    #[test]
    fn lines_are_written_in_order() {
        let stream = Stream::default();
        let output = Output::to(stream.clone());
        (0..100).for_each(|n| output.write(&format!("line {n}\n")));
        output.write("a\nb");
        flushed(&output);
        let expected: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert_eq!(stream.text(), expected + "a\nb");
    }

    #[test]
    fn a_blocked_stream_blocks_no_writer_and_dropped_lines_are_counted() {
        let stream = Stream::default();
        stream.set(|held| held.shut = true);
        let output = Output::to(stream.clone());
        output.write("first\n");
        stream.asked();
        // One is with the stream; this many more have room.
        for n in 0..MOST_LINES + 7 {
            output.write(&format!("{n}\n"));
        }
        output.flush(Instant::now());
        stream.set(|held| held.shut = false);
        flushed(&output);
        let text = stream.text();
        assert!(text.starts_with("first\nconvoy: 7 lines could not be written here and were dropped\n0\n1\n"));
        assert!(text.ends_with(&format!("\n{}\n", MOST_LINES - 1)));
        output.write("more\n");
        flushed(&output);
        assert!(stream.text().ends_with(&format!("\n{}\nmore\n", MOST_LINES - 1)), "it is said once");
    }

    #[test]
    fn bytes_are_bounded_as_well_as_lines() {
        let stream = Stream::default();
        stream.set(|held| held.shut = true);
        let output = Output::to(stream.clone());
        let line = "x".repeat(MOST_OF_LINE - 1) + "\n";
        for _ in 0..MOST_BYTES / MOST_OF_LINE + 10 {
            output.write(&line);
        }
        let queue = output.0.queue.lock();
        assert!(queue.bytes <= MOST_BYTES && queue.dropped >= 9, "{} {}", queue.bytes, queue.dropped);
        drop(queue);
        stream.set(|held| held.shut = false);
    }

    #[test]
    fn a_stream_that_fails_loses_lines_and_says_how_many_once_it_works() {
        let stream = Stream::default();
        stream.set(|held| held.fails_with = Some(ErrorKind::StorageFull));
        let output = Output::to(stream.clone());
        output.write("lost\nlost too\n");
        flushed(&output);
        assert_eq!(stream.text(), "");
        stream.set(|held| held.fails_with = None);
        output.write("here\n");
        flushed(&output);
        assert_eq!(stream.text(), "convoy: 2 lines could not be written here and were dropped\nhere\n");
    }

    #[test]
    fn long_lines_are_cut_and_short_ones_beside_them_are_not() {
        let stream = Stream::default();
        let output = Output::to(stream.clone());
        output.write(&format!("short\n{}\nlast\n", "x".repeat(50 << 20)));
        flushed(&output);
        let text = stream.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("short", "last", 3));
        assert!(lines[1].ends_with(&format!("x … ({} more bytes were cut)", (50 << 20) - MOST_OF_LINE)));
    }

    #[test]
    fn a_cut_is_between_characters_and_says_how_much() {
        assert_eq!(cut(&"short"), "short");
        let long = "é".repeat(MOST_OF_LINE);
        let short = cut(&long);
        assert!(short.starts_with("éé") && short.ends_with(&format!("é … ({MOST_OF_LINE} more bytes were cut)")));
        assert!(short.len() < MOST_OF_LINE + 64);
    }
}
