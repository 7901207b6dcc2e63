//! Which calls are worth keeping: those that were made before.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::live::registry::QueryKey;

/// How many calls of a kind whose result could not be kept run without another attempt: the
/// reason may be gone, such as triggers that were not checked yet.
const REFUSED_CALLS: u16 = 100;
/// How many calls are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 14).unwrap();

/// Remembers the last calls by their hashes. Two calls with equal hashes do no harm: one of them
/// is kept after its first call.
pub(crate) struct Admission {
    seen: Mutex<LruCache<u64, Seen>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The call was made.
    Once,
    /// Its result could not be kept; it is tried again after so many calls.
    Refused(u16),
}

impl Admission {
    /// No calls yet.
    pub(crate) fn new() -> Admission {
        Admission { seen: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// Whether the result of this call is kept: it was made before, and was not refused.
    pub(crate) fn admits(&self, call: &QueryKey) -> bool {
        let mut seen = self.seen.lock();
        let Some(known) = seen.get_mut(&hash(call)) else {
            seen.put(hash(call), Seen::Once);
            return false;
        };
        match known {
            Seen::Once => return true,
            Seen::Refused(0) => *known = Seen::Once,
            Seen::Refused(left) => *left -= 1,
        }
        false
    }

    /// The result of this call cannot be kept.
    pub(crate) fn refuse(&self, call: &QueryKey) {
        self.seen.lock().put(hash(call), Seen::Refused(REFUSED_CALLS));
    }

    /// Forgets all calls, because new code was loaded.
    pub(crate) fn reset(&self) {
        self.seen.lock().clear();
    }
}

fn hash(QueryKey { function, input }: &QueryKey) -> u64 {
    xxh3_64(function.as_bytes()) ^ xxh3_64(input.as_bytes()).rotate_left(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: &str, input: &str) -> QueryKey {
        QueryKey { function: function.into(), input: input.into() }
    }

    #[test]
    fn a_call_is_admitted_when_it_is_made_again_unless_it_was_refused() {
        let admission = Admission::new();
        assert!(!admission.admits(&call("a", "{}")));
        assert!(!admission.admits(&call("a", "{\"b\":1}")) && !admission.admits(&call("b", "{}")));
        assert!(admission.admits(&call("a", "{}")));
        admission.refuse(&call("a", "{}"));
        assert!((0..=REFUSED_CALLS).all(|_| !admission.admits(&call("a", "{}"))));
        assert!(admission.admits(&call("a", "{}")), "it is tried again");
        admission.reset();
        assert!(!admission.admits(&call("a", "{}")) && admission.admits(&call("a", "{}")));
    }

    #[test]
    fn calls_that_are_made_once_do_not_fill_the_memory() {
        let admission = Admission::new();
        for input in 0..REMEMBERED.get() * 2 {
            assert!(!admission.admits(&call("a", &input.to_string())));
        }
        assert_eq!(admission.seen.lock().len(), REMEMBERED.get());
        assert!(!admission.admits(&call("a", "0")));
    }
}
