//! Fault injection: each failpoint makes the engine leave out one step that the
//! design calls for, so that a test can show that it detects the damage.
//!
//! Failpoints exist only with the cargo feature `failpoints`, which no release is
//! built with. Without it every question about them is a constant.

use crate::supervise::Part;

/// A step that the engine leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "failpoints", derive(serde::Deserialize))]
#[cfg_attr(feature = "failpoints", serde(rename_all = "camelCase"))]
pub enum Failpoint {
    /// A listener that has connected again goes on where it is, without reading
    /// what it missed. The log is not read at intervals either, which would hide
    /// that.
    ListenerSkipsCatchUp,
    /// The log is read only when a notification asks for it.
    NoPoll,
    /// Rows of the log count as read before they are understood: where one cannot
    /// be, those read with it are lost.
    ReadBeforeUnderstood,
    /// A part that has panicked is left as it is.
    Unsupervised,
    /// A query is registered once it has run: what was committed meanwhile is
    /// compared with nothing.
    RegisterAfterRun,
    /// A range that a limit stopped is cut before the last row that was read.
    CutTooEarly,
    /// Of a changed row only where it lies now is looked at.
    NewKeysOnly,
    /// Every frame waits for its stream, however slow its reader is.
    QueuePerStream,
    /// What a context says of its end is not looked at.
    IgnoreExpiry,
    /// What a context has read from the database is not watched.
    ContextUnwatched,
    /// Everyone who is sent away is told to come back after the same time.
    NoJitter,
    /// A result serves everyone with the same input, regardless of the caller.
    ShareRegardless,
    /// Whether a result depends on who asks is decided by its first run.
    ShareByFirstRun,
    /// What `raw` leaves in a session when it commits is there for the next call.
    KeepSession,
    /// A statement by `raw` that marks its transaction as the engine's is not noticed.
    TrustMark,
    /// All who wait for a run of a query wait for the one that has begun, however
    /// it ends; and all queries wait for a place, also where one caller has them all.
    WaitForTheFirst,
    /// No mutation runs without a transaction while its function runs.
    NoOptimistic,
    /// Calls that keep meeting conflicts are not queued.
    NoSerialQueue,
    /// Each insert is a statement of its own.
    NoInsertBatching,
    /// Every mutation is queued, whether it meets conflicts or not.
    AlwaysSerialQueue,
}

/// The failpoints that an engine was opened with, and the parts that will panic.
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

    /// Panics if the part is armed. Called where a panic would do the most harm.
    pub fn reach(&self, part: Part) {
        let mut panics = self.panics.lock();
        if let Some(at) = panics.iter().position(|armed| *armed == part) {
            panics.swap_remove(at);
            drop(panics);
            panic!("{} was told to panic", part.name());
        }
    }
}

#[cfg(not(feature = "failpoints"))]
impl Failpoints {
    /// Whether this failpoint is active: never without the feature.
    pub const fn has(&self, _mistake: Failpoint) -> bool {
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
