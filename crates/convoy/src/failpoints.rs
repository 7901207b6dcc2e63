//! Fault injection: each failpoint makes the engine skip one step of the design, so that a
//! test can prove that it detects the damage.
//!
//! Failpoints exist only with the cargo feature `failpoints`, which releases do not have.
//! Without it every check is a constant.

use crate::supervise::Part;

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
    /// The read set of a context is not tracked.
    ContextUnwatched,
    /// Results from memory may be older than the consistency token of a request.
    IgnorePosition,
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
    /// Each insert is sent in a separate statement.
    NoInsertBatching,
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
