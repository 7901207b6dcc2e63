//! One connection: statements on it, its transactions, what it has prepared, and
//! the user's own statements.
//!
//! Those run by PREPARE and EXECUTE, in the simple protocol: values go in and come
//! out as Postgres' own text, whatever their types.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Column, Executor, PgConnection, Row as _, SqlSafeStr, TypeInfo, ValueRef};

use super::raw_reads::RawReads;
use super::{DbError, Isolation, Row, Setup, row};
use crate::failpoints::{Failpoint, Failpoints};
use crate::op::Raw;
use crate::sql::plan::Plan;
use crate::sql::session::Script;
use crate::sql::{self, Statement};

/// How many of the user's statements a session knows to be single statements.
const SINGLE: usize = 4_096;

/// A connection, and what it knows.
pub(super) struct Session {
    pub connection: PgConnection,
    /// How each transaction sets it up, where it is lent; else it is ours.
    setup: Option<Arc<Setup>>,
    /// The user's statements that it knows to be single ones, by their fingerprints.
    single: HashSet<u128>,
    /// How many names it has given to statements of the user's own.
    names: u64,
    /// The statement that resets it is prepared.
    pub(super) reset_prepared: bool,
    /// A statement of the user's own has run in the present transaction.
    pub(super) ran_raw: bool,
    /// One of those has failed: it may still be prepared.
    pub(super) raw_failed: bool,
    /// It is not to be used again: what is in it is no longer known.
    pub tainted: bool,
    /// The pool's, when it was opened.
    pub(super) generation: u64,
    /// Those that its engine was opened with.
    pub(super) failpoints: Failpoints,
}

impl Session {
    /// A session of ours.
    pub(super) fn new(connection: PgConnection, setup: Option<Arc<Setup>>) -> Session {
        Session {
            connection,
            setup,
            single: HashSet::new(),
            names: 0,
            reset_prepared: false,
            ran_raw: false,
            raw_failed: false,
            tainted: false,
            generation: 0,
            failpoints: Failpoints::default(),
        }
    }

    /// Whether it is lent for one transaction at a time.
    pub(super) fn is_lent(&self) -> bool {
        self.setup.is_some()
    }

    /// Runs a statement and gives its rows.
    pub(super) async fn fetch(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        let (text, binds) = statement.into_parts();
        let mut arguments = PgArguments::default();
        for bind in binds {
            row::add(&mut arguments, bind)?;
        }
        // The text comes from `sql/`, which admits literals, checked identifiers
        // and placeholders only.
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(self.setup.is_none());
        let rows = self.connection.fetch_all(query).await?;
        Ok(rows.into_iter().map(Row::new).collect())
    }

    /// The same by itself, outside any transaction of its user's.
    pub(super) async fn ask(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        self.begin_alone().await?;
        let rows = self.fetch(statement).await;
        self.end_alone(rows).await
    }

    /// Runs statements that cannot be prepared, or whose rows are not needed.
    pub(super) async fn execute(&mut self, text: impl SqlSafeStr) -> Result<(), DbError> {
        self.connection.execute(sqlx::raw_sql(text)).await?;
        Ok(())
    }

    /// The same with a statement of `sql/` that has no binds.
    pub(super) async fn tell(&mut self, statement: Statement) -> Result<(), DbError> {
        let (text, _) = statement.into_parts();
        self.execute(AssertSqlSafe(text)).await
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self, isolation: Isolation) -> Result<(), DbError> {
        match &self.setup {
            Some(setup) => self.tell(setup.begin()).await,
            None => self.execute(isolation.begin()).await,
        }
    }

    /// Ends one, by `commit` or `rollback`.
    pub(super) async fn end(&mut self, how: &'static str) -> Result<(), DbError> {
        match self.ran_raw {
            true => self.end_clean(how).await,
            false => self.execute(how).await,
        }
    }

    /// Before something that is to run by itself.
    pub(super) async fn begin_alone(&mut self) -> Result<(), DbError> {
        match &self.setup {
            Some(setup) => self.tell(setup.begin()).await,
            None => Ok(()),
        }
    }

    /// After it; gives what it gave, or why it came to nothing.
    pub(super) async fn end_alone<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
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

    /// Runs a statement of the user's own in a transaction. Each row is a JSON object.
    /// It may write where `logged`.
    pub(super) async fn raw(&mut self, raw: &Raw, logged: bool) -> Result<Vec<String>, DbError> {
        let result = self.run_raw(raw, logged, None).await.map_err(DbError::into_user_error);
        self.raw_failed |= result.is_err();
        result
    }

