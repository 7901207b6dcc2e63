//! Pagination cursors: positions where pages end, as opaque text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Time;

/// The position of a row in the order of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The sort keys before creation time and id, one for each expression of the order, in
    /// the text form of Postgres.
    pub keys: Vec<Option<String>>,
    /// `created_at`.
    pub created: Time,
    /// The row's id.
    pub id: Uuid,
}

/// Where a page ends, and the next one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    /// Before the first row: the end of a page without rows.
    Start,
    /// At a row.
    Row(Cursor),
}

impl Position {
    /// Encodes the position for the query with this fingerprint.
    pub(crate) fn encode(&self, fingerprint: u64) -> String {
        let cursor = match self {
            Position::Start => None,
            Position::Row(cursor) => Some(cursor),
        };
        // Strings and numbers always serialize.
        let json = serde_json::to_vec(&(fingerprint, cursor)).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Decodes a position; `None` if it is invalid or belongs to another query.
    pub(crate) fn decode(text: &str, fingerprint: u64) -> Option<Position> {
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (of, cursor): (u64, Option<Cursor>) = serde_json::from_slice(&json).ok()?;
        (of == fingerprint).then(|| cursor.map_or(Position::Start, Position::Row))
    }
}
