//! Checks histories of transactions that read lists and append to them.
//!
//! Every appended value is unique, so each list that was read shows the order of all appends
//! before it. From these orders follow the dependencies between transactions: a value was
//! written after another (write), read by a transaction (read), or not read yet
//! (anti-dependency). With the order in time, a history is strictly serializable exactly if
//! these dependencies have no cycle, and no value is lost, doubled, or of a transaction that
//! had no effect.
//!
//! A value that no read shows has no place in an order. So a history ends with a read of every
//! list that began after all answers.

mod anomaly;
mod cycles;
mod dependencies;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use anomaly::{Anomaly, Dependency};

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A value was added to the end of a list.
    Append {
        /// The list.
        key: u64,
        /// The value; no other append has it.
        value: u64,
    },
    /// A list was read.
    Read {
        /// The list.
        key: u64,
        /// Its values.
        list: Vec<u64>,
    },
}

/// What the client knows about the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was committed.
    Committed,
    /// It had no effect.
    Failed,
    /// The answer was lost: it may have been committed, and may still be.
    Unknown,
}

/// One transaction of a history. Times are of one clock.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its steps in order. Reads count only if it was committed.
    pub steps: Vec<Step>,
    /// When it was sent.
    pub begin: u64,
    /// When it was answered; ignored for [`Outcome::Unknown`].
    pub end: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// Checks a history; the result is empty if it is strictly serializable.
pub fn check(history: &[Transaction]) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let history = History::of(history, &mut found);
    history.check_values(&mut found);
    history.check_intermediate_reads(&mut found);
    history.check_each_transaction(&mut found);
    let edges = dependencies::edges(&history);
    found.extend(cycles::find(&edges, history.transactions.len()));
    found
}

/// A history with what its reads show.
struct History<'a> {
    transactions: &'a [Transaction],
    /// The position of the transaction that appended each value to a list.
    writers: HashMap<(u64, u64), usize>,
    /// The values of each list in order, as far as a read has shown them.
    orders: BTreeMap<u64, Vec<u64>>,
    /// When each transaction has happened at the latest: those that were answered, and those in
    /// doubt that a read has shown. `None` if it is not known to have happened.
    happened: Vec<Option<u64>>,
}

