//! The words exchanged with whoever runs this program.

use crate::Failed;

/// Says a word, and waits for the caller's line: until it has read what it wants to
/// know.
pub(crate) async fn tell(word: &str) -> Result<String, Failed> {
    println!("{word}");
    let mut line = String::new();
    tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line).map(|_| line))
        .await?
        .map_err(Failed::from)
}

/// Of this thread, on which all happens, in microseconds; Linux tells.
pub(crate) fn processor_time() -> Option<u64> {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: u64 = said.split(' ').next()?.parse().ok()?;
    Some(nanos / 1_000)
}
