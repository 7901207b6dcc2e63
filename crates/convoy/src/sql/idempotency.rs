//! Stores the responses of mutations by idempotency key, so that a repeated call returns the
//! same response.

use uuid::Uuid;

use super::{Bind, Statement};

/// The constraint that a repeated key violates.
pub(crate) const CONSTRAINT: &str = "idempotency_key";

/// The key of a stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The function's name.
    pub function: String,
    /// The caller; empty if the program has no context.
    pub identity: String,
    /// The caller's idempotency key.
    pub key: String,
    /// A hash of the input.
    pub body: Uuid,
}

/// Stores responses, in the transactions of their mutations.
pub(crate) fn store_responses(entries: &[(&Entry, &str)]) -> Statement {
    let mut sql = Statement::new();
    sql.insert_responses(entries);
    sql
}

impl Statement {
    /// `insert into …`: the responses and their keys.
    pub(super) fn insert_responses(&mut self, entries: &[(&Entry, &str)]) -> &mut Statement {
        let texts = |of: fn(&(&Entry, &str)) -> String| Bind::Texts(entries.iter().map(of).collect());
        self.push("insert into _convoy.idempotency (function, identity, key, body, result)\nselect *\nfrom unnest(");
        self.bind(texts(|(entry, _)| entry.function.clone())).push("::text[], ");
        self.bind(texts(|(entry, _)| entry.identity.clone())).push("::text[], ");
        self.bind(texts(|(entry, _)| entry.key.clone())).push("::text[], ");
        self.bind(Bind::Uuids(entries.iter().map(|(entry, _)| entry.body).collect())).push("::uuid[], ");
        self.bind(texts(|(_, result)| (*result).to_owned())).push("::text[])")
    }
}

/// The stored response of an earlier call: `body, result`.
pub(crate) fn find(entry: &Entry) -> Statement {
    let mut sql = Statement::new();
    sql.push("select body, result\nfrom _convoy.idempotency\nwhere key = ").bind(Bind::Text(entry.key.clone()));
    sql.push(" and function = ").bind(Bind::Text(entry.function.clone()));
    sql.push(" and identity = ").bind(Bind::Text(entry.identity.clone()));
    sql
}

/// Deletes some responses older than a day; returns a row if there were any.
pub(crate) fn trim() -> Statement {
    super::trim("idempotency", "at < now() - interval '24 hours'")
}
