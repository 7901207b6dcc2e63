//! Traces: what one request, and what it has caused, did and how long each step took.
//!
//! A trace is recorded in memory until its first span ends, and only then exported or
//! dropped: a share of all traces is exported, and each one with an error or a slow call. So
//! the spans of a call that fails are complete, although almost all others are dropped.
//!
//! This is why the spans are not those of the crate `tracing`, whose subscriber keeps every
//! span in a registry of the process: a span here is one entry of the `Vec` of its trace.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind as OtelKind, Status, TraceFlags, TraceId, TraceState as VendorState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::value::Value;
use super::{RemoteSpan, SCOPE, TelemetryOptions};

/// Spans of one trace that are kept in memory; later ones are counted.
const MAX_SPANS: usize = 512;

/// Makes spans; none if traces are not exported. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Tracer(Option<Arc<Inner>>);

struct Inner {
    /// Traces whose number is below are exported in any case.
    sampled_below: u64,
    slow: Duration,
    trust_traceparent: bool,
    finished: mpsc::Sender<Vec<SpanData>>,
    /// Spans that found the queue of the exporter full, or their trace.
    dropped: AtomicU64,
}

/// What a span is to the process at its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// It answers a request.
    Server,
    /// It waits for another process.
    Client,
    /// It sends a message.
    Producer,
    /// It is about this process only.
    Internal,
}

/// One local part of a trace.
struct Trace {
    tracer: Arc<Inner>,
    id: TraceId,
    /// Whether it is exported in any case.
    sampled: bool,
    state: Mutex<State>,
}

enum State {
    /// Its first span has not ended. Most traces are dropped, so spans take the form of the
    /// exporter only after that.
    Open {
        #[expect(clippy::vec_box, reason = "a span that is open has a box already")]
        spans: Vec<Box<Record>>,
        keep: bool,
    },
    /// It is exported, with the spans that end later.
    Kept,
    Dropped,
}

/// Where a span belongs, for spans and log lines below it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct SpanRef(Option<Position>);

#[derive(Clone)]
struct Position {
    trace: Arc<Trace>,
    span: SpanId,
}

/// A span, which ends when it is dropped.
#[derive(Default)]
pub(crate) struct Span(Option<(Arc<Trace>, Box<Record>)>);

/// What a span is, beside its trace.
pub(crate) struct Record {
    id: SpanId,
    /// The first span of this process in the trace.
    is_first: bool,
    parent: SpanId,
    parent_is_remote: bool,
    kind: SpanKind,
    name: Name,
    began: SystemTime,
    /// Once it has ended.
    ended: SystemTime,
    attributes: Vec<(&'static str, Value)>,
    /// Attributes that it has in common with other spans.
    shared: Option<Arc<[KeyValue]>>,
    links: Vec<RemoteSpan>,
    error: Option<Cow<'static, str>>,
}

/// The name of a span: a word, and what it is about.
struct Name(Cow<'static, str>, Option<Arc<str>>);

impl Tracer {
    /// A tracer that sends finished traces to `finished`.
    pub(super) fn new(options: &TelemetryOptions, finished: mpsc::Sender<Vec<SpanData>>) -> Tracer {
        Tracer(Some(Arc::new(Inner {
            // A ratio of 1 is beyond all numbers, by saturation.
            sampled_below: (options.sample_ratio * (u64::MAX as f64 + 1.0)) as u64,
            slow: Duration::from_millis(options.slow_ms),
            trust_traceparent: options.trust_traceparent,
            finished,
            dropped: AtomicU64::new(0),
        })))
    }

    /// Whether spans are made.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How many spans were dropped because a queue was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |tracer| tracer.dropped.load(Ordering::Relaxed))
    }

    /// A span for a request with this `traceparent`, which is its parent if it is trusted, and
    /// a link otherwise. Whether the client samples its trace does not matter here.
    pub(crate) fn request(&self, name: &'static str, traceparent: Option<&str>) -> Span {
        let Some(tracer) = &self.0 else { return Span::default() };
        let client = traceparent.and_then(RemoteSpan::parse);
        let parent = client.filter(|_| tracer.trust_traceparent);
        let mut span =
            tracer.first(SpanKind::Server, name.into(), parent.map(|parent| RemoteSpan { sampled: false, ..parent }));
        if parent.is_none() {
            client.into_iter().for_each(|client| span.link(client));
        }
        span
    }

    /// A span that is caused by `cause`, which may have ended; the first of a trace without it.
    pub(crate) fn caused(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>, cause: Option<RemoteSpan>) -> Span {
        match &self.0 {
            Some(tracer) => tracer.first(kind, name.into(), cause),
            None => Span::default(),
        }
    }
}

impl Inner {
    fn first(self: &Arc<Self>, kind: SpanKind, name: Cow<'static, str>, parent: Option<RemoteSpan>) -> Span {
        let number: u128 = rand::random();
        let id = parent.map_or(TraceId::from_bytes(number.to_be_bytes()), |parent| parent.trace);
        let sampled = parent.is_some_and(|parent| parent.sampled) || self.samples(number);
        let state = Mutex::new(State::Open { spans: Vec::with_capacity(4), keep: sampled });
        let trace = Arc::new(Trace { tracer: self.clone(), id, sampled, state });
        let parent = parent.map_or(SpanId::INVALID, |parent| parent.span);
        Span::open(trace, (parent, true), true, kind, name)
    }

