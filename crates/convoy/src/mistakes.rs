//! Mistakes that can be made on purpose, so that a test can show that it would
//! notice them: each names one step left out that the design calls for.
//!
//! Only with the cargo feature `mistakes`, which no release is built with.
//! Without it nothing can be asked for, and the answer is a constant.

use crate::supervise::Part;

/// A step left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "mistakes", derive(serde::Deserialize))]
#[cfg_attr(feature = "mistakes", serde(rename_all = "camelCase"))]
pub enum Mistake {
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

/// The mistakes an engine was opened with, and the parts that are to panic.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "mistakes", derive(serde::Deserialize))]
#[cfg_attr(feature = "mistakes", serde(from = "Vec<Mistake>"))]
pub struct Mistakes {
    #[cfg(feature = "mistakes")]
    made: Vec<Mistake>,
    /// Parts that panic the next time they come to it; shared by all clones.
    #[cfg(feature = "mistakes")]
    panics: std::sync::Arc<parking_lot::Mutex<Vec<Part>>>,
}

#[cfg(feature = "mistakes")]
impl From<Vec<Mistake>> for Mistakes {
    fn from(made: Vec<Mistake>) -> Mistakes {
        Mistakes { made, ..Mistakes::default() }
    }
}

#[cfg(feature = "mistakes")]
impl Mistakes {
    /// Whether this one is to be made.
    pub fn has(&self, mistake: Mistake) -> bool {
        self.made.contains(&mistake)
    }

    /// Makes a part panic the next time it comes to [`Mistakes::reach`].
    pub fn panic_once(&self, part: Part) {
        self.panics.lock().push(part);
    }

    /// Whether a part has yet to panic.
    pub fn will_panic(&self, part: Part) -> bool {
        self.panics.lock().contains(&part)
    }

    /// A part is where a panic would do the most harm.
    pub fn reach(&self, part: Part) {
        let mut panics = self.panics.lock();
        if let Some(at) = panics.iter().position(|armed| *armed == part) {
            panics.swap_remove(at);
            drop(panics);
            panic!("{} was told to panic", part.name());
        }
    }
}

#[cfg(not(feature = "mistakes"))]
impl Mistakes {
    /// Whether this one is to be made: never.
    pub const fn has(&self, _mistake: Mistake) -> bool {
        false
    }

    /// A part is where a panic would do the most harm; none is made.
    pub const fn reach(&self, _part: Part) {}
}

#[cfg(all(test, feature = "mistakes"))]
mod tests {
    use super::*;

    #[test]
    fn none_is_made_unless_it_is_asked_for() {
        let asked: Mistakes = serde_json::from_str(r#"["noPoll"]"#).expect("known");
        assert!(asked.has(Mistake::NoPoll) && !asked.has(Mistake::ListenerSkipsCatchUp));
        assert!(!Mistakes::default().has(Mistake::NoPoll));
        assert!(serde_json::from_str::<Mistakes>(r#"["noSuchMistake"]"#).is_err());
    }
}
