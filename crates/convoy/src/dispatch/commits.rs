//! Commits of ours that are under way. Others may see one as soon as Postgres has
//! made it, a moment before its answer comes and our live queries are told. Until
//! then nobody can say that all that is visible has been told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::change::Doubts;
use crate::mistakes::{Mistake, Mistakes};

/// The commits under way.
pub struct Commits {
    under_way: Mutex<UnderWay>,
    doubts: Doubts,
    mistakes: Mistakes,
}

#[derive(Default)]
struct UnderWay {
    next: u64,
    /// When each was sent, in that order.
    since: BTreeMap<u64, Instant>,
}

impl Commits {
    /// None. One that is never told of, because what should have told panicked, is
    /// noted in `doubts`.
    pub fn new(doubts: Doubts, mistakes: Mistakes) -> Commits {
        Commits { under_way: Mutex::default(), doubts, mistakes }
    }

    /// One is sent now. It counts as under way until the guard is dropped: once it
    /// has been told.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Committing {
        let mut under_way = self.under_way.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.since.insert(number, Instant::now());
        Committing { commits: self.clone(), number }
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.under_way.lock().since.first_key_value().map(|(_, since)| *since)
    }
}

/// A commit under way.
pub struct Committing {
    commits: Arc<Commits>,
    number: u64,
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.commits.under_way.lock().since.remove(&self.number);
        if std::thread::panicking() && !self.commits.mistakes.has(Mistake::Unsupervised) {
            self.commits.doubts.lose();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_is_the_first_that_is_not_over() {
        let commits = Arc::new(Commits::new(Doubts::new(Duration::ZERO), Mistakes::default()));
        assert!(commits.oldest().is_none());
        let (first, second) = (commits.begin(), commits.begin());
        let oldest = commits.oldest().expect("one");
        drop(first);
        assert!(commits.oldest().is_some_and(|next| next >= oldest));
        drop(second);
        assert!(commits.oldest().is_none());
    }

    #[test]
    fn one_that_a_panic_left_untold_is_noted() {
        let doubts = Doubts::new(Duration::ZERO);
        let commits = Arc::new(Commits::new(doubts.clone(), Mistakes::default()));
        drop(commits.begin());
        assert_eq!(doubts.lost(), 0);
        let panicking = std::thread::spawn(move || {
            let _committing = commits.begin();
            panic!("before it was told");
        });
        assert!(panicking.join().is_err());
        assert_eq!(doubts.lost(), 1);
    }
}
