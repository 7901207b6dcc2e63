//! Who may share a result: those whose contexts say the same of everything the
//! run has looked at.
//!
//! Invariant: if any observed value cannot be compared, the result is not shared.

use crate::dispatch::Seen;

/// What a context has under a key that it does not have.
const ABSENT: &str = "undefined";

/// Who may have a result beside the one it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Share {
    /// Everyone whose context says just this.
    With(Seen),
    /// No other caller.
    Nobody,
}

impl Share {
    /// Everyone: nothing of the caller was looked at.
    pub(super) fn everyone() -> Share {
        Share::With(Seen::new())
    }

    /// After a run that has observed this, or something unknown.
    pub(super) fn after(seen: Option<Seen>) -> Share {
        match seen {
            Some(seen) if seen.values().all(Option::is_some) => Share::With(seen),
            _ => Share::Nobody,
        }
    }

    /// Before the first run for this caller: with whoever is equal in what runs
    /// for others have looked at.
    pub(super) fn expected(identity: &Seen, keys: &[String]) -> Share {
        let said = keys.iter().map(|key| (key.clone(), said_of(identity, key).map(str::to_owned)));
        Share::after(Some(said.collect()))
    }

    /// Whether a caller of this identity may share.
    pub(super) fn admits(&self, identity: &Seen) -> bool {
        let Share::With(seen) = self else { return false };
        seen.iter().all(|(key, text)| text.as_deref().is_some_and(|text| said_of(identity, key) == Some(text)))
    }
}

/// What a context says under a key, where that can be compared.
pub(super) fn said_of<'a>(identity: &'a Seen, key: &str) -> Option<&'a str> {
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
        let share = Share::after(Some(seen(&[("role", Some("\"admin\""))])));
        assert!(share.admits(&seen(&[("role", Some("\"admin\"")), ("user", Some("1"))])));
        assert!(!share.admits(&seen(&[("role", Some("\"guest\""))])));
        assert!(!share.admits(&seen(&[])));
        assert!(!share.admits(&seen(&[("role", None)])));
        assert!(Share::after(Some(seen(&[("team", Some("undefined"))]))).admits(&seen(&[("user", Some("1"))])));
    }

    #[test]
    fn incomparable_context_values_are_never_shared() {
        assert_eq!(Share::after(Some(seen(&[("tags", None)]))), Share::Nobody);
        assert_eq!(Share::after(None), Share::Nobody);
        assert!(!Share::Nobody.admits(&seen(&[])));
        assert_eq!(Share::expected(&seen(&[("db", None)]), &["db".to_owned()]), Share::Nobody);
    }

    prop_compose! {
        fn identity()(entries in proptest::collection::btree_map("[abc]", proptest::option::of("[12]"), 0..4)) -> Seen {
            entries
        }
    }

    proptest! {
        /// A function is a path of looks, each of which may depend on what was
        /// seen before; here: key after key, until a value says stop.
        #[test]
        fn a_shared_result_is_what_the_other_would_have_got(a in identity(), b in identity()) {
            let run = |identity: &Seen| {
                let mut looked_at = Seen::new();
                let mut result = String::new();
                for key in ["a", "b", "c"] {
                    let text = identity.get(key).cloned().unwrap_or_else(|| Some("undefined".to_owned()));
                    looked_at.insert(key.to_owned(), text.clone());
                    result.push_str(text.as_deref().unwrap_or("?"));
                    if text.as_deref() == Some("1") {
                        break;
                    }
                }
                (looked_at, result)
            };
            let (looked_at, result) = run(&a);
            if Share::after(Some(looked_at)).admits(&b) {
                prop_assert_eq!(run(&b).1, result);
            }
        }

        #[test]
        fn a_caller_is_expected_to_share_only_with_its_equals(
            a in identity(),
            b in identity(),
            keys in proptest::collection::vec("[abc]", 0..3),
        ) {
            let expected = Share::expected(&a, &keys);
            if let Share::With(_) = expected {
                prop_assert!(expected.admits(&a));
                if expected.admits(&b) {
                    prop_assert_eq!(Share::expected(&b, &keys), expected);
                }
            }
        }
    }
}
