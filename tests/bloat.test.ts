/**
 * Documents are updated while another connection keeps an old snapshot open. The rows of the change log stay within their
 * window, so `_convoy` does not grow with the number of updates, and the last updates are as fast as the first.
 */
import { createConvoyClient } from '@avvos/convoy/client';
import pg from 'pg';
import { expect, test } from 'vitest';
import { api, serve } from './app.js';
import { LONG, Random, seedOfThisRun } from './model/random.js';
import { withSeeds } from './model/seeds.js';
import { megabytes } from './trend.js';

const WRITERS = 8;
const DOCUMENTS = 50;
const STEP = 100;
/** The run goes on until the log was trimmed this often. Then it has lasted for several windows. */
const TRIMS = LONG ? 1_500 : 15;
/** The updates of the control, in which nothing is trimmed. */
const UPDATES = 500;
/** The largest ratio of the time of the last tenth of the updates to that of the first; in a long run. */
const MAX_SLOWDOWN = 1.1;

interface Measured {
  readonly updates: number;
  /** The most rows of the log in the second half of the run. */
  readonly rows: number;
  /** The time of the last tenth of the updates, of that of the first. */
  readonly slowdown: number;
}

async function update(
  seed: number,
  failpoints: readonly string[],
  isOver: (run: { trims: number; updates: number }) => boolean,
) {
  const random = new Random(seed);
  const app = await serve({ failpoints, poolSize: WRITERS + 4 } as object);
  const channelId = await app.client.mutation(api.channels.create, { name: 'general' });
  const ids = await app.client.mutation(api.messages.sendMany, {
    channelId,
    bodies: Array.from({ length: DOCUMENTS }, (_, n) => `message ${n}`),
  });
  // The log is read while there are live queries.
  const watching = createConvoyClient({ baseUrl: app.baseUrl });
  watching.watch(api.messages.list, { channelId }, () => {});

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
    const id = ids[random.below(DOCUMENTS)];
    const response = await fetch(`${app.baseUrl}/api/mutation/messages.like`, {
      method: 'POST',
      body: JSON.stringify({ id }),
    });
    expect(response.status).toBe(200);
  };
  const samples: { rows: number; bytes: number; ms: number }[] = [];
  let [trims, trimmed, updates] = [0, (await log()).trimmed, 0];
  while (!isOver({ trims, updates })) {
    const began = performance.now();
    await Promise.all(
      Array.from({ length: WRITERS }, async (_, writer) => {
        for (let n = writer; n < STEP; n += WRITERS) await like();
      }),
    );
    updates += STEP;
    const ms = performance.now() - began;
    const now = await log();
    if (now.trimmed !== trimmed) trims += 1;
    trimmed = now.trimmed;
    samples.push({ ...now, ms });
  }
  // The old snapshot still sees no update.
  const { rows: old } = await pinned.query(`select sum((data ->> 'likes')::int)::int as likes from messages`);
  expect(old).toEqual([{ likes: 0 }]);
  await pinned.query('rollback');
  await pinned.end();
  watching.close();
  await app.close();

  const tenth = Math.ceil(samples.length / 10);
  const time = (some: typeof samples) => some.reduce((sum, { ms }) => sum + ms, 0);
  const measured: Measured = {
    updates,
    rows: Math.max(...samples.slice(Math.floor(samples.length / 2)).map(({ rows }) => rows)),
    slowdown: time(samples.slice(-tenth)) / time(samples.slice(0, tenth)),
  };
  console.log(
    `seed ${seed}: ${updates} updates under an old snapshot, ${trims} trims seen; ${measured.rows} rows of the log at most, ` +
      `${megabytes(samples.at(-1)?.bytes ?? 0)} with those that the snapshot keeps; the last tenth took ` +
      `${measured.slowdown.toFixed(2)} of the first`,
  );
  return measured;
}

test('the log stays within its window under an old snapshot', { timeout: LONG ? 1_200_000 : 120_000 }, async () => {
  await withSeeds('bloat', async (seed) => {
    const { updates, rows, slowdown } = await update(seed, ['trimSoon'], ({ trims }) => trims >= TRIMS);
    expect(rows).toBeLessThan(updates / 2);
    if (LONG) expect(slowdown).toBeLessThan(MAX_SLOWDOWN);
  });
});

test('control: a log that is not trimmed is detected', async () => {
  const { updates, rows } = await update(seedOfThisRun(), ['noTrim'], ({ updates }) => updates >= UPDATES);
  expect(rows).toBeGreaterThanOrEqual(updates);
});
