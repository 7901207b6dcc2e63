//! Where a page ends, as text that means nothing to its bearer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Time;

/// A row's place in the order of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// What the row is ordered by before creation time and id, one text for each
    /// expression of the order, as Postgres spells it.
    pub keys: Vec<Option<String>>,
    /// `created_at`.
    pub created: Time,
    /// The row's id.
    pub id: Uuid,
}

impl Cursor {
    /// The cursor of the query with this fingerprint.
    pub(crate) fn encode(&self, fingerprint: u64) -> String {
        // Strings and numbers always serialize.
        let json = serde_json::to_vec(&(fingerprint, self)).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Reads a cursor; `None` if it is none, or another query's.
    pub(crate) fn decode(text: &str, fingerprint: u64) -> Option<Cursor> {
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (of, cursor): (u64, Cursor) = serde_json::from_slice(&json).ok()?;
        (of == fingerprint).then_some(cursor)
    }
}
