//! One connection: its statements, its transactions, its prepared statements, and user
//! statements.
//!
//! User statements run by PREPARE and EXECUTE in the simple protocol, so that values of any
//! type are sent and received as Postgres' text.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Column, Executor, PgConnection, Row as _, SqlSafeStr, TypeInfo, ValueRef};

use super::raw_reads::RawReads;
use super::recorder::Recorder;
use super::{Begin, DbError, Isolation, Row, Setup, row, setup};
use crate::failpoints::{Failpoint, Failpoints};
use crate::op::Raw;
use crate::sql::plan::Plan;
use crate::sql::session::Script;
use crate::sql::{self, Statement};

/// The most user statements that a session remembers to be single statements.
const MAX_KNOWN_SINGLE: usize = 4_096;

/// A connection and the state of its session.
pub(super) struct PgSession {
    pub connection: PgConnection,
    /// The settings that each transaction applies, if it is pooled; `None` if it is direct.
    setup: Option<Arc<Setup>>,
    /// The fingerprints of user statements known to be single statements.
    known_single: HashSet<u128>,
    /// The number of names given to user statements.
    names: u64,
    /// Whether the statement that resets the session is prepared.
    pub(super) reset_prepared: bool,
    /// Whether a user statement has run in the current transaction.
    pub(super) ran_raw: bool,
    /// Whether one of those has failed, and so may still be prepared.
    pub(super) raw_failed: bool,
    /// Whether its state is unknown, so that it must not be used again.
    pub poisoned: bool,
    /// The generation of the pool when it was opened.
    pub(super) generation: u64,
    /// The failpoints of the engine.
    pub(super) failpoints: Failpoints,
    /// Records its statements.
    pub(super) recorder: Recorder,
}

impl PgSession {
    /// Creates a session without state; direct if `setup` is `None`.
    pub(super) fn new(connection: PgConnection, setup: Option<Arc<Setup>>) -> PgSession {
        PgSession {
            connection,
            setup,
            known_single: HashSet::new(),
            names: 0,
            reset_prepared: false,
            ran_raw: false,
            raw_failed: false,
            poisoned: false,
            generation: 0,
            failpoints: Failpoints::default(),
            recorder: Recorder::default(),
        }
    }

    /// Whether a pooler assigns the session for one transaction at a time.
    pub(super) fn is_pooled(&self) -> bool {
        self.setup.is_some()
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn fetch(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        let (operation, table) = (statement.operation(), statement.table().cloned());
        let (text, binds) = statement.into_parts();
        let mut arguments = PgArguments::default();
        for bind in binds {
            row::add(&mut arguments, bind)?;
        }
        // The text was built in `sql/`, from literals, checked identifiers and placeholders
        // only.
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(self.setup.is_none());
        let rows = self.recorder.record(operation, table.as_ref(), self.connection.fetch_all(query)).await?;
        Ok(rows.into_iter().map(Row::new).collect())
    }

    /// Runs a statement outside of a transaction and returns its rows.
    pub(super) async fn fetch_autocommit(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        self.begin_autocommit().await?;
        let rows = self.fetch(statement).await;
        self.end_autocommit(rows).await
    }

    /// Runs statements that cannot be prepared, or whose rows are not needed.
    pub(super) async fn execute_text(&mut self, text: impl SqlSafeStr) -> Result<(), DbError> {
        let text = text.into_sql_str();
        let operation = sql::operation_of(text.as_str());
        self.recorder.record(operation, None, self.connection.execute(sqlx::raw_sql(text))).await?;
        Ok(())
    }

    /// Runs a statement without binds, whose rows are not needed.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<(), DbError> {
        let (text, _) = statement.into_parts();
        self.execute_text(AssertSqlSafe(text)).await
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self, begin: Begin<'_>) -> Result<(), DbError> {
        match &self.setup {
            Some(setup) => self.execute(setup.begin(begin)).await,
            None if begin.sets_nothing() => self.execute_text(begin.isolation.begin_with(&self.failpoints)).await,
            None => self.execute(setup::begin(begin, &[])).await,
        }
    }

    /// Ends a transaction, by `commit` or `rollback`.
    pub(super) async fn end(&mut self, how: &'static str) -> Result<(), DbError> {
        match self.ran_raw {
            true => self.end_clean(how).await,
            false => self.execute_text(how).await,
        }
    }

