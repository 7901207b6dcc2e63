/** Hostile names, ids and cursors in every argument that takes one: always `INVALID_ARGS`, and never SQL. */
import { type ConvoyContext, isConvoyError } from '@avvos/convoy';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ARGUMENTS, HOSTILE, schema, UUID } from './hostile-names.js';
import { failure, serveImprovised } from './improvised.js';

type Db = ConvoyContext['db'];
type App = Awaited<ReturnType<typeof serveImprovised>>;
// These tests change no data, so they share a database.
let app: App;
beforeAll(async () => {
  app = await serveImprovised({ schema: schema as never });
  await app.mutation(({ db }) =>
    db.insertMany(
      'notes',
      [1, 2, 2].map((n) => ({ text: 'there', n })),
    ),
  );
});
afterAll(async () => {
  expect((await app.psql.query('select from notes')).rowCount).toBe(3);
  await app.close();
});

test.each(ARGUMENTS)('no hostile name is accepted as %s', async (argument, call, valid = []) => {
  for (const name of HOSTILE) {
    if (valid.includes(name)) continue;
    const label = `${argument}: ${String(typeof name === 'object' ? JSON.stringify(name) : String(name)).slice(0, 60)}`;
    const refused = await app.mutation(({ db }) => failure(Promise.resolve().then(() => call(db, name as never))));
    expect(isConvoyError(refused), `${label}: ${refused}`).toBe(true);
    expect(refused, label).toMatchObject({ code: 'INVALID_ARGS' });
    // A name of 100,000 characters is truncated.
    expect((refused as Error).message.length, label).toBeLessThan(1_000);
  }
});

test('removing a key that no document has succeeds, or is refused', async () => {
  const id = await app.mutation(async ({ db }) => (await db.query('notes').first())?.id);
  const before = await app.query(({ db }) => db.get(id));
  for (const key of HOSTILE.filter((name) => typeof name === 'string' && name !== 'place' && name !== 'a.b')) {
    const label = JSON.stringify(key).slice(0, 60);
    const patching = app.mutation(({ db }) => db.patch(id, { [key as string]: undefined }));
    const ended = await patching.catch((error: unknown) => error);
    if (isConvoyError(ended)) expect(ended, label).toMatchObject({ code: 'INVALID_ARGS' });
    else expect(ended, label).toEqual(before);
  }
});

test('an id of another table is refused wherever a table is named', async () => {
  const person = await app.mutation(({ db }) => db.insert('people', { name: 'ada' }));
  for (const call of [
    (db: Db): unknown => db.get('notes', person as never),
    (db: Db) => db.patch('notes', person as never, {}),
    (db: Db) => db.replace('notes', person as never, { text: 'x' }),
    (db: Db) => db.delete('notes', person as never),
    (db: Db) => db.deleteMany('notes', [person] as never),
    (db: Db) => db.increment('notes', person as never, 'n' as never, 1),
    (db: Db) => db.insert('notes', { text: 'x', owner: `notes:${UUID}` }),
    (db: Db) =>
      db
        .query('notes')
        .filter((q) => q.eq(q.field('id'), person))
        .first(),
    (db: Db) =>
      db
        .query('notes')
        .withIndex('by_id', (q) => q.eq('id', person))
        .first(),
  ]) {
    expect(await app.mutation(({ db }) => failure(Promise.resolve().then(() => call(db))))).toMatchObject({
      code: 'INVALID_ARGS',
    });
  }
});

