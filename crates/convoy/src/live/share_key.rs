//! The share key of a result: the part of the caller's context that the run has
//! read. Callers with equal values under these keys share the result.
//!
//! Invariant: if any of these values cannot be compared, the result is not shared.

use crate::dispatch::Seen;

/// The value of a key that is not in the context.
const ABSENT: &str = "undefined";

/// The callers that may share a result, beside the one it was computed for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ShareKey {
    /// Every caller whose context has these values.
    Context(Seen),
    /// No other caller.
    Private,
}

impl ShareKey {
    /// All callers: the run has read nothing of the context.
    pub(super) fn public() -> ShareKey {
        ShareKey::Context(Seen::new())
    }

    /// The key of a run that has read these values; `None` means unknown ones.
    pub(super) fn of_run(seen: Option<Seen>) -> ShareKey {
        match seen {
            Some(seen) if seen.values().all(Option::is_some) => ShareKey::Context(seen),
            _ => ShareKey::Private,
        }
    }

    /// The probable key before a query's first run: the values of this caller under
    /// the keys that runs for other callers have read.
    pub(super) fn expected(identity: &Seen, keys: &[String]) -> ShareKey {
        let values = keys.iter().map(|key| (key.clone(), value_in(identity, key).map(str::to_owned)));
        ShareKey::of_run(Some(values.collect()))
    }

    /// Whether a caller of this identity may share.
    pub(super) fn admits(&self, identity: &Seen) -> bool {
        let ShareKey::Context(seen) = self else { return false };
        seen.iter().all(|(key, text)| text.as_deref().is_some_and(|text| value_in(identity, key) == Some(text)))
    }
}

/// The value of a context under a key, if it can be compared.
pub(super) fn value_in<'a>(identity: &'a Seen, key: &str) -> Option<&'a str> {
    match identity.get(key) {
        Some(text) => text.as_deref(),
        None => Some(ABSENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(pairs: &[(&str, Option<&str>)]) -> Seen {
        pairs.iter().map(|(key, text)| ((*key).to_owned(), text.map(str::to_owned))).collect()
    }

    #[test]
    fn callers_equal_in_the_observed_context_share() {
        let share = ShareKey::of_run(Some(seen(&[("role", Some("\"admin\""))])));
        assert!(share.admits(&seen(&[("role", Some("\"admin\"")), ("user", Some("1"))])));
        assert!(!share.admits(&seen(&[("role", Some("\"guest\""))])));
        assert!(!share.admits(&seen(&[])));
        assert!(!share.admits(&seen(&[("role", None)])));
        assert!(ShareKey::of_run(Some(seen(&[("team", Some("undefined"))]))).admits(&seen(&[("user", Some("1"))])));
    }

    #[test]
    fn incomparable_context_values_are_never_shared() {
        assert_eq!(ShareKey::of_run(Some(seen(&[("tags", None)]))), ShareKey::Private);
        assert_eq!(ShareKey::of_run(None), ShareKey::Private);
        assert!(!ShareKey::Private.admits(&seen(&[])));
        assert_eq!(ShareKey::expected(&seen(&[("db", None)]), &["db".to_owned()]), ShareKey::Private);
    }

    prop_compose! {
        fn identity()(entries in proptest::collection::btree_map("[abc]", proptest::option::of("[12]"), 0..4)) -> Seen {
            entries
        }
    }

    proptest! {
        /// A function reads a sequence of keys, each of which may depend on the values
        /// before it; here: key after key, until a value ends it.
        #[test]
        fn a_shared_result_equals_the_result_of_an_own_run(a in identity(), b in identity()) {
            let run = |identity: &Seen| {
                let mut observed = Seen::new();
                let mut result = String::new();
                for key in ["a", "b", "c"] {
                    let text = identity.get(key).cloned().unwrap_or_else(|| Some("undefined".to_owned()));
                    observed.insert(key.to_owned(), text.clone());
                    result.push_str(text.as_deref().unwrap_or("?"));
                    if text.as_deref() == Some("1") {
                        break;
                    }
                }
                (observed, result)
            };
            let (observed, result) = run(&a);
            if ShareKey::of_run(Some(observed)).admits(&b) {
                prop_assert_eq!(run(&b).1, result);
            }
        }

        #[test]
        fn a_caller_is_expected_to_share_only_with_equal_callers(
            a in identity(),
            b in identity(),
            keys in proptest::collection::vec("[abc]", 0..3),
        ) {
            let expected = ShareKey::expected(&a, &keys);
            if let ShareKey::Context(_) = expected {
                prop_assert!(expected.admits(&a));
                if expected.admits(&b) {
                    prop_assert_eq!(ShareKey::expected(&b, &keys), expected);
                }
            }
        }
    }
}
