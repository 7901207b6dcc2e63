// The table for live queries, and its data: a document has about 100 bytes, a result of 20
// documents about 2 KB.
import { rowId } from '../database.mjs';
import { PAGE } from '../servers/inputs.mjs';

/** The schema of the other contestants' tables. */
export const TOPICS_SCHEMA = 'topics';

/** The bytes of one document in the long list, as JSON. */
export const LONG_ROW = 500;

/** Channels with subscribers and writes. */
export const busy = (n) => `busy-${n}`;
/** Channels with subscribers and without writes. */
export const quiet = (n) => `quiet-${n}`;
/** A channel without writes. */
export const CACHED = 'cached';
/** A channel with long documents. */
export const LIST = 'list';

/** The size of a document of the long list without its text. */
const ROW_OVERHEAD = 114;

/**
 * Fills the table that Convoy has created, and a copy for the others, with the same
 * columns, rows and indexes, and a trigger that notifies of the written channel, as in a
 * hand-written implementation.
 *
 * @param {Database} database
 * @param {{ busy: number, quiet: number, list: number }} channels
 */
export async function fillPosts(database, channels) {
  const created = "date_trunc('milliseconds', now()) - interval '1 day' + n * interval '1 millisecond'";
  const fill = (from, count, channel, body) =>
    database.run(
      `
      insert into posts (id, created_at, data)
      select ${rowId('n')}, ${created}, jsonb_build_object('channel', ${channel}, 'body', ${body}, 'n', 0)
      from generate_series(${from + 1}, ${from + count}) as n`,
    );
  let filled = 0;
  for (const [count, channel, body] of [
    [channels.busy * PAGE, `'busy-' || (n % ${channels.busy})`, `'as it was, ' || n`],
    [channels.quiet, `'quiet-' || (n % ${channels.quiet})`, `'as it was, ' || n`],
    [PAGE, `'${CACHED}'`, `'as it was, ' || n`],
    [channels.list, `'${LIST}'`, `rpad('row ' || n || ' ', ${LONG_ROW - ROW_OVERHEAD}, 'x')`],
  ]) {
    if (count > 0) await fill(filled, count, channel, body);
    filled += count;
  }
  await database.run(`
    create schema ${TOPICS_SCHEMA}
      create table posts (like public.posts including all excluding indexes)`);
  await database.run(`insert into ${TOPICS_SCHEMA}.posts select * from public.posts order by created_at`);
  await database.run(`alter table ${TOPICS_SCHEMA}.posts add primary key (id)`);
  await database.run(`
    create index on ${TOPICS_SCHEMA}.posts (((data ->> 'channel') collate "C"), created_at, id)`);
  await database.run(`
    create function ${TOPICS_SCHEMA}.notify_channel() returns trigger language plpgsql as $$
    begin
      perform pg_notify('posts', new.data ->> 'channel');
      return null;
    end $$`);
  await database.run(`
    create trigger notify_channel after insert on ${TOPICS_SCHEMA}.posts
    for each row execute function ${TOPICS_SCHEMA}.notify_channel()`);
  await database.run(`vacuum analyze public.posts, ${TOPICS_SCHEMA}.posts`);
}
