//! Buckets of rate limits that all processes share.

use std::time::Duration;

use uuid::Uuid;

use super::{Bind, Statement};

/// Takes a token: `taken`, and if there is none, the milliseconds until there is one. A bucket
/// is the time at which it will be full, by the clock of Postgres; each token moves it by
/// `interval`, and an empty bucket is full after `capacity`.
pub(crate) fn take(bucket: Uuid, interval: Duration, capacity: Duration) -> Statement {
    let micros = |time: Duration| Bind::Int(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    let mut sql = Statement::new();
    sql.push("with bucket as (\n  select ").bind(Bind::Uuid(bucket)).push("::uuid as key, ");
    sql.bind(micros(interval)).push("::int8 * interval '1 microsecond' as one, ");
    sql.bind(micros(capacity)).push("::int8 * interval '1 microsecond' as all_of_them\n), taken as (\n");
    sql.push(
        "  insert into _convoy.rate_limits as kept (key, full_at)
  select key, clock_timestamp() + one from bucket
  on conflict (key) do update
    set full_at = greatest(kept.full_at, clock_timestamp()) + (select one from bucket)
    where greatest(kept.full_at, clock_timestamp()) + (select one - all_of_them from bucket) <= clock_timestamp()
  returning 1
)
select exists (select from taken), coalesce((
  select ceil(extract(epoch from kept.full_at + bucket.one - bucket.all_of_them - clock_timestamp()) * 1000)::int8
  from _convoy.rate_limits as kept join bucket using (key)
), 0)",
    );
    sql
}

/// Deletes some buckets that are full; returns a row if there were any.
pub(crate) fn trim() -> Statement {
    super::trim("rate_limits", "full_at < clock_timestamp()")
}
