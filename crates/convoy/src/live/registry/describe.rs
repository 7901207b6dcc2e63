//! Describes live queries, their runs and what caused these, for inspection in development.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::Registry;
use super::query::{Phase, Query, RunTarget};
use super::run_counts::{FunctionRuns, RunCounts};
use crate::db::{ReadSet, TableRead};
use crate::live::advice::{Advice, advise, narrower};
use crate::live::cause::RunRecord;
use crate::live::describe_cause::{CauseInfo, describe_read, describe_scan};
use crate::live::share_key::ShareKey;
use crate::schema::Schema;

/// The present moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Of this process.
    pub instant: Instant,
    /// Milliseconds since 1970.
    pub ms: u64,
}

impl Now {
    /// An earlier moment, in milliseconds since 1970.
    pub(crate) fn ms_of(self, moment: Instant) -> u64 {
        let ago = self.instant.saturating_duration_since(moment).as_millis();
        self.ms.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
    }
}

/// The description of one live query.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryInfo {
    /// The function.
    pub function: String,
    /// Its input.
    pub args: Option<serde_json::Value>,
    /// Its read set, one line for each entry.
    pub reads: Vec<String>,
    /// The tables that it depends on, and how.
    pub depends_on: Vec<Dependence>,
    /// How many subscribers it has.
    pub subscribers: usize,
    /// How many runs have begun.
    pub runs: u64,
    /// The runs that have ended, by the kind of their cause.
    pub causes: Causes,
    /// `idle`, `queued` or `running`.
    pub state: &'static str,
    /// The context fields that its result depends on; absent if it is not shared.
    pub shared_by: Option<Vec<String>>,
    /// The change that caused its last run; absent after a run for a new subscriber.
    pub last_cause: Option<String>,
    /// Its last runs, the newest last; only where one function was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<RunInfo>>,
}

/// Reads of one table that differ only in their values.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dependence {
    /// The table in Postgres; absent if it can be any.
    table: Option<String>,
    /// Whether every write to the table makes the query run again.
    whole: bool,
    /// A read that would make it run less often.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<Advice>,
}

/// Counters by the kind of the cause.
type Causes = BTreeMap<&'static str, Counted>;

/// Runs, and those of them whose answer equalled the previous one.
#[derive(Debug, Serialize)]
pub(crate) struct Counted {
    runs: u64,
    equal: u64,
}

/// One run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunInfo {
    /// Its number.
    run: u64,
    /// When it began, in milliseconds since 1970.
    at: u64,
    /// How long it took, in milliseconds.
    ms: f64,
    /// Whether its answer equalled the previous one; absent if there was none.
    equal: Option<bool>,
    /// Why it was made.
    cause: CauseInfo,
    /// How many more commits it includes.
    further_commits: u32,
}

/// The runs of one function, of all its live queries since its code was loaded.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FunctionInfo {
    function: String,
    runs: u64,
    /// Runs that had a previous answer to compare with.
    compared: u64,
    /// Those whose answer equalled it.
    equal: u64,
    causes: Causes,
    /// The reads that changes have hit, those with the most equal answers first.
    reads: Vec<ReadInfo>,
    /// Equal answers of more kinds of reads than are counted one by one.
    other_equal: u64,
}

/// The runs that changes to one kind of read of a function have caused.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadInfo {
    /// The read, with the values of the example.
    read: String,
    runs: u64,
    equal: u64,
    /// The cause of one of the runs: where there is one, of one with an equal answer.
    example: CauseInfo,
    /// What would avoid the runs with equal answers.
    advice: Option<Advice>,
}

impl Registry {
    /// All live queries, or those of one function with their last runs; those with the most
    /// runs first.
    pub(crate) fn describe(&self, function: Option<&str>, now: Now) -> Vec<QueryInfo> {
        let is_of =
            |query: &&Query| query.has_been_live() && function.is_none_or(|function| name(&query.target) == function);
        let described = |query: &Query| {
            let mut info = describe(query);
            info.history = function.map(|_| query.history.iter().map(|record| RunInfo::of(record, now)).collect());
            info
        };
        let mut all: Vec<QueryInfo> = self.queries.values().map(Box::as_ref).filter(is_of).map(described).collect();
        all.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.function.cmp(&b.function)));
        all
    }

    /// The runs of each function, those with the most equal answers first.
    pub(crate) fn describe_functions(&self, schema: &Schema) -> Vec<FunctionInfo> {
        let contexts = [(CONTEXT, &self.context_runs)].into_iter().filter(|(_, runs)| runs.counts.runs() > 0);
        let functions = self.function_runs.iter().map(|(name, runs)| (&**name, runs)).chain(contexts);
        let mut all: Vec<FunctionInfo> = functions.map(|(name, runs)| FunctionInfo::of(name, runs, schema)).collect();
        all.sort_by(|a, b| b.equal.cmp(&a.equal).then_with(|| a.function.cmp(&b.function)));
        all
    }
}

