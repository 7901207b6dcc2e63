//! Inspection for tests: plans and read sets.

use std::time::Duration;

use super::Engine;
use super::jobs::trim_expired;
use crate::change::ChangeSink;
use crate::error::{Code, Failure};
use crate::op::Op;
use crate::sql::scan;

impl Engine {
    /// Removes what has expired now, instead of at the next interval.
    pub async fn trim_now(&self) {
        trim_expired((&self.postgres, self.tracer()), &self.stop).await;
    }

    /// The plan, as text, that Postgres makes for a reading operation of the loaded
    /// program. `ops` is a batch in the protocol's JSON with one operation in it.
    pub async fn plan_of(&self, ops: &str) -> Result<String, Failure> {
        let mut ops = Op::parse_batch(ops, &self.loaded()?.schema)
            .map_err(|error| Failure::internal("parsing operations", &error))?;
        let statement = match ops.remove(0)? {
            Op::Scan(scan) => scan::scan(&scan, 32_001),
            Op::Count(scan) => scan::count(&scan),
            Op::Page(page) => scan::page(&page, page.size + 1),
            other => return Err(Failure::new(Code::InvalidArgs, format!("{other:?} is not a read of an index."))),
        };
        let rows = self.postgres.read_within(Duration::from_secs(10), &statement.explain()).await;
        let lines =
            rows.and_then(|rows| rows.iter().map(|row| row.text(0).map(str::to_owned)).collect::<Result<Vec<_>, _>>());
        Ok(lines.map_err(|error| error.to_failure("reading a plan"))?.join("\n"))
    }

    /// The names of the tables that live queries depend on, sorted; `everything` first if a
    /// query may depend on any table.
    pub fn tables_read(&self) -> Vec<String> {
        let read = self.live.registry().tables_read();
        let mut names: Vec<String> = read.names.iter().map(|name| name.to_string()).collect();
        names.sort();
        names.splice(0..0, read.everything.then(|| "everything".to_owned()));
        names
    }
}
