//! Panics on demand, so that tests can show that no panic of an exported function or of a
//! delivery ends the process. Only with the cargo feature `failpoints`, which no release has.

#[cfg(feature = "failpoints")]
pub use armed::{reach, take_future};

/// A panic point of an exported function, or of a callback: the test build panics here if
/// this thread is armed.
#[cfg(not(feature = "failpoints"))]
pub const fn reach(_at: At) {}

/// Whether the next future of this thread is to panic.
#[cfg(not(feature = "failpoints"))]
pub const fn take_future() -> bool {
    false
}

/// Where an armed thread panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// In the next exported function.
    Call,
    /// In the next future behind a promise.
    #[cfg_attr(not(feature = "failpoints"), allow(dead_code))]
    Future,
    /// In the next delivery to JavaScript.
    Delivery,
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::cell::Cell;

    use napi_derive::napi;

    use super::At;

    thread_local! {
        static ARMED: Cell<Option<At>> = const { Cell::new(None) };
    }

    fn take(at: At) -> bool {
        let is_armed = ARMED.get() == Some(at);
        if is_armed {
            ARMED.set(None);
        }
        is_armed
    }

    pub fn reach(at: At) {
        assert!(!take(at), "it was armed to panic");
    }

    pub fn take_future() -> bool {
        take(At::Future)
    }

    /// Arms this thread: `call`, `future` or `delivery`; otherwise disarms it. Returns whether
    /// it was armed, so that a test sees which functions have no panic point.
    #[napi(catch_unwind)]
    pub fn arm_panic(at: String) -> bool {
        let next = match at.as_str() {
            "call" => Some(At::Call),
            "future" => Some(At::Future),
            "delivery" => Some(At::Delivery),
            _ => None,
        };
        ARMED.replace(next).is_some()
    }

    /// The mistake that the test must detect: a panic that is not caught.
    #[napi]
    pub fn panic_uncaught() {
        panic!("it is not caught");
    }
}
