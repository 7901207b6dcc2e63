//! Resets what user statements may leave in a session, in the message that ends their
//! transaction, before another call uses the session.

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, Either, Executor, Row as _};

use super::{DbError, PgSession};
use crate::failpoints::Failpoint;
use crate::sql;
use crate::sql::session::Script;

impl PgSession {
    /// Ends a transaction in which a user statement has run.
    pub(super) async fn end_clean(&mut self, how: &'static str) -> Result<(), DbError> {
        let script = if self.is_pooled() {
            Script::end_pooled(how)
        } else {
            let mut script = Script::default();
            self.add_end(&mut script, how);
            script
        };
        let recorder = self.recorder.clone();
        let operation = sql::operation_of(how);
        let ended = recorder.record(operation, None, self.run_script(script)).await.map(drop);
        self.poisoned |= ended.is_err();
        ended
    }

    /// Adds the end of such a transaction in a direct session.
    pub(super) fn add_end(&mut self, script: &mut Script, how: &'static str) {
        script.end_with(how);
        if !self.failpoints.has(Failpoint::KeepSession) {
            let raw_failed = std::mem::take(&mut self.raw_failed);
            script.reset(how, raw_failed, std::mem::replace(&mut self.reset_prepared, true));
        }
    }

    /// Runs statements in one message, and returns the rows of the statement that the script
    /// selects.
    ///
    /// An error before the end of the transaction is returned; the transaction stays open,
    /// unless ending it is what failed. An error after the end does not concern the
    /// transaction, but the session is not used again.
    pub(super) async fn run_script(&mut self, script: Script) -> Result<Vec<PgRow>, DbError> {
        let Script { sql, rows: rows_of, end, .. } = script;
        let (text, _) = sql.into_parts();
        let (mut rows, mut last_row, mut done) = (Vec::new(), None, 0);
        let mut results = self.connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
        let mut failed = loop {
            match results.try_next().await {
                Ok(Some(Either::Left(_))) => done += 1,
                Ok(Some(Either::Right(row))) if Some(done) == rows_of => rows.push(row),
                Ok(Some(Either::Right(row))) => last_row = Some(row),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        drop(results);
        let Some(end) = end else { return failed.map_or(Ok(rows), |error| Err(error.into())) };
        // The transaction is still open; the caller ends it.
        if let Some(error) = failed.take_if(|_| done < end) {
            return Err(error.into());
        }
        self.ran_raw = false;
        match failed {
            Some(error) if done == end => {
                self.poisoned = true;
                Err(error.into())
            }
            Some(error) => {
                tracing::debug!(cause = %error, "a session could not be reset; its connection is closed");
                self.poisoned = true;
                Ok(rows)
            }
            None => {
                if !self.is_pooled() && !self.failpoints.has(Failpoint::KeepSession) {
                    self.poisoned |= !self.prepared_as_expected(last_row.as_ref());
                }
                Ok(rows)
            }
        }
    }

    /// Whether the session has exactly the prepared statements of the driver.
    fn prepared_as_expected(&self, row: Option<&PgRow>) -> bool {
        let expected = self.connection.cached_statements_size().to_string();
        let text = |at| row.and_then(|row| row.try_get_raw(at).ok()?.as_str().ok());
        let as_expected = text(1) == Some(expected.as_str()) && text(2) == Some("0");
        if !as_expected {
            tracing::debug!(
                by_driver = text(1),
                expected,
                by_others = text(2),
                "a session's prepared statements have changed; its connection is closed"
            );
        }
        as_expected
    }
}
