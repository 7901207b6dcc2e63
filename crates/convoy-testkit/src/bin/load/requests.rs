//! As many requests as a server answers: each connection asks, waits for the
//! answer, and asks again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::exchange::{Exchange, post};
use crate::times::Times;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    address: SocketAddr,
    path: String,
    /// Sent in turn, beginning anew at the end.
    bodies: Vec<String>,
    connections: usize,
    /// Load before the measurement, which leaves it out.
    warm_ms: u64,
    measure_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    requests: usize,
    per_second: f64,
    latency: Times,
}

/// Says `measuring` when the warm-up is over.
pub async fn run(plan: Plan) -> Result<Measured, Failed> {
    if plan.bodies.is_empty() || plan.connections == 0 {
        return Err("a plan needs a body and a connection".into());
    }
    let requests: Arc<[Vec<u8>]> = plan.bodies.iter().map(|body| post(plan.address, &plan.path, body)).collect();
    let began = Instant::now() + Duration::from_millis(plan.warm_ms);
    let until = began + Duration::from_millis(plan.measure_ms);
    let mut askers = Vec::with_capacity(plan.connections);
    for place in 0..plan.connections {
        let exchange = Exchange::open(plan.address).await?;
        // Apart from each other, so that not all ask for the same at once.
        let first = place * requests.len() / plan.connections;
        askers.push(tokio::spawn(keep_asking(exchange, requests.clone(), first, began, until)));
    }
    tokio::time::sleep_until(began.into()).await;
    println!("measuring");
    let mut latencies = Vec::new();
    for asker in askers {
        latencies.extend(asker.await??);
    }
    let requests = latencies.len();
    let per_second = requests as f64 * 1_000.0 / plan.measure_ms as f64;
    Ok(Measured { requests, per_second, latency: Times::of(latencies) })
}

/// Gives the latencies of what was answered between `began` and `until`.
async fn keep_asking(
    mut exchange: Exchange,
    requests: Arc<[Vec<u8>]>,
    first: usize,
    began: Instant,
    until: Instant,
) -> Result<Vec<i64>, Failed> {
    let mut latencies = Vec::with_capacity(1 << 14);
    for request in requests.iter().cycle().skip(first) {
        let asked = Instant::now();
        exchange.ask(request).await?;
        let answered = Instant::now();
        if answered >= until {
            break;
        }
        if answered >= began {
            latencies.push((answered - asked).as_micros() as i64);
        }
    }
    Ok(latencies)
}
