//! The request bodies of a plan: given texts in turn, or ids picked at random between given
//! texts.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::Failed;
use crate::exchange::post;
use crate::spread::{Picker, Random, Spread};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Bodies {
    /// Sent in turn, starting over at the end.
    InTurn(Vec<String>),
    /// Built for each request.
    Picked(Picked),
}

/// `before`, as many ids as `picks` says with `between` among them, `after`. No
/// id comes twice in one body.
#[derive(Deserialize)]
pub(crate) struct Picked {
    /// The most frequent ones first.
    ids: Vec<String>,
    picks: usize,
    spread: Spread,
    seed: u64,
    before: String,
    between: String,
    after: String,
}

/// The source of requests, which all connections share.
pub(crate) enum Source {
    /// Encoded in advance.
    InTurn(Vec<Vec<u8>>),
    Picked {
        address: SocketAddr,
        path: String,
        picker: Picker,
        body: Picked,
    },
}

impl Source {
    pub(crate) fn new(address: SocketAddr, path: String, bodies: Bodies) -> Result<Source, Failed> {
        match bodies {
            Bodies::InTurn(bodies) if bodies.is_empty() => Err("a plan needs a body".into()),
            Bodies::InTurn(bodies) => {
                Ok(Source::InTurn(bodies.iter().map(|body| post(address, &path, body)).collect()))
            }
            Bodies::Picked(body) if body.ids.len() < body.picks => {
                Err(format!("{} ids are too few to pick {} different ones", body.ids.len(), body.picks).into())
            }
            Bodies::Picked(body) => {
                let picker = Picker::new(&body.spread, body.ids.len());
                Ok(Source::Picked { address, path, picker, body })
            }
        }
    }

    /// The requests of one of the connections. Each starts at another point, so that they do not
    /// all send the same at once; `stream` is the number of its sequence of random picks.
    pub(crate) fn requests(self: &Arc<Source>, place: usize, connections: usize, stream: u64) -> Requests {
        let next = match &**self {
            Source::InTurn(all) => place * all.len() / connections,
            Source::Picked { .. } => 0,
        };
        let seed = match &**self {
            Source::InTurn(_) => 0,
            Source::Picked { body, .. } => body.seed,
        };
        let random = Random::new(seed, stream);
        Requests { source: self.clone(), next, random, picked: Vec::new(), encoded: Vec::new() }
    }
}

/// The endless requests of one connection.
pub(crate) struct Requests {
    source: Arc<Source>,
    /// The index of the next given text.
    next: usize,
    random: Random,
    picked: Vec<usize>,
    encoded: Vec<u8>,
}

impl Requests {
    pub(crate) fn next(&mut self) -> &[u8] {
        match &*self.source {
            Source::InTurn(all) => {
                let request = &all[self.next];
                self.next = (self.next + 1) % all.len();
                request
            }
            Source::Picked { address, path, picker, body } => {
                self.picked.clear();
                while self.picked.len() < body.picks {
                    let pick = picker.pick(&mut self.random);
                    if !self.picked.contains(&pick) {
                        self.picked.push(pick);
                    }
                }
                self.encoded = post(*address, path, &body.text(&self.picked));
                &self.encoded
            }
        }
    }
}

impl Picked {
    fn text(&self, picked: &[usize]) -> String {
        let ids: Vec<&str> = picked.iter().map(|place| self.ids[*place].as_str()).collect();
        format!("{}{}{}", self.before, ids.join(&self.between), self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(plan: &str) -> Result<Arc<Source>, Failed> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Source::new(address, "/path".to_owned(), serde_json::from_str(plan)?).map(Arc::new)
    }

    fn body(request: &[u8]) -> String {
        let request = String::from_utf8_lossy(request);
        request.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    #[test]
    fn given_bodies_come_in_turn_and_each_connection_begins_elsewhere() -> Result<(), Failed> {
        let source = source(r#"{"inTurn":["a","b","c","d"]}"#)?;
        let mut second = source.requests(1, 2, 1);
        let sent: Vec<String> = (0..3).map(|_| body(second.next())).collect();
        assert_eq!(sent, ["c", "d", "a"]);
        Ok(())
    }

    #[test]
    fn picked_ids_differ_within_a_body() -> Result<(), Failed> {
        let source = source(
            r#"{"picked":{"ids":["x","y"],"picks":2,"spread":{"zipf":{"exponent":3.0}},"seed":1,
                "before":"[","between":"-","after":"]"}}"#,
        )?;
        let mut requests = source.requests(0, 1, 0);
        for _ in 0..100 {
            let sent = body(requests.next());
            assert!(sent == "[x-y]" || sent == "[y-x]", "{sent}");
        }
        Ok(())
    }

    #[test]
    fn more_picks_than_ids_are_rejected() {
        let plan = r#"{"picked":{"ids":["x"],"picks":2,"spread":"uniform","seed":1,
            "before":"","between":"","after":""}}"#;
        assert!(source(plan).is_err());
    }
}
