//! The form of a line of the log: text for people, or one JSON object. A JSON line always fits
//! into the longest line, so that it is never cut.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use convoy::output::MAX_LINE_BYTES;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{Compact, Format, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The target of the lines of functions.
pub const FUNCTION_TARGET: &str = "convoy::function";

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Writes JSON lines from now on, or text.
pub fn set_json(is_json: bool) {
    IS_JSON.store(is_json, Ordering::Relaxed);
}

/// Whether lines are JSON.
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// A line as JSON.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<i64>,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a RawValue>,
}

impl Line<'_> {
    /// The JSON, with a line break. The message and the fields are cut if it is too long.
    fn write(mut self) -> String {
        let mut room = MAX_LINE_BYTES / 2;
        loop {
            let json = serde_json::to_string(&self).unwrap_or_default();
            if json.len() < MAX_LINE_BYTES || room == 0 {
                return json + "\n";
            }
            if self.message.len() > room {
                let kept = self.message.floor_char_boundary(room);
                let cut = self.message.len() - kept;
                self.message = Cow::Owned(format!("{} … ({cut} more bytes were cut)", &self.message[..kept]));
            }
            // Half of the line is enough for most fields; they are left out before the message.
            self.fields = self.fields.filter(|fields| fields.get().len() < room);
            room /= 2;
        }
    }
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a string does not fail; without a clock the time is empty.
    SystemTime.format_time(&mut Writer::new(&mut text)).unwrap_or_default();
    text
}

/// Printed text in the form of the log. Lines that are JSON objects already stay as they are.
pub fn printed<'a>(text: &'a str, level: &str, function: Option<&str>) -> Cow<'a, str> {
    if !is_json() {
        return Cow::Borrowed(text);
    }
    let ended = text.trim_end_matches(['\r', '\n']);
    if ended.trim().is_empty() {
        return Cow::Borrowed("");
    }
    if ended.split('\n').all(is_object) {
        return Cow::Owned(format!("{ended}\n"));
    }
    let message = Cow::Borrowed(ended);
    Cow::Owned(Line { time: &now(), level, function, call: None, message, fields: None }.write())
}

fn is_object(line: &str) -> bool {
    line.starts_with('{') && line.len() < MAX_LINE_BYTES && serde_json::from_str::<IgnoredAny>(line).is_ok()
}

/// Passes the events of `tracing` to the collectors of logs.
pub struct Export;

impl<S: Subscriber> Layer<S> for Export {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if !convoy::exports_logs() {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, function, call, given, others } = fields;
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let own = [
            ("convoy.function", function),
            ("convoy.run.id", call.map(|call| call.to_string())),
            ("convoy.log.fields", given),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((Cow::Borrowed(name), value?)));
        let others = others.into_iter().map(|(name, value)| (Cow::Owned(name), text(value)));
        convoy::LogLine::new(*event.metadata().level(), message, own.chain(others).collect()).export();
    }
}

/// Formats the events of `tracing`.
pub struct LineFormat {
    text: Format<Compact>,
}

impl LineFormat {
    pub fn new() -> LineFormat {
        LineFormat { text: tracing_subscriber::fmt::format().compact().with_target(false) }
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let is_function = event.metadata().target() == FUNCTION_TARGET;
        if !is_json() && !is_function {
            return self.text.format_event(context, writer, event);
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if is_json() { writer.write_str(&fields.to_json(level)) } else { fields.write_text(level, writer) }
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    function: Option<String>,
    call: Option<i64>,
    /// The fields of a function's line, as JSON.
    given: Option<String>,
    others: Map<String, Value>,
}

impl Fields {
    fn to_json(&self, level: Level) -> String {
        let others = (!self.others.is_empty()).then(|| serde_json::to_string(&self.others).ok()).flatten();
        let fields = self.given.clone().or(others).and_then(|json| RawValue::from_string(json).ok());
        let level = level.as_str().to_ascii_lowercase();
        let message = Cow::Borrowed(self.message.as_str());
        Line {
            time: &now(),
            level: &level,
            function: self.function.as_deref(),
            call: self.call,
            message,
            fields: fields.as_deref(),
        }
        .write()
    }

    /// One line of a function, as text. What it gives cannot begin another line or control
    /// the terminal.
    fn write_text(&self, level: Level, mut writer: Writer<'_>) -> fmt::Result {
        let (dim, colour, end) = match (writer.has_ansi_escapes(), level) {
            (false, _) => ("", "", ""),
            (true, Level::ERROR) => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
            (true, Level::WARN) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
            (true, Level::INFO) => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
            (true, _) => ("\x1b[2m", "\x1b[34m", "\x1b[0m"),
        };
        write!(writer, "{dim}{}{end} {colour}{level:>5}{end} ", now())?;
        if let Some(function) = &self.function {
            write!(writer, "{function}")?;
        }
        if let Some(call) = self.call {
            write!(writer, "{dim}#{call}{end}")?;
        }
        write!(writer, ": {}", OneLine(&self.message))?;
        if let Some(given) = &self.given {
            write!(writer, " {}", OneLine(given))?;
        }
        writeln!(writer)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = convoy::output::cut(&format_args!("{value:?}"));
        self.record_str(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "function" => self.function = Some(value.to_owned()),
            "fields" => self.given = Some(value.to_owned()),
            name => drop(self.others.insert(name.to_owned(), value.into())),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "call" => self.call = Some(value),
            name => drop(self.others.insert(name.to_owned(), value.into())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &convoy::output::cut(&value));
    }
}

/// Text without control characters.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character.is_control() {
                true => write!(formatter, "{}", character.escape_default())?,
                false => formatter.write_char(character)?,
            }
        }
        Ok(())
    }
}
