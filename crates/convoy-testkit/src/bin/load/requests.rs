//! As many requests as a server handles: each connection sends one, waits for the response,
//! and sends the next.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use crate::Failed;
use crate::exchange::Exchange;
use crate::mix::{Call, Mix, MixedRequests};
use crate::times::Times;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    address: SocketAddr,
    calls: Vec<Call>,
    /// Of the choice between the calls.
    #[serde(default)]
    seed: u64,
    connections: usize,
    length: Length,
    /// A header of the last response that each connection sends back.
    echo: Option<String>,
}

/// The length of the run.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Length {
    /// `warm_ms` is load before the measurement, which is not measured.
    Time { warm_ms: u64, measure_ms: u64 },
    /// The number of requests of all connections together, all measured.
    Calls(usize),
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    /// Responses with status 200 within the measurement.
    requests: usize,
    per_second: f64,
    /// The latency of those.
    latency: Times,
    /// All responses with status 200: before, within and after the measurement.
    answered: usize,
    /// The same for each of the calls.
    answered_each: Vec<usize>,
    /// All other responses, by status.
    errors: BTreeMap<u16, usize>,
    /// One of them, as an example.
    an_error: Option<String>,
}

/// Prints `measuring` after the warm-up and `measured` after the measurement; ends when every
/// request has its response.
pub(crate) async fn run(plan: Plan) -> Result<Measured, Failed> {
    if plan.connections == 0 {
        return Err("a plan needs a connection".into());
    }
    let mix = Arc::new(Mix::new(plan.address, plan.calls)?);
    let mut exchanges = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        exchanges.push(Exchange::open(plan.address).await?);
    }
    let span = Rc::new(Span::starting_now(&plan.length));
    LocalSet::new()
        .run_until(async {
            let askers: Vec<_> = exchanges
                .into_iter()
                .enumerate()
                .map(|(place, exchange)| {
                    let requests = mix.requests(plan.seed, place, plan.connections);
                    let echo = plan.echo.clone().map(Echo::new);
                    tokio::task::spawn_local(send_repeatedly(exchange, requests, echo, span.clone()))
                })
                .collect();
            tokio::time::sleep_until(span.began.into()).await;
            println!("measuring");
            if let Some(until) = span.until {
                tokio::time::sleep_until(until.into()).await;
                println!("measured");
            }
            let mut all = Answers::of(mix.calls());
            for asker in askers {
                all.add(asker.await??);
            }
            Ok(all.measured(&span))
        })
        .await
}

/// The measured part of the run.
struct Span {
    began: Instant,
    until: Option<Instant>,
    /// Requests that may still be sent.
    left: Cell<usize>,
}

impl Span {
    fn starting_now(length: &Length) -> Span {
        let now = Instant::now();
        match *length {
            Length::Time { warm_ms, measure_ms } => {
                let began = now + Duration::from_millis(warm_ms);
                Span { began, until: Some(began + Duration::from_millis(measure_ms)), left: Cell::new(usize::MAX) }
            }
            Length::Calls(calls) => Span { began: now, until: None, left: Cell::new(calls) },
        }
    }

    /// Whether to send another request; counts it.
    fn goes_on(&self) -> bool {
        let left = self.left.get();
        let goes_on = left > 0 && self.until.is_none_or(|until| Instant::now() < until);
        self.left.set(left - usize::from(goes_on));
        goes_on
    }

    fn holds(&self, moment: Instant) -> bool {
        moment >= self.began && self.until.is_none_or(|until| moment < until)
    }
}

/// The responses.
struct Answers {
    /// Latencies within the measurement, in microseconds.
    latencies: Vec<i64>,
    answered_each: Vec<usize>,
    errors: BTreeMap<u16, usize>,
    an_error: Option<String>,
}

impl Answers {
    /// None yet, of so many calls.
    fn of(calls: usize) -> Answers {
        Answers { latencies: Vec::new(), answered_each: vec![0; calls], errors: BTreeMap::new(), an_error: None }
    }

    fn add(&mut self, other: Answers) {
        self.latencies.extend(other.latencies);
        for (all, answered) in self.answered_each.iter_mut().zip(other.answered_each) {
            *all += answered;
        }
        for (status, times) in other.errors {
            *self.errors.entry(status).or_default() += times;
        }
        self.an_error = self.an_error.take().or(other.an_error);
    }

    fn measured(self, span: &Span) -> Measured {
        let requests = self.latencies.len();
        let took = span.until.unwrap_or_else(Instant::now) - span.began;
        Measured {
            requests,
            per_second: requests as f64 / took.as_secs_f64(),
            latency: Times::of(self.latencies),
            answered: self.answered_each.iter().sum(),
            answered_each: self.answered_each,
            errors: self.errors,
            an_error: self.an_error,
        }
    }
}

async fn send_repeatedly(
    mut exchange: Exchange,
    mut requests: MixedRequests,
    mut echo: Option<Echo>,
    span: Rc<Span>,
) -> Result<Answers, Failed> {
    let mut answers = Answers::of(requests.calls());
    while span.goes_on() {
        let (call, request) = requests.next();
        let request = echo.as_mut().map_or(request, |echo| echo.add_to(request));
        let sent_at = Instant::now();
        let status = exchange.send(request).await?;
        let at = Instant::now();
        if let Some(echo) = &mut echo {
            echo.read_header(&exchange);
        }
        if status != 200 {
            *answers.errors.entry(status).or_default() += 1;
            answers.an_error.get_or_insert_with(|| exchange.answer());
            continue;
        }
        answers.answered_each[call] += 1;
        if span.holds(at) {
            answers.latencies.push((at - sent_at).as_micros() as i64);
        }
    }
    Ok(answers)
}

/// Sends a response header back, as clients do with consistency tokens.
struct Echo {
    name: String,
    /// The header as a line, once a response had it.
    line: Vec<u8>,
    request: Vec<u8>,
}

impl Echo {
    fn new(name: String) -> Echo {
        Echo { name, line: Vec::new(), request: Vec::new() }
    }

    fn read_header(&mut self, exchange: &Exchange) {
        if let Some(value) = exchange.header(&self.name) {
            self.line.clear();
            for part in [self.name.as_bytes(), b": ", value, b"\r\n"] {
                self.line.extend_from_slice(part);
            }
        }
    }

    /// The request with the header after its first line.
    fn add_to(&mut self, request: &[u8]) -> &[u8] {
        let first = memmem::find(request, b"\r\n").map_or(0, |end| end + 2);
        self.request.clear();
        for part in [&request[..first], &self.line, &request[first..]] {
            self.request.extend_from_slice(part);
        }
        &self.request
    }
}
