//! Transactions that bring their own settings, for sessions that are lent.

use super::Statement;

/// Asks for nothing but an answer.
pub(crate) fn ping() -> Statement {
    Statement::fixed("select 1")
}

/// Begins a transaction, with settings that end with it. For the simple protocol.
/// None of this takes a snapshot.
pub(crate) fn begin(begin: &'static str, settings: &[(&'static str, String)]) -> Statement {
    let mut sql = Statement::fixed(begin);
    for (name, value) in settings {
        sql.push("; set local ").push(name).push(" = ").literal(value);
    }
    sql
}

/// Several statements in one message of the simple protocol, which all reach the same
/// session. What follows one that fails is not run.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// The text so far.
    pub sql: Statement,
    statements: usize,
    /// Which of them gives the rows that are asked for.
    pub rows: Option<usize>,
    /// Which of them ends the transaction.
    pub end: Option<usize>,
}

impl Script {
    /// Adds a statement, or the beginning of one.
    pub(crate) fn then(&mut self, text: &'static str) -> &mut Statement {
        if self.statements > 0 {
            self.sql.push("; ");
        }
        self.statements += 1;
        self.sql.push(text)
    }

    /// Adds the statement whose rows are asked for.
    pub(crate) fn rows_of(&mut self, statement: impl FnOnce(&mut Statement) -> &mut Statement) {
        self.rows = Some(self.statements);
        statement(self.then(""));
    }

    /// Begins a transaction before all of it.
    pub(crate) fn begin_with(mut self, begin: &'static str) -> Script {
        let mut script = Script { statements: self.statements + 1, ..Script::default() };
        script.sql.push(begin).push("; ").text.push_str(&std::mem::take(&mut self.sql.text));
        script.rows = self.rows.map(|at| at + 1);
        script
    }

    /// Adds the end of the transaction, by `commit` or `rollback`.
    pub(crate) fn end_with(&mut self, how: &'static str) {
        self.end = Some(self.statements);
        self.then(how);
    }

    /// Adds what undoes in a session of ours what statements of the user's own left
    /// there, after the transaction they were in has ended. The last statement tells how many
    /// statements the driver has prepared now, and how many others are. The first time it is
    /// prepared, unless it `is_prepared`.
    ///
    /// Where one of those statements has failed, it may have stayed prepared.
    pub(crate) fn reset(&mut self, how: &'static str, raw_failed: bool, is_prepared: bool) {
        if how == "commit" {
            self.add_all(&RESET);
        }
        self.then(DISCARD_SEQUENCES);
        if raw_failed {
            self.then(DEALLOCATE_RAW);
        }
        if !is_prepared {
            self.then("prepare convoy_reset as ").push(UNLOCK_AND_COUNT);
        }
        self.then("execute convoy_reset");
    }

    /// The end of a transaction in a session that is lent, which leaves nothing there:
    /// where the commit fails, what no rollback undoes is gone already.
    pub(crate) fn end_pooled(how: &'static str) -> Script {
        let mut script = Script::default();
        if how == "commit" {
            script.add_all(&UNLOCK);
        }
        script.end_with(how);
        if how == "commit" {
            script.add_all(&RESET);
            script.add_all(&RESET_POOLED);
        }
        script.then(DISCARD_SEQUENCES);
        script.add_all(&UNLOCK);
        script
    }

    fn add_all(&mut self, texts: &[&'static str]) {
        for text in texts {
            self.then(text);
        }
    }
}

/// What a transaction that commits may leave in its session, and a rollback undoes. The
/// settings of the start-up message and its options are what `reset` returns to.
const RESET: [&str; 6] =
    ["reset session authorization", "reset role", "reset all", "unlisten *", "close all", "discard temp"];

/// What `currval` and `lastval` know outlives a rollback as well, but belongs to the
/// transaction until its end: deferred triggers may ask for it.
const DISCARD_SEQUENCES: &str = "discard sequences";

/// The start-up settings of the driver. Those of a pooler's session are the pooler's.
const RESET_POOLED: [&str; 4] = [
    "set datestyle = 'ISO, MDY'",
    "set client_encoding = 'UTF8'",
    "set timezone = 'UTC'",
    "set application_name = 'convoy'",
];

/// What a rollback does not undo. Statements that a pooler has prepared are not made by
/// PREPARE, and stay.
const UNLOCK: [&str; 2] = [
    "select pg_catalog.pg_advisory_unlock_all()",
    "do $$ declare prepared text; begin
  for prepared in select name from pg_catalog.pg_prepared_statements where from_sql loop
    execute pg_catalog.format('deallocate %I', prepared);
  end loop;
end $$",
];

/// Forgets what we have prepared by PREPARE, but for what resets the session. What users
/// have prepared is counted, and ends the session.
const DEALLOCATE_RAW: &str = "do $$ declare prepared text; begin
  for prepared in
    select name from pg_catalog.pg_prepared_statements
    where from_sql and pg_catalog.starts_with(name, 'convoy_') and name <> 'convoy_reset'
  loop
    execute pg_catalog.format('deallocate %I', prepared);
  end loop;
end $$";

/// The same in a session of ours, where the statements of the driver stay prepared: tells
/// how many they are, and how many others there are. It is prepared, by the name that it
/// leaves out, and asks the function instead of the view: planning it would take longer
/// than most statements of users do.
const UNLOCK_AND_COUNT: &str = "select pg_catalog.pg_advisory_unlock_all(), \
    count(*) filter (where not from_sql), count(*) filter (where from_sql and name <> 'convoy_reset') \
    from pg_catalog.pg_prepared_statement()";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_transaction_stays_in_its_session() {
        let settings = [("statement_timeout", "10".to_owned()), ("plan_cache_mode", "auto".to_owned())];
        assert_eq!(
            begin("begin isolation level serializable", &settings).text(),
            "begin isolation level serializable; set local statement_timeout = '10'; set local plan_cache_mode = 'auto'"
        );
        let end_with = |how: &'static str| Script::end_pooled(how).sql.text().to_owned();
        let (unlock, reset) = (UNLOCK.join("; "), RESET.join("; "));
        assert_eq!(end_with("rollback"), format!("rollback; {DISCARD_SEQUENCES}; {unlock}"));
        assert_eq!(
            end_with("commit"),
            format!("{unlock}; commit; {reset}; {}; {DISCARD_SEQUENCES}; {unlock}", RESET_POOLED.join("; "))
        );
        assert_eq!(Script::end_pooled("commit").end, Some(UNLOCK.len()));
    }
}
