//! Checks the guarantees of mutations for every strategy. Prints a table of guarantees and
//! strategies.

mod guarantees;
mod strategies;

use std::collections::BTreeMap;

use guarantees::GUARANTEES;
use strategies::STRATEGIES;

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_keeps_every_guarantee() {
    let mut failed = Vec::new();
    let mut table: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (guarantee, check) in GUARANTEES {
        for strategy in STRATEGIES {
            // A task for each check, so that a failed check does not end the others.
            let cell = match tokio::spawn(check(strategy)).await {
                Ok(None) => "kept".to_owned(),
                Ok(Some(reason)) => format!("– ({reason})"),
                Err(_panicked) => {
                    failed.push(format!("{strategy:?}: {guarantee}"));
                    "BROKEN".to_owned()
                }
            };
            table.entry(guarantee).or_default().push(cell);
        }
    }
    let names: Vec<String> = STRATEGIES.iter().map(|strategy| format!("{strategy:?}")).collect();
    println!("| guarantee | {} |", names.join(" | "));
    for (guarantee, cells) in table {
        println!("| {guarantee} | {} |", cells.join(" | "));
    }
    assert!(failed.is_empty(), "broken: {failed:?}");
}