impl<'a> History<'a> {
    fn of(transactions: &'a [Transaction], found: &mut Vec<Anomaly>) -> History<'a> {
        let (writers, orders) = (writers(transactions, found), orders(transactions, found));
        let happened = transactions.iter().map(|each| (each.outcome == Outcome::Committed).then_some(each.end));
        let mut history = History { transactions, writers, orders, happened: happened.collect() };
        for (at, key, list) in reads(transactions) {
            for writer in list.iter().filter_map(|value| history.writers.get(&(key, *value))) {
                if transactions[*writer].outcome != Outcome::Committed {
                    let seen = transactions[at].end;
                    let happened = &mut history.happened[*writer];
                    *happened = Some(happened.map_or(seen, |earlier| earlier.min(seen)));
                }
            }
        }
        history
    }

    /// The transaction that appended a value, if it has happened.
    fn writer(&self, key: u64, value: u64) -> Option<usize> {
        self.writers.get(&(key, value)).copied().filter(|at| self.happened[*at].is_some())
    }

    /// Checks that the values read are those that were appended: no others, none twice, and
    /// none lost.
    fn check_values(&self, found: &mut Vec<Anomaly>) {
        let mut wrong = HashSet::new();
        for (_, key, list) in reads(self.transactions) {
            let mut seen = HashSet::new();
            for value in list {
                let anomaly = match self.writers.get(&(key, *value)) {
                    _ if !seen.insert(*value) => Anomaly::Duplicate { key, value: *value },
                    None => Anomaly::Phantom { key, value: *value },
                    Some(writer) if self.transactions[*writer].outcome == Outcome::Failed => {
                        Anomaly::AbortedRead { key, value: *value }
                    }
                    Some(_) => continue,
                };
                if wrong.insert(anomaly.clone()) {
                    found.push(anomaly);
                }
            }
        }
        // A value in the order of its list that another read lacks is a matter of dependencies.
        let shown: HashSet<(u64, u64)> =
            self.orders.iter().flat_map(|(key, order)| order.iter().map(|value| (*key, *value))).collect();
        let mut last: HashMap<u64, u64> = HashMap::new();
        for (at, key, _) in reads(self.transactions) {
            let begin = self.transactions[at].begin;
            last.entry(key).and_modify(|latest| *latest = begin.max(*latest)).or_insert(begin);
        }
        for ((key, value), writer) in &self.writers {
            let read_later = self.happened[*writer].zip(last.get(key)).is_some_and(|(end, begin)| end < *begin);
            if read_later && !shown.contains(&(*key, *value)) {
                found.push(Anomaly::Lost { key: *key, value: *value });
            }
        }
    }

    /// Checks that no read saw some appends of another transaction to its list, but not all.
    fn check_intermediate_reads(&self, found: &mut Vec<Anomaly>) {
        for (at, key, list) in reads(self.transactions) {
            let Some(value) = list.last() else { continue };
            let Some(writer) = self.writers.get(&(key, *value)) else { continue };
            if *writer != at && appends(&self.transactions[*writer], key).last() != Some(*value) {
                found.push(Anomaly::Intermediate { key, value: *value });
            }
        }
    }

    /// Checks each transaction by itself: a read has the values of the read before it, and those
    /// appended since.
    fn check_each_transaction(&self, found: &mut Vec<Anomaly>) {
        for transaction in self.transactions.iter().filter(|each| each.outcome == Outcome::Committed) {
            let mut known: HashMap<u64, (Option<&[u64]>, Vec<u64>)> = HashMap::new();
            for step in &transaction.steps {
                match step {
                    Step::Append { key, value } => known.entry(*key).or_default().1.push(*value),
                    Step::Read { key, list } => {
                        let (before, own) = known.entry(*key).or_default();
                        let fits = match before {
                            Some(before) => list.iter().eq(before.iter().chain(own.iter())),
                            None => list.ends_with(own),
                        };
                        if !fits {
                            found.push(Anomaly::Internal { key: *key });
                        }
                        *before = Some(list);
                        own.clear();
                    }
                }
            }
        }
    }
}

fn writers(transactions: &[Transaction], found: &mut Vec<Anomaly>) -> HashMap<(u64, u64), usize> {
    let mut writers = HashMap::new();
    for (at, transaction) in transactions.iter().enumerate() {
        for step in &transaction.steps {
            if let Step::Append { key, value } = *step
                && writers.insert((key, value), at).is_some()
            {
                // A mistake of the test: values have to be unique.
                found.push(Anomaly::Duplicate { key, value });
            }
        }
    }
    writers
}

/// The reads of transactions that were committed, each with the position of its transaction.
fn reads(transactions: &[Transaction]) -> impl Iterator<Item = (usize, u64, &[u64])> {
    let committed = transactions.iter().enumerate().filter(|(_, each)| each.outcome == Outcome::Committed);
    committed.flat_map(|(at, each)| {
        each.steps.iter().filter_map(move |step| match step {
            Step::Read { key, list } => Some((at, *key, list.as_slice())),
            Step::Append { .. } => None,
        })
    })
}

/// The values that a transaction appended to a list.
fn appends(transaction: &Transaction, key: u64) -> impl Iterator<Item = u64> {
    transaction.steps.iter().filter_map(move |step| match step {
        Step::Append { key: of, value } if *of == key => Some(*value),
        _ => None,
    })
}

/// The longest read of each list; all others must be a beginning of it.
fn orders(transactions: &[Transaction], found: &mut Vec<Anomaly>) -> BTreeMap<u64, Vec<u64>> {
    let mut orders: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (_, key, list) in reads(transactions) {
        let longest = orders.entry(key).or_default();
        if list.len() > longest.len() {
            *longest = list.to_vec();
        }
    }
    for (_, key, list) in reads(transactions) {
        let order = &orders[&key];
        if !order.starts_with(list) {
            found.push(Anomaly::Forked { key, reads: (list.to_vec(), order.clone()) });
        }
    }
    orders
}
