//! Describes causes of runs and reads, as text and as values.

use serde::Serialize;

use super::cause::{CauseKind, Effect, Hit, HitRead, RunCause};
use crate::change::ChangeSource;
use crate::key::KeyValue;
use crate::op::{Filter, Order, Scan};

/// The cause of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CauseInfo {
    /// Its kind.
    pub kind: &'static str,
    /// All of it, in one line.
    pub text: String,
    /// The number of the commit among those that this process has received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<u64>,
    /// The function that wrote; absent for other writers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The table in Postgres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The document; absent if the whole table counts as changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The read that it has hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
}

impl CauseInfo {
    /// Describes a cause.
    pub(crate) fn of(cause: &RunCause) -> CauseInfo {
        let kind = cause.kind();
        match cause {
            RunCause::Event(_) => CauseInfo {
                kind: kind.name(),
                text: event(kind).to_owned(),
                commit: None,
                by: None,
                table: None,
                document: None,
                read: None,
            },
            RunCause::Change(hit) => CauseInfo {
                kind: kind.name(),
                text: change(hit),
                commit: Some(hit.commit),
                by: match &hit.by {
                    ChangeSource::Function(name) => Some(name.to_string()),
                    ChangeSource::Outside | ChangeSource::Poll | ChangeSource::Resync => None,
                },
                table: Some(hit.table.to_string()),
                document: hit.document.map(|id| id.to_string()),
                read: Some(describe_read(cause)),
            },
        }
    }
}

fn event(kind: CauseKind) -> &'static str {
    match kind {
        CauseKind::Subscribed => "a client subscribed",
        CauseKind::Sharing => "its callers no longer share an answer",
        CauseKind::Expired => "its answer depends on the time and has expired",
        CauseKind::Retry => "its last run failed, and was repeated",
        CauseKind::Reload => "new code was loaded",
        CauseKind::Context => "the context of its caller was made again",
        CauseKind::Recovery => "changes may have been missed, so every query ran",
        // Changes have a text of their own.
        CauseKind::Commit | CauseKind::Outside | CauseKind::Poll | CauseKind::Unknown => "the cause is unknown",
    }
}

/// `messages:… entered by_channel where channel = "c7", written by messages.send`
fn change(hit: &Hit) -> String {
    let by = match &hit.by {
        ChangeSource::Function(name) => format!("written by {name}"),
        ChangeSource::Outside => "written by someone else".to_owned(),
        ChangeSource::Poll => "which is polled because its writes are not reported".to_owned(),
        ChangeSource::Resync => "whose changes may have been missed".to_owned(),
    };
    let Hit { table, document, read, .. } = hit;
    let Some(id) = document else { return format!("{table} changed, {by}") };
    match read {
        HitRead::Range { scan, cut, effect } => {
            let verb = match effect {
                Effect::Entered => "entered",
                Effect::Left => "left",
                Effect::Moved | Effect::InPlace => "changed within",
                Effect::Unknown => "changed, which may concern",
            };
            format!("{table}:{id} {verb} {}, {by}", describe_scan(scan, *cut))
        }
        HitRead::Point | HitRead::Table | HitRead::Everything => format!("{table}:{id} changed, {by}"),
    }
}

/// The read that a cause names; empty if it names none.
pub(crate) fn describe_read(cause: &RunCause) -> String {
    let RunCause::Change(hit) = cause else { return String::new() };
    let table = &hit.table;
    match &hit.read {
        HitRead::Point => format!("{table}: one document by its id"),
        HitRead::Range { scan, cut, .. } => format!("{table}: {}", describe_scan(scan, *cut)),
        HitRead::Table => format!("{table}: all of it, by raw"),
        HitRead::Everything => "any table, by raw".to_owned(),
    }
}

/// `by_channel where channel = "c7", within bounds`; `cut` adds the last.
pub(crate) fn describe_scan(scan: &Scan, cut: bool) -> String {
    let index = scan.index();
    let mut parts = Vec::new();
    let equal = index.fields.iter().zip(&scan.eq);
    parts.extend(equal.map(|(field, value)| format!("{} = {}", field.path.dotted(), shown(value))));
    if let Some(field) = index.fields.get(scan.eq.len()) {
        let path = field.path.dotted();
        let bound = |bound: &crate::key::Bound, sign: &str| {
            format!("{path} {sign}{} {}", if bound.inclusive { "=" } else { "" }, shown(&bound.value))
        };
        parts.extend(scan.lower.as_ref().map(|lower| bound(lower, ">")));
        parts.extend(scan.upper.as_ref().map(|upper| bound(upper, "<")));
    }
    if cut {
        parts.push("within bounds".to_owned());
    }
    let mut text = match parts.is_empty() {
        true => format!("all of {}", index.name),
        false => format!("{} where {}", index.name, parts.join(", ")),
    };
    if let Some(filter) = &scan.filter {
        text.push_str(&format!("; filter {}", describe_filter(filter)));
    }
    if let Some(by) = &scan.by {
        let direction = if scan.order == Order::Desc { " desc" } else { "" };
        text.push_str(&format!("; order by {}{direction}", by.path.dotted()));
    }
    text
}

fn describe_filter(filter: &Filter) -> String {
    let list = |filters: &[Filter], word: &str| {
        filters.iter().map(describe_filter).collect::<Vec<_>>().join(&format!(" {word} "))
    };
    match filter {
        Filter::Equal(path, value) => format!("{} = {}", path.dotted(), shown(value)),
        Filter::In(path, values) => format!("{} in ({} values)", path.dotted(), values.len()),
        Filter::Above(path, bound) => {
            format!("{} >{} {}", path.dotted(), if bound.inclusive { "=" } else { "" }, shown(&bound.value))
        }
        Filter::Below(path, bound) => {
            format!("{} <{} {}", path.dotted(), if bound.inclusive { "=" } else { "" }, shown(&bound.value))
        }
        Filter::All(filters) => list(filters, "and"),
        Filter::Any(filters) => format!("({})", list(filters, "or")),
        Filter::Not(filter) => format!("not ({})", describe_filter(filter)),
    }
}

fn shown(value: &KeyValue) -> String {
    match value {
        KeyValue::Id(id) => format!("\"{id}\""),
        KeyValue::Time(time) => time.to_ms(),
        value => value.to_json(),
    }
}
