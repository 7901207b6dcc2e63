//! Limits the routes that run at once, in all and for one client address.
//!
//! They are not counted with other calls: a client decides how long the route of an upload or
//! of a stream runs, and must not take the places of functions by that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Limits;
use crate::error::{Code, Failure};

/// The places of a process for running routes.
pub(super) struct RouteSlots {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    /// Only of addresses that are counted, and have a route that runs.
    by_address: HashMap<IpAddr, usize>,
}

impl RouteSlots {
    pub(super) fn new(limits: &Limits) -> Arc<RouteSlots> {
        let Limits { routes: max, routes_per_address: max_per_address, .. } = *limits;
        Arc::new(RouteSlots { max, max_per_address, taken: Mutex::default() })
    }

    /// Takes a place for a route, which is free again when the slot is dropped. `address`: that
    /// of the client, if it is counted.
    pub(super) fn take(self: &Arc<RouteSlots>, address: Option<IpAddr>) -> Result<RouteSlot, Failure> {
        let Taken { total, by_address } = &mut *self.taken.lock();
        if *total >= self.max {
            let message =
                format!("{total} HTTP routes are running, which is the limit (limits.routes); try again shortly.");
            return Err(Failure::new(Code::Unavailable, message));
        }
        if let Some(address) = address {
            let of_address = by_address.get(&address).copied().unwrap_or(0);
            if of_address >= self.max_per_address {
                let message = format!(
                    "{of_address} HTTP routes are running for this address, which is the limit \
                     (limits.routesPerAddress); wait until one has ended."
                );
                return Err(Failure::new(Code::RateLimited, message));
            }
            by_address.insert(address, of_address + 1);
        }
        *total += 1;
        Ok(RouteSlot { slots: self.clone(), address })
    }

    /// How many routes run.
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().total
    }
}

/// The place of one route.
pub(crate) struct RouteSlot {
    slots: Arc<RouteSlots>,
    address: Option<IpAddr>,
}

impl Drop for RouteSlot {
    fn drop(&mut self) {
        let Taken { total, by_address } = &mut *self.slots.taken.lock();
        *total = total.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Some(of_address) = by_address.get_mut(&address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(routes: usize, routes_per_address: usize) -> Arc<RouteSlots> {
        RouteSlots::new(&Limits { routes, routes_per_address, ..Limits::default() })
    }

    fn refusal(slots: &Arc<RouteSlots>, address: Option<IpAddr>) -> Option<Code> {
        slots.take(address).err().map(|failure| failure.code)
    }

    #[test]
    fn a_place_is_free_again_when_its_slot_is_dropped() {
        let (slots, one, other) = (slots(3, 1), Some([198, 51, 100, 1].into()), Some([198, 51, 100, 2].into()));
        let first = slots.take(one).expect("a place");
        assert_eq!(refusal(&slots, one), Some(Code::RateLimited));
        let others = [slots.take(other).expect("a place"), slots.take(None).expect("a place")];
        assert_eq!((refusal(&slots, None), slots.taken()), (Some(Code::Unavailable), 3));
        drop(first);
        assert_eq!((refusal(&slots, one), slots.taken()), (None, 2));
        drop(others);
        assert_eq!(slots.taken(), 0);
        assert!(slots.taken.lock().by_address.is_empty(), "addresses that have left are forgotten");
    }

    #[test]
    fn an_address_that_is_refused_is_not_kept() {
        let slots = slots(1, 0);
        assert_eq!(refusal(&slots, Some([198, 51, 100, 1].into())), Some(Code::RateLimited));
        assert!(slots.taken() == 0 && slots.taken.lock().by_address.is_empty());
    }
}
