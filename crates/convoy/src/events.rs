//! What happens in an engine, as events for the program that embeds it. They name functions
//! and codes, and never contain arguments, results or causes.
//!
//! Emitting never waits: a bounded queue holds the events, one task hands them to the reader
//! in batches, and waits until a batch was taken. So a slow reader loses events, and nothing
//! else; the next batch reports how many. Without a reader, emitting is one atomic load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Failure};

/// Events that wait for the reader; more are dropped and counted.
const MAX_QUEUED: usize = 1_024;
/// The largest batch.
const MAX_BATCH: usize = 256;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// A call has ended.
    Call,
    /// A mutation runs again after a conflict.
    Retry,
    /// A live query has run.
    LiveRun,
    /// A live session was opened.
    SessionOpened,
    /// A live session was closed.
    SessionClosed,
    /// A worker has ended, and another takes its place.
    WorkerRestarted,
    /// Other code was loaded.
    Reloaded,
    /// The first health condition was set, or the last one cleared.
    HealthChanged,
    /// Events were dropped, because the reader was slow.
    EventsDropped,
}

/// One event.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What has happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The function.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared_text")]
    pub function: Option<Arc<str>>,
    /// The id of its last run, as in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<u64>,
    /// The code of the error, or the new state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// How many events were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

fn shared_text<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

impl Event {
    /// An event that has happened now.
    pub fn now(kind: EventKind) -> Event {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64);
        Event { kind, at, function: None, call_id: None, code: None, duration_ms: None, count: None }
    }

    /// The same about a function.
    #[must_use]
    pub fn of(self, function: &Arc<str>) -> Event {
        Event { function: Some(function.clone()), ..self }
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Event {
        Event { code: Some(code), ..self }
    }

    /// The same, which began then.
    #[must_use]
    pub fn since(self, began: Instant) -> Event {
        Event { duration_ms: Some(began.elapsed().as_secs_f64() * 1_000.0), ..self }
    }

    /// The end of a run that began then.
    pub(crate) fn ended<T>(
        kind: EventKind,
        function: Option<&Arc<str>>,
        (run, began): (&LastRun, Instant),
        result: &Result<T, Failure>,
    ) -> Event {
        let code = result.as_ref().err().map(|failure| failure.code).map(Code::as_str);
        Event { function: function.cloned(), call_id: run.get(), code, ..Event::now(kind) }.since(began)
    }
}

/// Takes events.
pub trait EventReader: Send + Sync {
    /// Resolves when the reader takes more. Must not block.
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, ()>;
}

/// The events of one engine. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Set once there is a reader.
    queue: OnceLock<Queue>,
    /// Events that were dropped so far.
    dropped: AtomicU64,
    closed: CancellationToken,
}

struct Queue {
    sender: mpsc::Sender<Event>,
    /// The task that hands out events may start again.
    receiver: Mutex<mpsc::Receiver<Event>>,
}

impl Events {
    /// Emits an event, which is made only if there is a reader.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        let Some(queue) = self.0.queue.get() else { return };
        if queue.sender.try_send(event()).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether there is a reader.
    pub fn has_reader(&self) -> bool {
        self.0.queue.get().is_some()
    }

    /// How many events were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Collects events from now on. Returns false if that was done before.
    pub(crate) fn open(&self) -> bool {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        self.0.queue.set(Queue { sender, receiver: Mutex::new(receiver) }).is_ok()
    }

    /// Hands events to `reader` until [`Events::close`]; then the rest, without waiting for it.
    pub(crate) async fn deliver_all(&self, reader: &dyn EventReader) {
        let Some(queue) = self.0.queue.get() else { return };
        let mut receiver = queue.receiver.lock().await;
        let mut reported = 0;
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                _count = receiver.recv_many(&mut batch, MAX_BATCH) => {}
                () = self.0.closed.cancelled() => {}
            }
            if !self.0.closed.is_cancelled() {
                self.report_dropped(&mut reported, &mut batch);
                tokio::select! {
                    () = reader.deliver(batch) => continue,
                    () = self.0.closed.cancelled() => batch = Vec::new(),
                }
            }
            while let Ok(event) = receiver.try_recv() {
                batch.push(event);
            }
            self.report_dropped(&mut reported, &mut batch);
            drop(reader.deliver(batch));
            return;
        }
    }

    fn report_dropped(&self, reported: &mut u64, batch: &mut Vec<Event>) {
        let dropped = self.dropped();
        if dropped > *reported {
            let count = Some(dropped - std::mem::replace(reported, dropped));
            batch.push(Event { count, ..Event::now(EventKind::EventsDropped) });
        }
    }

    /// Ends the task that hands out events.
    pub(crate) fn close(&self) {
        self.0.closed.cancel();
    }

    /// The id of the last run of a call, which is recorded only if there is a reader.
    pub(crate) fn last_run(&self) -> LastRun {
        LastRun(self.has_reader().then(Arc::default))
    }
}

