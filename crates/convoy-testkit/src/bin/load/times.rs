//! Statistics of durations.

use std::time::Instant;

use serde::Serialize;

/// Microseconds; negative where the second event came first.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Times {
    p50: i64,
    p99: i64,
    max: i64,
}

impl Times {
    /// Nearest-rank percentiles; all zero without durations.
    pub(crate) fn of(mut micros: Vec<i64>) -> Times {
        micros.sort_unstable();
        let Some(max) = micros.last().copied() else { return Times::default() };
        let rank = |percent: usize| micros[(micros.len() * percent).div_ceil(100).max(1) - 1];
        Times { p50: rank(50), p99: rank(99), max }
    }
}

/// The time from one to the other; negative if the other was first.
pub(crate) fn micros(from: Instant, to: Instant) -> i64 {
    match to.checked_duration_since(from) {
        Some(later) => later.as_micros() as i64,
        None => -((from - to).as_micros() as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let times = Times::of((1..=200).rev().collect());
        assert_eq!((times.p50, times.p99, times.max), (100, 198, 200));
        let one = Times::of(vec![7]);
        assert_eq!((one.p50, one.p99, one.max), (7, 7, 7));
        assert_eq!(Times::of(Vec::new()).max, 0);
    }
}
