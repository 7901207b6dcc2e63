//! The calls of a plan, mixed by their shares.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::Failed;
use crate::bodies::{Bodies, Requests, Source};
use crate::spread::{Picker, Random};

/// One kind of call.
#[derive(Deserialize)]
pub(crate) struct Call {
    path: String,
    bodies: Bodies,
    /// Its share of the requests, relative to those of the others.
    #[serde(default = "one")]
    share: f64,
}

fn one() -> f64 {
    1.0
}

/// The calls, which all connections share.
pub(crate) struct Mix {
    picker: Picker,
    sources: Vec<Arc<Source>>,
}

impl Mix {
    pub(crate) fn new(address: SocketAddr, calls: Vec<Call>) -> Result<Mix, Failed> {
        if calls.is_empty() || calls.iter().any(|call| call.share <= 0.0) {
            return Err("a plan needs calls, each with a positive share".into());
        }
        let picker = Picker::weighted(calls.iter().map(|call| call.share));
        let sources = calls
            .into_iter()
            .map(|call| Source::new(address, call.path, call.bodies).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Mix { picker, sources })
    }

    pub(crate) fn calls(&self) -> usize {
        self.sources.len()
    }

    /// The requests of one of the connections. Each kind of call has random numbers of its own,
    /// and so has the choice between them.
    pub(crate) fn requests(self: &Arc<Mix>, seed: u64, place: usize, connections: usize) -> MixedRequests {
        let stream = |number: usize| (number * connections + place) as u64;
        let requests = self.sources.iter().enumerate();
        MixedRequests {
            requests: requests.map(|(call, source)| source.requests(place, connections, stream(call))).collect(),
            random: Random::new(seed, stream(self.sources.len())),
            mix: self.clone(),
        }
    }
}

/// The endless requests of one connection.
pub(crate) struct MixedRequests {
    mix: Arc<Mix>,
    random: Random,
    requests: Vec<Requests>,
}

impl MixedRequests {
    pub(crate) fn calls(&self) -> usize {
        self.requests.len()
    }

    /// The index of the call, and its request.
    pub(crate) fn next(&mut self) -> (usize, &[u8]) {
        let call = self.mix.picker.pick(&mut self.random);
        (call, self.requests[call].next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(calls: &str) -> Result<Arc<Mix>, Failed> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Mix::new(address, serde_json::from_str(calls)?).map(Arc::new)
    }

    #[test]
    fn calls_come_by_their_shares() -> Result<(), Failed> {
        let mix = mix(r#"[{"path":"/a","share":0.75,"bodies":{"inTurn":["x"]}},
            {"path":"/b","share":0.25,"bodies":{"inTurn":["y"]}}]"#)?;
        let mut requests = mix.requests(7, 0, 1);
        let mut times = [0; 2];
        for _ in 0..10_000 {
            let (call, request) = requests.next();
            let path: &[u8] = if call == 0 { b"POST /a " } else { b"POST /b " };
            assert!(request.starts_with(path));
            times[call] += 1;
        }
        assert!((7_300..7_700).contains(&times[0]), "{times:?}");
        Ok(())
    }

    #[test]
    fn connections_and_seeds_mix_differently() -> Result<(), Failed> {
        let mix = mix(r#"[{"path":"/a","bodies":{"inTurn":["x"]}},{"path":"/b","bodies":{"inTurn":["y"]}}]"#)?;
        let some = |seed, place| {
            let mut requests = mix.requests(seed, place, 2);
            std::array::from_fn::<_, 64, _>(|_| requests.next().0)
        };
        assert_eq!(some(1, 0), some(1, 0));
        assert_ne!(some(1, 0), some(1, 1));
        assert_ne!(some(1, 0), some(2, 0));
        Ok(())
    }

    #[test]
    fn a_mix_without_calls_or_with_a_share_of_zero_is_rejected() {
        assert!(mix("[]").is_err());
        assert!(mix(r#"[{"path":"/a","share":0.0,"bodies":{"inTurn":["x"]}}]"#).is_err());
    }
}
