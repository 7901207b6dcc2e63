//! Notices that the clock of the machine was set, or that the machine slept.
//!
//! The expiry of a context is a time of day, and the timers of sessions count on the monotonic
//! clock, which stands still while a machine sleeps. When one clock has moved against the
//! other, an expiry that was converted before is wrong.

use std::time::{Duration, Instant, SystemTime};

/// How often to look.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// How far the clocks may move against each other, in either direction. Small corrections, by
/// NTP, add up until they are this large.
const TOLERANCE: Duration = Duration::from_millis(500);

/// The time on both clocks at one moment.
pub(super) struct ClockWatch {
    day: SystemTime,
    monotonic: Instant,
}

impl ClockWatch {
    /// Watches from now on.
    pub(super) fn new() -> ClockWatch {
        ClockWatch { day: SystemTime::now(), monotonic: Instant::now() }
    }

    /// Whether the clocks have moved against each other since this last returned `true`.
    pub(super) fn was_set(&mut self) -> bool {
        self.was_set_at(SystemTime::now(), Instant::now())
    }

    fn was_set_at(&mut self, day: SystemTime, monotonic: Instant) -> bool {
        // A time before the first one is a clock that was set back.
        let passed = day.duration_since(self.day).unwrap_or_default();
        let was_set = passed.abs_diff(monotonic.saturating_duration_since(self.monotonic)) > TOLERANCE;
        if was_set {
            *self = ClockWatch { day, monotonic };
        }
        was_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed_once_in_either_direction() {
        let mut watch = ClockWatch::new();
        let (day, monotonic) = (watch.day, watch.monotonic);
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        assert!(!watch.was_set_at(day + second, monotonic + second));
        assert!(watch.was_set_at(day + hour, monotonic + second * 2));
        assert!(!watch.was_set_at(day + hour + second, monotonic + second * 3));
        assert!(watch.was_set_at(day - hour, monotonic + second * 4));
        assert!(!watch.was_set_at(day - hour + second, monotonic + second * 5));
    }

    #[test]
    fn small_corrections_add_up() {
        let mut watch = ClockWatch::new();
        let (day, monotonic) = (watch.day, watch.monotonic);
        let at = |watch: &mut ClockWatch, seconds: u64| {
            let drift = Duration::from_millis(seconds * 10);
            watch.was_set_at(day + Duration::from_secs(seconds) + drift, monotonic + Duration::from_secs(seconds))
        };
        assert!((1..50).all(|seconds| !at(&mut watch, seconds)));
        assert!(at(&mut watch, 51));
    }
}
