//! Commits of this process that are under way. Others may see one as soon as Postgres has
//! made it, a moment before its answer comes and live queries are told. Until then it is
//! not certain that everything visible has been told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::change::InDoubtCommits;
use crate::failpoints::{Failpoint, Failpoints};

/// The commits under way.
pub(crate) struct PendingCommits {
    pending: Mutex<Sent>,
    in_doubt: InDoubtCommits,
    failpoints: Failpoints,
}

#[derive(Default)]
struct Sent {
    next: u64,
    /// When each was sent, in that order.
    since: BTreeMap<u64, Instant>,
}

impl PendingCommits {
    /// None. Those that are dropped before their end count as commits in doubt.
    pub(crate) fn new(in_doubt: InDoubtCommits, failpoints: Failpoints) -> PendingCommits {
        PendingCommits { pending: Mutex::default(), in_doubt, failpoints }
    }

    /// A commit is sent now.
    #[must_use]
    pub(super) fn begin(self: &Arc<Self>) -> Pending {
        let mut pending = self.pending.lock();
        let number = pending.next;
        pending.next += 1;
        pending.since.insert(number, Instant::now());
        Pending { commits: self.clone(), number, ended: false }
    }

    /// When the oldest of them was sent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.pending.lock().since.first_key_value().map(|(_, since)| *since)
    }
}

/// A commit under way. Dropped before its end, by a panic or because its call was cut
/// short, it may have been made and will never be told.
pub(super) struct Pending {
    commits: Arc<PendingCommits>,
    number: u64,
    ended: bool,
}

impl Pending {
    /// The write log has it, or Postgres has refused it.
    pub(super) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.ended && !self.commits.failpoints.has(Failpoint::Unsupervised) {
            self.commits.in_doubt.add_lost();
        }
        self.commits.pending.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn commits() -> (Arc<PendingCommits>, InDoubtCommits) {
        let in_doubt = InDoubtCommits::new(Duration::ZERO);
        (Arc::new(PendingCommits::new(in_doubt.clone(), Failpoints::default())), in_doubt)
    }

    #[test]
    fn the_oldest_is_the_first_that_has_not_ended() {
        let (commits, in_doubt) = commits();
        assert!(commits.oldest().is_none());
        let (first, second) = (commits.begin(), commits.begin());
        let oldest = commits.oldest().expect("one");
        first.end();
        assert!(commits.oldest().is_some_and(|next| next >= oldest));
        second.end();
        assert!(commits.oldest().is_none());
        assert_eq!(in_doubt.lost_count(), 0);
    }

    #[test]
    fn one_that_is_dropped_before_its_end_is_noted() {
        let (commits, in_doubt) = commits();
        drop(commits.begin());
        assert_eq!(in_doubt.lost_count(), 1);
        let cloned = commits.clone();
        let panicking = std::thread::spawn(move || {
            let _pending = cloned.begin();
            panic!("before it was told");
        });
        assert!(panicking.join().is_err());
        assert_eq!(in_doubt.lost_count(), 2);
        assert!(commits.oldest().is_none());
    }
}
