//! Non-blocking, infallible writes to standard output and standard error from any thread:
//! on a full disk, a full pipe or a closed one, lines are dropped and calls continue.
//!
//! Each stream has a bounded queue and a thread that writes. If the queue is full, or a
//! line cannot be written, the line is dropped and counted; the count is written as soon
//! as writing works again. Long lines are truncated.
//!
//! `tracing-appender` bounds its queue by lines only, and does not count a line that is
//! lost to a write error such as `EAGAIN`.

pub mod recent_lines;
mod redact;

pub(crate) use redact::{without_passwords, without_userinfo};

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The maximum size of a line in bytes; the rest is cut, and its size is appended.
pub const MAX_LINE_BYTES: usize = 16 << 10;
/// The maximum number of queued lines and bytes of a stream.
const MAX_LINES: usize = 10_000;
const MAX_BYTES: usize = 4 << 20;
/// The pause after `EAGAIN`.
const RETRY_DELAY: Duration = Duration::from_millis(5);

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
    /// Dropped lines that were not reported yet.
    dropped: u64,
    /// All lines that were dropped.
    dropped_in_all: u64,
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

/// How lines that this module writes by itself are formatted; as they are by default. Set once.
static NOTE_FORMAT: OnceLock<fn(&str) -> String> = OnceLock::new();

/// Sets the format of lines that this module writes by itself. The first call counts.
pub fn format_notes_by(format: fn(&str) -> String) {
    NOTE_FORMAT.get_or_init(|| format);
}

/// Waits until both streams have written all queued lines, for at most `timeout`.
pub fn flush(timeout: Duration) {
    let deadline = Instant::now() + timeout;
    stdout().flush(deadline);
    stderr().flush(deadline);
}

/// `text` cut to [`MAX_LINE_BYTES`], with a note of how much was cut. The rest is
/// not copied.
pub fn cut(text: &dyn std::fmt::Display) -> String {
    let mut cut = Cut::default();
    if write!(cut, "{text}").is_err() {
        cut.text.push_str(" … (the rest cannot be formatted)");
    }
    cut.finish()
}

#[derive(Default)]
struct Cut {
    text: String,
    cut_bytes: usize,
}

impl Cut {
    fn finish(mut self) -> String {
        if self.cut_bytes > 0 {
            let cut_bytes = self.cut_bytes;
            self.text.push_str(&format!(" … ({cut_bytes} more bytes were cut)"));
        }
        self.text
    }
}

impl std::fmt::Write for Cut {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let room = if self.cut_bytes > 0 { 0 } else { MAX_LINE_BYTES - self.text.len() };
        let taken = part.floor_char_boundary(room.min(part.len()));
        self.text.push_str(&part[..taken]);
        self.cut_bytes += part.len() - taken;
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

    /// An output that writes to `stream` from a thread of its own.
    fn to(stream: impl Write + Send + 'static) -> Output {
        let shared = Arc::<Shared>::default();
        let writer = Writer { stream, shared: shared.clone(), torn: false };
        // If the thread cannot be started, lines are dropped, and the queue stays bounded.
        drop(std::thread::Builder::new().name("convoy-output".into()).spawn(move || writer.run()));
        Output(shared)
    }

    /// Queues lines of the log, without passwords that they quote.
    pub fn write_log(&self, text: &str) {
        self.write(&redact::without_passwords(text));
    }

