//! Lines of the log, on their way to collectors. The log belongs to the process, so a line goes
//! to the collector of each engine that exports logs.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger, LoggerProvider, Severity};
use opentelemetry::trace::TraceFlags;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tracing::Level;

use super::{RemoteSpan, SCOPE, Scope};
use crate::output;

/// Lines that may wait for an export; further ones are dropped and counted.
const MAX_WAITING_LINES: usize = 2_048;

/// The collectors that receive lines.
static SINKS: RwLock<Vec<(u64, mpsc::Sender<LogLine>)>> = RwLock::new(Vec::new());
static NEXT_SINK: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// A line of the log.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The level.
    pub level: Level,
    /// The message.
    pub message: String,
    /// Its fields: names, and values as text.
    pub fields: Vec<(Cow<'static, str>, String)>,
    at: SystemTime,
    span: Option<RemoteSpan>,
}

impl LogLine {
    /// A line of the current task, now.
    pub fn new(level: Level, message: String, fields: Vec<(Cow<'static, str>, String)>) -> LogLine {
        LogLine { level, message, fields, at: SystemTime::now(), span: Scope::current().span.remote() }
    }

    /// Passes it to the collectors. Never waits.
    pub fn export(mut self) {
        self.message = output::without_passwords(&self.message).into_owned();
        for (_, value) in &mut self.fields {
            *value = output::without_passwords(value).into_owned();
        }
        for (_, sink) in SINKS.read().iter() {
            if sink.try_send(self.clone()).is_err() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Whether any collector receives lines.
pub fn exports_logs() -> bool {
    !SINKS.read().is_empty()
}

/// How many lines were dropped because the queue to a collector was full.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The lines for one collector, until it is dropped.
pub(super) struct Lines {
    sink: u64,
    pub waiting: mpsc::Receiver<LogLine>,
    logger: SdkLogger,
}

impl Lines {
    /// Receives the lines that are written from now on.
    pub(super) fn receive() -> Lines {
        let (sender, waiting) = mpsc::channel(MAX_WAITING_LINES);
        let sink = NEXT_SINK.fetch_add(1, Ordering::Relaxed);
        SINKS.write().push((sink, sender));
        Lines { sink, waiting, logger: SdkLoggerProvider::builder().build().logger(SCOPE) }
    }

    /// The line in the form of the exporter.
    pub(super) fn record(&self, line: LogLine) -> SdkLogRecord {
        let LogLine { level, message, fields, at, span } = line;
        let mut record = self.logger.create_log_record();
        record.set_timestamp(at);
        record.set_observed_timestamp(at);
        record.set_severity_text(level.as_str());
        record.set_severity_number(severity(level));
        record.set_body(AnyValue::from(message));
        for (name, value) in fields {
            record.add_attribute(name, value);
        }
        if let Some(span) = span {
            let flags = if span.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
            record.set_trace_context(span.trace, span.span, Some(flags));
        }
        record
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        SINKS.write().retain(|(sink, _)| *sink != self.sink);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_collector_receives_each_line_until_it_is_dropped_and_full_queues_are_counted() {
        let (mut one, other) = (Lines::receive(), Lines::receive());
        assert!(exports_logs());
        let line = |text: &str| {
            LogLine::new(Level::WARN, text.to_owned(), vec![("url".into(), "postgres://u:s3cret@h/d".into())])
        };
        line("first").export();
        drop(other);
        let before = dropped_lines();
        for _ in 0..MAX_WAITING_LINES + 4 {
            line("more").export();
        }
        assert_eq!(dropped_lines() - before, 5);
        let first = one.waiting.try_recv().expect("a line");
        assert_eq!(first.message, "first");
        assert!(!first.fields[0].1.contains("s3cret"), "{:?}", first.fields);
    }
}
