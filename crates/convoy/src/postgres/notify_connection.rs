//! Connections outside the pools for notifications: one that receives them, one that sends
//! them.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::{DbError, PgSession, Postgres, Row, within};
use crate::sql::Statement;

/// Time limit for connecting, and for each exchange on such a connection.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that LISTENs. The driver would silently replace a lost connection, and
/// notifications sent in between would be missed; so reconnecting is disabled.
pub(crate) struct ListenConnection(PgListener);

impl ListenConnection {
    /// The next payload; `None` once the connection is lost. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<String> {
        match self.0.try_recv().await {
            Ok(notification) => notification.map(|notification| notification.payload().to_owned()),
            Err(error) => {
                tracing::debug!(cause = %error, "the listening connection failed");
                None
            }
        }
    }

    /// Stops listening and closes the connection.
    pub(crate) async fn close(mut self) {
        let stopped = within(EXCHANGE_TIMEOUT, async { Ok(self.0.unlisten_all().await?) });
        if let Err(error) = stopped.await {
            tracing::debug!(cause = %error.cause(), "the listening connection did not close cleanly");
        }
    }
}

/// A connection that sends notifications.
pub(crate) struct NotifyConnection(PgSession);

impl NotifyConnection {
    /// Runs statements without binds or rows, as one transaction.
    pub(crate) async fn send(&mut self, statement: Statement) -> Result<(), DbError> {
        within(EXCHANGE_TIMEOUT, self.0.execute(statement)).await
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn query(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        within(EXCHANGE_TIMEOUT, self.0.fetch(statement)).await
    }

    /// Closes the connection.
    pub(crate) async fn close(self) {
        if let Err(error) = within(EXCHANGE_TIMEOUT, async { Ok(self.0.connection.close().await?) }).await {
            tracing::debug!(cause = %error.cause(), "the notifying connection did not close cleanly");
        }
    }
}

impl Postgres {
    /// Opens a connection and listens on it.
    pub(crate) async fn listen(&self, channel: &str) -> Result<ListenConnection, DbError> {
        within(EXCHANGE_TIMEOUT, async {
            // The driver's listener takes its connection out of a pool, which has this
            // listener as its only user.
            let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
            let mut listener = PgListener::connect_with(&pool.connect_lazy_with(self.options.clone())).await?;
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            Ok(ListenConnection(listener))
        })
        .await
    }

    /// Opens a connection to send notifications on.
    pub(crate) async fn connect_to_notify(&self) -> Result<NotifyConnection, DbError> {
        within(EXCHANGE_TIMEOUT, async { Ok(NotifyConnection(self.connect().await?)) }).await
    }
}