    /// The same in a transaction of its own, in one message where it is known. Only in a
    /// session of ours.
    pub(super) async fn raw_alone(&mut self, raw: &Raw, isolation: Isolation) -> Result<Vec<String>, DbError> {
        let logged = isolation == Isolation::Serializable;
        let reset_prepared = self.reset_prepared;
        let result = self.run_raw(raw, logged, Some(isolation)).await.map_err(DbError::into_user_error);
        if result.as_ref().is_err_and(|error| !error.connection_lost()) {
            // What was to follow in the same message was not run.
            (self.raw_failed, self.reset_prepared) = (true, reset_prepared);
            if self.ran_raw
                && let Err(error) = self.end_clean("rollback").await
            {
                tracing::debug!(cause = %error, "a rollback was not answered");
            }
        }
        result
    }

    /// Finds out what a statement reads that has just run here, in a transaction.
    pub(super) async fn look(&mut self, raw: &Raw) -> Result<RawReads, DbError> {
        let looked = self.ask_plan(raw).await;
        let looked = match looked {
            Err(error) if error.connection_lost() => return Err(error),
            Err(error) => {
                tracing::debug!(cause = %error.cause(), "what a raw statement reads cannot be found out");
                self.raw_failed = true;
                RawReads::Everything
            }
            Ok(reads) => reads,
        };
        self.execute(sql::raw::LOOKED).await?;
        Ok(looked)
    }

    async fn ask_plan(&mut self, raw: &Raw) -> Result<RawReads, DbError> {
        let (text, _) = sql::raw::explain(&self.next_name(), raw).into_parts();
        let rows = self.connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await?;
        let explained: &str = rows
            .first()
            .ok_or_else(|| DbError::Row("no plan".into()))?
            .try_get_raw(0)?
            .as_str()
            .map_err(|error| DbError::Row(error.to_string()))?;
        let plan = Plan::read(explained, &raw.text);
        if plan.unclear {
            return Ok(RawReads::Everything);
        }
        let rows = self.fetch(sql::raw::look_up(&plan)).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("nothing about a plan".into()))?;
        if row.bool(0)? {
            return Ok(RawReads::Everything);
        }
        Ok(RawReads::Tables(row.texts(1)?.into_iter().map(Arc::from).collect()))
    }

    /// Where `alone`, it has a transaction of its own, which this begins and ends.
    async fn run_raw(&mut self, raw: &Raw, logged: bool, alone: Option<Isolation>) -> Result<Vec<String>, DbError> {
        let name = self.next_name();
        let mut script = Script::default();
        if !self.is_known_single(raw) {
            self.prove_single(&name, raw).await?;
            sql::raw::forget(&mut script, &name);
        }
        self.ran_raw = true;
        let mark = (logged && !self.failpoints.has(Failpoint::TrustMark)).then(rand::random);
        sql::raw::run(&mut script, &name, raw, mark);
        if let Some(isolation) = alone {
            script = script.begun(isolation.begin());
            self.add_end(&mut script, isolation.end());
        } else {
            script.then(sql::raw::PLAN_AS_OURS);
        }
        let rows = self.run_script(script).await?;
        rows.iter().map(object).collect()
    }

    /// A name for a statement of the user's own, which this session has not used before.
    fn next_name(&mut self) -> String {
        self.names += 1;
        sql::raw::name(self.names)
    }

    /// Whether a text is known to be one statement. Within one transaction the user's own
    /// statements may change how the quotes of the next are read.
    fn is_known_single(&self, raw: &Raw) -> bool {
        self.single.contains(&sql::raw::fingerprint(raw)) && (!self.ran_raw || sql::raw::reads_the_same_always(raw))
    }

    /// Has Postgres refuse what is more than one statement, by the extended protocol, which
    /// takes no more.
    async fn prove_single(&mut self, name: &str, raw: &Raw) -> Result<(), DbError> {
        let (text, _) = sql::raw::prepare(name, raw).into_parts();
        self.connection.execute(sqlx::query(AssertSqlSafe(text)).persistent(false)).await?;
        if self.single.len() >= SINGLE {
            self.single.clear();
        }
        self.single.insert(sql::raw::fingerprint(raw));
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

/// A value in Postgres' text form as JSON. What a double cannot hold exactly
/// (`int8`, `numeric`) stays text, as do times and everything unknown.
fn push_value(out: &mut String, kind: &str, text: &str) {
    match kind {
        "BOOL" => out.push_str(if text == "t" { "true" } else { "false" }),
        "INT2" | "INT4" | "OID" => out.push_str(text),
        "FLOAT4" | "FLOAT8" if text.parse().is_ok_and(f64::is_finite) => out.push_str(text),
        "JSON" | "JSONB" => out.push_str(text),
        _ => push_text(out, text),
    }
}

/// `{a,"b c",NULL,{…}}`, or with its bounds in front `[0:1]={…}`.
fn push_array(out: &mut String, element: &str, text: &str) {
    let text = if text.starts_with('[') { text.split_once('=').map_or(text, |(_, array)| array) } else { text };
    // The one type whose values hold commas unquoted.
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