    /// Queues text. Never waits; lines beyond the bounds are dropped.
    pub fn write(&self, text: &str) {
        recent_lines::record(text);
        let mut queue = self.0.queue.lock();
        for line in text.split_inclusive('\n') {
            if queue.lines.len() >= MAX_LINES || queue.bytes + line.len().min(MAX_LINE_BYTES) > MAX_BYTES {
                queue.dropped += 1;
                queue.dropped_in_all += 1;
                continue;
            }
            let line = match line.len() <= MAX_LINE_BYTES {
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

    /// How many lines are queued now, and how many were dropped since the start.
    pub(crate) fn queued_and_dropped(&self) -> (usize, u64) {
        let queue = self.0.queue.lock();
        (queue.lines.len(), queue.dropped_in_all)
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
            // The number of dropped lines is written in their place.
            let reported = dropped == 0 || self.write(&note(dropped, self.torn));
            let written = reported && self.write(&line);
            let mut queue = self.shared.queue.lock();
            if reported {
                queue.dropped -= dropped;
            }
            queue.dropped += u64::from(!written);
            queue.dropped_in_all += u64::from(!written);
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

    /// Writes text; whether all of it was written.
    fn write(&mut self, text: &str) -> bool {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(0) => break,
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The stream is non-blocking and full.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_DELAY),
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
    let note = format!("convoy: {dropped} {lines} could not be written here and were dropped\n");
    format!("{begin}{}", NOTE_FORMAT.get().map_or_else(|| note.clone(), |format| format(&note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that accepts, blocks or fails as the test sets.
    #[derive(Clone, Default)]
    struct Stream(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        bytes: Vec<u8>,
        writes: u64,
        /// Writes block while this is set.
        blocked: bool,
        fails_with: Option<ErrorKind>,
    }

    impl Stream {
        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock());
            self.0.1.notify_all();
        }

        /// Waits for the first write.
        fn wait_for_write(&self) {
            let mut state = self.0.0.lock();
            while state.writes == 0 {
                self.0.1.wait(&mut state);
            }
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().bytes.clone()).expect("text")
        }
    }

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock();
            state.writes += 1;
            self.0.1.notify_all();
            while state.blocked {
                self.0.1.wait(&mut state);
            }
            match state.fails_with {
                Some(kind) => Err(kind.into()),
                None => {
                    // One byte less than requested: a stream may accept a part.
                    let taken = if bytes.len() > 1 { bytes.len() - 1 } else { 1 };
                    state.bytes.extend(&bytes[..taken]);
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
        stream.set(|state| state.blocked = true);
        let output = Output::to(stream.clone());
        output.write("first\n");
        stream.wait_for_write();
        // One line is being written; the queue has room for this many more.
        for n in 0..MAX_LINES + 7 {
            output.write(&format!("{n}\n"));
        }
        output.flush(Instant::now());
        stream.set(|state| state.blocked = false);
        flushed(&output);
        let text = stream.text();
        assert!(text.starts_with("first\nconvoy: 7 lines could not be written here and were dropped\n0\n1\n"));
        assert!(text.ends_with(&format!("\n{}\n", MAX_LINES - 1)));
        output.write("more\n");
        flushed(&output);
        assert!(stream.text().ends_with(&format!("\n{}\nmore\n", MAX_LINES - 1)), "the count is written once");
    }

    #[test]
    fn bytes_are_bounded_as_well_as_lines() {
        let stream = Stream::default();
        stream.set(|state| state.blocked = true);
        let output = Output::to(stream.clone());
        output.write("first\n");
        stream.wait_for_write();
        let line = "x".repeat(MAX_LINE_BYTES - 1) + "\n";
        let state = || {
            let queue = output.0.queue.lock();
            (queue.bytes, queue.dropped)
        };
        (0..MAX_BYTES / MAX_LINE_BYTES).for_each(|_| output.write(&line));
        assert_eq!(state(), (MAX_BYTES, 0));
        output.write("\n");
        assert_eq!(state(), (MAX_BYTES, 1));
        stream.set(|state| state.blocked = false);
    }

    #[test]
    fn lines_lost_to_write_errors_are_counted_once_the_stream_works() {
        let stream = Stream::default();
        stream.set(|state| state.fails_with = Some(ErrorKind::StorageFull));
        let output = Output::to(stream.clone());
        output.write("lost\nlost too\n");
        flushed(&output);
        assert_eq!(stream.text(), "");
        stream.set(|state| state.fails_with = None);
        output.write("here\n");
        flushed(&output);
        assert_eq!(stream.text(), "convoy: 2 lines could not be written here and were dropped\nhere\n");
    }

    #[test]
    fn only_long_lines_are_cut() {
        let stream = Stream::default();
        let output = Output::to(stream.clone());
        output.write(&format!("short\n{}\nlast\n", "x".repeat(50 << 20)));
        flushed(&output);
        let text = stream.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("short", "last", 3));
        assert!(lines[1].ends_with(&format!("x … ({} more bytes were cut)", (50 << 20) - MAX_LINE_BYTES)));
    }

    #[test]
    fn a_cut_is_between_characters_and_states_the_size() {
        assert_eq!(cut(&"short"), "short");
        let fitting = "x".repeat(MAX_LINE_BYTES);
        assert_eq!(cut(&fitting), fitting);
        assert_eq!(cut(&format!("{fitting}y")), format!("{fitting} … (1 more bytes were cut)"));
        let long = "é".repeat(MAX_LINE_BYTES);
        let short = cut(&long);
        assert!(short.starts_with("éé") && short.ends_with(&format!("é … ({MAX_LINE_BYTES} more bytes were cut)")));
        assert!(short.len() < MAX_LINE_BYTES + 64);
    }
}
