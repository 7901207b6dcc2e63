//! Checks why live queries ran: each run has a cause. A cause that names a commit names the read of
//! its query, and a document that was written and that the query reads, as plain SQL confirms. Only
//! a query that a client has subscribed to may have run for that.

use std::collections::{HashMap, HashSet};

use convoy_testkit::{App, Psql};
use serde_json::Value;

use super::random_query::RandomQuery;
use super::shape::Table;

/// The stored version of a document: the transaction that wrote it, and its content.
type Version = (String, String);

/// The causes of one server's runs.
pub(super) struct Causes {
    tables: Vec<String>,
    /// The documents at the last barrier, by table and id.
    before: HashMap<(String, String), Version>,
    /// How many runs of each query have been checked, by its arguments.
    checked: HashMap<String, u64>,
    /// How many runs were made for a commit.
    pub attributed: usize,
}

impl Causes {
    pub(super) async fn of(psql: &mut Psql, tables: &[Table]) -> Causes {
        let tables: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
        let before = documents(psql, &tables).await;
        Causes { tables, before, checked: HashMap::new(), attributed: 0 }
    }

    /// Checks the runs since the last barrier. `subscribed`: the arguments that clients have
    /// subscribed to meanwhile. `single`: there was one write, so that no document has had a version
    /// that neither barrier has seen.
    pub(super) async fn check(
        &mut self,
        app: &App,
        random_queries: &[RandomQuery],
        psql: &mut Psql,
        (subscribed, single): (&HashSet<String>, bool),
    ) -> Result<(), String> {
        let after = documents(psql, &self.tables).await;
        let before = std::mem::replace(&mut self.before, after.clone());
        let keys: HashSet<&(String, String)> = before.keys().chain(after.keys()).collect();
        let written: HashSet<&(String, String)> =
            keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).collect();
        let overview = app.engine.live_overview(Some("read")).map_err(|failure| failure.message)?;
        let overview: Value = serde_json::from_str(&overview).expect("JSON");
        for query in overview["queries"].as_array().expect("a list") {
            let random_query = random_queries
                .iter()
                .find(|random_query| random_query.op == query["args"])
                .ok_or_else(|| format!("a query that no client has: {query}"))?;
            let runs = query["history"].as_array().expect("its runs");
            let args = query["args"].to_string();
            let is_subscribed = subscribed.contains(&args);
            let checked = self.checked.entry(args).or_default();
            let last = runs.last().and_then(|run| run["run"].as_u64()).unwrap_or_default();
            // A query that was removed and came back counts its runs from one again.
            let from = if last < *checked { 0 } else { *checked };
            *checked = last;
            let first = runs.first().and_then(|run| run["run"].as_u64()).unwrap_or_default();
            if first > from + 1 {
                return Err(format!(
                    "runs {} to {} were not kept to be checked\n  query {}",
                    from + 1,
                    first - 1,
                    query["args"]
                ));
            }
            for run in runs.iter().filter(|run| run["run"].as_u64() > Some(from)) {
                let wrong = |why: &str| Err(format!("{why}\n  query {}\n  run {run}", query["args"]));
                let cause = &run["cause"];
                let kind = cause["kind"].as_str().expect("a kind");
                if kind == "subscribed" && (run["run"] == 1 || is_subscribed) {
                    continue;
                }
                if !["commit", "outside"].contains(&kind) {
                    return wrong("nothing like its cause has happened");
                }
                self.attributed += 1;
                if (kind == "commit") != (cause["by"] == "write") {
                    return wrong("its cause has another writer");
                }
                let (table, id) = (&cause["table"], cause["document"].as_str().unwrap_or_default());
                if *table != query["args"]["table"] {
                    return wrong("it does not read the table of its cause");
                }
                if !names_read_of(&cause["read"], &query["args"]) {
                    return wrong("its cause names another read");
                }
                if !single {
                    continue;
                }
                let key = (table.as_str().unwrap_or_default().to_owned(), id.to_owned());
                if !written.contains(&key) {
                    return wrong("the document of its cause was not written");
                }
                let versions = [before.get(&key), after.get(&key)];
                if !in_range(psql, &random_query.range, id, versions).await {
                    return wrong("the document of its cause is not in its range");
                }
            }
        }
        Ok(())
    }
}

/// Whether the text of a read names what an operation reads.
fn names_read_of(read: &Value, op: &Value) -> bool {
    let table = op["table"].as_str().unwrap_or_default();
    let of_table = read.as_str().and_then(|read| read.strip_prefix(table)?.strip_prefix(": "));
    let named = |read: &str| match op["op"].as_str() {
        Some("get") => read == "one document by its id",
        _ => {
            let index = op["index"].as_str().unwrap_or("by_creation_time");
            let rest = read.strip_prefix("all of ").unwrap_or(read).strip_prefix(index);
            rest.is_some_and(|rest| !rest.starts_with(|char: char| char.is_alphanumeric() || char == '_'))
        }
    };
    of_table.is_some_and(named)
}

async fn documents(psql: &mut Psql, tables: &[String]) -> HashMap<(String, String), Version> {
    let mut found = HashMap::new();
    for table in tables {
        for row in psql.column(&format!("select id || ' ' || xmin || ' ' || data::text from {table}")).await {
            let mut parts = row.splitn(3, ' ').map(str::to_owned);
            if let (Some(id), Some(xmin), Some(data)) = (parts.next(), parts.next(), parts.next()) {
                found.insert((table.clone(), id), (xmin, data));
            }
        }
    }
    found
}

/// Whether one of these versions of a document matches the condition of a range.
async fn in_range(psql: &mut Psql, range: &str, id: &str, versions: [Option<&Version>; 2]) -> bool {
    for (_, data) in versions.into_iter().flatten() {
        let data = data.replace('\'', "''");
        let found =
            format!("select 1::text from (values ('{id}'::uuid, '{data}'::jsonb)) as one (id, data) where {range}");
        if !psql.column(&found).await.is_empty() {
            return true;
        }
    }
    false
}
