//! Questions about a database that commands compare with the schema, or show to people.

use super::{Bind, Statement, convoy_schema};

/// The functions that the layout creates in `_convoy`: name and body.
pub(crate) fn expected_functions() -> Vec<(String, String)> {
    let function = |statement: &Statement| {
        let rest = statement.text().strip_prefix("create or replace function _convoy.")?;
        let (name, rest) = rest.split_once('(')?;
        let (_, body) = rest.split_once("$$")?;
        let (body, _) = body.rsplit_once("$$")?;
        Some((name.to_owned(), body.to_owned()))
    };
    convoy_schema::create().iter().filter_map(function).collect()
}

/// The functions in `_convoy`: `name, body`.
pub(crate) fn functions() -> Statement {
    Statement::fixed(
        "select p.proname::text, p.prosrc from pg_proc as p where p.pronamespace = to_regnamespace('_convoy')",
    )
}

/// How the named tables are read since `since`: `table, rows, seq_scans, index_scans, since`.
pub(crate) fn table_usage(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select s.relname::text, s.n_live_tup::int8, s.seq_scan::int8, coalesce(s.idx_scan, 0)::int8,
  coalesce((select to_char(stats_reset, 'YYYY-MM-DD') from pg_stat_database where datname = current_database()), '')
from pg_stat_user_tables as s
where s.schemaname = current_schema() and s.relname = any(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect())).push(")\norder by 1");
    sql
}

/// Indexes of the named tables that no statement has used: `table, index, size`.
pub(crate) fn unused_indexes(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select s.relname::text, s.indexrelname::text, pg_size_pretty(pg_relation_size(s.indexrelid))
from pg_stat_user_indexes as s
join pg_index as x on x.indexrelid = s.indexrelid
where s.schemaname = current_schema() and s.idx_scan = 0 and not x.indisunique and s.relname = any(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect())).push(")\norder by 1, 2");
    sql
}

/// About the server and this session:
/// `version, role, database, max_connections, connections, tls, has_layout, standby, read_only`.
pub(crate) fn server() -> Statement {
    Statement::fixed(
        "select
  current_setting('server_version'),
  current_user::text,
  current_database()::text,
  current_setting('max_connections')::int8,
  (select count(*) from pg_stat_activity where backend_type = 'client backend' or backend_type is null),
  coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
  to_regnamespace('_convoy') is not null,
  pg_is_in_recovery(),
  current_setting('transaction_read_only') = 'on'",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_layout_is_expected() {
        let functions = expected_functions();
        let created =
            convoy_schema::create().iter().filter(|each| each.text().contains("create or replace function")).count();
        assert_eq!(functions.len(), created);
        assert!(functions.iter().any(|(name, body)| name == "log_insert" && body.contains("return null")));
    }
}
