//! The ids of a Convex export: which exist, their new ids, and references to them.
//!
//! Convex's ids are short texts of letters and digits. A text that is the id of a document
//! in the export is a reference, wherever it is in a document, keys of records included.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::lines::named_uuid;

/// No id of Convex is shorter or longer.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;

/// The ids of an export, by their hashes: 32 bytes for each document.
#[derive(Default)]
pub(super) struct KnownIds {
    tables: Vec<Arc<str>>,
    ids: HashMap<u128, u16>,
}

#[derive(Deserialize)]
struct IdOnly {
    _id: String,
}

/// The `_id` in a line.
pub(super) fn id_in(line: &str) -> Option<String> {
    serde_json::from_str::<IdOnly>(line).ok().map(|line| line._id)
}

impl KnownIds {
    /// Adds a table; its number is for [`KnownIds::add`].
    pub(super) fn add_table(&mut self, name: &str) -> u16 {
        self.tables.push(Arc::from(name));
        u16::try_from(self.tables.len() - 1).expect("an export has fewer than 65,536 tables")
    }

    /// Adds the id of a document.
    pub(super) fn add(&mut self, table: u16, id: &str) {
        self.ids.insert(xxh3_128(id.as_bytes()), table);
    }

    /// The uuid that replaces an id.
    pub(super) fn uuid_for(table: &str, id: &str) -> Uuid {
        named_uuid(&format!("convex\n{table}\n{id}"))
    }

    /// The new id of a document that is in the export.
    pub(super) fn new_id(&self, id: &str) -> Option<String> {
        let table = &self.tables[usize::from(*self.ids.get(&xxh3_128(id.as_bytes()))?)];
        Some(format!("{table}:{}", KnownIds::uuid_for(table, id)))
    }

    /// The JSON text with new ids for all known ones; everything else stays as it is written.
    pub(super) fn rewrite(&self, json: &str) -> String {
        let mut out = String::with_capacity(json.len() + 64);
        let mut rest = json;
        while let Some((before, after)) = rest.split_once('"') {
            out.push_str(before);
            out.push('"');
            let end = string_end(after);
            let text = &after[..end];
            match self.reference(text) {
                Some(id) => out.push_str(serde_json::Value::from(id).to_string().trim_matches('"')),
                None => out.push_str(text),
            }
            out.push('"');
            rest = after.get(end + 1..).unwrap_or_default();
        }
        out.push_str(rest);
        out
    }

    fn reference(&self, text: &str) -> Option<String> {
        let is_id = LENGTHS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_id { self.new_id(text) } else { None }
    }
}

/// Where the string ends whose first character this text begins with. The JSON is valid.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ids_are_rewritten_wherever_they_are_and_nothing_else() {
        let mut known = KnownIds::default();
        let users = known.add_table("users");
        let id = "jd7f9q2v5n8x1m4k6p3r0t2w9y5b8c1d";
        known.add(users, id);
        let new = known.new_id(id).expect("known");
        assert!(new.starts_with("users:") && known.new_id("jd7f9q2v5n8x1m4k6p3r0t2w9y5b8c1e").is_none());
        let json = format!(r#"{{"by":"{id}","likes":{{"{id}":[1.0,"{id}"]}},"text":"\"{id}\\","n":1e400}}"#);
        let expected = format!(r#"{{"by":"{new}","likes":{{"{new}":[1.0,"{new}"]}},"text":"\"{id}\\","n":1e400}}"#);
        assert_eq!(known.rewrite(&json), expected);
    }
}
