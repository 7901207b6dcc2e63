//! Row-level security of a program: the role that the calls of clients run under, and what its
//! policies read.
//!
//! A policy decides by the row and by the settings of the caller. The row is part of what a
//! run reads anyway, and the settings belong to its context. What else policies read is added
//! to the reads of every run under the role, by the names of tables; functions whose results
//! may change are added by their names, which stand for no table, so they count as changed at
//! intervals.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::fault::Fault;
use super::{DbError, Postgres};
use crate::error::{Code, Failure};
use crate::schema::Schema;
use crate::sql::rights::quoted;
use crate::sql::row_security;

/// The role of a program, and what its policies read.
#[derive(Debug)]
pub(crate) struct RowSecurity {
    /// The name of the role.
    pub role: Arc<str>,
    policies: ArcSwap<Policies>,
    /// Policies do not hold, as was found after the program was loaded.
    is_broken: AtomicBool,
}

/// The policies of the tables, as they were last read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policies {
    /// By table, the names of what its policies read beside the row and the settings.
    reads: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// Changes with the policies and with the privileges of the role.
    fingerprint: String,
}

impl RowSecurity {
    /// The role, before its policies were read.
    pub(crate) fn new(role: &str) -> RowSecurity {
        RowSecurity { role: role.into(), policies: ArcSwap::default(), is_broken: AtomicBool::new(false) }
    }

    /// What the policies of these tables read, by name.
    pub(crate) fn policy_reads<'a>(&self, tables: impl IntoIterator<Item = &'a str>) -> Vec<Arc<str>> {
        let policies = self.policies.load();
        if policies.reads.is_empty() {
            return Vec::new();
        }
        tables.into_iter().filter_map(|table| policies.reads.get(table)).flatten().cloned().collect()
    }

    /// The failure of operations under the role, while policies do not hold.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        self.is_broken.load(Ordering::Acquire).then(|| {
            let message = "Row-level security does not hold at the moment, so this is refused; the log says why.";
            Failure::new(Code::Unavailable, message)
        })
    }
}

impl Postgres {
    /// Checks that policies hold for the role, and reads what they depend on. With `may_grant`,
    /// the role first gets what it lacks in `_convoy`. Returns whether policies or privileges
    /// have changed since they were last read. Until policies hold, operations under the role
    /// are refused.
    pub(crate) async fn read_policies(
        &self,
        row_security: &RowSecurity,
        schema: &Schema,
        may_grant: bool,
    ) -> Result<bool, DbError> {
        let role = &*row_security.role;
        let tables: Vec<&str> = schema.tables().map(|table| &*table.physical).collect();
        if may_grant {
            self.grant_log(role).await?;
        }
        let mut problems = Vec::new();
        for row in self.read_as_writer(&row_security::problems(role, &tables)).await? {
            problems.push((row.text(0)?.to_owned(), row.text(1)?.to_owned()));
        }
        if !problems.is_empty() {
            row_security.is_broken.store(true, Ordering::Release);
            return Err(unusable(role, &problems).into());
        }
        let mut reads: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
        for row in self.read_as_writer(&row_security::policy_reads(&tables)).await? {
            reads.entry(row.text(0)?.into()).or_default().push(row.text(1)?.into());
        }
        let rows = self.read_as_writer(&row_security::fingerprint(role, &tables)).await?;
        let fingerprint = rows.first().map_or(Ok(""), |row| row.text(0))?.to_owned();
        let policies = Policies { reads, fingerprint };
        let changed = **row_security.policies.load() != policies || row_security.is_broken.load(Ordering::Acquire);
        if changed {
            // Postgres keeps plans when the attributes or the memberships of a role change.
            self.discard_plans();
        }
        row_security.policies.store(Arc::new(policies));
        row_security.is_broken.store(false, Ordering::Release);
        Ok(changed)
    }

    /// The tables that the role may use and for which no policy holds, by their names in code.
    pub(crate) async fn unprotected_tables(
        &self,
        row_security: &RowSecurity,
        schema: &Schema,
    ) -> Result<Vec<String>, DbError> {
        let tables: Vec<&str> = schema.tables().map(|table| &*table.physical).collect();
        let rows = self.read_as_writer(&row_security::unprotected(&row_security.role, &tables)).await?;
        let names: HashSet<&str> = rows.iter().map(|row| row.text(0)).collect::<Result<_, DbError>>()?;
        let mut found: Vec<String> =
            schema.tables().filter(|table| names.contains(&*table.physical)).map(|table| table.name.clone()).collect();
        found.sort();
        Ok(found)
    }

    async fn grant_log(&self, role: &str) -> Result<(), DbError> {
        let rows = self.read_as_writer(&row_security::lacks_log(role)).await?;
        if !rows.first().map_or(Ok(false), |row| row.bool(0))? {
            return Ok(());
        }
        for grant in row_security::grant_log(role) {
            self.write(&grant).await?;
        }
        Ok(())
    }
}

fn unusable(role: &str, problems: &[(String, String)]) -> Fault {
    let causes: Vec<&str> = problems.iter().map(|(what, _)| &**what).collect();
    let statements: Vec<&str> = problems.iter().map(|(_, remedy)| &**remedy).collect();
    let what = format!("Row-level security does not hold under the role {}: {}", quoted(role), causes.join(", and "));
    Fault::lasting("row-security", what, format!("run: {}", statements.join("; ")))
}
