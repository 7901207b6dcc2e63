//! Creation times of documents, over the whole range of Postgres' `timestamptz`.
//!
//! Invariant: times have the order of Postgres, from `-infinity` to `infinity` with the
//! years before 0, and are never rounded.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds from 1970 to 2000, the epoch of Postgres' timestamps.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The furthest time of a JavaScript `Date`, in milliseconds from 1970. Times beyond it,
/// such as the infinite times, are clamped to it.
const FURTHEST_MS: i64 = 8_640_000_000_000_000;

/// Postgres' first finite timestamp, 4714-11-24 BC.
const FIRST: i64 = -211_813_488_000_000_000;

/// A `timestamptz` in the format of Postgres: microseconds since 2000, with the two ends
/// of the range for the infinite times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(i64);

impl Time {
    /// Later than all others.
    pub const INFINITY: Time = Time(i64::MAX);
    /// Earlier than all others.
    pub const MINUS_INFINITY: Time = Time(i64::MIN);

    /// The time of a number in the format of Postgres.
    pub const fn of_postgres(micros: i64) -> Time {
        Time(micros)
    }

    /// The number in the format of Postgres.
    pub const fn to_postgres(self) -> i64 {
        self.0
    }

    /// Whether a double of its milliseconds may round the microseconds: before 1857 or
    /// after 2112.
    pub fn is_far(self) -> bool {
        self.0.saturating_add(POSTGRES_EPOCH).unsigned_abs() >= 1 << 52
    }

    /// The time of milliseconds since 1970: the inverse of [`Time::to_ms`], to the
    /// microsecond.
    pub fn of_ms(ms: f64) -> Time {
        if ms >= FURTHEST_MS as f64 {
            return Time::INFINITY;
        }
        if ms <= -(FURTHEST_MS as f64) {
            return Time::MINUS_INFINITY;
        }
        // Times before the first one compare like it. The whole part is converted
        // separately, because with its fraction it exceeds the precision of a double.
        let whole = ms.floor();
        let micros = whole as i64 * 1_000 + ((ms - whole) * 1_000.0).round() as i64;
        Time((micros - POSTGRES_EPOCH).max(FIRST))
    }

    /// Milliseconds since 1970 as a JSON number, with the microseconds as fraction.
    pub fn to_ms(self) -> String {
        let micros = i128::from(self.0) + i128::from(POSTGRES_EPOCH);
        let micros = micros.clamp(-i128::from(FURTHEST_MS) * 1_000, i128::from(FURTHEST_MS) * 1_000);
        let sign = if micros < 0 { "-" } else { "" };
        let (ms, rest) = (micros.abs() / 1_000, micros.abs() % 1_000);
        if rest == 0 { format!("{sign}{ms}") } else { format!("{sign}{ms}.{rest:03}") }
    }
}

/// Serializes as microseconds since 1970, for cursors and peers. Wraps around, so that
/// distinct times have distinct numbers.
impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.wrapping_add(POSTGRES_EPOCH).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        i64::deserialize(deserializer).map(|micros| Time(micros.wrapping_sub(POSTGRES_EPOCH)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_ends_of_the_time_range_round_trip() {
        assert_eq!(Time::INFINITY.to_ms(), "8640000000000000");
        assert_eq!(Time::MINUS_INFINITY.to_ms(), "-8640000000000000");
        assert_eq!(Time::of_ms(8.64e15), Time::INFINITY);
        assert_eq!(Time::of_ms(-8.64e15), Time::MINUS_INFINITY);
        assert_eq!(Time::of_ms(-1e15), Time(FIRST));
        assert_eq!(Time::of_ms(0.0).to_ms(), "0");
        assert_eq!(Time::of_ms(-0.001).to_ms(), "-0.001");
        assert_eq!(Time(-POSTGRES_EPOCH - 1_500).to_ms(), "-1.500");
    }

    proptest! {
        #[test]
        fn every_time_round_trips_through_cursors_and_peers(micros in any::<i64>()) {
            let json = serde_json::to_string(&Time(micros)).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Time>(&json).expect("a time"), Time(micros));
        }

        /// The years from 1900 to 2100; beyond, a double is coarser than a microsecond.
        #[test]
        fn milliseconds_of_a_document_convert_back_to_its_time(micros in -3_155_673_600_000_000i64..3_155_760_000_000_000) {
            let ms: f64 = Time(micros).to_ms().parse().expect("a number");
            prop_assert_eq!(Time::of_ms(ms), Time(micros));
        }
    }
}
