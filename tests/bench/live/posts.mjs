// The table live queries are measured on, and what is in it: a document of about
// 100 bytes, a result of 20 about 2 KB.
import { rowId } from '../database.mjs';
import { PAGE } from '../servers/inputs.mjs';

/** Whose tables the others use. */
export const TOPICS_SCHEMA = 'topics';

/** The bytes of one document in the long list, as JSON. */
export const LONG_ROW = 500;

/** Of `channel-0` and on, which are watched and written. */
export const busy = (n) => `busy-${n}`;
/** Which are watched and never written. */
export const quiet = (n) => `quiet-${n}`;
/** A page that nobody writes. */
export const KEPT = 'kept';
/** Some long documents. */
export const LIST = 'list';

/** What a document of the long list has beside its text. */
const AROUND = 114;

/**
 * Fills the table Convoy has made, and a copy for the others, with the same
 * columns, rows and indexes, and a trigger that says which channel was written, as
 * one would write it by hand.
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
    [PAGE, `'${KEPT}'`, `'as it was, ' || n`],
    [channels.list, `'${LIST}'`, `rpad('row ' || n || ' ', ${LONG_ROW - AROUND}, 'x')`],
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
    create function ${TOPICS_SCHEMA}.told() returns trigger language plpgsql as $$
    begin
      perform pg_notify('posts', new.data ->> 'channel');
      return null;
    end $$`);
  await database.run(`
    create trigger told after insert on ${TOPICS_SCHEMA}.posts
    for each row execute function ${TOPICS_SCHEMA}.told()`);
  await database.run(`vacuum analyze public.posts, ${TOPICS_SCHEMA}.posts`);
}
