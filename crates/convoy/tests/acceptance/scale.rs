//! The scale, the seed and the reports of the tests.

use std::io::Write;

use convoy_testkit::seeds;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// `quick` in `npm test`, and `long` with `CONVOY_TEST_LONG=1`.
pub(crate) fn scale(quick: usize, long: usize) -> usize {
    if is_long() { long } else { quick }
}

/// Whether this is a long run.
pub(crate) fn is_long() -> bool {
    seeds::is_long()
}

/// The random generator of a control, or of a part of a test. Its seed is printed, and can be
/// set by `CONVOY_TEST_SEED`.
pub(crate) fn seeded() -> StdRng {
    let seed = seeds::one_seed();
    report(&format!("seed {seed}"));
    StdRng::seed_from_u64(seed)
}

/// Makes a control until the mistake is detected: by chance, a random run may not meet it.
pub(crate) async fn assert_detected(control: impl AsyncFn(StdRng) -> bool) {
    for _ in 0..5 {
        if control(seeded()).await {
            return;
        }
    }
    panic!("the failpoint was not detected");
}

/// Runs a test with the seeds that have failed before, and with a new one.
pub(crate) async fn with_seeds<T: Future<Output = ()>>(name: &str, test: impl Fn(StdRng) -> T) {
    seeds::with_seeds(name, |seed, random| {
        report(&format!("seed {seed}"));
        test(random)
    })
    .await;
}

/// A generator for a concurrent task.
pub(crate) fn split(random: &mut StdRng) -> StdRng {
    StdRng::seed_from_u64(random.random())
}

/// Prints a line to standard error, also of a test that passes and whose output is captured.
pub(crate) fn report(line: &str) {
    // The thread of a test has the test's name.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // A closed standard error is ignored.
    drop(writeln!(std::io::stderr(), "{test}: {line}"));
}
