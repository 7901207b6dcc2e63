/** Hostile names, ids and cursors in every argument that takes one: always `INVALID_ARGS`, and never SQL. */
import { type ConvoyContext, defineRef, defineSchema, defineTable, isConvoyError } from '@avvos/convoy';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { failure, serveImprovised } from './improvised.js';

const schema = defineSchema({
  notes: defineTable({
    text: z.string(),
    n: z.number().default(0),
    place: z.object({ city: z.string() }).optional(),
    'a.b': z.string().optional(),
    owner: defineRef('people').optional(),
  })
    .index('by_text', ['text', 'n'])
    .index('by_n', ['n']),
  people: defineTable({ name: z.string() }).index('by_name', ['name']),
});

type Db = ConvoyContext['db'];
type App = Awaited<ReturnType<typeof serveImprovised>>;
const UUID = '01890c5e-9d2b-7cc3-8f11-aa0b6f5c2d10';

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

/** Values that become the name of a table when converted to text. */
const STRINGIFIED = [['notes'], Object('notes')];
const HOSTILE: unknown[] = [
  ...['constructor', '__proto__', 'prototype', 'toString', 'hasOwnProperty', 'valueOf', 'then', 'length', '0'],
  ...["'; drop table notes; --", '"; drop table notes; --', "notes'", 'notes"', '\\', '$1', '%', '*', 'notes;', '/*'],
  ...['', ' ', ' notes', 'Notes', 'NOTES', 'notes\u0000', '\u0000', '\ud800', '😀', '\n', 'null', 'undefined'],
  ...['.', '..', 'a.b', 'text.', '.text', 'place', 'place.', 'place.town', 'a.b.c.d', 'place.city.x.y', 'notes.text'],
  ...['pg_class', 'pg_catalog.pg_class', '_convoy.changes', 'data', 'created_at', 'information_schema.tables'],
  ...['x'.repeat(64), 'x'.repeat(100_000), '.'.repeat(100_000)],
  ...[null, undefined, 5, Number.NaN, true, {}, [], { name: 'notes' }, () => 'notes', Symbol('notes'), 1n],
  ...STRINGIFIED,
];

/** Every argument that takes a name, with the hostile ones that are valid there. */
const ARGUMENTS: [argument: string, call: (db: Db, name: never) => unknown, valid?: unknown[]][] = [
  ['query', (db, name) => db.query(name).first()],
  ['insert', (db, name) => db.insert(name, { text: 'never' })],
  ['insertMany', (db, name) => db.insertMany(name, [{ text: 'never' }])],
  ['insertMany of none', (db, name) => db.insertMany(name, [])],
  ['get by table', (db, name) => db.get(name, UUID as never)],
  ['get by id', (db, name) => db.get(name)],
  ['get by an id of a table', (db, name) => db.get(`${String(name)}:${UUID}` as never), STRINGIFIED],
  ['get in a table', (db, name) => db.get('notes', name)],
  ['getMany', (db, name) => db.getMany([name])],
  ['patch', (db, name) => db.patch(name, {})],
  ['patch in a table', (db, name) => db.patch('notes', name, {})],
  ['patch by table', (db, name) => db.patch(name, UUID as never, {})],
  ['replace', (db, name) => db.replace(name, { text: 'never' })],
  ['replace by table', (db, name) => db.replace(name, UUID as never, { text: 'never' })],
  ['delete', (db, name) => db.delete(name)],
  ['delete by table', (db, name) => db.delete(name, UUID as never)],
  ['deleteMany', (db, name) => db.deleteMany(name, [])],
  ['deleteMany of ids', (db, name) => db.deleteMany('notes', [name])],
  ['increment by table', (db, name) => db.increment(name, UUID as never, 'n' as never, 1)],
  ['increment of an id', (db, name) => db.increment(name, 'n' as never, 1)],
  ['increment of a field', (db, name) => db.increment(`notes:${UUID}` as never, name, 1)],
  ['an index', (db, name) => db.query('notes').withIndex(name).first()],
  [
    'a field of an index',
    (db, name) =>
      db
        .query('notes')
        .withIndex('by_text', (q) => q.eq(name as string, 'x'))
        .first(),
  ],
  [
    'a bound of an index',
    (db, name) =>
      db
        .query('notes')
        .withIndex('by_n', (q) => q.gt(name as string, 1))
        .first(),
  ],
  [
    'a field of a filter',
    (db, name) =>
      db
        .query('notes')
        .filter((q) => q.eq(q.field(name as string), 1))
        .first(),
    ['place'],
  ],
  ['an order', (db, name) => db.query('notes').order(name).first()],
  ['a field to order by', (db, name) => db.query('notes').order('asc', name).first(), ['place', undefined]],
  ['a cursor', (db, name) => db.query('notes').paginate({ cursor: name, numItems: 1 }), ['', null, undefined]],
  [
    'the end of a page',
    (db, name) => db.query('notes').paginate({ cursor: null, endCursor: name, numItems: 1 }),
    ['', null, undefined],
  ],
  [
    'a reference',
    (db, name) =>
      db
        .query('notes')
        .filter((q) => q.eq(q.field('id'), name))
        .first(),
  ],
];

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
