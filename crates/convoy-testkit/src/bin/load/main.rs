//! The load generator of `npm run bench`.
//!
//! Reads its plan as one line of JSON from standard input, and prints lines: a word whenever the
//! caller may read something (such as counters of the servers), and finally the measurements
//! as JSON. It is independent of the application: paths, bodies and markers are in the plan.
//!
//! It uses one thread, and as little of HTTP as possible, because it shares the cores with what
//! it measures. (The `floor` is measured itself, and has the threads of a server.)

mod bodies;
mod caller;
mod crowd;
mod exchange;
mod floor;
mod hold;
mod marker;
mod mix;
mod requests;
mod spread;
mod stream;
mod times;
mod watch;

use serde::Deserialize;
use tokio::runtime::Builder;

/// Ends the run, because measurements with errors in them are useless.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Tagged externally: with an internal tag, serde would buffer the whole plan, which may hold
/// many ids.
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
