//! Synchronizes with the process that runs this program.

use crate::Failed;

/// Prints a word, and waits for a line of the caller, which may read counters meanwhile.
pub(crate) async fn signal(word: &str) -> Result<String, Failed> {
    println!("{word}");
    let mut line = String::new();
    tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line).map(|_| line))
        .await?
        .map_err(Failed::from)
}

/// The processor time of this thread, which does all the work, in microseconds. Linux only.
pub(crate) fn processor_time() -> Option<u64> {
    let stats = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: u64 = stats.split(' ').next()?.parse().ok()?;
    Some(nanos / 1_000)
}
