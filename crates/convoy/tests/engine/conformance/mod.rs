//! The same promises, kept by every strategy that a mutation may run by. Prints a table of
//! strategies and promises.

mod promises;
mod strategies;

use std::collections::BTreeMap;

use promises::PROMISES;
use strategies::STRATEGIES;

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_keeps_every_promise() {
    let mut failed = Vec::new();
    let mut table: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (promise, kept) in PROMISES {
        for strategy in STRATEGIES {
            // A task each, so that one that fails does not end the others.
            let cell = match tokio::spawn(kept(strategy)).await {
                Ok(None) => "kept".to_owned(),
                Ok(Some(reason)) => format!("– ({reason})"),
                Err(_panicked) => {
                    failed.push(format!("{strategy:?}: {promise}"));
                    "BROKEN".to_owned()
                }
            };
            table.entry(promise).or_default().push(cell);
        }
    }
    let names: Vec<String> = STRATEGIES.iter().map(|strategy| format!("{strategy:?}")).collect();
    println!("| promise | {} |", names.join(" | "));
    for (promise, cells) in table {
        println!("| {promise} | {} |", cells.join(" | "));
    }
    assert!(failed.is_empty(), "broken: {failed:?}");
}