    fn samples(&self, number: u128) -> bool {
        (number as u64) < self.sampled_below || self.sampled_below == u64::MAX
    }

    fn export(&self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        if self.finished.try_send(spans).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl SpanRef {
    /// A span below this one.
    pub(crate) fn child(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>) -> Span {
        match &self.0 {
            Some(at) => Span::open(at.trace.clone(), (at.span, false), false, kind, name.into()),
            None => Span::default(),
        }
    }

    /// Its identity for other traces.
    pub(crate) fn remote(&self) -> Option<RemoteSpan> {
        let at = self.0.as_ref()?;
        Some(RemoteSpan { trace: at.trace.id, span: at.span, sampled: at.trace.sampled })
    }

    /// Whether there is a span.
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The same, if there is a span.
    pub(crate) fn recorded(&self) -> Option<SpanRef> {
        self.is_some().then(|| self.clone())
    }
}

impl Span {
    fn open(
        trace: Arc<Trace>,
        (parent, parent_is_remote): (SpanId, bool),
        is_first: bool,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> Span {
        let now = SystemTime::now();
        let record = Record {
            id: SpanId::from_bytes(rand::random::<u64>().to_be_bytes()),
            is_first,
            parent,
            parent_is_remote: parent_is_remote && parent != SpanId::INVALID,
            kind,
            name: Name(name, None),
            began: now,
            ended: now,
            attributes: Vec::new(),
            shared: None,
            links: Vec::new(),
            error: None,
        };
        Span(Some((trace, Box::new(record))))
    }

    /// Whether it is recorded.
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Where spans below it belong.
    pub(crate) fn at(&self) -> SpanRef {
        SpanRef(self.0.as_ref().map(|(trace, record)| Position { trace: trace.clone(), span: record.id }))
    }

    /// Its identity for other traces.
    pub(crate) fn remote(&self) -> Option<RemoteSpan> {
        let (trace, record) = self.0.as_ref()?;
        Some(RemoteSpan { trace: trace.id, span: record.id, sampled: trace.sampled })
    }

    /// Renames it: a word, and what it is about.
    pub(crate) fn name(&mut self, word: impl Into<Cow<'static, str>>, about: Arc<str>) {
        if let Some((_, record)) = &mut self.0 {
            record.name(word, about);
        }
    }

    /// Adds an attribute.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some((_, record)) = &mut self.0 {
            record.set(key, value);
        }
    }

    /// Adds attributes that other spans have, too.
    pub(super) fn share(&mut self, attributes: &Arc<[KeyValue]>) {
        if let Some((_, record)) = &mut self.0 {
            record.shared = Some(attributes.clone());
        }
    }

    /// Adds a link to another span.
    pub(crate) fn link(&mut self, to: RemoteSpan) {
        if let Some((_, record)) = &mut self.0 {
            record.links.push(to);
        }
    }

    /// Marks it as failed, so that its trace is exported. `kind` is a code, never a message.
    pub(crate) fn fail(&mut self, kind: impl Into<Cow<'static, str>>) {
        if let Some((_, record)) = &mut self.0 {
            record.error = Some(kind.into());
        }
    }

    /// Ends it. `describe` adds what is known at the end; it is not called if the trace is
    /// dropped.
    pub(crate) fn end(mut self, describe: impl FnOnce(&mut Record)) {
        self.close(describe);
    }

    fn close(&mut self, describe: impl FnOnce(&mut Record)) {
        let Some((trace, mut record)) = self.0.take() else { return };
        let tracer = &trace.tracer;
        record.ended = SystemTime::now().max(record.began);
        let mut state = trace.state.lock();
        let finished = match &mut *state {
            State::Dropped => return,
            State::Kept => {
                describe(&mut record);
                vec![record]
            }
            State::Open { spans, keep } => {
                let is_first = record.is_first;
                *keep |= record.error.is_some() || (is_first && record.time() >= tracer.slow);
                if is_first && !*keep {
                    *state = State::Dropped;
                    return;
                }
                if spans.len() >= MAX_SPANS && !is_first {
                    tracer.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                describe(&mut record);
                spans.push(record);
                if !is_first {
                    return;
                }
                let spans = std::mem::take(spans);
                *state = State::Kept;
                spans
            }
        };
        drop(state);
        tracer.export(finished.into_iter().map(|record| record.into_data(trace.id)).collect());
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.close(|_| {});
    }
}

impl Record {
    /// Renames it: a word, and what it is about.
    pub(crate) fn name(&mut self, word: impl Into<Cow<'static, str>>, about: Arc<str>) {
        self.name = Name(word.into(), Some(about));
    }

    /// Adds an attribute.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push((key, value.into()));
    }

    fn time(&self) -> Duration {
        self.ended.duration_since(self.began).unwrap_or_default()
    }

    fn into_data(self, trace: TraceId) -> SpanData {
        let Record {
            id,
            is_first: _,
            parent,
            parent_is_remote,
            kind,
            name,
            began,
            ended,
            attributes,
            shared,
            links,
            error,
        } = self;
        let mut all_links = SpanLinks::default();
        all_links.links = links.into_iter().map(|link| Link::with_context(link.context())).collect();
        let status = if error.is_some() { Status::error("") } else { Status::Unset };
        let error = error.map(|kind| KeyValue::new("error.type", kind.into_owned()));
        let own = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).chain(error);
        let name = match name {
            Name(word, Some(about)) => format!("{word} {about}").into(),
            Name(word, None) => word,
        };
        SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, VendorState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: parent_is_remote,
            span_kind: kind.into(),
            name,
            start_time: began,
            end_time: ended,
            attributes: shared.iter().flat_map(|shared| shared.iter().cloned()).chain(own).collect(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: all_links,
            status,
            instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
        }
    }
}

impl From<SpanKind> for OtelKind {
    fn from(kind: SpanKind) -> OtelKind {
        match kind {
            SpanKind::Server => OtelKind::Server,
            SpanKind::Client => OtelKind::Client,
            SpanKind::Producer => OtelKind::Producer,
            SpanKind::Internal => OtelKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(options: &str) -> (Tracer, mpsc::Receiver<Vec<SpanData>>) {
        let (finished, received) = mpsc::channel(4);
        (Tracer::new(&serde_json::from_str(options).expect("options"), finished), received)
    }

    fn names(spans: &[SpanData]) -> Vec<&str> {
        spans.iter().map(|span| &*span.name).collect()
    }

    #[test]
    fn a_trace_is_exported_whole_if_one_of_its_spans_failed() {
        let (tracer, mut exported) = tracer(r#"{"sampleRatio":0}"#);
        for fails in [false, true] {
            let request = tracer.request("request", None);
            let mut statement = request.at().child(SpanKind::Client, "SELECT");
            if fails {
                statement.fail("40001");
            }
            drop((statement, request));
        }
        let spans = exported.try_recv().expect("the second");
        assert_eq!(names(&spans), ["SELECT", "request"]);
        assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
        assert_eq!(spans[0].span_context.trace_id(), spans[1].span_context.trace_id());
        assert_eq!((&spans[0].status, &spans[1].status), (&Status::error(""), &Status::Unset));
        assert!(exported.try_recv().is_err(), "the first is dropped");
    }

    #[test]
    fn a_slow_trace_is_exported_and_so_is_what_ends_after_it() {
        let (tracer, mut exported) = tracer(r#"{"sampleRatio":0,"slowMs":0}"#);
        let request = tracer.request("request", None);
        let mutation = request.at().child(SpanKind::Internal, "mutation");
        drop(request);
        assert_eq!(names(&exported.try_recv().expect("the request")), ["request"]);
        drop(mutation);
        assert_eq!(names(&exported.try_recv().expect("the mutation, whose caller had left")), ["mutation"]);
    }

    #[test]
    fn what_a_kept_trace_has_caused_is_kept_and_belongs_to_it() {
        let (tracer, mut exported) = tracer(r#"{"sampleRatio":1}"#);
        let commit = tracer.request("commit", None);
        let cause = commit.at().remote();
        drop(commit);
        drop(tracer.caused(SpanKind::Internal, "run", cause));
        let (commit, run) = (exported.try_recv().expect("one"), exported.try_recv().expect("two"));
        assert_eq!(run[0].span_context.trace_id(), commit[0].span_context.trace_id());
        assert_eq!(run[0].parent_span_id, commit[0].span_context.span_id());
    }

    #[test]
    fn a_traceparent_is_a_link_unless_it_is_trusted_and_never_decides_sampling() {
        let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (trusted, exported_at_all) in [(false, true), (true, true), (true, false)] {
            let ratio = u8::from(exported_at_all);
            let (tracer, mut exported) = tracer(&format!(r#"{{"sampleRatio":{ratio},"trustTraceparent":{trusted}}}"#));
            drop(tracer.request("request", Some(theirs)));
            let Ok(spans) = exported.try_recv() else {
                assert!(!exported_at_all, "their flag 01 exports nothing");
                continue;
            };
            let is_theirs = spans[0].span_context.trace_id().to_string() == "0af7651916cd43dd8448eb211c80319c";
            let is_child = spans[0].parent_span_id.to_string() == "b7ad6b7169203331";
            assert_eq!((is_theirs, is_child, spans[0].links.links.len()), (trusted, trusted, usize::from(!trusted)));
        }
    }

    #[test]
    fn a_full_queue_drops_spans_and_counts_them() {
        let (tracer, _exported) = tracer(r#"{"sampleRatio":1}"#);
        (0..7).for_each(|_| drop(tracer.request("request", None)));
        assert_eq!(tracer.dropped(), 3);
        let request = tracer.request("request", None);
        (0..MAX_SPANS + 5).for_each(|_| drop(request.at().child(SpanKind::Client, "SELECT")));
        drop(request);
        assert_eq!(tracer.dropped(), 3 + 5 + MAX_SPANS as u64 + 1);
    }

    #[test]
    fn the_share_of_sampled_traces_is_the_ratio() {
        for (ratio, least, most) in [("0", 0, 0), ("0.25", 2_000, 3_000), ("1", 10_000, 10_000)] {
            let (tracer, _exported) = tracer(&format!(r#"{{"sampleRatio":{ratio}}}"#));
            let tracer = tracer.0.expect("it is on");
            let sampled = (0..10_000).filter(|_| tracer.samples(rand::random())).count();
            assert!((least..=most).contains(&sampled), "{ratio}: {sampled}");
        }
    }
}
