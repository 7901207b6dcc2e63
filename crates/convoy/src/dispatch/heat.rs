//! Which calls meet over the same documents again and again. Those are sent
//! through a [serial queue](super::strategy::serial_queue); all others never pay for it.
//!
//! A call is known by its function and by the documents its input names. A
//! document (or, where the input names none that matter, the function itself)
//! becomes hot when several calls have lost over it within a second, and cools
//! down when for two seconds no two calls have met over it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::program::Function;
use super::strategy::Touched;
use crate::change::ChangeKind;

/// This many losses within this time make a place hot.
const LOSSES: u32 = 3;
const WINDOW: Duration = Duration::from_secs(1);
/// It stays so for this long after two calls have last met there.
const COOLING: Duration = Duration::from_secs(2);
/// Where more than this share of a function's calls go to a lane, all of them do:
/// the few others would only meet those in the lane.
const MOSTLY: f64 = 0.5;
/// How much one call counts in that share.
const ONE_CALL: f64 = 0.01;
/// How long a function that was slow in a lane, as often as this, runs outside.
const SLOW: Duration = Duration::from_secs(10);
/// The most places that are remembered.
const PLACES: usize = 10_000;

/// What calls meet over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub function: Arc<str>,
    /// Table and id; none where it is the function itself.
    pub document: Option<(Arc<str>, Uuid)>,
}

impl Place {
    /// The lane that calls of this place go through: one for each table.
    pub fn lane(&self) -> Arc<str> {
        match &self.document {
            Some((table, _)) => table.clone(),
            None => self.function.clone(),
        }
    }
}

#[derive(Debug)]
struct Warmth {
    losses: u32,
    since: Instant,
    hot_until: Option<Instant>,
}

/// How often a function kept a lane waiting lately.
#[derive(Debug)]
struct Strikes {
    count: u32,
    since: Instant,
    out_until: Option<Instant>,
}

/// The places that are hot, or may become so.
#[derive(Default)]
pub(super) struct Heat {
    places: Mutex<HashMap<Place, Warmth>>,
    /// The share of hot calls by function, where there are any. Only looked at
    /// while a place is known.
    shares: Mutex<HashMap<Arc<str>, f64>>,
    slow: Mutex<HashMap<Arc<str>, Strikes>>,
    /// How many places are known: while there are none, nobody looks.
    known: AtomicUsize,
}

impl Heat {
    /// The hot place this call goes to, if any; with `any`, a place that is known
    /// will do.
    pub fn lane(&self, function: &Function, input: &str, any: bool) -> Option<Place> {
        if self.known.load(Ordering::Relaxed) == 0 || self.is_slow(&function.name) {
            return None;
        }
        let now = Instant::now();
        let name = function.name.clone();
        let mut places = self.places.lock();
        let documents = named(input).map(Some).chain([None]);
        let mut hot = None;
        for document in documents {
            let place = Place { function: name.clone(), document };
            let Some(warmth) = places.get(&place) else { continue };
            match warmth.hot_until {
                Some(until) if until > now => {
                    hot = Some(place);
                    break;
                }
                None if any => hot = hot.or(Some(place)),
                None if now < warmth.since + WINDOW => {}
                // It has cooled down.
                _ => {
                    places.remove(&place);
                }
            }
        }
        self.known.store(places.len(), Ordering::Relaxed);
        drop(places);
        let share = self.share(&name, hot.is_some());
        hot.or_else(|| (share > MOSTLY).then(|| Place { function: name, document: named(input).next() }))
    }

    /// The share of hot calls, this one counted.
    fn share(&self, function: &Arc<str>, hot: bool) -> f64 {
        let mut shares = self.shares.lock();
        match shares.get_mut(function) {
            Some(share) => {
                *share += ONE_CALL * (f64::from(u8::from(hot)) - *share);
                *share
            }
            None if hot => *shares.entry(function.clone()).or_insert(ONE_CALL),
            None => 0.0,
        }
    }

    /// A call lost against another over something it has touched.
    pub fn lost(&self, function: &Function, input: &str, touched: &Touched) {
        let now = Instant::now();
        let name = function.name.clone();
        let mut documents: Vec<Option<(Arc<str>, Uuid)>> = named(input)
            .filter(|(_, id)| {
                let written = |change: &crate::change::Change| match &change.kind {
                    ChangeKind::Row { id: written, .. } => written == id,
                    ChangeKind::Whole => true,
                };
                touched.reads.points.iter().any(|(_, read)| read == id) || touched.written.iter().any(written)
            })
            .map(Some)
            .collect();
        if documents.is_empty() {
            documents.push(None);
        }
        let mut places = self.places.lock();
        if places.len() >= PLACES {
            places.retain(|_, warmth| warmth.hot_until.is_some_and(|until| until > now));
        }
        for document in documents {
            let warmth = places.entry(Place { function: name.clone(), document }).or_insert(Warmth {
                losses: 0,
                since: now,
                hot_until: None,
            });
            if warmth.hot_until.is_none() && now > warmth.since + WINDOW {
                (warmth.losses, warmth.since) = (0, now);
            }
            warmth.losses += 1;
            if warmth.losses >= LOSSES {
                warmth.hot_until = Some(now + COOLING);
            }
        }
        self.known.store(places.len(), Ordering::Relaxed);
    }

