//! What became of a commit that was not answered.

use std::time::Duration;

use tokio::time::Instant;

use super::{DbError, Postgres};
use crate::sql::transaction_status;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(50);

impl Postgres {
    /// Notes the history that transaction ids belong to from now on. A role may
    /// lack the right to ask; then unanswered commits stay unknown.
    pub(crate) async fn note_history(&self) {
        match self.history().await {
            // A second note changes nothing: ids of before belong to the first.
            Ok(history) => drop(self.history.set(history)),
            Err(error) => tracing::debug!(cause = %error.cause(), "the cluster's history cannot be read"),
        }
    }

    async fn history(&self) -> Result<String, DbError> {
        let rows = self.read(&transaction_status::history()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no history".into()))?;
        Ok(row.text(0)?.to_owned())
    }

    /// Whether the transaction was committed; `None` if that cannot be found out.
    /// After a failover ids are used again, so only the same history counts.
    pub(crate) async fn was_committed(&self, xid: &str, deadline: Instant) -> Option<bool> {
        let known = self.history.get()?;
        while Instant::now() < deadline {
            let asked = async {
                if self.history().await? != *known {
                    return Ok(Some("another history".to_owned()));
                }
                let rows = self.read(&transaction_status::status(xid)).await?;
                Ok::<_, DbError>(rows.first().map(|row| row.text(0)).transpose()?.map(str::to_owned))
            };
            match tokio::time::timeout_at(deadline, asked).await {
                Ok(Ok(Some(status))) => match status.as_str() {
                    "committed" => return Some(true),
                    "aborted" => return Some(false),
                    "in progress" => {}
                    _ => return None,
                },
                Ok(Ok(None)) | Err(_) => return None,
                Ok(Err(error)) => tracing::debug!(cause = %error, "a commit's outcome is not known yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }
}
