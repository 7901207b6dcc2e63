//! Fault injection. A [`Failpoint`] makes the engine skip one step of the design, so that a
//! test can prove that it detects the damage. At a [`Point`] a test can stop the engine, which
//! must do no damage.
//!
//! Failpoints exist only with the cargo feature `failpoints`, which releases do not have.
//! Without it every check is a constant.

#[cfg(feature = "failpoints")]
mod stops;

use crate::supervise::Part;
#[cfg(feature = "failpoints")]
pub use stops::{Gate, Place, Stop};

/// A step that the engine skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "failpoints", derive(serde::Deserialize))]
#[cfg_attr(feature = "failpoints", serde(rename_all = "camelCase"))]
pub enum Failpoint {
    /// A listener that has reconnected does not read the log to catch up. The log is not
    /// read at intervals either, which would cover that.
    ListenerSkipsCatchUp,
    /// The log is read only after a notification, not at intervals.
    NoPoll,
    /// Rows of the log are trimmed after a second.
    TrimSoon,
    /// Rows of the log are never trimmed.
    NoTrim,
    /// Rows of the log count as read before they are decoded: if one cannot be decoded,
    /// the other rows of the same read are lost.
    ReadBeforeUnderstood,
    /// A part that has panicked is not restarted.
    Unsupervised,
    /// A query is registered after its run, so its read set is not compared with the
    /// changes during the run.
    RegisterAfterRun,
    /// A session receives results that may have changes of its client's mutation before it
    /// is told so.
    NoWithholding,
    /// The read range of a scan with a limit ends before the last row that was read.
    CutTooEarly,
    /// Only the new keys of a changed row are matched with read ranges.
    NewKeysOnly,
    /// The cause of a run names the last change of the commit, not the one that concerns the
    /// query.
    MisattributeRuns,
    /// Every stream has an unbounded queue of frames.
    QueuePerStream,
    /// The expiry of a context is ignored.
    IgnoreExpiry,
    /// A change of the machine's clock goes unnoticed.
    IgnoreClock,
    /// The read set of a context is not tracked.
    ContextUnwatched,
    /// Results from memory may be older than the consistency token of a request.
    IgnorePosition,
    /// A result without subscribers that a change concerns is dropped with the next change.
    DropResultsLate,
    /// No change reaches the reads kept in memory.
    StaleCachedReads,
    /// A client that reconnects counts as current with every result.
    TrustHashes,
    /// All clients receive the same retry delay.
    NoJitter,
    /// A result serves everyone with the same input, regardless of the caller.
    ShareRegardless,
    /// The share key of a query is determined by its first run only.
    ShareByFirstRun,
    /// Session state that `raw` leaves is not reset after a commit.
    KeepSession,
    /// A `raw` statement that marks its transaction as the engine's is not detected.
    TrustMark,
    /// Callers of a shared query are never isolated from the caller of its run, and run
    /// slots are not limited per caller.
    WaitForTheFirst,
    /// No mutation runs optimistically.
    NoOptimistic,
    /// Calls with repeated conflicts are not queued.
    NoSerialQueue,
    /// Each commit is sent in a separate statement.
    NoCommitBatching,
    /// Every mutation is queued, even without conflicts.
    AlwaysSerialQueue,
    /// A group of a serial queue takes calls however late they arrive.
    LateCallsJoin,
    /// Shutdown does not wait for calls in flight.
    NoDrain,
    /// A mutation ends when its caller disconnects.
    DropWithCaller,
    /// Transactions that write are READ COMMITTED, on direct connections.
    ReadCommitted,
    /// No response is stored for an idempotency key.
    ForgetKeys,
    /// The position in a log that was lost counts as one in the log that replaced it.
    IgnoreEpoch,
    /// A connection returns to its pool although its call ended inside a transaction.
    ReturnBusy,
}

/// A point of the engine where a test may stop it. No lock is held there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "failpoints", derive(serde::Deserialize))]
#[cfg_attr(feature = "failpoints", serde(rename_all = "camelCase"))]
pub enum Point {
    /// A function has been started in its host, and its first message has not been read.
    HostCall,
    /// A transaction, or a statement that is one, has its connection and is sent next.
    BeforeBegin,
    /// A function has ended, and its transaction is committed next.
    BeforeCommit,
    /// Postgres has committed, and the write log does not have the changes.
    BeforeApplying,
    /// The write log has the changes of a mutation, and its caller is answered next.
    BeforeAnswer,
    /// The listener has connected, and has not requested what it has missed.
    ListenerReady,
    /// A live query is registered, and its run takes its snapshot next.
    BeforeSnapshot,
    /// A live query has run, and its subscribers do not have the answer.
    BeforeDelivery,
    /// A stream has taken a frame, and writes it next.
    StreamWrite,
}

