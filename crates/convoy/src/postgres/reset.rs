//! What statements of the user's own may leave in a session is undone there, in the
//! message that ends their transaction, before another call uses the session.

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, Either, Executor, Row as _};

use super::{DbError, Session};
use crate::failpoints::Failpoint;
use crate::sql::session::Script;

impl Session {
    /// Ends a transaction in which a statement of the user's own has run.
    pub(super) async fn end_clean(&mut self, how: &'static str) -> Result<(), DbError> {
        let script = if self.is_lent() {
            Script::end_lent(how)
        } else {
            let mut script = Script::default();
            self.add_end(&mut script, how);
            script
        };
        let ended = self.run_script(script).await.map(drop);
        self.tainted |= ended.is_err();
        ended
    }

    /// Adds the end of such a transaction in a session of ours.
    pub(super) fn add_end(&mut self, script: &mut Script, how: &'static str) {
        script.ended(how);
        if !self.failpoints.has(Failpoint::KeepSession) {
            let raw_failed = std::mem::take(&mut self.raw_failed);
            script.clean(how, raw_failed, std::mem::replace(&mut self.reset_prepared, true));
        }
    }

    /// Runs statements in one message, and gives the rows of the one that is asked for.
    ///
    /// An error before the transaction has ended is the error of all of them; it stays open,
    /// unless it is its end that failed. One that comes later says nothing about the
    /// transaction: the session is not used again.
    pub(super) async fn run_script(&mut self, script: Script) -> Result<Vec<PgRow>, DbError> {
        let Script { sql, rows: rows_of, end, .. } = script;
        let (text, _) = sql.into_parts();
        let (mut rows, mut last, mut done) = (Vec::new(), None, 0);
        let mut results = self.connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
        let mut failed = loop {
            match results.try_next().await {
                Ok(Some(Either::Left(_))) => done += 1,
                Ok(Some(Either::Right(row))) if Some(done) == rows_of => rows.push(row),
                Ok(Some(Either::Right(row))) => last = Some(row),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        drop(results);
        let Some(end) = end else { return failed.map_or(Ok(rows), |error| Err(error.into())) };
        // It is open still, and its end is to be asked for.
        if let Some(error) = failed.take_if(|_| done < end) {
            return Err(error.into());
        }
        self.ran_raw = false;
        match failed {
            Some(error) if done == end => {
                self.tainted = true;
                Err(error.into())
            }
            Some(error) => {
                tracing::debug!(cause = %error, "a session could not be reset; its connection is closed");
                self.tainted = true;
                Ok(rows)
            }
            None => {
                if !self.is_lent() && !self.failpoints.has(Failpoint::KeepSession) {
                    self.tainted |= !self.is_as_left(last.as_ref());
                }
                Ok(rows)
            }
        }
    }

    /// Whether what the driver has prepared is there, and nothing else.
    fn is_as_left(&self, told: Option<&PgRow>) -> bool {
        let expected = self.connection.cached_statements_size().to_string();
        let text = |at| told.and_then(|row| row.try_get_raw(at).ok()?.as_str().ok());
        let as_left = text(1) == Some(expected.as_str()) && text(2) == Some("0");
        if !as_left {
            tracing::debug!(
                by_driver = text(1),
                expected,
                by_others = text(2),
                "a session's prepared statements have changed; its connection is closed"
            );
        }
        as_left
    }
}
