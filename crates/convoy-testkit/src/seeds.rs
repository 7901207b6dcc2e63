//! Seeds of random tests. One that fails is kept in `tests/regressions/`, and from then on runs
//! before a new one.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;

use futures_util::FutureExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// The folder of the kept seeds: one file for each test.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/regressions");

/// Whether this is a long run: `CONVOY_TEST_LONG=1`.
pub fn is_long() -> bool {
    std::env::var("CONVOY_TEST_LONG").is_ok_and(|value| value == "1")
}

/// A seed for a run that keeps none, like that of a control: `CONVOY_TEST_SEED`, or a new one.
pub fn one_seed() -> u64 {
    given().unwrap_or_else(rand::random)
}

fn given() -> Option<u64> {
    let given = std::env::var("CONVOY_TEST_SEED").ok()?;
    Some(given.parse().expect("CONVOY_TEST_SEED is a whole number"))
}

/// Runs a test with each seed that was kept for it, and then with a new one, which is kept if
/// the test panics. With `CONVOY_TEST_SEED` it runs only with that.
///
/// A seed says nothing about a run of another size, so those of quick and of long runs are
/// apart.
pub async fn with_seeds<T: Future<Output = ()>>(name: &str, test: impl Fn(u64, StdRng) -> T) {
    let file = PathBuf::from(FOLDER).join(format!("{name}.txt"));
    let kept = || seeds_of(&std::fs::read_to_string(&file).unwrap_or_default(), size());
    let seeds = match given() {
        Some(seed) => vec![seed],
        None => kept().into_iter().chain([rand::random()]).collect(),
    };
    for seed in seeds {
        let ended = AssertUnwindSafe(test(seed, StdRng::seed_from_u64(seed))).catch_unwind().await;
        if let Err(panic) = ended {
            if !kept().contains(&seed) {
                let opened = OpenOptions::new().create(true).append(true).open(&file);
                let written = opened.and_then(|mut file| writeln!(file, "{} {seed}", size()));
                // The panic is what the test has to report.
                if let Err(error) = written {
                    eprintln!("the seed {seed} could not be kept in {}: {error}", file.display());
                }
            }
            resume_unwind(panic);
        }
    }
}

fn size() -> &'static str {
    if is_long() { "long" } else { "quick" }
}

/// The seeds of this size in a file with lines `<size> <seed>`. Text after `#` is a comment.
fn seeds_of(text: &str, size: &str) -> Vec<u64> {
    let line = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        let seed = line.trim().strip_prefix(size)?.trim();
        Some(seed.parse().expect("a kept seed is a whole number"))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn seeds_are_read_by_size() {
        let text = "# kept\nquick 7\nlong 9 # why\n\nquick 8\n";
        assert_eq!((seeds_of(text, "quick"), seeds_of(text, "long")), (vec![7, 8], vec![9]));
    }

    #[tokio::test]
    async fn a_failing_seed_is_kept_once_and_runs_first() {
        let name = format!("seeds-{}", std::process::id());
        let file = PathBuf::from(FOLDER).join(format!("{name}.txt"));
        let ran = Mutex::new(Vec::new());
        for _ in 0..2 {
            let failing = with_seeds(&name, async |seed, _| {
                ran.lock().expect("no panic").push(seed);
                panic!("planted");
            });
            assert!(AssertUnwindSafe(failing).catch_unwind().await.is_err());
        }
        with_seeds(&name, async |seed, _| ran.lock().expect("no panic").push(seed)).await;
        std::fs::remove_file(&file).expect("the seed was kept");
        let ran = ran.into_inner().expect("no panic");
        assert_eq!(ran.len(), 4);
        assert!(ran[1] == ran[0] && ran[2] == ran[0] && ran[3] != ran[0], "{ran:?}");
    }
}
