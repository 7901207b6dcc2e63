//! The dependencies between the transactions of a history, as a graph.

use std::collections::HashSet;

use super::anomaly::Dependency;
use super::{History, Outcome, appends, reads};

/// For each node, the nodes that come after it. The nodes behind the transactions are points
/// in time, which keep the number of edges small.
pub(super) type Edges = Vec<Vec<(usize, Dependency)>>;

pub(super) fn edges(history: &History<'_>) -> Edges {
    let mut edges: Edges = vec![Vec::new(); history.transactions.len()];
    let mut add = |from: usize, to: usize, dependency| {
        if from != to {
            edges[from].push((to, dependency));
        }
    };
    for (key, order) in &history.orders {
        for pair in order.windows(2) {
            if let (Some(first), Some(second)) = (history.writer(*key, pair[0]), history.writer(*key, pair[1])) {
                add(first, second, Dependency::Write);
            }
        }
    }
    for (at, key, list) in reads(history.transactions) {
        // What the transaction has appended itself says nothing about others.
        let own: HashSet<u64> = appends(&history.transactions[at], key).collect();
        let last = list.iter().rev().find(|value| !own.contains(*value));
        if let Some(first) = last.and_then(|value| history.writer(key, *value)) {
            add(first, at, Dependency::Read);
        }
        let next = history.orders[&key].iter().skip(list.len()).find(|value| !own.contains(*value));
        if let Some(second) = next.and_then(|value| history.writer(key, *value)) {
            add(at, second, Dependency::AntiDependency);
        }
    }
    add_times(history, &mut edges);
    edges
}

/// Adds that a transaction comes after all that were answered before it was sent: by a chain
/// of points in time, one for each answer.
fn add_times(history: &History<'_>, edges: &mut Edges) {
    let transactions = history.transactions.iter().enumerate();
    let mut answered: Vec<(u64, usize)> = transactions
        .clone()
        .filter(|(_, each)| each.outcome == Outcome::Committed)
        .map(|(at, each)| (each.end, at))
        .collect();
    answered.sort_unstable();
    let first = edges.len();
    edges.resize(first + answered.len(), Vec::new());
    for (point, (_, at)) in answered.iter().enumerate() {
        edges[*at].push((first + point, Dependency::Time));
        if point + 1 < answered.len() {
            edges[first + point].push((first + point + 1, Dependency::Time));
        }
    }
    for (at, transaction) in transactions.filter(|(at, _)| history.happened[*at].is_some()) {
        let before = answered.partition_point(|(end, _)| *end < transaction.begin);
        if let Some(point) = before.checked_sub(1) {
            edges[first + point].push((at, Dependency::Time));
        }
    }
}
