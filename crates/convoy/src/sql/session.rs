//! Transactions with settings of their own, for pooled sessions, and the reset of sessions.

use super::Statement;
use crate::op::RunAs;

/// Checks that the database answers.
pub(crate) fn ping() -> Statement {
    Statement::fixed("select 1")
}

/// Begins a transaction with settings that end with it, and under a role. Uses the simple
/// protocol, and takes no snapshot.
pub(crate) fn begin(begin: &'static str, settings: &[(&'static str, String)], run_as: Option<&RunAs>) -> Statement {
    let mut sql = Statement::fixed(begin);
    for (name, value) in settings {
        sql.push("; set local ").push(name).push(" = ").literal(value);
    }
    if run_as.is_some() {
        sql.push("; ").role(run_as);
    }
    sql
}

/// Switches the rest of a transaction to a role with settings; `None` is that of the
/// connection.
pub(crate) fn run_as(run_as: Option<&RunAs>) -> Statement {
    let mut sql = Statement::default();
    sql.role(run_as);
    sql
}

impl Statement {
    fn role(&mut self, run_as: Option<&RunAs>) -> &mut Statement {
        let Some(RunAs { role, settings }) = run_as else { return self.push("set local role to default") };
        self.push("set local role ").ident(role);
        for (name, value) in settings {
            self.push("; set local ");
            // In the case of the name: quoted like a role, each part by itself.
            for (at, part) in name.split('.').enumerate() {
                self.push(if at == 0 { "" } else { "." }).ident(part);
            }
            self.push(" = ").literal(value);
        }
        self
    }
}

/// Several statements in one message of the simple protocol, so that they run in the same
/// session. After an error, the rest is not run.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// The text so far.
    pub sql: Statement,
    statements: usize,
    /// The position of the statement whose rows are returned.
    pub rows: Option<usize>,
    /// The position of the statement that ends the transaction.
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

    /// Adds the statement whose rows are returned.
    pub(crate) fn rows_of(&mut self, statement: impl FnOnce(&mut Statement) -> &mut Statement) {
        self.rows = Some(self.statements);
        statement(self.then(""));
    }

    /// Puts the begin of a transaction in front.
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

    /// Adds statements that reset what user statements left in a direct session, after the end
    /// of their transaction. The last one returns the number of statements that the driver has
    /// prepared, and the number of others. It is prepared here unless it `is_prepared`.
    ///
    /// `raw_failed`: a user statement has failed, and may have stayed prepared.
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

    /// Ends a transaction in a pooled session and resets the session. Before a commit, which may
    /// fail, it removes what a rollback would not.
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

/// Resets what a committed transaction may leave in its session, and a rollback undoes. `reset
/// all` returns to the settings of the start-up message.
const RESET: [&str; 6] =
    ["reset session authorization", "reset role", "reset all", "unlisten *", "close all", "discard temp"];

/// Resets the state of `currval` and `lastval`, which a rollback does not undo either. Runs
/// after the end of the transaction, because deferred triggers may use that state.
const DISCARD_SEQUENCES: &str = "discard sequences";

/// The driver's start-up settings, since a pooled session has those of the pooler.
const RESET_POOLED: [&str; 4] = [
    "set datestyle = 'ISO, MDY'",
    "set client_encoding = 'UTF8'",
    "set timezone = 'UTC'",
    "set application_name = 'convoy'",
];

/// Removes what a rollback does not undo. Statements that a pooler has prepared are not made by
/// PREPARE, and stay.
const UNLOCK: [&str; 2] = [
    "select pg_catalog.pg_advisory_unlock_all()",
    "do $$ declare prepared text; begin
  for prepared in select name from pg_catalog.pg_prepared_statements where from_sql loop
    execute pg_catalog.format('deallocate %I', prepared);
  end loop;
end $$",
];

/// Deallocates what Convoy has prepared by PREPARE, except the statement that resets the
/// session. Statements that users have prepared are counted, and end the session.
const DEALLOCATE_RAW: &str = "do $$ declare prepared text; begin
  for prepared in
    select name from pg_catalog.pg_prepared_statements
    where from_sql and pg_catalog.starts_with(name, 'convoy_') and name <> 'convoy_reset'
  loop
    execute pg_catalog.format('deallocate %I', prepared);
  end loop;
end $$";

/// The same in a direct session, where the driver's statements stay prepared: returns the
/// number of those, and of others. It is prepared, under the name that it leaves out, and
/// uses the function instead of the view, because planning it would take longer than most
/// user statements.
const UNLOCK_AND_COUNT: &str = "select pg_catalog.pg_advisory_unlock_all(), \
    count(*) filter (where not from_sql), count(*) filter (where from_sql and name <> 'convoy_reset') \
    from pg_catalog.pg_prepared_statement()";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_settings_are_quoted() {
        let settings = [("app.user".to_owned(), r"O'Neill\ada".to_owned())].into();
        let caller = RunAs { role: "my \"role\"".into(), settings };
        assert_eq!(
            run_as(Some(&caller)).text(),
            r#"set local role "my ""role"""; set local "app"."user" =  E'O''Neill\\ada'"#
        );
        assert_eq!(run_as(None).text(), "set local role to default");
        assert!(begin("begin", &[], Some(&caller)).text().starts_with("begin; set local role "));
        assert_eq!(begin("begin", &[], None).text(), "begin");
    }

    #[test]
    fn a_transaction_leaves_no_state_in_a_pooled_session() {
        let settings = [("statement_timeout", "10".to_owned()), ("plan_cache_mode", "auto".to_owned())];
        assert_eq!(
            begin("begin isolation level serializable", &settings, None).text(),
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