/// The id of the last run of a call; empty if it has not run, or is not recorded.
#[derive(Clone, Default)]
pub(crate) struct LastRun(Option<Arc<AtomicU64>>);

impl LastRun {
    /// One that is recorded without a reader, for telemetry.
    pub(crate) fn recorded() -> LastRun {
        LastRun(Some(Arc::default()))
    }

    pub(crate) fn set(&self, id: u64) {
        if let Some(last) = &self.0 {
            last.store(id, Ordering::Relaxed);
        }
    }

    /// The id, if there was a run that is recorded.
    pub(crate) fn get(&self) -> Option<u64> {
        self.0.as_ref().map(|last| last.load(Ordering::Relaxed)).filter(|id| *id > 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    /// Takes a batch when the test says so.
    #[derive(Default)]
    struct Reader {
        batches: parking_lot::Mutex<Vec<Vec<Event>>>,
        delivered: Notify,
        taken: Arc<Notify>,
    }

    impl EventReader for Reader {
        fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, ()> {
            self.batches.lock().push(events);
            self.delivered.notify_one();
            let taken = self.taken.clone();
            Box::pin(async move { taken.notified().await })
        }
    }

    fn session() -> Event {
        Event::now(EventKind::SessionOpened)
    }

    #[tokio::test]
    async fn a_slow_reader_loses_events_and_learns_how_many() {
        let (events, reader) = (Events::default(), Arc::new(Reader::default()));
        events.emit(|| unreachable!("no event is made without a reader"));
        assert!(events.open() && !events.open());
        let (source, sink) = (events.clone(), reader.clone());
        let task = tokio::spawn(async move { source.deliver_all(&*sink).await });
        events.emit(session);
        reader.delivered.notified().await;
        // The reader has one; this many more fit.
        (0..MAX_QUEUED + 5).for_each(|_| events.emit(session));
        assert_eq!(events.dropped(), 5);
        for _ in 0..MAX_QUEUED / MAX_BATCH {
            reader.taken.notify_one();
            reader.delivered.notified().await;
        }
        {
            let batches = reader.batches.lock();
            let counts: Vec<usize> = batches.iter().map(Vec::len).collect();
            assert_eq!(counts, [1, MAX_BATCH + 1, MAX_BATCH, MAX_BATCH, MAX_BATCH]);
            let last = batches[1].last().expect("an event");
            assert_eq!((last.kind, last.count), (EventKind::EventsDropped, Some(5)));
        }
        // The reader never takes the last batch; what follows is delivered, and nothing waits.
        events.emit(session);
        events.close();
        task.await.expect("it ends");
        assert_eq!(reader.batches.lock().last().map(Vec::len), Some(1));
    }

    #[test]
    fn an_event_is_json_without_what_it_lacks() {
        let event = Event { at: 1, ..Event::now(EventKind::SessionClosed) };
        assert_eq!(serde_json::to_string(&event).expect("JSON"), r#"{"type":"sessionClosed","at":1}"#);
        let run = LastRun(Some(Arc::new(AtomicU64::new(7))));
        let failed: Result<(), Failure> = Err(Failure::new(Code::Conflict, "secret"));
        let event = Event::ended(EventKind::Call, Some(&"a.b".into()), (&run, Instant::now()), &failed);
        let json = serde_json::to_string(&event).expect("JSON");
        assert!(json.contains(r#""function":"a.b","callId":7,"code":"CONFLICT","durationMs":"#), "{json}");
        assert!(!json.contains("secret"), "{json}");
    }
}
