/**
 * Random steps on a table, compared after each with a model of the documented behaviour: in a database with the default
 * collation, and in one with an English collation.
 */
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { freshDatabaseUrl, postgresVersion } from './app.js';
import { serveImprovised } from './improvised.js';
import { openHarness } from './model/harness.js';
import type { Rules } from './model/order.js';
import { LONG } from './model/random.js';
import { withSeeds } from './model/seeds.js';
import { Mismatch } from './model/session.js';
import { schema } from './model/things.js';

const STEPS = LONG ? 60_000 : 3_000;

async function onServer<T>(use: (psql: pg.Client) => Promise<T>, url = process.env.CONVOY_TEST_DATABASE_URL) {
  const psql = new pg.Client({ connectionString: url });
  await psql.connect();
  try {
    return await use(psql);
  } finally {
    await psql.end();
  }
}

/** A database with an English collation; `null` where it can have none of ICU: in Postgres 14, or without ICU. */
async function englishDatabaseUrl(): Promise<string | null> {
  const databaseUrl = freshDatabaseUrl();
  const name = new URL(databaseUrl).pathname.slice(1);
  return onServer(async (psql) => {
    const icu = await psql.query(`select from pg_collation where collprovider = 'i' limit 1`);
    if (icu.rowCount === 0 || (await postgresVersion(psql)) < 15) return null;
    await psql.query(`create database ${name} locale_provider icu icu_locale 'en-US' template template0`);
    return databaseUrl;
  });
}

async function runSteps(databaseUrl: string, steps: number, seed: number): Promise<void> {
  const harness = await openHarness({ databaseUrl, seed });
  try {
    await harness.steps(steps);
  } finally {
    await harness.close();
  }
}

describe('every step has the same effect on the table and the model', () => {
  test('in a database with the default collation', { timeout: 1_200_000 }, async () => {
    await withSeeds('store-model', (seed) => runSteps(freshDatabaseUrl(), STEPS, seed));
  });

  test('in a database with an English collation', { timeout: 1_200_000 }, async ({ skip }) => {
    const databaseUrl = await englishDatabaseUrl();
    if (databaseUrl === null) return skip('this Postgres has no collations of ICU for databases');
    const sorted = await onServer(
      (psql) => psql.query(`select array_agg(word order by word) as words from unnest(array['B', 'a', 'b']) as word`),
      databaseUrl,
    );
    expect(sorted.rows[0].words).toEqual(['a', 'b', 'B']);
    await withSeeds('store-model-english', async (seed) => {
      await runSteps((await englishDatabaseUrl()) ?? databaseUrl, STEPS / 2, seed);
    });
  });
});

describe('regressions found by these steps', () => {
  test('missing and null are equal in a field of several types, also between pages', async () => {
    const app = await serveImprovised({ schema: schema as never });
    await app.mutation(async ({ db }) => {
      const ids = await db.insertMany('things', [{ any: null }, {}, { any: null }, { any: 'a' }, {}]);
      const expected = [ids[3], ids[0], ids[1], ids[2], ids[4]];
      const inOrder = await db.query('things').withIndex('by_any').collect();
      expect(inOrder.map(({ id }) => id)).toEqual(expected);
      const paged: unknown[] = [];
      for (let cursor: string | null = null; paged.length < ids.length; ) {
        const next: Awaited<ReturnType<ReturnType<typeof db.query>['paginate']>> = await db
          .query('things')
          .order('asc', 'any')
          .paginate({ cursor, numItems: 1 });
        paged.push(...next.page.map(({ id }) => id));
        cursor = next.continueCursor;
      }
      expect(paged).toEqual(expected);
    });
    await app.close();
  });

  test('a filter distinguishes null from a value, and a missing value is null', async () => {
    const app = await serveImprovised({ schema: schema as never });
    await app.mutation(async ({ db }) => {
      await db.insertMany('things', [{ name: null }, {}, { name: 'a' }]);
      const things = db.query('things');
      expect(await things.filter((q) => q.eq(q.field('name'), null)).count()).toBe(2);
      expect(await things.filter((q) => q.neq(q.field('name'), null)).count()).toBe(1);
      expect(await things.filter((q) => q.in(q.field('name'), [null, 'a'])).count()).toBe(3);
    });
    await app.close();
  });
});

const inUtf16 = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);
const WRONG_RULES: [name: string, rules: Partial<Rules>][] = [
  ['numbers are ordered as text', { number: (one, other) => inUtf16(String(one), String(other)) }],
  ['text is ordered by UTF-16 units', { text: inUtf16 }],
  ['text is ordered as English', { text: new Intl.Collator('en').compare }],
  ['missing values come first', { missing: 'first' }],
  ['ties are broken only by id', { tiesByCreation: false }],
  ['inclusive bounds exclude the bound', { inclusive: false }],
];

test.each(WRONG_RULES)('control: a model in which %s differs from the database', async (_, rules) => {
  const harness = await openHarness({ databaseUrl: freshDatabaseUrl(), seed: 1, rules });
  await expect(harness.steps(2_000)).rejects.toBeInstanceOf(Mismatch);
  await harness.close();
});
