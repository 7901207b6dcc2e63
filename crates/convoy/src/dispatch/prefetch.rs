//! Prefetches the reads with which a function begins.
//!
//! Most functions begin with the same operations, which differ only by values of the input: they
//! read the document that the input names, or a list by one of its fields. After two runs whose
//! first operations fit such a template, the engine reads before it starts the function, and
//! sends the answers along: the function does not have to ask, which saves a round trip between
//! threads. The host compares its first operations with the prefetched ones, as text. If they
//! differ it asks as usual, and the reads were in vain; they only make the read set larger.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::FunctionKind;
use super::call::timed_out;
use super::drive::{Stop, Strategy};
use super::host::{HostTask, Prefetched};
use super::scope::CallScope;
use crate::error::Failure;
use crate::op::{Batch, Op};

/// The longest text of operations that a template is made of, in bytes.
const MAX_TEXT: usize = 2_048;
/// The most bytes of answers that are sent along.
const MAX_ANSWERS: usize = 256 << 10;
/// The longest input whose values are looked for, in bytes, and the most fields of it.
const MAX_INPUT: usize = 16 << 10;
const MAX_FIELDS: usize = 64;
/// The most documents that are read by their ids.
const MAX_GETS: usize = 32;
/// After so many runs that fit the template, it is used.
const CONFIRMED: u32 = 2;
/// A prediction is not used any more once more than one run in this many did not fit, besides
/// the first few.
const MISS_SHARE: u64 = 8;
const FREE_MISSES: u64 = 8;

/// What is known about the first operations of a function.
#[derive(Default)]
pub(super) struct FirstOperations {
    learned: Mutex<Learned>,
}

#[derive(Default)]
struct Learned {
    template: Option<Arc<Template>>,
    /// Runs in a row that fitted.
    confirmed: u32,
    predictions: Predictions,
}

/// How often runs of a function did what was predicted.
#[derive(Default)]
pub(super) struct Predictions {
    fits: u64,
    misses: u64,
}

impl Predictions {
    pub(super) fn record(&mut self, fits: bool) {
        if fits {
            self.fits += 1;
        } else {
            self.misses += 1;
        }
    }

    /// Whether too many runs did something else.
    pub(super) fn are_useless(&self) -> bool {
        self.misses > FREE_MISSES + self.fits / MISS_SHARE
    }
}

/// Operations as text, with places for values of the input.
#[derive(Debug, PartialEq, Eq)]
struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The value of this field of the input, as its JSON text.
    Field(String),
    /// The part of this field after its last colon, as JSON text: the id without its table.
    Id(String),
}

/// The fields of an input: strings and numbers at the top level.
type Fields<'a> = BTreeMap<&'a str, &'a str>;

impl FirstOperations {
    /// The operations with which a run with this input probably begins.
    fn predict(&self, input: &str) -> Option<String> {
        let template = {
            let learned = self.learned.lock();
            if learned.confirmed < CONFIRMED || learned.predictions.are_useless() {
                return None;
            }
            learned.template.clone()?
        };
        template.fill(&fields_of(input)?)
    }

    /// Records the first operations of a run without prefetched ones. `only_reads`: whether they
    /// could have been prefetched.
    pub(super) fn record(&self, input: &str, text: &str, only_reads: bool) {
        let only_reads = only_reads && text.len() <= MAX_TEXT;
        if self.learned.lock().learns_nothing(only_reads) {
            return;
        }
        let Some(fields) = fields_of(input) else { return };
        let mut learned = self.learned.lock();
        if let Some(template) = learned.template.clone() {
            if only_reads && template.fill(&fields).is_some_and(|filled| filled == text) {
                learned.confirmed += 1;
                return;
            }
            learned.missed();
        }
        learned.template = only_reads.then(|| Arc::new(Template::of(text, &fields)));
    }

    /// Records whether a run has used what was prefetched for it.
    pub(super) fn used(&self, used: bool) {
        let mut learned = self.learned.lock();
        if used {
            learned.predictions.record(true);
        } else {
            learned.missed();
        }
    }
}

impl Learned {
    fn missed(&mut self) {
        self.predictions.record(false);
        self.confirmed = 0;
    }

    /// Whether a run says nothing new, so that its input need not be parsed.
    fn learns_nothing(&self, only_reads: bool) -> bool {
        self.predictions.are_useless() || !only_reads && self.template.is_none()
    }
}

