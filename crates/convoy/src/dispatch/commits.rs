//! Commits of ours that are under way. Others may see one as soon as Postgres has
//! made it, a moment before its answer comes and our live queries are told. Until
//! then nobody can say that all that is visible has been told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

/// The commits under way.
#[derive(Default)]
pub struct Commits(Mutex<UnderWay>);

#[derive(Default)]
struct UnderWay {
    next: u64,
    /// When each was sent, in that order.
    since: BTreeMap<u64, Instant>,
}

impl Commits {
    /// One is sent now. It counts as under way until the guard is dropped: once it
    /// has been told.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Committing {
        let mut under_way = self.0.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.since.insert(number, Instant::now());
        Committing { commits: self.clone(), number }
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.0.lock().since.first_key_value().map(|(_, since)| *since)
    }
}

/// A commit under way.
pub struct Committing {
    commits: Arc<Commits>,
    number: u64,
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.commits.0.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_first_that_is_not_over() {
        let commits = Arc::new(Commits::default());
        assert!(commits.oldest().is_none());
        let (first, second) = (commits.begin(), commits.begin());
        let oldest = commits.oldest().expect("one");
        drop(first);
        assert!(commits.oldest().is_some_and(|next| next >= oldest));
        drop(second);
        assert!(commits.oldest().is_none());
    }
}