    /// Prepares for a statement outside of a transaction: a pooled session begins one.
    pub(super) async fn begin_autocommit(&mut self) -> Result<(), DbError> {
        match &self.setup {
            Some(setup) => self.execute(setup.begin(Begin::plain(setup.isolation))).await,
            None => Ok(()),
        }
    }

    /// Ends what `begin_autocommit` began, and returns the result of the statement.
    pub(super) async fn end_autocommit<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        let Some(setup) = self.setup.clone() else { return result };
        match result {
            Ok(value) => self.end(setup.end()).await.map(|()| value),
            Err(error) if error.connection_lost() => Err(error),
            Err(error) => {
                self.end("rollback").await?;
                Err(error)
            }
        }
    }

    /// Runs a user statement in a transaction. Each row is a JSON object. With `logged`, the
    /// statement may write.
    pub(super) async fn raw(&mut self, raw: &Raw, logged: bool) -> Result<Vec<String>, DbError> {
        let result = self.run_raw(raw, logged, None).await.map_err(DbError::into_user_error);
        self.raw_failed |= result.is_err();
        result
    }

    /// Runs a user statement in a transaction of its own, in one message if the statement is
    /// known. Only for direct sessions.
    pub(super) async fn raw_autocommit(&mut self, raw: &Raw, isolation: Isolation) -> Result<Vec<String>, DbError> {
        let logged = isolation == Isolation::Serializable;
        let reset_prepared = self.reset_prepared;
        let result = self.run_raw(raw, logged, Some(isolation)).await.map_err(DbError::into_user_error);
        if result.as_ref().is_err_and(|error| !error.connection_lost()) {
            // The statements after the failed one were not run.
            (self.raw_failed, self.reset_prepared) = (true, reset_prepared);
            if self.ran_raw
                && let Err(error) = self.end_clean("rollback").await
            {
                tracing::debug!(cause = %error, "a rollback was not answered");
            }
        }
        result
    }

    /// Determines which tables a statement reads that has just run in this transaction.
    pub(super) async fn explain_reads(&mut self, raw: &Raw) -> Result<RawReads, DbError> {
        let reads = self.explain(raw).await;
        let reads = match reads {
            Err(error) if error.connection_lost() => return Err(error),
            Err(error) => {
                tracing::debug!(cause = %error.cause(), "the tables that a raw statement reads cannot be determined");
                self.raw_failed = true;
                RawReads::Everything
            }
            Ok(reads) => reads,
        };
        self.execute_text(sql::raw::UNDO_EXPLAIN).await?;
        Ok(reads)
    }

    async fn explain(&mut self, raw: &Raw) -> Result<RawReads, DbError> {
        let (text, _) = sql::raw::explain(&self.next_name(), raw).into_parts();
        let rows = self.connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await?;
        let explained: &str = rows
            .first()
            .ok_or_else(|| DbError::Row("no plan".into()))?
            .try_get_raw(0)?
            .as_str()
            .map_err(|error| DbError::Row(error.to_string()))?;
        let plan = Plan::parse(explained, &raw.text);
        if plan.incomplete {
            return Ok(RawReads::Everything);
        }
        let rows = self.fetch(sql::raw::resolve_plan(&plan)).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no row about a plan".into()))?;
        if row.bool(0)? {
            return Ok(RawReads::Everything);
        }
        Ok(RawReads::Tables(row.texts(1)?.into_iter().map(Arc::from).collect()))
    }

    /// Runs a user statement. With `alone`, it begins and ends a transaction for it.
    async fn run_raw(&mut self, raw: &Raw, logged: bool, alone: Option<Isolation>) -> Result<Vec<String>, DbError> {
        let name = self.next_name();
        let mut script = Script::default();
        if !self.is_known_single(raw) {
            self.check_single(&name, raw).await?;
            sql::raw::forget(&mut script, &name);
        }
        self.ran_raw = true;
        let mark = (logged && !self.failpoints.has(Failpoint::TrustMark)).then(rand::random);
        sql::raw::run(&mut script, &name, raw, mark);
        if let Some(isolation) = alone {
            script = script.begin_with(isolation.begin());
            self.add_end(&mut script, isolation.end());
        } else {
            script.then(sql::raw::RESTORE_PLAN_MODE);
        }
        let recorder = self.recorder.clone();
        let rows = recorder.record("EXECUTE", None, self.run_script(script)).await?;
        rows.iter().map(object).collect()
    }

    /// A name for a user statement that this session has not used before.
    fn next_name(&mut self) -> String {
        self.names += 1;
        sql::raw::name(self.names)
    }

    /// Whether a text is known to be one statement. User statements of the same transaction
    /// may change how the quotes of the next one are parsed.
    fn is_known_single(&self, raw: &Raw) -> bool {
        self.known_single.contains(&sql::raw::fingerprint(raw))
            && (!self.ran_raw || sql::raw::parses_the_same_always(raw))
    }

    /// Lets Postgres reject a text of several statements, by the extended protocol, which
    /// takes only one.
    async fn check_single(&mut self, name: &str, raw: &Raw) -> Result<(), DbError> {
        let (text, _) = sql::raw::prepare(name, raw).into_parts();
        self.connection.execute(sqlx::query(AssertSqlSafe(text)).persistent(false)).await?;
        if self.known_single.len() >= MAX_KNOWN_SINGLE {
            self.known_single.clear();
        }
        self.known_single.insert(sql::raw::fingerprint(raw));
        Ok(())
    }
}

