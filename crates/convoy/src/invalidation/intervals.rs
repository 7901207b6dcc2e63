//! An interval tree of keys: finds the intervals that overlap a span in
//! O(log n + hits).
//!
//! A treap ordered by the starts of the intervals. Each node has the furthest end
//! of its subtree, so a search skips subtrees that end too early.

use std::cmp::Ordering;

use crate::key::Span;

/// A set of intervals, each with an owner. An owner may have several.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    root: Link,
    len: usize,
    state: u64,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    span: Span,
    owner: u64,
    priority: u64,
    /// The furthest end in this subtree; `None` means no end.
    furthest: Option<Vec<u8>>,
    left: Link,
    right: Link,
}

impl Intervals {
    /// Whether the set is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an interval.
    pub(super) fn insert(&mut self, span: Span, owner: u64) {
        let priority = self.next_priority();
        let furthest = span.hi.clone();
        let node = Box::new(Node { span, owner, priority, furthest, left: None, right: None });
        let (before, after) = split(self.root.take(), &node.span, node.owner);
        self.root = join(join(before, Some(node)), after);
        self.len += 1;
    }

    /// Removes one interval that was added with the same span and owner.
    pub(super) fn remove(&mut self, span: &Span, owner: u64) -> bool {
        let removed = remove(&mut self.root, span, owner);
        self.len -= usize::from(removed);
        removed
    }

    /// Calls `hit` with the owner of every interval that overlaps `span`.
    pub(super) fn overlapping(&self, span: &Span, hit: &mut impl FnMut(u64)) {
        visit(&self.root, span, hit);
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): balance needs spread, not secrecy.
    fn next_priority(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn order(a: (&Span, u64), b: (&Span, u64)) -> Ordering {
    a.0.lo.cmp(&b.0.lo).then_with(|| compare_ends(&a.0.hi, &b.0.hi)).then_with(|| a.1.cmp(&b.1))
}

/// Compares ends; no end is the furthest.
fn compare_ends(a: &Option<Vec<u8>>, b: &Option<Vec<u8>>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

impl Node {
    fn refresh(&mut self) {
        let mut furthest = &self.span.hi;
        for child in [&self.left, &self.right].into_iter().flatten() {
            if compare_ends(&child.furthest, furthest) == Ordering::Greater {
                furthest = &child.furthest;
            }
        }
        if *furthest != self.furthest {
            self.furthest = furthest.clone();
        }
    }
}

/// Everything before `(span, owner)`, and everything not before it.
fn split(link: Link, span: &Span, owner: u64) -> (Link, Link) {
    let Some(mut node) = link else { return (None, None) };
    if order((&node.span, node.owner), (span, owner)) == Ordering::Less {
        let (before, after) = split(node.right.take(), span, owner);
        node.right = before;
        node.refresh();
        (Some(node), after)
    } else {
        let (before, after) = split(node.left.take(), span, owner);
        node.left = after;
        node.refresh();
        (before, Some(node))
    }
}

/// One tree of two, where everything in `a` comes before everything in `b`.
fn join(a: Link, b: Link) -> Link {
    match (a, b) {
        (None, only) | (only, None) => only,
        (Some(mut a), Some(mut b)) => Some(if a.priority >= b.priority {
            a.right = join(a.right.take(), Some(b));
            a.refresh();
            a
        } else {
            b.left = join(Some(a), b.left.take());
            b.refresh();
            b
        }),
    }
}

fn remove(link: &mut Link, span: &Span, owner: u64) -> bool {
    let Some(node) = link else { return false };
    let removed = match order((span, owner), (&node.span, node.owner)) {
        Ordering::Less => remove(&mut node.left, span, owner),
        Ordering::Greater => remove(&mut node.right, span, owner),
        Ordering::Equal => {
            let (left, right) = (node.left.take(), node.right.take());
            *link = join(left, right);
            return true;
        }
    };
    if removed {
        node.refresh();
    }
    removed
}

fn visit(link: &Link, span: &Span, hit: &mut impl FnMut(u64)) {
    let Some(node) = link else { return };
    let ends_too_early = node.furthest.as_deref().is_some_and(|furthest| furthest <= span.lo.as_slice());
    if ends_too_early {
        return;
    }
    visit(&node.left, span, hit);
    if node.span.overlaps(span) {
        hit(node.owner);
    }
    // Everything to the right begins no earlier than this node.
    let begins_too_late = span.hi.as_deref().is_some_and(|hi| node.span.lo.as_slice() >= hi);
    if !begins_too_late {
        visit(&node.right, span, hit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span() -> impl Strategy<Value = Span> {
        let key = || proptest::collection::vec(0u8..4, 0..4);
        (key(), proptest::option::of(key())).prop_map(|(lo, hi)| Span { lo, hi })
    }

    proptest! {
        #[test]
        fn the_tree_finds_the_same_intervals_as_a_linear_search(
            steps in proptest::collection::vec((any::<bool>(), span(), 0u64..5), 0..200),
            probes in proptest::collection::vec(span(), 1..20),
        ) {
            let mut tree = Intervals::default();
            let mut naive: Vec<(Span, u64)> = Vec::new();
            for (add, span, owner) in steps {
                if add {
                    tree.insert(span.clone(), owner);
                    naive.push((span, owner));
                } else {
                    let at = naive.iter().position(|added| added.0 == span && added.1 == owner);
                    prop_assert_eq!(tree.remove(&span, owner), at.is_some());
                    if let Some(at) = at {
                        naive.swap_remove(at);
                    }
                }
            }
            prop_assert_eq!(tree.len, naive.len());
            for probe in probes {
                let mut found = Vec::new();
                tree.overlapping(&probe, &mut |owner| found.push(owner));
                let mut expected: Vec<u64> =
                    naive.iter().filter(|(span, _)| span.overlaps(&probe)).map(|(_, owner)| *owner).collect();
                found.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_tree_of_a_hundred_thousand_intervals_stays_balanced() {
        let mut tree = Intervals::default();
        for n in 0u32..100_000 {
            let lo = n.to_be_bytes().to_vec();
            let hi = Some((n + 1).to_be_bytes().to_vec());
            tree.insert(Span { lo, hi }, u64::from(n));
        }
        fn depth(link: &Link) -> usize {
            link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
        }
        assert!(depth(&tree.root) < 80, "depth {}", depth(&tree.root));
    }
}