impl Template {
    fn of(text: &str, fields: &Fields<'_>) -> Template {
        let mut pieces = Vec::new();
        let (mut rest, mut fixed) = (text, String::new());
        while let Some(first) = rest.chars().next() {
            // Values begin after one of these.
            let starts = fixed.is_empty() && pieces.is_empty() || fixed.ends_with([':', '[', ',']);
            let found = if starts { value_at(rest, fields) } else { None };
            let Some((piece, length)) = found else {
                fixed.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            };
            pieces.push(Piece::Text(std::mem::take(&mut fixed)));
            pieces.push(piece);
            rest = &rest[length..];
        }
        pieces.push(Piece::Text(fixed));
        Template(pieces)
    }

    fn fill(&self, fields: &Fields<'_>) -> Option<String> {
        let mut text = String::with_capacity(256);
        for piece in &self.0 {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Field(name) => text.push_str(fields.get(name.as_str())?),
                Piece::Id(name) => {
                    text.push('"');
                    text.push_str(id_in(fields.get(name.as_str())?)?);
                }
            }
        }
        Some(text)
    }
}

/// The field whose value `text` begins with, and the length of the value.
fn value_at(text: &str, fields: &Fields<'_>) -> Option<(Piece, usize)> {
    let ends = |length: usize| text[length..].starts_with([',', ']', '}']);
    fields.iter().find_map(|(name, value)| {
        if text.starts_with(value) && ends(value.len()) {
            return Some((Piece::Field((*name).to_owned()), value.len()));
        }
        let id = id_in(value)?;
        let found = text.strip_prefix('"')?.starts_with(id) && ends(id.len() + 1);
        found.then(|| (Piece::Id((*name).to_owned()), id.len() + 1))
    })
}

/// The part of a JSON text after its last colon, with the quotation mark at its end.
fn id_in(value: &str) -> Option<&str> {
    let (_, id) = value.strip_prefix('"')?.rsplit_once(':')?;
    Some(id)
}

/// Strings with escapes are left out: the host may refuse what they stand for.
fn fields_of(input: &str) -> Option<Fields<'_>> {
    if input.len() > MAX_INPUT {
        return None;
    }
    let all: BTreeMap<&str, &RawValue> = serde_json::from_str(input).ok()?;
    if all.len() > MAX_FIELDS {
        return None;
    }
    let texts = all.into_iter().map(|(name, value)| (name, value.get()));
    let is_plain = |value: &str| {
        value.starts_with('"') && !value.contains('\\')
            || value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    };
    Some(texts.filter(|(_, value)| is_plain(value)).collect())
}

/// Reads what the function of a call will probably ask for first. The strategy has then answered
/// it.
pub(super) async fn prefetch<S: Strategy>(scope: &CallScope, strategy: &mut S) -> Result<Option<Prefetched>, Stop> {
    let function = scope.function();
    if !takes_prefetched(scope) {
        return Ok(None);
    }
    let first = &function.learned.first_operations;
    let Some(text) = first.predict(&scope.request.input) else { return Ok(None) };
    // What is filled with an unusual value may be no valid operation.
    let Ok(mut batch) = Batch::parse(&text, &scope.program.schema, None) else { return Ok(None) };
    if !are_reads(function.kind, &batch.ops) {
        return Ok(None);
    }
    let mut answers = String::with_capacity(1_024);
    answers.push('[');
    let answering = scope.telemetry.clone().run(strategy.answer(&mut batch.ops, None, &mut answers));
    match tokio::time::timeout_at(scope.operation_deadline(), answering).await {
        Ok(Ok(_)) => {}
        // The function may begin with something else, or handle the failure.
        Ok(Err(Stop::Failed(_))) if strategy.forget() => {
            first.used(false);
            return Ok(None);
        }
        Ok(Err(stop)) => return Err(stop),
        Err(_elapsed) => return Err(Stop::Broken(timed_out())),
    }
    if answers.ends_with(',') {
        answers.pop();
    }
    answers.push(']');
    if answers.len() > MAX_ANSWERS {
        strategy.forget();
        first.used(false);
        return Ok(None);
    }
    Ok(Some(Prefetched { ops: text, answers }))
}

/// Whether the operations of this call may be prefetched. Under a role each operation has
/// settings of its caller, which only the function knows.
pub(super) fn takes_prefetched(scope: &CallScope) -> bool {
    let function = scope.function();
    let is_one = matches!(function.work, HostTask::Function(_)) && function.kind != FunctionKind::Action;
    is_one && function.transactional && scope.program.role().is_none() && scope.program.host.takes_prefetched()
}