/// A row as a JSON object.
fn object(row: &PgRow) -> Result<String, DbError> {
    let mut out = String::from("{");
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal())?;
        if out.len() > 1 {
            out.push(',');
        }
        push_text(&mut out, column.name());
        out.push(':');
        if value.is_null() {
            out.push_str("null");
            continue;
        }
        let kind = column.type_info().name().to_owned();
        let text = value.as_str().map_err(|error| DbError::Row(error.to_string()))?;
        match kind.strip_suffix("[]") {
            Some(element) => push_array(&mut out, element, text),
            None => push_value(&mut out, &kind, text),
        }
    }
    out.push('}');
    Ok(out)
}

/// A value in Postgres' text form as JSON. Values that a double cannot hold exactly
/// (`int8`, `numeric`) stay text, as do times and unknown types.
fn push_value(out: &mut String, kind: &str, text: &str) {
    match kind {
        "BOOL" => out.push_str(if text == "t" { "true" } else { "false" }),
        "INT2" | "INT4" | "OID" => out.push_str(text),
        "FLOAT4" | "FLOAT8" if text.parse().is_ok_and(f64::is_finite) => out.push_str(text),
        "JSON" | "JSONB" => out.push_str(text),
        _ => push_text(out, text),
    }
}

/// `{a,"b c",NULL,{…}}`, or with bounds in front `[0:1]={…}`.
fn push_array(out: &mut String, element: &str, text: &str) {
    let text = if text.starts_with('[') { text.split_once('=').map_or(text, |(_, array)| array) } else { text };
    // Only values of `box` contain unquoted commas.
    let delimiter = if element == "BOX" { ';' } else { ',' };
    let mut chars = text.chars().peekable();
    let mut item = String::new();
    let (mut quoted, mut started) = (false, false);
    let close = |out: &mut String, item: &mut String, quoted: &mut bool, started: &mut bool| {
        if std::mem::take(started) {
            if *quoted || item != "NULL" {
                push_value(out, element, item)
            } else {
                out.push_str("null")
            }
            item.clear();
            *quoted = false;
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '{' => out.push('['),
            '}' => {
                close(out, &mut item, &mut quoted, &mut started);
                out.push(']');
            }
            c if c == delimiter => {
                close(out, &mut item, &mut quoted, &mut started);
                out.push(',');
            }
            '"' => {
                (quoted, started) = (true, true);
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => item.extend(chars.next()),
                        c => item.push(c),
                    }
                }
            }
            c => {
                started = true;
                item.push(c);
            }
        }
    }
}

fn push_text(out: &mut String, text: &str) {
    // A string always serializes.
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(element: &str, text: &str) -> String {
        let mut out = String::new();
        push_array(&mut out, element, text);
        out
    }

    #[test]
    fn arrays_become_json() {
        assert_eq!(array("INT4", "{1,NULL,3}"), "[1,null,3]");
        assert_eq!(array("TEXT", r#"{a,"b \"c\", d","NULL",NULL,""}"#), r#"["a","b \"c\", d","NULL",null,""]"#);
        assert_eq!(array("BOOL", "{{t,f},{f,t}}"), "[[true,false],[false,true]]");
        assert_eq!(array("INT8", "[0:1]={1,2}"), r#"["1","2"]"#);
        assert_eq!(array("TEXT", "{}"), "[]");
        assert_eq!(array("BOX", "{(3,4),(1,2);(1,1),(0,0)}"), r#"["(3,4),(1,2)","(1,1),(0,0)"]"#);
    }
}
