//! Limits the routes that run at once, in all and for one client.
//!
//! They are not counted with other calls: a client decides how long the route of an upload or
//! of a stream runs, and must not take the places of functions by that.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Limits;
use crate::error::{Code, Failure};
use crate::trusted_proxies::ClientNetwork;

/// The places of a process for running routes.
pub(super) struct RouteSlots {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    /// Only of clients that are counted, and have a route that runs.
    by_client: HashMap<ClientNetwork, usize>,
}

impl RouteSlots {
    pub(super) fn new(limits: &Limits) -> Arc<RouteSlots> {
        let Limits { routes: max, routes_per_address: max_per_address, .. } = *limits;
        Arc::new(RouteSlots { max, max_per_address, taken: Mutex::default() })
    }

    /// Takes a place for a route, which is free again when the slot is dropped. `client`: `None` if
    /// it is not counted.
    pub(super) fn take(self: &Arc<RouteSlots>, client: Option<ClientNetwork>) -> Result<RouteSlot, Failure> {
        let Taken { total, by_client } = &mut *self.taken.lock();
        if *total >= self.max {
            let message =
                format!("{total} HTTP routes are running, which is the limit (limits.routes); try again shortly.");
            return Err(Failure::new(Code::Unavailable, message));
        }
        if let Some(client) = client {
            let of_client = by_client.get(&client).copied().unwrap_or(0);
            if of_client >= self.max_per_address {
                let message = format!(
                    "{of_client} HTTP routes are running for this address, or its IPv6 network (/64), which is the limit \
                     (limits.routesPerAddress); wait until one has ended."
                );
                return Err(Failure::new(Code::RateLimited, message));
            }
            by_client.insert(client, of_client + 1);
        }
        *total += 1;
        Ok(RouteSlot { slots: self.clone(), client })
    }

    /// How many routes run.
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().total
    }
}

/// The place of one route.
pub(crate) struct RouteSlot {
    slots: Arc<RouteSlots>,
    client: Option<ClientNetwork>,
}

impl Drop for RouteSlot {
    fn drop(&mut self) {
        let Taken { total, by_client } = &mut *self.slots.taken.lock();
        *total = total.saturating_sub(1);
        let Some(client) = self.client else { return };
        if let Some(of_client) = by_client.get_mut(&client) {
            *of_client = of_client.saturating_sub(1);
            if *of_client == 0 {
                by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn slots(routes: usize, routes_per_address: usize) -> Arc<RouteSlots> {
        RouteSlots::new(&Limits { routes, routes_per_address, ..Limits::default() })
    }

    fn at(address: &str) -> Option<ClientNetwork> {
        Some(address.parse::<IpAddr>().expect("an address").into())
    }

    fn refusal(slots: &Arc<RouteSlots>, client: Option<ClientNetwork>) -> Option<Code> {
        slots.take(client).err().map(|failure| failure.code)
    }

    #[test]
    fn a_place_is_free_again_when_its_slot_is_dropped() {
        let (slots, one, other) = (slots(3, 1), at("198.51.100.1"), at("198.51.100.2"));
        let first = slots.take(one).expect("a place");
        assert_eq!(refusal(&slots, one), Some(Code::RateLimited));
        let others = [slots.take(other).expect("a place"), slots.take(None).expect("a place")];
        assert_eq!((refusal(&slots, None), slots.taken()), (Some(Code::Unavailable), 3));
        drop(first);
        assert_eq!((refusal(&slots, one), slots.taken()), (None, 2));
        drop(others);
        assert_eq!(slots.taken(), 0);
        assert!(slots.taken.lock().by_client.is_empty(), "clients that have left are forgotten");
    }

    #[test]
    fn a_client_that_is_refused_is_not_kept() {
        let slots = slots(1, 0);
        assert_eq!(refusal(&slots, at("198.51.100.1")), Some(Code::RateLimited));
        assert!(slots.taken() == 0 && slots.taken.lock().by_client.is_empty());
    }
}
