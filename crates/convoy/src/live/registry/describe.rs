//! Describes live queries, for inspection in development.

use serde::Serialize;

use super::Registry;
use super::query::{Phase, Query, RunTarget};
use crate::change::{Change, ChangeKind, ChangeSource};
use crate::db::{ReadSet, TableRead};
use crate::key::row_span;
use crate::live::share_key::ShareKey;

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
    /// How many subscribers it has.
    pub subscribers: usize,
    /// How many runs have begun.
    pub runs: u64,
    /// `idle`, `queued` or `running`.
    pub state: &'static str,
    /// The context fields that its result depends on; absent if it is not shared.
    pub shared_by: Option<Vec<String>>,
    /// The change that caused its last run; absent after a run for a new subscriber.
    pub last_cause: Option<String>,
}

impl Registry {
    /// All live queries, those with the most runs first.
    pub(crate) fn describe(&self) -> Vec<QueryInfo> {
        let mut all: Vec<QueryInfo> = self.queries.values().map(describe).collect();
        all.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.function.cmp(&b.function)));
        all
    }
}

fn describe(query: &Query) -> QueryInfo {
    let (function, args) = match &query.target {
        RunTarget::Query(query_key) => (query_key.function.to_string(), serde_json::from_str(&query_key.input).ok()),
        RunTarget::Auth(_) => ("createContext".to_owned(), None),
    };
    QueryInfo {
        function,
        args,
        reads: lines(&query.reads),
        subscribers: query.subscribers.len().max(usize::from(query.is_auth())),
        runs: query.runs,
        state: match query.phase {
            Phase::Idle => "idle",
            Phase::Queued => "queued",
            Phase::Running { .. } => "running",
        },
        shared_by: match &query.share {
            ShareKey::Context(seen) => Some(seen.keys().cloned().collect()),
            ShareKey::Private => None,
        },
        last_cause: query.cause.as_ref().map(|(change, by)| cause(change.as_ref(), by, &query.reads)),
    }
}

/// The lines of a read set.
fn lines(reads: &ReadSet) -> Vec<String> {
    let mut lines: Vec<String> = reads.points.iter().map(|(table, id)| format!("{table}: {id}")).collect();
    lines.extend(reads.ranges.iter().map(|range| format!("{}: {}", range.table.physical, describe_range(range))));
    lines.extend(reads.tables.iter().map(|table| format!("{table}: all of it")));
    if reads.everything {
        lines.push("everything".to_owned());
    }
    lines.sort();
    lines
}

fn describe_range(range: &TableRead) -> String {
    let index = &range.table.indexes[range.index];
    if range.is_whole() {
        return format!("all of {}", index.name);
    }
    let equal = index.fields.iter().zip(&range.eq);
    let mut conditions: Vec<String> =
        equal.map(|(field, value)| format!("{} = {}", field.path.dotted(), value.to_json())).collect();
    if range.cut {
        conditions.push("within bounds".to_owned());
    }
    format!("{} where {}", index.name, conditions.join(", "))
}

/// The cause of a run: `messages:… entered by_channel where channel = "c7", written by messages.send`.
fn cause(change: Option<&Change>, by: &ChangeSource, reads: &ReadSet) -> String {
    let by = match by {
        ChangeSource::Function(name) => format!("written by {name}"),
        ChangeSource::Outside => "written by someone else".to_owned(),
        ChangeSource::Resync => "changes were missed; every query runs".to_owned(),
    };
    let Some(change) = change else { return format!("anything may have changed, {by}") };
    let table = &change.table;
    let ChangeKind::Row { id, old, new } = &change.kind else { return format!("{table} changed, {by}") };
    let within = |range: &TableRead, row: &Option<crate::key::RowKeys>| {
        row.as_ref().is_some_and(|row| row_span(&range.table.indexes[range.index], row).overlaps(&range.span))
    };
    let moved = reads.ranges.iter().filter(|range| *range.table.physical == **table).find_map(|range| {
        let verb = match (within(range, old), within(range, new)) {
            (false, true) => "entered",
            (true, false) => "left",
            (true, true) => "changed within",
            (false, false) => return None,
        };
        Some(format!("{verb} {}", describe_range(range)))
    });
    format!("{table}:{id} {}, {by}", moved.unwrap_or_else(|| "changed".to_owned()))
}
