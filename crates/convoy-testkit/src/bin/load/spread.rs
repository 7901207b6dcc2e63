//! Picks the ids of requests: random numbers, the same for the same seed.

use serde::Deserialize;

/// The distribution of picks over the numbers below a count; low numbers are more frequent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Spread {
    /// All are equally likely.
    Uniform,
    /// A share of the picks goes to the first few numbers, the rest to all.
    Hot { share: f64, size: usize },
    /// Number n is picked in proportion to 1 / n^exponent.
    Zipf { exponent: f64 },
}

/// A distribution over a given count.
pub(crate) enum Picker {
    Uniform {
        count: usize,
    },
    Hot {
        share: f64,
        size: usize,
        count: usize,
    },
    /// The cumulative probability of each number; the last is 1.
    Table {
        cumulative: Vec<f64>,
    },
}

impl Picker {
    pub(crate) fn new(spread: &Spread, count: usize) -> Picker {
        match *spread {
            Spread::Uniform => Picker::Uniform { count },
            Spread::Hot { share, size } => Picker::Hot { share, size: size.min(count), count },
            Spread::Zipf { exponent } => Picker::weighted((1..=count).map(|rank| (rank as f64).powf(-exponent))),
        }
    }

    /// Picks each index in proportion to its weight; at least one is needed.
    pub(crate) fn weighted(weights: impl Iterator<Item = f64>) -> Picker {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|chance| *chance /= sum);
        Picker::Table { cumulative }
    }

    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        match self {
            Picker::Uniform { count } => random.below(*count),
            Picker::Hot { share, size, count } => {
                let hot = random.fraction() < *share;
                random.below(if hot { *size } else { *count })
            }
            Picker::Table { cumulative } => {
                let at = random.fraction();
                cumulative.partition_point(|chance| *chance <= at).min(cumulative.len() - 1)
            }
        }
    }
}

/// SplitMix64: good enough for load generation, and the same on every machine and release.
pub(crate) struct Random(u64);

impl Random {
    /// The `stream`-th sequence of a seed; streams are independent.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed);
        Random(random.next() ^ stream.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICKS: usize = 100_000;

    /// How often each number was picked.
    fn tally(spread: &Spread, count: usize) -> Vec<usize> {
        let picker = Picker::new(spread, count);
        let mut random = Random::new(7, 0);
        let mut times = vec![0; count];
        for _ in 0..PICKS {
            times[picker.pick(&mut random)] += 1;
        }
        times
    }

    fn share(times: &[usize]) -> f64 {
        times.iter().sum::<usize>() as f64 / PICKS as f64
    }

    #[test]
    fn uniform_picks_are_equally_frequent() {
        let times = tally(&Spread::Uniform, 10);
        assert!(times.iter().all(|times| (9_500..10_500).contains(times)), "{times:?}");
    }

    #[test]
    fn hot_ids_get_their_share_and_others_are_picked_too() {
        let times = tally(&Spread::Hot { share: 0.8, size: 10 }, 1_000);
        assert!((share(&times[..10]) - 0.802).abs() < 0.01);
        assert!(times[10..].iter().filter(|times| **times > 0).count() > 900);
    }

    #[test]
    fn zipf_frequencies_fall_by_the_power_of_the_rank() {
        let times = tally(&Spread::Zipf { exponent: 1.5 }, 100_000);
        // 1 / ζ(1.5), and a 2^1.5-th of it.
        assert!((share(&times[..1]) - 0.383).abs() < 0.01);
        assert!((share(&times[1..2]) - 0.135).abs() < 0.01);
    }

    #[test]
    fn a_seed_is_reproducible_and_its_streams_differ() {
        let some = |seed, stream| {
            let mut random = Random::new(seed, stream);
            std::array::from_fn::<_, 4, _>(|_| random.below(1 << 20))
        };
        assert_eq!(some(1, 2), some(1, 2));
        assert_ne!(some(1, 2), some(1, 3));
        assert_ne!(some(1, 2), some(2, 2));
    }
}
