/**
 * Documents are updated while another connection keeps an old snapshot open. The rows of the change log stay within their
 * window, so `_convoy` does not grow with the number of updates, and the updates become slower no more than those of a
 * table without Convoy. Those are measured in turn with ours: Postgres keeps every old version of a row under the
 * snapshot, with Convoy and without, and the machine may be busy.
 */
import { createConvoyClient } from '@avvos/convoy/client';
import pg from 'pg';
import { expect, test } from 'vitest';
import { api, serve } from './app.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';
import { megabytes } from './trend.js';

const WRITERS = 8;
/** Of a long run: enough that the old versions of one document stay few. */
const CHANNELS = LONG ? 400 : 1;
const DOCUMENTS_PER_CHANNEL = 50;
const STEP = 100;
/** The run goes on until the log was trimmed this often. Then it has lasted for several windows. */
const TRIMS = LONG ? 1_500 : 20;
/** Rows are kept for five intervals of trimming (one second), and while Postgres and the machine are slow for longer. */
const WINDOW = 12;
/** The updates of the control, in which nothing is trimmed. */
const UPDATES = 500;
/** How much more the updates of a long run may slow down than those of a table without Convoy. */
const MAX_SLOWDOWN = 1.1;

interface Measured {
  readonly updates: number;
  /** The most rows of the log in the second half of the run. */
  readonly rows: number;
  /** The most rows of the log at any time, of the updates that were made during the last `WINDOW` trims. */
  readonly filled: number;
  /** The time of the last tenth of the updates, of that of the first. */
  readonly slowdown: number;
  /** The same of the table without Convoy. */
  readonly plainSlowdown: number;
}