    /// Two calls have met at a place.
    pub fn met(&self, place: &Place) {
        if let Some(warmth) = self.places.lock().get_mut(place) {
            warmth.hot_until = Some(Instant::now() + COOLING);
        }
    }

    /// A function kept a lane waiting. Once may be an accident.
    pub fn slow(&self, function: &str) {
        let now = Instant::now();
        let mut slow = self.slow.lock();
        let strikes = slow.entry(function.into()).or_insert(Strikes { count: 0, since: now, out_until: None });
        if now > strikes.since + WINDOW {
            (strikes.count, strikes.since) = (0, now);
        }
        strikes.count += 1;
        if strikes.count >= LOSSES {
            strikes.out_until = Some(now + SLOW);
        }
    }

    fn is_slow(&self, function: &str) -> bool {
        let mut slow = self.slow.lock();
        let Some(until) = slow.get(function).and_then(|strikes| strikes.out_until) else { return false };
        let still = until > Instant::now();
        if !still {
            slow.remove(function);
        }
        still
    }
}

/// The ids in an input, `"table:uuid"`, by their table's name in code.
fn named(input: &str) -> impl Iterator<Item = (Arc<str>, Uuid)> {
    input.split('"').filter_map(|text| {
        let (table, id) = text.rsplit_once(':')?;
        Some((Arc::from(table), crate::id::parse(id)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::ReadSet;
    use crate::dispatch::program::tests::function;

    fn touched(id: Uuid) -> Touched {
        let mut reads = ReadSet::default();
        reads.points.insert(("accounts".into(), id));
        Touched { reads, ..Touched::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_becomes_hot_by_losses_and_cools_down_alone() {
        let (heat, transfer) = (Heat::default(), function("bank.transfer"));
        let (hot, cold) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let input = |id: Uuid| format!(r#"{{"from":"accounts:{id}","amount":5}}"#);
        for _ in 0..LOSSES {
            assert_eq!(heat.lane(&transfer, &input(hot), false), None);
            heat.lost(&transfer, &input(hot), &touched(hot));
        }
        // Whoever keeps losing need not wait that long.
        heat.lost(&transfer, &input(cold), &touched(cold));
        assert_eq!(heat.lane(&transfer, &input(cold), false), None);
        assert!(heat.lane(&transfer, &input(cold), true).is_some());
        let place = heat.lane(&transfer, &input(hot), false).expect("it is hot");
        assert_eq!(place.document, Some(("accounts".into(), hot)));
        assert_eq!(heat.lane(&transfer, &input(cold), false), None);
        assert_eq!(heat.lane(&function("bank.audit"), &input(hot), false), None);
        tokio::time::advance(COOLING / 2).await;
        heat.met(&place);
        tokio::time::advance(COOLING - Duration::from_millis(1)).await;
        assert!(heat.lane(&transfer, &input(hot), false).is_some());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(heat.lane(&transfer, &input(hot), false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_most_calls_are_hot_the_others_come_along() {
        let (heat, transfer) = (Heat::default(), function("bank.transfer"));
        let (hot, cold) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let input = |id: Uuid| format!(r#"{{"from":"accounts:{id}"}}"#);
        for _ in 0..LOSSES {
            heat.lost(&transfer, &input(hot), &touched(hot));
        }
        assert_eq!(heat.lane(&transfer, &input(cold), false), None);
        for _ in 0..100 {
            assert!(heat.lane(&transfer, &input(hot), false).is_some());
        }
        assert!(heat.lane(&transfer, &input(cold), false).is_some());
        for _ in 0..100 {
            heat.lane(&transfer, &input(cold), false);
        }
        assert_eq!(heat.lane(&transfer, &input(cold), false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn losses_far_apart_heat_nothing() {
        let (heat, transfer, id) = (Heat::default(), function("bank.transfer"), Uuid::from_u128(1));
        let input = format!(r#"{{"from":"accounts:{id}"}}"#);
        for _ in 0..LOSSES * 3 {
            heat.lost(&transfer, &input, &touched(id));
            tokio::time::advance(WINDOW).await;
        }
        assert_eq!(heat.lane(&transfer, &input, false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_documents_the_function_itself_is_hot_and_a_slow_one_stays_outside() {
        let (heat, tick) = (Heat::default(), function("counter.tick"));
        for _ in 0..LOSSES {
            heat.lost(&tick, "{}", &Touched::default());
        }
        assert_eq!(heat.lane(&tick, "{}", false).map(|place| place.document), Some(None));
        for _ in 0..LOSSES {
            assert!(heat.lane(&tick, "{}", false).is_some());
            heat.slow("counter.tick");
        }
        assert_eq!(heat.lane(&tick, "{}", false), None);
    }
}