impl Point {
    /// All points.
    pub const ALL: [Point; 9] = [
        Point::HostCall,
        Point::BeforeBegin,
        Point::BeforeCommit,
        Point::BeforeApplying,
        Point::BeforeAnswer,
        Point::ListenerReady,
        Point::BeforeSnapshot,
        Point::BeforeDelivery,
        Point::StreamWrite,
    ];
}

/// The active failpoints of an engine, and the parts that are armed to panic.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "failpoints", derive(serde::Deserialize))]
#[cfg_attr(feature = "failpoints", serde(from = "Vec<Failpoint>"))]
pub struct Failpoints {
    #[cfg(feature = "failpoints")]
    active: Vec<Failpoint>,
    /// Armed parts. Shared by all clones.
    #[cfg(feature = "failpoints")]
    panics: std::sync::Arc<parking_lot::Mutex<Vec<Part>>>,
    /// Armed stops. Shared by all clones.
    #[cfg(feature = "failpoints")]
    stops: std::sync::Arc<stops::Stops>,
}

#[cfg(feature = "failpoints")]
impl From<Vec<Failpoint>> for Failpoints {
    fn from(active: Vec<Failpoint>) -> Failpoints {
        Failpoints { active, ..Failpoints::default() }
    }
}

#[cfg(feature = "failpoints")]
impl Failpoints {
    /// Whether this failpoint is active.
    pub fn has(&self, failpoint: Failpoint) -> bool {
        self.active.contains(&failpoint)
    }

    /// Arms a part: it panics the next time it calls [`Failpoints::reach`].
    pub fn panic_once(&self, part: Part) {
        self.panics.lock().push(part);
    }

    /// Whether a part is armed and has not panicked yet.
    pub fn will_panic(&self, part: Part) -> bool {
        self.panics.lock().contains(&part)
    }

    /// Arms a place: the next task that passes it stops so.
    pub fn stop_once(&self, place: Place, stop: Stop) {
        self.stops.arm(place, stop);
    }

    /// Whether a place is armed, and no task has passed it yet.
    pub fn will_stop(&self, place: Place) -> bool {
        self.stops.is_armed(place)
    }

    /// Disarms all places that no task has passed.
    pub fn disarm(&self) {
        self.stops.disarm();
    }

    /// Stops at a point, if it is armed.
    pub fn pass(&self, point: Point) -> impl Future<Output = ()> + Send + '_ {
        self.stops.pass(point)
    }

    /// Runs a supervised task, which stops where it is while it is armed.
    pub async fn run_task(&self, part: Part, task: impl Future<Output = ()>) {
        self.stops.run(part, task).await;
    }

    /// Panics if the part is armed. Called at the points where a panic does the most damage.
    pub fn reach(&self, part: Part) {
        let mut panics = self.panics.lock();
        if let Some(at) = panics.iter().position(|armed| *armed == part) {
            panics.swap_remove(at);
            drop(panics);
            panic!("{} was armed to panic", part.name());
        }
    }
}

#[cfg(not(feature = "failpoints"))]
impl Failpoints {
    /// Whether this failpoint is active: never without the feature.
    pub const fn has(&self, _failpoint: Failpoint) -> bool {
        false
    }

    /// Panics if the part is armed: never without the feature.
    pub const fn reach(&self, _part: Part) {}

    /// Stops at a point: never without the feature.
    pub fn pass(&self, _point: Point) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Runs a task: without the feature, nothing stops it.
    pub async fn run_task(&self, _part: Part, task: impl Future<Output = ()>) {
        task.await;
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    #[test]
    fn only_named_failpoints_are_active() {
        let failpoints: Failpoints = serde_json::from_str(r#"["noPoll"]"#).expect("known");
        assert!(failpoints.has(Failpoint::NoPoll) && !failpoints.has(Failpoint::ListenerSkipsCatchUp));
        assert!(!Failpoints::default().has(Failpoint::NoPoll));
        assert!(serde_json::from_str::<Failpoints>(r#"["noSuchFailpoint"]"#).is_err());
    }
}
