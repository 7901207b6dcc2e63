//! The load generator of `npm run bench`.
//!
//! Takes its work as one line of JSON on standard input and answers on standard
//! output, one line each: a word where the caller has something to read (the
//! servers' counters, say), and at last the measurements as JSON. It knows
//! nothing of what it asks for: paths, bodies and markers are the caller's.
//!
//! One thread, and no more of HTTP than the answers of a benchmark need: it
//! shares its cores with what it measures. (As the `floor` it is measured itself,
//! and has the threads of a server.)

mod bodies;
mod caller;
mod crowd;
mod exchange;
mod floor;
mod hold;
mod marker;
mod requests;
mod spread;
mod stream;
mod times;
mod watch;

use serde::Deserialize;
use tokio::runtime::Builder;

/// Ends the run: numbers with errors among them are worth nothing.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Tags are outside: serde would read everything twice to find one within, and a
/// plan may hold many ids.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum HostTask {
    Requests(requests::Plan),
    Watch(watch::Plan),
    Crowd(crowd::Plan),
    Hold(hold::Plan),
    Floor(floor::Plan),
}

fn main() -> Result<(), Failed> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let one_thread = || Builder::new_current_thread().enable_all().build();
    let measured = match serde_json::from_str(&line)? {
        HostTask::Requests(plan) => serde_json::to_string(&one_thread()?.block_on(requests::run(plan))?)?,
        HostTask::Watch(plan) => serde_json::to_string(&one_thread()?.block_on(watch::run(plan))?)?,
        HostTask::Crowd(plan) => serde_json::to_string(&one_thread()?.block_on(crowd::run(plan))?)?,
        HostTask::Hold(plan) => serde_json::to_string(&one_thread()?.block_on(hold::run(plan))?)?,
        HostTask::Floor(plan) => return Builder::new_multi_thread().enable_all().build()?.block_on(floor::run(plan)),
    };
    println!("{measured}");
    Ok(())
}