async function update(
  seed: number,
  failpoints: readonly string[],
  isOver: (run: { trims: number; updates: number }) => boolean,
) {
  const random = new Random(seed);
  const app = await serve({ failpoints, poolSize: WRITERS + 4 } as object);
  const ids: string[] = [];
  const watching = createConvoyClient({ baseUrl: app.baseUrl });
  for (let n = 0; n < CHANNELS; n++) {
    const channelId = await app.client.mutation(api.channels.create, { name: `channel ${n}` });
    const bodies = Array.from({ length: DOCUMENTS_PER_CHANNEL }, (_, m) => `message ${m}`);
    ids.push(...(await app.client.mutation(api.messages.sendMany, { channelId, bodies })));
    // The log is read while there are live queries.
    if (n === 0) watching.watch(api.messages.list, { channelId }, () => {});
  }
  const plain = await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      const client = new pg.Client({ connectionString: app.databaseUrl });
      await client.connect();
      return client;
    }),
  );
  await app.psql.query(`create table plain as select id, data, data ->> 'channelId' as channel_id from messages`);
  await app.psql.query('alter table plain add primary key (id)');
  await app.psql.query('create index on plain (channel_id)');
  const { rows: plainRows } = await app.psql.query<{ id: string }>('select id from plain');

  const pinned = new pg.Client({ connectionString: app.databaseUrl });
  await pinned.connect();
  await pinned.query('begin isolation level repeatable read');
  await pinned.query(`select count(*) from messages`);

  const log = async (): Promise<{ rows: number; bytes: number; trimmed: string }> => {
    const { rows } = await app.psql.query(
      `select (select count(*)::int from _convoy.changes) as rows,
         (select pg_total_relation_size('_convoy.changes')::int) as bytes,
         (select trimmed_below::text from _convoy.epoch) as trimmed`,
    );
    return rows[0];
  };
  const like = async (): Promise<void> => {
    const id = ids[random.below(ids.length)];
    const response = await fetch(`${app.baseUrl}/api/mutation/messages.like`, {
      method: 'POST',
      body: JSON.stringify({ id }),
    });
    expect(response.status).toBe(200);
  };
  const likePlain = async (writer: number): Promise<void> => {
    const id = plainRows[random.below(plainRows.length)]?.id;
    const { rowCount } = await (plain[writer] as pg.Client).query({
      name: 'like',
      text: `update plain set data = jsonb_set(data, '{likes}', to_jsonb((data ->> 'likes')::int + 1)) where id = $1`,
      values: [id],
    });
    expect(rowCount).toBe(1);
  };
  /** Makes a step of updates; returns its time in milliseconds. */
  const step = async (updateOne: (writer: number) => Promise<void>): Promise<number> => {
    const began = performance.now();
    await Promise.all(
      Array.from({ length: WRITERS }, async (_, writer) => {
        for (let n = writer; n < STEP; n += WRITERS) await updateOne(writer);
      }),
    );
    return performance.now() - began;
  };
  const samples: { rows: number; bytes: number; ms: number; plainMs: number; filled: number }[] = [];
  let [trims, trimmed, updates] = [0, (await log()).trimmed, 0];
  /** The updates that were made before each trim. */
  const updatesBefore: number[] = [];
  while (!isOver({ trims, updates })) {
    const ms = await step(like);
    const plainMs = await step(likePlain);
    updates += STEP;
    const now = await log();
    if (now.trimmed !== trimmed) {
      trims += 1;
      updatesBefore.push(updates);
    }
    trimmed = now.trimmed;
    const windowBegan = updatesBefore.at(-WINDOW);
    samples.push({ ...now, ms, plainMs, filled: windowBegan === undefined ? 0 : now.rows / (updates - windowBegan) });
  }
  // The old snapshot still sees no update.
  const { rows: old } = await pinned.query(`select sum((data ->> 'likes')::int)::int as likes from messages`);
  expect(old).toEqual([{ likes: 0 }]);
  await pinned.query('rollback');
  await pinned.end();
  watching.close();
  await Promise.all(plain.map((client) => client.end()));
  await app.close();

  const tenth = Math.ceil(samples.length / 10);
  const slowdownOf = (times: readonly number[]) => {
    const time = (some: readonly number[]) => some.reduce((sum, ms) => sum + ms, 0);
    return time(times.slice(-tenth)) / time(times.slice(0, tenth));
  };
  const measured: Measured = {
    updates,
    rows: Math.max(...samples.slice(Math.floor(samples.length / 2)).map(({ rows }) => rows)),
    filled: Math.max(...samples.map(({ filled }) => filled)),
    slowdown: slowdownOf(samples.map(({ ms }) => ms)),
    plainSlowdown: slowdownOf(samples.map(({ plainMs }) => plainMs)),
  };
  console.log(
    `seed ${seed}: ${updates} updates under an old snapshot, ${trims} trims seen; ${measured.rows} rows of the log at most, ${measured.filled.toFixed(2)} of those of a window, ` +
      `${megabytes(samples.at(-1)?.bytes ?? 0)} with those that the snapshot keeps; the last tenth took ` +
      `${measured.slowdown.toFixed(2)} of the first, without Convoy ${measured.plainSlowdown.toFixed(2)}`,
  );
  return measured;
}

test('the log stays within its window under an old snapshot', { timeout: LONG ? 1_200_000 : 120_000 }, async () => {
  await withSeeds('bloat', async (seed) => {
    const { updates, rows, filled, slowdown, plainSlowdown } = await update(
      seed,
      ['trimSoon'],
      ({ trims }) => trims >= TRIMS,
    );
    expect(rows).toBeLessThan(updates / 2);
    expect(filled).toBeGreaterThan(0);
    expect(filled).toBeLessThanOrEqual(1);
    if (LONG) expect(slowdown / plainSlowdown).toBeLessThan(MAX_SLOWDOWN);
  });
});

test('control: a log that is not trimmed is detected', async () => {
  const { updates, rows } = await update(controlSeed(), ['noTrim'], ({ updates }) => updates >= UPDATES);
  expect(rows).toBeGreaterThanOrEqual(updates);
});
