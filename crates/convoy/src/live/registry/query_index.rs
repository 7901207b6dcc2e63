//! Which live query serves whom: queries by what they ask, and by what their
//! results have looked at of their callers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dispatch::Seen;
use crate::live::invalidate::QueryId;
use crate::live::share_key::{Share, said_of};

/// A question: a function and its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryKey {
    /// The function's name.
    pub function: Arc<str>,
    /// Its input in canonical JSON.
    pub input: Arc<str>,
}

/// The shared queries by their keys. Queries that are not shared are not here.
#[derive(Debug, Default)]
pub(super) struct Variants {
    topics: HashMap<QueryKey, Vec<Shape>>,
}

/// Queries that have looked at the same keys. Functions look at the same few, so
/// a key has few shapes, however many callers.
#[derive(Debug)]
struct Shape {
    keys: Vec<String>,
    queries: HashMap<Vec<String>, QueryId>,
}

impl Variants {
    /// Whether anyone asks this, in a way that others may share.
    pub(super) fn has(&self, query_key: &QueryKey) -> bool {
        self.topics.contains_key(query_key)
    }

    /// The query that serves a caller of this identity.
    pub(super) fn find(&self, query_key: &QueryKey, identity: &Seen) -> Option<QueryId> {
        self.topics.get(query_key)?.iter().find_map(|shape| {
            let texts: Option<Vec<String>> =
                shape.keys.iter().map(|key| said_of(identity, key).map(str::to_owned)).collect();
            shape.queries.get(&texts?).copied()
        })
    }

    /// The keys that results of this key are known to look at.
    pub(super) fn keys(&self, query_key: &QueryKey) -> &[String] {
        let shapes = self.topics.get(query_key).map_or(&[][..], Vec::as_slice);
        shapes.iter().map(|shape| shape.keys.as_slice()).max_by_key(|keys| keys.len()).unwrap_or_default()
    }

    /// Lists a query. Gives the one that is listed so already, if there is another.
    pub(super) fn list(&mut self, query_key: &QueryKey, share: &Share, query: QueryId) -> Option<QueryId> {
        let (keys, texts) = parts(share)?;
        let shapes = self.topics.entry(query_key.clone()).or_default();
        let at = shapes.iter().position(|shape| shape.keys == keys).unwrap_or_else(|| {
            shapes.push(Shape { keys, queries: HashMap::new() });
            shapes.len() - 1
        });
        let listed = *shapes[at].queries.entry(texts).or_insert(query);
        (listed != query).then_some(listed)
    }

    /// Takes a query off the list.
    pub(super) fn unlist(&mut self, query_key: &QueryKey, share: &Share, query: QueryId) {
        let (Some((keys, texts)), Some(shapes)) = (parts(share), self.topics.get_mut(query_key)) else { return };
        if let Some(at) = shapes.iter().position(|shape| shape.keys == keys) {
            if shapes[at].queries.get(&texts) == Some(&query) {
                shapes[at].queries.remove(&texts);
            }
            if shapes[at].queries.is_empty() {
                shapes.remove(at);
            }
        }
        if shapes.is_empty() {
            self.topics.remove(query_key);
        }
    }
}

fn parts(share: &Share) -> Option<(Vec<String>, Vec<String>)> {
    let Share::With(seen) = share else { return None };
    let pairs: Option<Vec<(String, String)>> =
        seen.iter().map(|(key, text)| Some((key.clone(), text.clone()?))).collect();
    Some(pairs?.into_iter().unzip())
}
