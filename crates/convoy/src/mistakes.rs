//! Mistakes that can be made on purpose, so that a test can show that it would
//! notice them: each names one step left out that the design calls for.
//!
//! Only with the cargo feature `mistakes`, which no release is built with.
//! Without it nothing can be asked for, and the answer is a constant.

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
    /// A result serves everyone with the same input, whoever asks.
    ShareRegardless,
    /// Whether a result depends on who asks is decided by its first run.
    ShareByFirstRun,
    /// All who wait for the first run of a query wait for the one that has begun,
    /// whatever becomes of it.
    WaitForTheFirst,
}

/// The mistakes an engine was opened with.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "mistakes", derive(serde::Deserialize))]
#[cfg_attr(feature = "mistakes", serde(transparent))]
pub struct Mistakes(#[cfg(feature = "mistakes")] Vec<Mistake>);

impl Mistakes {
    /// Whether this one is to be made.
    #[cfg(feature = "mistakes")]
    pub fn has(&self, mistake: Mistake) -> bool {
        self.0.contains(&mistake)
    }

    /// Whether this one is to be made: never.
    #[cfg(not(feature = "mistakes"))]
    pub const fn has(&self, _mistake: Mistake) -> bool {
        false
    }
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
