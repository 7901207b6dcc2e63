//! Index of the shared live queries, by function and arguments and by the share keys
//! of their results.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dispatch::Seen;
use crate::live::QueryId;
use crate::live::share_key::{ShareKey, value_in};

/// A function with its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryKey {
    /// The function's name.
    pub function: Arc<str>,
    /// Its input in canonical JSON.
    pub input: Arc<str>,
}

/// The shared queries. Private queries are not in the index.
#[derive(Debug, Default)]
pub(super) struct QueryIndex {
    shapes: HashMap<QueryKey, Vec<Shape>>,
}

/// Queries whose share keys have the same context fields. A function reads few
/// different sets of fields, so a query key has few shapes, however many callers.
#[derive(Debug)]
struct Shape {
    /// The context fields, sorted.
    keys: Vec<String>,
    /// The queries by the values of these fields.
    queries: HashMap<Vec<String>, QueryId>,
}

impl QueryIndex {
    /// Whether there is a shared query of this key.
    pub(super) fn has(&self, query_key: &QueryKey) -> bool {
        self.shapes.contains_key(query_key)
    }

    /// The query that may serve a caller with this identity.
    pub(super) fn find(&self, query_key: &QueryKey, identity: &Seen) -> Option<QueryId> {
        self.shapes.get(query_key)?.iter().find_map(|shape| {
            let texts: Option<Vec<String>> =
                shape.keys.iter().map(|key| value_in(identity, key).map(str::to_owned)).collect();
            shape.queries.get(&texts?).copied()
        })
    }

    /// The context fields that results of this key are known to depend on.
    pub(super) fn keys(&self, query_key: &QueryKey) -> &[String] {
        let shapes = self.shapes.get(query_key).map_or(&[][..], Vec::as_slice);
        shapes.iter().map(|shape| shape.keys.as_slice()).max_by_key(|keys| keys.len()).unwrap_or_default()
    }

    /// Adds a query. Returns another query that has the same entry already, if there is
    /// one.
    pub(super) fn insert(&mut self, query_key: &QueryKey, share: &ShareKey, query: QueryId) -> Option<QueryId> {
        let (keys, texts) = parts(share)?;
        let shapes = self.shapes.entry(query_key.clone()).or_default();
        let at = shapes.iter().position(|shape| shape.keys == keys).unwrap_or_else(|| {
            shapes.push(Shape { keys, queries: HashMap::new() });
            shapes.len() - 1
        });
        let listed = *shapes[at].queries.entry(texts).or_insert(query);
        (listed != query).then_some(listed)
    }

    /// Removes a query.
    pub(super) fn remove(&mut self, query_key: &QueryKey, share: &ShareKey, query: QueryId) {
        let (Some((keys, texts)), Some(shapes)) = (parts(share), self.shapes.get_mut(query_key)) else { return };
        if let Some(at) = shapes.iter().position(|shape| shape.keys == keys) {
            if shapes[at].queries.get(&texts) == Some(&query) {
                shapes[at].queries.remove(&texts);
            }
            if shapes[at].queries.is_empty() {
                shapes.remove(at);
            }
        }
        if shapes.is_empty() {
            self.shapes.remove(query_key);
        }
    }
}

fn parts(share: &ShareKey) -> Option<(Vec<String>, Vec<String>)> {
    let ShareKey::Context(seen) = share else { return None };
    let pairs: Option<Vec<(String, String)>> =
        seen.iter().map(|(key, text)| Some((key.clone(), text.clone()?))).collect();
    Some(pairs?.into_iter().unzip())
}