/// The name of the function that makes contexts.
const CONTEXT: &str = "createContext";

fn name(target: &RunTarget) -> &str {
    match target {
        RunTarget::Query(query_key) => &query_key.function,
        RunTarget::Auth(_) => CONTEXT,
    }
}

fn describe(query: &Query) -> QueryInfo {
    let args = query.query_key().and_then(|query_key| serde_json::from_str(&query_key.input).ok());
    let last = query.history.back().filter(|record| record.equal.is_some());
    QueryInfo {
        function: name(&query.target).to_owned(),
        args,
        reads: lines(&query.reads),
        depends_on: dependences(&query.reads),
        subscribers: query.subscribers.len().max(usize::from(query.is_auth())),
        runs: query.runs,
        causes: causes(&query.counts),
        state: match query.phase {
            Phase::Idle => "idle",
            Phase::Queued => "queued",
            Phase::Running { .. } => "running",
        },
        shared_by: match &query.share {
            ShareKey::Context(seen) => Some(seen.keys().cloned().collect()),
            ShareKey::Private => None,
        },
        last_cause: last.map(|record| CauseInfo::of(&record.cause).text),
        history: None,
    }
}

fn causes(counts: &RunCounts) -> Causes {
    counts.by_cause().map(|(kind, runs, equal)| (kind.name(), Counted { runs, equal })).collect()
}

impl RunInfo {
    fn of(record: &RunRecord, now: Now) -> RunInfo {
        RunInfo {
            run: record.run,
            at: now.ms_of(record.began),
            ms: record.took.as_secs_f64() * 1_000.0,
            equal: record.equal,
            cause: CauseInfo::of(&record.cause),
            further_commits: record.further,
        }
    }
}

impl FunctionInfo {
    fn of(function: &str, runs: &FunctionRuns, schema: &Schema) -> FunctionInfo {
        let mut reads: Vec<ReadInfo> = runs
            .reads
            .iter()
            .map(|read| ReadInfo {
                read: describe_read(&read.example.cause),
                runs: read.runs,
                equal: read.equal,
                example: CauseInfo::of(&read.example.cause),
                advice: (read.equal > 0).then(|| advise(&read.example.cause, schema)).flatten(),
            })
            .collect();
        reads.sort_by_key(|read| std::cmp::Reverse(read.equal));
        FunctionInfo {
            function: function.to_owned(),
            runs: runs.counts.runs(),
            compared: runs.compared,
            equal: runs.counts.equal(),
            causes: causes(&runs.counts),
            reads,
            other_equal: runs.other_equal,
        }
    }
}

/// The tables of a read set.
fn dependences(reads: &ReadSet) -> Vec<Dependence> {
    let mut found = Vec::new();
    let mut add = |table: Option<&str>, whole, advice| {
        let dependence = Dependence { table: table.map(str::to_owned), whole, advice };
        if !found.contains(&dependence) {
            found.push(dependence);
        }
    };
    reads.points.iter().for_each(|(table, _)| add(Some(table), false, None));
    // A query has few forms of reads, however many reads.
    let mut forms: Vec<&TableRead> = Vec::new();
    for range in &reads.ranges {
        if forms.iter().all(|form| form.cut != range.cut || !form.scan.has_same_form(&range.scan)) {
            forms.push(range);
            add(Some(&range.table().physical), range.is_whole(), narrower(&range.scan));
        }
    }
    reads.tables.iter().for_each(|table| add(Some(table), true, None));
    if reads.everything {
        add(None, true, None);
    }
    found
}

/// The lines of a read set.
fn lines(reads: &ReadSet) -> Vec<String> {
    let mut lines: Vec<String> = reads.points.iter().map(|(table, id)| format!("{table}: {id}")).collect();
    let range = |range: &TableRead| format!("{}: {}", range.table().physical, describe_scan(&range.scan, range.cut));
    lines.extend(reads.ranges.iter().map(range));
    lines.extend(reads.tables.iter().map(|table| format!("{table}: all of it")));
    if reads.everything {
        lines.push("everything".to_owned());
    }
    lines.sort();
    lines
}
