//! The load generator of `npm run bench`.
//!
//! Takes its work as one line of JSON on standard input and answers on standard
//! output, one line each: a word where the caller has something to read (the
//! servers' counters, say), and at last the measurements as JSON. It knows
//! nothing of what it asks for: paths, bodies and markers are the caller's.
//!
//! One thread, and no more of HTTP than the answers of a benchmark need: it
//! shares its cores with what it measures.

mod bodies;
mod exchange;
mod live;
mod requests;
mod spread;
mod times;

use serde::Deserialize;

/// Ends the run: numbers with errors among them are worth nothing.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Tags are outside: serde would read everything twice to find one within, and a
/// plan may hold many ids.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Work {
    Requests(requests::Plan),
    Live(live::Plan),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let measured = match serde_json::from_str(&line)? {
        Work::Requests(plan) => serde_json::to_string(&requests::run(plan).await?)?,
        Work::Live(plan) => serde_json::to_string(&live::run(plan).await?)?,
    };
    println!("{measured}");
    Ok(())
}
