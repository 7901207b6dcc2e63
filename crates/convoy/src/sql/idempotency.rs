//! What keyed mutations have answered, so that a repeated one is answered alike.

use uuid::Uuid;

use super::{Bind, Statement};

/// The constraint that a repeated key runs into.
pub(crate) const CONSTRAINT: &str = "idempotency_key";

/// Names one keyed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The function's name.
    pub function: String,
    /// Who called; empty where the program has no context.
    pub identity: String,
    /// The caller's key.
    pub key: String,
    /// A hash of the input.
    pub body: Uuid,
}

/// Keeps answers, in the transactions of their mutations.
pub(crate) fn keep(entries: &[(&Entry, &str)]) -> Statement {
    let mut sql = Statement::new();
    sql.keep(entries);
    sql
}

impl Statement {
    /// `insert into …`: the answers and what they are found by.
    pub(super) fn keep(&mut self, entries: &[(&Entry, &str)]) -> &mut Statement {
        let texts = |of: fn(&(&Entry, &str)) -> String| Bind::Texts(entries.iter().map(of).collect());
        self.push("insert into _convoy.idempotency (function, identity, key, body, result)\nselect *\nfrom unnest(");
        self.bind(texts(|(entry, _)| entry.function.clone())).push("::text[], ");
        self.bind(texts(|(entry, _)| entry.identity.clone())).push("::text[], ");
        self.bind(texts(|(entry, _)| entry.key.clone())).push("::text[], ");
        self.bind(Bind::Uuids(entries.iter().map(|(entry, _)| entry.body).collect())).push("::uuid[], ");
        self.bind(texts(|(_, result)| (*result).to_owned())).push("::text[])")
    }
}

/// The answer of an earlier call: `body, result`.
pub(crate) fn find(entry: &Entry) -> Statement {
    let mut sql = Statement::new();
    sql.push("select body, result\nfrom _convoy.idempotency\nwhere key = ").bind(Bind::Text(entry.key.clone()));
    sql.push(" and function = ").bind(Bind::Text(entry.function.clone()));
    sql.push(" and identity = ").bind(Bind::Text(entry.identity.clone()));
    sql
}

/// Forgets answers older than a day, some at a time: a row if there were any.
pub(crate) fn trim() -> Statement {
    Statement::fixed(
        "with old as (
  delete from _convoy.idempotency
  where ctid = any(array(
    select ctid from _convoy.idempotency
    where at < now() - interval '24 hours'
    limit 10000
  ))
  returning 1
)
select 1 from old
limit 1",
    )
}
