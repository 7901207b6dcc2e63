//! One run for all equal calls that are made while it runs.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::live::registry::QueryKey;
use crate::live::share_key::ShareKey;

/// Calls that would probably have the same result.
type FlightKey = (QueryKey, ShareKey);
type Table = Mutex<HashMap<FlightKey, watch::Receiver<()>>>;

/// The runs in progress.
#[derive(Default)]
pub(crate) struct Flights(Arc<Table>);

/// A run that others wait for. Dropped, it ends.
pub(crate) struct Flight {
    table: Arc<Table>,
    key: FlightKey,
    _ended: watch::Sender<()>,
}

/// The run of another call.
pub(super) struct OtherFlight(watch::Receiver<()>);

impl Flights {
    /// Begins a run; or finds the one in progress.
    pub(super) fn join(&self, key: FlightKey) -> Result<Flight, OtherFlight> {
        let mut table = self.0.lock();
        if let Some(other) = table.get(&key) {
            return Err(OtherFlight(other.clone()));
        }
        let (ended, receiver) = watch::channel(());
        table.insert(key.clone(), receiver);
        Ok(Flight { table: self.0.clone(), key, _ended: ended })
    }
}

impl OtherFlight {
    /// Waits until the run has ended. Cancel-safe.
    pub(super) async fn ended(mut self) {
        // Nothing is sent: the sender is dropped.
        while self.0.changed().await.is_ok() {}
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.table.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn key(input: &str) -> FlightKey {
        (QueryKey { function: "list".into(), input: input.into() }, ShareKey::public())
    }

    #[tokio::test]
    async fn equal_calls_wait_for_the_first_and_others_do_not() {
        let flights = Flights::default();
        let first = flights.join(key("1")).ok();
        let Err(second) = flights.join(key("1")) else { panic!("a second run of the same call") };
        assert!(flights.join(key("2")).is_ok());
        let mut second = Box::pin(second.ended());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        second.await;
        assert!(flights.join(key("1")).is_ok(), "the next call runs");
        assert!(flights.0.lock().is_empty());
    }
}
