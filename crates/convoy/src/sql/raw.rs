//! Statements of the user's own, by PREPARE and EXECUTE: so Postgres itself finds
//! out what type each value has, from its text, whatever types there are.

use xxhash_rust::xxh3::xxh3_128;

use super::Statement;
use crate::op::Raw;

/// What a session knows the statement by.
pub fn name(raw: &Raw) -> String {
    format!("convoy_{:032x}", xxh3_128(body(raw).as_bytes()))
}

/// Prepares it. What is no single query is refused by Postgres.
pub fn prepare(raw: &Raw) -> Statement {
    let mut sql = Statement::new();
    sql.push("prepare ").ident(&name(raw)).push(" as ");
    // The user's own code, as they wrote it: that is what this operation is for.
    sql.text.push_str(body(raw));
    sql
}

/// How far a setting reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The session, which is ours.
    Session,
    /// The transaction: the session is lent.
    Transaction,
}

/// Runs it with its values. Our sessions plan a statement once, for values
/// unknown; what the user's is best planned for, nobody knows but Postgres.
pub fn execute(raw: &Raw, scope: Scope) -> Statement {
    let mut sql = Statement::new();
    let set = match scope {
        Scope::Session => "set plan_cache_mode = ",
        Scope::Transaction => "set local plan_cache_mode = ",
    };
    sql.push(set).push("auto; ").executed(raw).push("; ").push(set).push("force_generic_plan");
    sql
}

impl Statement {
    fn executed(&mut self, raw: &Raw) -> &mut Statement {
        self.push("execute ").ident(&name(raw));
        let mut separator = " (";
        for value in &raw.values {
            self.push(separator);
            match value {
                Some(text) => self.literal(text),
                None => self.push("null"),
            };
            separator = ", ";
        }
        if !raw.values.is_empty() {
            self.push(")");
        }
        self
    }
}

/// Forgets a prepared statement.
pub fn deallocate(name: &str) -> Statement {
    let mut sql = Statement::new();
    sql.push("deallocate ").ident(name);
    sql
}

/// Counts this transaction as a stranger's again, so that the triggers log what
/// the user's statement does.
pub fn unmark() -> Statement {
    Statement::fixed("select set_config('convoy.writer', '', true)")
}

fn body(raw: &Raw) -> &str {
    raw.text.trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}
