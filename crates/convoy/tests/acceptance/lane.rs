//! How large a test is, and what it repeats itself by.

use std::io::Write;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The quick number in `npm test`, the long one with `CONVOY_TEST_LONG=1`.
pub(crate) fn scale(quick: usize, long: usize) -> usize {
    if is_long() { long } else { quick }
}

/// Whether this is the long lane.
pub(crate) fn is_long() -> bool {
    std::env::var("CONVOY_TEST_LONG").is_ok_and(|value| value == "1")
}

/// The choices of a test: all follow from the seed, which is printed and can be
/// given as `CONVOY_TEST_SEED`.
pub(crate) fn seeded() -> StdRng {
    let given = std::env::var("CONVOY_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("CONVOY_TEST_SEED is a whole number"));
    say(&format!("seed {seed}"));
    StdRng::seed_from_u64(seed)
}

/// Choices of its own for someone who makes them at the same time as others.
pub(crate) fn split(random: &mut StdRng) -> StdRng {
    StdRng::seed_from_u64(random.random())
}

/// Tells whoever runs the tests what was counted, also where a test passes and its
/// output is kept back.
pub(crate) fn say(line: &str) {
    // A test runs on a thread of its name.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // Where nobody reads it there is nobody to tell.
    drop(writeln!(std::io::stderr(), "{test}: {line}"));
}