/// Whether these are a few reads with which a run of this kind could begin without a transaction.
/// The caller, who is not known yet, may ask for them in vain.
pub(super) fn are_reads(kind: FunctionKind, ops: &[Result<Op, Failure>]) -> bool {
    let is_one = |op: &Result<Op, Failure>| match op {
        Ok(Op::Get { .. }) => true,
        Ok(Op::Scan(scan)) => kind == FunctionKind::Query && ops.len() == 1 && scan.is_short(),
        _ => false,
    };
    ops.len() <= MAX_GETS && ops.iter().all(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0199d1c0-0000-7000-8000-000000000001";
    const OTHER: &str = "0199d1c0-0000-7000-8000-000000000002";

    fn get(id: &str) -> String {
        format!(r#"[{{"op":"get","table":"messages","id":"{id}"}}]"#)
    }

    fn by_id(id: &str) -> String {
        format!(r#"{{"id":"messages:{id}"}}"#)
    }

    fn scan(channel: &str, limit: u32) -> String {
        format!(r#"[{{"op":"scan","table":"messages","eq":[{channel}],"order":"desc","limit":{limit}}}]"#)
    }

    #[test]
    fn operations_that_differ_by_the_input_are_predicted_after_two_more_runs() {
        let first = FirstOperations::default();
        for id in [ID, OTHER, ID] {
            assert_eq!(first.predict(&by_id(id)), None);
            first.record(&by_id(id), &get(id), true);
        }
        assert_eq!(first.predict(&by_id(OTHER)), Some(get(OTHER)));
        // An input without the field.
        assert_eq!(first.predict("{}"), None);
        assert_eq!(first.predict(r#"{"id":5}"#), None);
    }

    #[test]
    fn strings_keep_their_text_and_numbers_are_values_too() {
        let first = FirstOperations::default();
        let input = |channel: &str, limit: u32| format!(r#"{{ "channel": {channel}, "limit": {limit}, "x": [1] }}"#);
        for (channel, limit) in
            [(r#""a\u00e9\"b""#, 7), (r#""messages""#, 20), ("\"é\"", 3), ("\"c\"", 5), ("\"d\"", 6)]
        {
            first.record(&input(channel, limit), &scan(channel, limit), true);
        }
        assert_eq!(first.predict(&input("\"e f\"", 9)), Some(scan("\"e f\"", 9)));
        // The host may refuse what an escape stands for.
        assert_eq!(first.predict(&input(r#""a\u0000""#, 9)), None);
    }

    #[test]
    fn a_value_that_a_name_happens_to_equal_is_found_out() {
        let first = FirstOperations::default();
        let input = |channel: &str| format!(r#"{{"channel":"{channel}"}}"#);
        let scan = |channel: &str| scan(&format!("\"{channel}\""), 20);
        // Taken for the name of the table.
        first.record(&input("messages"), &scan("messages"), true);
        for channel in ["a", "b", "c"] {
            assert_eq!(first.predict(&input(channel)), None);
            first.record(&input(channel), &scan(channel), true);
        }
        assert_eq!(first.predict(&input("d")), Some(scan("d")));
    }

    #[test]
    fn a_function_that_begins_differently_each_time_is_given_up() {
        let first = FirstOperations::default();
        for n in 0..1_000 {
            first.record("{}", &get(&n.to_string()), true);
            assert_eq!(first.predict("{}"), None);
        }
        assert!(first.learned.lock().predictions.are_useless());
    }

    #[test]
    fn what_is_seldom_used_is_not_prefetched_and_a_few_misses_do_not_matter() {
        let first = FirstOperations::default();
        let learn = || (0..3).for_each(|_| first.record(&by_id(ID), &get(ID), true));
        learn();
        for _ in 0..1_000 {
            for _ in 0..20 {
                first.used(true);
            }
            first.used(false);
            assert_eq!(first.predict(&by_id(ID)), None);
            learn();
            assert!(first.predict(&by_id(ID)).is_some());
        }
        for _ in 0..10_000 {
            first.used(false);
            learn();
        }
        assert_eq!(first.predict(&by_id(ID)), None);
    }

    #[test]
    fn large_inputs_are_not_looked_through() {
        let first = FirstOperations::default();
        let fields: Vec<String> = (0..=MAX_FIELDS).map(|n| format!(r#""f{n}":{n}"#)).collect();
        let long = format!(r#"{{"id":"messages:{ID}","x":"{}"}}"#, "x".repeat(MAX_INPUT));
        for input in [format!("{{{}}}", fields.join(",")), long] {
            (0..5).for_each(|_| first.record(&input, &get(ID), true));
            assert_eq!(first.predict(&input), None);
        }
    }

    #[test]
    fn writes_are_not_predicted() {
        let first = FirstOperations::default();
        for _ in 0..5 {
            first.record(&by_id(ID), r#"[{"op":"delete"}]"#, false);
        }
        assert_eq!(first.predict(&by_id(ID)), None);
    }
}
