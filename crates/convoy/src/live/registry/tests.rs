use super::*;
use crate::change::{Change, ChangeKind};
use crate::error::{Code, Failure};

fn ticket(input: &str) -> Ticket {
    Ticket { key: Key { function: "f".into(), input: input.into(), private: None }, caller: None }
}

fn frame(data: &str) -> Frame {
    Frame::new("f", Ok(data.as_bytes().to_vec().into()), 0)
}

fn of_table(table: &str) -> Changes {
    Changes::Some([Change { table: table.into(), kind: ChangeKind::Whole }].into())
}

fn reads(table: &str) -> ReadSet {
    let mut reads = ReadSet::default();
    reads.points.insert((table.into(), uuid::Uuid::nil()));
    reads
}

#[test]
fn one_run_serves_all_subscribers_of_a_key() {
    let mut registry = Registry::default();
    let (id, mut first, run) = registry.subscribe(ticket("{}"));
    let (same, mut second, again) = registry.subscribe(ticket("{}"));
    assert_eq!((id, run, again), (same, true, false));
    assert!(registry.begin(id).is_some());
    assert_eq!(registry.finish(id, reads("a"), frame("1")), Next::Rest);
    assert!(first.borrow_and_update().is_some() && second.borrow_and_update().is_some());
    assert_eq!(registry.changed(&of_table("a")), [id]);
    assert_eq!(registry.changed(&of_table("b")), Vec::<QueryId>::new());
}

#[test]
fn a_change_that_lands_while_a_run_is_under_way_makes_it_run_again() {
    let mut registry = Registry::default();
    let (id, mut latest, _) = registry.subscribe(ticket("{}"));
    registry.begin(id);
    // The first run has read nothing yet, so nothing can be found by index.
    assert_eq!(registry.changed(&of_table("a")), Vec::<QueryId>::new());
    assert_eq!(registry.finish(id, reads("a"), frame("1")), Next::Again);
    assert!(latest.borrow_and_update().is_some(), "its result is shown all the same");
    registry.begin(id);
    assert_eq!(registry.changed(&of_table("b")), Vec::<QueryId>::new());
    assert_eq!(registry.finish(id, reads("a"), frame("2")), Next::Rest);
}

#[test]
fn more_changes_than_are_kept_count_as_a_hit() {
    let mut registry = Registry::default();
    let (id, _latest, _) = registry.subscribe(ticket("{}"));
    registry.begin(id);
    for _ in 0..=KEEP_CHANGES {
        registry.changed(&of_table("b"));
    }
    assert!(registry.recent.len() <= KEEP_CHANGES);
    assert_eq!(registry.finish(id, reads("a"), frame("1")), Next::Again);
    assert!(registry.recent.is_empty());
}

#[test]
fn equal_results_are_silent() {
    let mut registry = Registry::default();
    let (id, mut latest, _) = registry.subscribe(ticket("{}"));
    registry.begin(id);
    registry.finish(id, reads("a"), frame("1"));
    latest.mark_unchanged();
    registry.changed(&of_table("a"));
    registry.begin(id);
    registry.finish(id, reads("a"), frame("1"));
    assert!(!latest.has_changed().expect("the query lives"));
    registry.changed(&of_table("a"));
    registry.begin(id);
    let refused = Err(Failure::new(Code::NotFound, "gone"));
    registry.finish(id, reads("a"), Frame::new("f", refused, 0));
    assert!(latest.has_changed().expect("the query lives"));
}

#[test]
fn new_code_reruns_everything_and_runs_of_old_code_do_not_count() {
    let mut registry = Registry::default();
    let (idle, _a, _) = registry.subscribe(ticket("1"));
    registry.begin(idle);
    registry.finish(idle, reads("a"), frame("1"));
    let (running, _b, _) = registry.subscribe(ticket("2"));
    registry.begin(running);
    assert_eq!(registry.reloaded(), [idle]);
    assert_eq!(registry.finish(running, reads("a"), frame("1")), Next::Again);
    assert_eq!(registry.changed(&of_table("a")), Vec::<QueryId>::new());
}

#[test]
fn the_last_subscriber_takes_the_query_along_even_while_it_runs() {
    let mut registry = Registry::default();
    let (id, latest, _) = registry.subscribe(ticket("{}"));
    registry.begin(id);
    registry.changed(&of_table("a"));
    registry.unsubscribe(id);
    assert!(registry.is_empty() && registry.recent.is_empty() && registry.in_flight.is_empty());
    assert_eq!(registry.finish(id, reads("a"), frame("1")), Next::Rest);
    assert_eq!(registry.subscribers(), 0);
    drop(latest);
}
