//! Histories with and without planted anomalies.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Anomaly, Outcome, Step, Transaction, check};

fn append(key: u64, value: u64) -> Step {
    Step::Append { key, value }
}

fn read(key: u64, list: &[u64]) -> Step {
    Step::Read { key, list: list.to_vec() }
}

fn committed(begin: u64, end: u64, steps: Vec<Step>) -> Transaction {
    Transaction { steps, begin, end, outcome: Outcome::Committed }
}

/// Transactions at the same time.
fn together(all: Vec<Vec<Step>>) -> Vec<Transaction> {
    all.into_iter().map(|steps| committed(0, 100, steps)).collect()
}

fn names(history: &[Transaction]) -> Vec<&'static str> {
    let mut names: Vec<&str> = check(history).iter().map(Anomaly::name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn a_serial_history_is_accepted() {
    let history = vec![
        committed(0, 1, vec![append(1, 1), append(2, 2), read(1, &[1])]),
        committed(2, 3, vec![read(1, &[1]), append(1, 3), read(1, &[1, 3]), read(2, &[2])]),
        committed(4, 5, vec![read(1, &[1, 3]), read(2, &[2]), read(3, &[])]),
    ];
    assert_eq!(check(&history), []);
}

#[test]
fn an_append_in_doubt_may_happen_or_not_and_one_that_failed_may_not() {
    let with = |outcome, list: &[u64]| {
        vec![Transaction { steps: vec![append(1, 1)], begin: 0, end: 1, outcome }, committed(2, 3, vec![read(1, list)])]
    };
    assert_eq!(names(&with(Outcome::Unknown, &[])), [""; 0]);
    assert_eq!(names(&with(Outcome::Unknown, &[1])), [""; 0]);
    assert_eq!(names(&with(Outcome::Failed, &[])), [""; 0]);
    assert_eq!(names(&with(Outcome::Failed, &[1])), ["G1a (aborted read)"]);
    assert_eq!(names(&with(Outcome::Committed, &[])), ["lost append"]);
    assert_eq!(names(&[committed(0, 1, vec![read(1, &[9])])]), ["phantom append"]);
}

#[test]
fn planted_anomalies_are_found() {
    let twice = together(vec![vec![append(1, 1)], vec![read(1, &[1, 1])]]);
    assert!(names(&twice).contains(&"duplicate append"));
    let forked = together(vec![vec![append(1, 1)], vec![append(1, 2)], vec![read(1, &[1, 2])], vec![read(1, &[2])]]);
    assert!(names(&forked).contains(&"forked order"));
    let intermediate = together(vec![vec![append(1, 1), append(1, 2)], vec![read(1, &[1])], vec![read(1, &[1, 2])]]);
    assert!(names(&intermediate).contains(&"G1b (intermediate read)"));
    let internal = together(vec![vec![append(1, 1), read(1, &[])]]);
    assert!(names(&internal).contains(&"internal"));
    let unrepeatable = together(vec![vec![read(1, &[]), read(1, &[1])], vec![append(1, 1)]]);
    assert!(names(&unrepeatable).contains(&"internal"));
}

#[test]
fn cycles_have_the_name_of_their_dependencies() {
    let seen = |one: &[u64], two: &[u64]| vec![read(1, one), read(2, two)];
    let dirty =
        together(vec![vec![append(1, 1), append(2, 1)], vec![append(1, 2), append(2, 2)], seen(&[1, 2], &[2, 1])]);
    assert_eq!(names(&dirty), ["G0 (write cycle)"]);
    let circular = together(vec![vec![append(1, 1), read(2, &[1])], vec![append(2, 1), read(1, &[1])]]);
    assert_eq!(names(&circular), ["G1c (circular information flow)"]);
    let skew = together(vec![vec![append(1, 1), append(2, 1)], seen(&[], &[1]), seen(&[1], &[1])]);
    assert_eq!(names(&skew), ["G-single (read skew)"]);
    let write_skew =
        together(vec![vec![read(1, &[]), append(2, 1)], vec![read(2, &[]), append(1, 1)], seen(&[1], &[1])]);
    assert_eq!(names(&write_skew), ["G2 (write skew)"]);
    let lost_update =
        together(vec![vec![read(1, &[]), append(1, 1)], vec![read(1, &[]), append(1, 2)], vec![read(1, &[1, 2])]]);
    assert_eq!(names(&lost_update), ["G-single (read skew)"]);
}

#[test]
fn the_order_in_time_counts() {
    let stale = vec![
        committed(0, 1, vec![append(1, 1)]),
        committed(2, 3, vec![append(1, 2)]),
        committed(4, 5, vec![read(1, &[1])]),
        committed(0, 9, vec![read(1, &[1, 2])]),
    ];
    assert!(names(&stale).contains(&"real time"));
    let overlapping = vec![
        committed(0, 1, vec![append(1, 1)]),
        committed(2, 6, vec![append(1, 2)]),
        committed(4, 5, vec![read(1, &[1])]),
        committed(0, 9, vec![read(1, &[1, 2])]),
    ];
    assert_eq!(names(&overlapping), [""; 0]);
    let long = |n: u64| committed(2 * n, 2 * n + 1, vec![read(1, &(0..n).collect::<Vec<_>>()), append(1, n)]);
    assert_eq!(check(&(0..2_000).map(long).collect::<Vec<_>>()), []);
}

#[test]
fn an_append_in_doubt_that_was_seen_has_happened_as_a_whole() {
    let with = |second: &[u64]| {
        vec![
            Transaction { steps: vec![append(1, 1), append(2, 2)], begin: 0, end: 0, outcome: Outcome::Unknown },
            committed(1, 2, vec![read(1, &[1])]),
            committed(3, 4, vec![read(1, &[1]), read(2, second)]),
        ]
    };
    assert_eq!(names(&with(&[2])), [""; 0]);
    assert_eq!(names(&with(&[])), ["lost append"]);
}

/// Every verdict about many small histories is that of a search through all orders.
#[test]
fn the_verdict_is_that_of_trying_every_order() {
    let mut random = StdRng::seed_from_u64(7);
    let mut verdicts = [0, 0];
    for _ in 0..5_000 {
        let history = small_history(&mut random);
        let serializable = some_order_explains(&history);
        assert_eq!(check(&history).is_empty(), serializable, "{history:?}: {:?}", check(&history));
        verdicts[usize::from(serializable)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 500), "both verdicts are frequent: {verdicts:?}");
}

/// Four transactions on two lists, and a read of both at the end. Reads show a beginning of
/// their list, which is often the right one.
fn small_history(random: &mut StdRng) -> Vec<Transaction> {
    let mut history: Vec<Transaction> = Vec::new();
    for at in 0..4 {
        let begin = random.random_range(0..8);
        let end = begin + random.random_range(0..4);
        let outcomes = [Outcome::Committed, Outcome::Committed, Outcome::Committed, Outcome::Unknown, Outcome::Failed];
        let outcome = outcomes[random.random_range(0..outcomes.len())];
        let steps = (0..random.random_range(1..=3)).map(|step| match random.random_range(0..2) {
            0 => append(random.random_range(0..2), 10 * at + step),
            _ => read(random.random_range(0..2), &[]),
        });
        let steps = steps.collect();
        history.push(Transaction { steps, begin, end, outcome });
    }
    // By the times, with some disorder, most histories are serializable.
    let mut order: Vec<usize> = (0..4).collect();
    order.sort_by_key(|at| history[*at].end);
    if random.random_range(0..3) == 0 {
        order.swap(random.random_range(0..4), random.random_range(0..4));
    }
    let mut lists: [Vec<u64>; 2] = [vec![], vec![]];
    let last = |transaction: &Transaction| Transaction { outcome: Outcome::Committed, ..transaction.clone() };
    for at in order {
        let happens = match history[at].outcome {
            Outcome::Committed => random.random_range(0..40) > 0,
            Outcome::Unknown => random.random_range(0..2) == 0,
            Outcome::Failed => random.random_range(0..40) == 0,
        };
        let mut after = lists.clone();
        let transaction = last(&history[at]);
        let mut steps = Vec::new();
        for step in transaction.steps {
            steps.push(match step {
                Step::Append { key, value } => {
                    after[key as usize].push(value);
                    append(key, value)
                }
                Step::Read { key, .. } => {
                    let list = &after[key as usize];
                    let stale = if random.random_range(0..8) == 0 { random.random_range(0..=list.len()) } else { 0 };
                    read(key, &list[..list.len() - stale])
                }
            });
        }
        history[at].steps = steps;
        if happens {
            lists = after;
        }
    }
    history.push(committed(100, 101, vec![read(0, &lists[0]), read(1, &lists[1])]));
    history
}

/// Whether the transactions can have run one after another, in an order that agrees with time.
fn some_order_explains(history: &[Transaction]) -> bool {
    fn extend(history: &[Transaction], done: &mut Vec<usize>, lists: &[Vec<u64>; 2]) -> bool {
        let is_done = |at: usize| done.contains(&at);
        let left: Vec<usize> = (0..history.len()).filter(|at| !is_done(*at)).collect();
        // One in doubt need not happen, and one that failed may not.
        if left.iter().all(|at| history[*at].outcome != Outcome::Committed) {
            return true;
        }
        left.iter().filter(|at| history[**at].outcome != Outcome::Failed).any(|at| {
            let comes_first = |other: &usize| {
                history[*other].outcome == Outcome::Committed && history[*other].end < history[*at].begin
            };
            if left.iter().any(comes_first) {
                return false;
            }
            let mut after = lists.clone();
            let fits = history[*at].steps.iter().all(|step| match step {
                Step::Append { key, value } => {
                    after[*key as usize].push(*value);
                    true
                }
                Step::Read { key, list } => history[*at].outcome != Outcome::Committed || after[*key as usize] == *list,
            });
            done.push(*at);
            let explained = fits && extend(history, done, &after);
            done.pop();
            explained
        })
    }
    extend(history, &mut Vec::new(), &[vec![], vec![]])
}