describe('a query', () => {
  const wrong = (build: (query: ReturnType<Db['query']>) => unknown) =>
    app.query(({ db }) => failure(Promise.resolve().then(() => build(db.query('notes')))));

  test.each([
    ['a limit of -1', (q) => q.limit(-1).collect()],
    ['a limit of 1.5', (q) => q.limit(1.5).collect()],
    ['a limit of text', (q) => q.limit('1' as never).collect()],
    ['a limit beyond the maximum', (q) => q.limit(2 ** 32).collect()],
    ['an offset of NaN', (q) => q.offset(Number.NaN).collect()],
    ['a take of -1', (q) => q.take(-1)],
    ['a page of none', (q) => q.paginate({ cursor: null, numItems: 0 })],
    ['a page of 32,001', (q) => q.paginate({ cursor: null, numItems: 32_001 })],
    ['no page at all', (q) => q.paginate(undefined as never)],
    ['a page with a limit', (q) => q.limit(5).paginate({ cursor: null, numItems: 1 })],
    ['a page with an offset', (q) => q.offset(5).paginate({ cursor: null, numItems: 1 })],
    ['a filter that compared here', (q) => q.filter((() => true) as never).collect()],
    ['a filter without a result', (q) => q.filter((() => {}) as never).collect()],
    ['a filter that is none', (q) => q.filter({ is: 'eq', field: 'n', value: 1 } as never).collect()],
    ['a filter of two fields', (q) => q.filter((f) => f.eq(f.field('n'), f.field('n') as never)).collect()],
    ['a bound of null', (q) => q.filter((f) => f.gt(f.field('n'), null as never)).collect()],
    ['a bound of null in a range', (q) => q.withIndex('by_n', (r) => r.gt('n', null)).collect()],
    ['a bound behind a gap', (q) => q.withIndex('by_text', (r) => r.gt('n', 1)).collect()],
    ['a field twice', (q) => q.withIndex('by_n', (r) => r.eq('n', 1).eq('n', 1)).collect()],
    ['two lower bounds', (q) => q.withIndex('by_n', (r) => r.gt('n', 1).gte('n', 2)).collect()],
    ['a value of another type', (q) => q.withIndex('by_n', (r) => r.eq('n', '1')).collect()],
    ['an unknown direction', (q) => q.order('up' as never).collect()],
  ] as [string, (query: ReturnType<Db['query']>) => unknown][])('is refused with %s', async (_, build) => {
    expect(await wrong(build)).toMatchObject({ code: 'INVALID_ARGS' });
  });

  test('accepts only cursors of its own pages', async () => {
    const page = (build: (query: ReturnType<Db['query']>) => ReturnType<Db['query']>, cursor: string | null) =>
      app.query(({ db }) => build(db.query('notes')).paginate({ cursor, numItems: 1 }));
    const { continueCursor } = await page((q) => q.withIndex('by_n'), null);
    expect((await page((q) => q.withIndex('by_n'), continueCursor)).page).toHaveLength(1);
    for (const other of [
      (q: ReturnType<Db['query']>) => q,
      (q: ReturnType<Db['query']>) => q.withIndex('by_n').order('desc'),
      (q: ReturnType<Db['query']>) => q.withIndex('by_n', (r) => r.gt('n', 0)),
      (q: ReturnType<Db['query']>) => q.withIndex('by_n').filter((f) => f.eq(f.field('n'), 1)),
      (q: ReturnType<Db['query']>) => q.withIndex('by_n').order('asc', 'text'),
      (q: ReturnType<Db['query']>) => q.withIndex('by_text'),
    ]) {
      expect(await failure(page(other, continueCursor))).toMatchObject({ code: 'INVALID_ARGS' });
    }
    for (const forged of [`${continueCursor}x`, continueCursor.slice(1), continueCursor.toUpperCase(), btoa('[1,2]')]) {
      expect(await failure(page((q) => q.withIndex('by_n'), forged)), forged).toMatchObject({ code: 'INVALID_ARGS' });
    }
    const empty = await page((q) => q.withIndex('by_n', (r) => r.gt('n', 100)), null);
    expect(empty).toEqual({ page: [], isDone: true, continueCursor: expect.stringMatching(/./) });
    for (const cursor of ['', empty.continueCursor]) {
      expect(await page((q) => q.withIndex('by_n', (r) => r.gt('n', 100)), cursor)).toEqual(empty);
    }
    expect(await failure(page((q) => q, empty.continueCursor))).toMatchObject({ code: 'INVALID_ARGS' });
  });

  test('unique() returns one document or null', async () => {
    await app.query(async ({ db }) => {
      const of = (n: number) => db.query('notes').withIndex('by_n', (q) => q.eq('n', n));
      expect(await of(1).unique()).toMatchObject({ n: 1 });
      expect(await of(3).unique()).toBeNull();
      expect(await failure(of(2).unique())).toMatchObject({ code: 'CONFLICT', status: 409 });
      expect(await of(2).limit(1).unique()).toMatchObject({ n: 2 });
      expect(await of(2).limit(0).unique()).toBeNull();
      expect(await of(2).offset(1).unique()).toMatchObject({ n: 2 });
    });
  });
});
