//! Cycles of dependencies.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::anomaly::{Anomaly, Dependency};
use super::dependencies::Edges;

/// The number of nodes of a component from which the shortest cycle is searched for: every
/// node of it is on a cycle, and a large component has many.
const MAX_STARTS: usize = 64;

/// A cycle, as short as possible, of each set of transactions that depend on each other. If
/// there is none, the same with the order in time: a cycle without it says more.
pub(super) fn find(edges: &Edges, transactions: usize) -> Vec<Anomaly> {
    let timeless: Edges = edges
        .iter()
        .map(|edges| edges.iter().copied().filter(|(_, dependency)| *dependency != Dependency::Time).collect())
        .collect();
    let found = of_each_component(&timeless, transactions);
    if found.is_empty() { of_each_component(edges, transactions) } else { found }
}

fn of_each_component(edges: &Edges, transactions: usize) -> Vec<Anomaly> {
    let components = components(edges);
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (node, component) in components.iter().enumerate() {
        members.entry(*component).or_default().push(node);
    }
    let shortest_of = |nodes: &Vec<usize>| {
        let starts = nodes.iter().filter(|node| **node < transactions).take(MAX_STARTS);
        let cycle = starts.filter_map(|start| shortest(edges, &components, *start)).min_by_key(Vec::len)?;
        let of = cycle.into_iter().filter(|(node, _)| *node < transactions).collect();
        Some(Anomaly::Cycle { of })
    };
    members.values().filter(|nodes| nodes.len() > 1).filter_map(shortest_of).collect()
}

/// The shortest way from a node back to itself, by breadth-first search.
fn shortest(edges: &Edges, components: &[usize], start: usize) -> Option<Vec<(usize, Dependency)>> {
    let mut came: HashMap<usize, (usize, Dependency)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for (to, dependency) in edges[node].iter().filter(|(to, _)| components[*to] == components[start]) {
            if *to == start {
                let mut cycle = vec![(node, *dependency)];
                let mut at = node;
                while at != start {
                    let (before, by) = came[&at];
                    cycle.push((before, by));
                    at = before;
                }
                cycle.reverse();
                return Some(cycle);
            }
            came.entry(*to).or_insert_with(|| {
                queue.push_back(*to);
                (node, *dependency)
            });
        }
    }
    None
}

/// The strongly connected component of each node (Tarjan's algorithm, without recursion).
fn components(edges: &Edges) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let (mut index, mut low, mut component) = (vec![NONE; edges.len()], vec![0; edges.len()], vec![NONE; edges.len()]);
    let (mut next, mut next_component, mut stack) = (0, 0, Vec::new());
    for root in 0..edges.len() {
        if index[root] != NONE {
            continue;
        }
        // Nodes in progress, each with the number of its edges that were followed.
        let mut path = vec![(root, 0)];
        while let Some((node, followed)) = path.last_mut() {
            let node = *node;
            if *followed == 0 {
                (index[node], low[node]) = (next, next);
                next += 1;
                stack.push(node);
            }
            if let Some((to, _)) = edges[node].get(*followed) {
                *followed += 1;
                if index[*to] == NONE {
                    path.push((*to, 0));
                } else if component[*to] == NONE {
                    low[node] = low[node].min(index[*to]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                low[*parent] = low[*parent].min(low[node]);
            }
            if low[node] == index[node] {
                while let Some(member) = stack.pop() {
                    component[member] = next_component;
                    if member == node {
                        break;
                    }
                }
                next_component += 1;
            }
        }
    }
    component
}
