/** A stored value is read back unchanged, or refused with its path before any write. */
import { deepStrictEqual } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import { type ConvoyContext, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { post } from './app.js';
import { failure, serveImprovised } from './improvised.js';
import { afterJson, nested, randomJson } from './model/json.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';

const schema = defineSchema({
  bags: defineTable({ place: z.number(), value: z.unknown() })
    .index('by_place', ['place'])
    .index('by_value', ['value']),
  records: defineTable({ record: z.record(z.string(), z.unknown()) }),
});

type Db = ConvoyContext['db'];
const ADD = makeMutationRef<{ value: unknown }, { value: unknown }>('values.add');
const VALUES = makeQueryRef<object, unknown[]>('values.all');

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});

async function served() {
  const values = {
    add: mutation({
      input: { value: z.unknown() },
      handler: async (ctx, { value }) => ctx.db.get(await ctx.db.insert('bags', { place: 0, value })),
    }),
    all: query({ handler: async (ctx) => (await ctx.db.query('bags').collect()).map(({ value }) => value) }),
  };
  const limits = { maxDocumentsRead: 1_000_000, maxDocumentsWritten: 1_000_000, mutationMs: 60_000, queryMs: 60_000 };
  const app = await serveImprovised({ schema: schema as never, functions: { values }, limits });
  open.push(app);
  return {
    ...app,
    write: <T>(body: (db: Db) => Promise<T>) => app.mutation(({ db }) => body(db)),
    read: <T>(body: (db: Db) => Promise<T>) => app.query(({ db }) => body(db)),
    stored: async () => (await app.psql.query('select from bags union all select from records')).rowCount,
  };
}

type App = Awaited<ReturnType<typeof served>>;

/** Writes random values and reads them in several ways; `plant` may make a mistake before. */
async function readBack(seed: number, count: number, plant?: (app: App) => Promise<unknown>): Promise<void> {
  const random = new Random(seed);
  const app = await served();
  await plant?.(app);
  const [inOne, together] = [10, 100];
  for (let first = 0; first < count / inOne; first += together) {
    const documents = Array.from({ length: together }, (_, n) => {
      const value = Array.from({ length: inOne }, () => randomJson(random, random.chance(0.02) ? 60 : 4));
      return { place: first + n, value };
    });
    let ids: unknown[] = [];
    await app.write(async (db) => {
      ids = await db.insertMany('bags', documents);
      same(await db.getMany(ids as never[]), documents);
    });
    await app.read(async (db) => {
      same(await db.getMany(ids as never[]), documents);
      const scan = db.query('bags').withIndex('by_place', (q) => q.gte('place', first).lt('place', first + together));
      same(await scan.collect(), documents);
    });
  }
  expect(await app.stored()).toBe(count / inOne);
}

describe('a value that JSON can represent', () => {
  const COUNT = LONG ? 1_000_000 : 100_000;

  test(`is read back equal, for ${COUNT} values`, { timeout: 600_000 }, async () => {
    await withSeeds('values', (seed) => readBack(seed, COUNT));
  });

  test.each([
    ['rounds numbers to 15 digits', String.raw`regexp_replace(new.data::text, '(\d\.\d{14})\d+', '\1', 'g')`],
    ['turns empty objects into arrays', `replace(new.data::text, '{}', '[]')`],
    ['loses the sign of numbers', `replace(new.data::text, '-0.', '0.')`],
  ])('control: a database that %s is detected', async (_, changed) => {
    const planted = `create function planted() returns trigger language plpgsql as
      $$ begin new.data = (${changed})::jsonb; return new; end $$;
      create trigger planted before insert on bags for each row execute function planted()`;
    const found = readBack(controlSeed(), 20_000, (app) => app.psql.query(planted));
    await expect(found).rejects.toThrow('deep-equal');
  });

  test('is equal over the network', async () => {
    await withSeeds('values-over-the-network', async (seed) => {
      const random = new Random(seed);
      const app = await served();
      const values = Array.from({ length: 300 }, () => randomJson(random, 6));
      for (const value of values) {
        deepStrictEqual((await app.client.mutation(ADD, { value })).value, afterJson(value));
      }
      deepStrictEqual(await app.client.query(VALUES, {}), values.map(afterJson));
    });
  });

  test('is stored unchanged by patch and replace', async () => {
    await withSeeds('values-by-patch', async (seed) => {
      const random = new Random(seed);
      const app = await served();
      await app.write(async (db) => {
        const id = await db.insert('bags', { place: 1, value: null });
        for (let left = 200; left > 0; left--) {
          const value = randomJson(random, 6);
          same([await db.patch(id, { value })], [{ place: 1, value }]);
          same([await db.replace(id, { place: 1, value: [value] })], [{ place: 1, value: [value] }]);
        }
      });
    });
  });

  test('is found by its value, for numbers, text and booleans', async () => {
    await withSeeds('values-by-value', async (seed) => {
      const random = new Random(seed);
      const app = await served();
      await app.write(async (db) => {
        for (let left = 1_000; left > 0; left--) {
          const id = await db.insert('bags', { place: 1, value: randomJson(random, 0) });
          const value = (await db.get(id))?.value;
          const byIndex = db.query('bags').withIndex('by_value', (q) => q.eq('value', value));
          const byFilter = db.query('bags').filter((q) => q.in(q.field('value'), [value]));
          for (const found of await Promise.all([byIndex.collect(), byFilter.collect()])) {
            expect(found.filter((document) => !isDeepStrictEqual(document.value, value))).toEqual([]);
            expect(found.map((document) => document.id)).toContain(id);
          }
        }
      });
    });
  });

  test('is found by its value after an increment', async () => {
    const app = await served();
    for (const [place, by, sum] of [
      [0.1, 0.2, 0.3],
      [2 ** 53, 1, 2 ** 53],
      [1e308, 0.1, 1e308],
    ] as const) {
      await app.write(async (db) => {
        const id = await db.insert('bags', { place, value: null });
        const document = await db.increment(id, 'place' as never, by);
        expect(document?.place).toBe(sum);
        const found = db.query('bags').withIndex('by_place', (q) => q.eq('place', document?.place));
        expect(await found.unique()).toMatchObject({ id });
      });
    }
  });

  test('has no sign where it is zero, as in JSON', async () => {
    const app = await served();
    expect(JSON.stringify(-0)).toBe('0');
    expect((await app.convoy.mutation(ADD, { value: [-0] })).value).toStrictEqual([0]);
    await app.write(async (db) => {
      const id = await db.insert('bags', { place: -0, value: { deep: [-0] } });
      const zeros = db.query('bags').withIndex('by_place', (q) => q.eq('place', -0));
      expect(await zeros.collect()).toMatchObject([{ value: [0] }, { id, place: 0, value: { deep: [0] } }]);
    });
  });

  test('may have undefined keys, which are left out, and 64 levels', async () => {
    const app = await served();
    await app.write(async (db) => {
      const id = await db.insert('bags', { place: 1, value: { a: undefined, b: [{ c: undefined }] } });
      expect((await db.get(id))?.value).toStrictEqual({ b: [{}] });
      const deep = await db.insert('bags', { place: 1, value: nested(63) });
      expect((await db.get(deep))?.value).toStrictEqual(nested(63));
    });
  });

  test('keeps each key of a record, and is refused with a key that Zod would drop', async () => {
    const app = await served();
    const record = { constructor: 1, toString: 1, '': 1, 'a.b': 1, '"': 1, '😀': 1 };
    await app.write(async (db) => {
      const id = await db.insert('records', { record });
      deepStrictEqual((await db.get(id))?.record, record);
      const losing = { record: JSON.parse('{"__proto__": 1}') };
      for (const write of [db.insert('records', losing), db.replace(id, losing), db.patch(id, losing)]) {
        expect(await failure(write)).toMatchObject({
          code: 'INVALID_ARGS',
          details: { table: 'records', issues: [{ path: ['record', '__proto__'] }] },
        });
      }
    });
  });
});

describe('a value that JSON cannot represent', () => {
  const circle: unknown[] = [];
  circle.push({ circle });
  const holed = new Array(2);
  const REFUSED: [name: string, value: unknown, inside?: (string | number)[]][] = [
    ['a bigint', 1n],
    ['a Date', new Date(0)],
    ['a Map', new Map()],
    ['a Set', new Set([1])],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    ['a class instance', new URL('http://localhost')],
    ['bytes', new Uint8Array(2)],
    ['a promise', Promise.resolve(1)],
    ['a boxed text', Object('text')],
    ['undefined in an array', [1, undefined], [1]],
    ['a hole in an array', holed, [0]],
    ['half a pair', 'a\ud800'],
    ['the other half', '\udc00a'],
    ['two halves the wrong way round', '\udc00\ud800'],
    ['U+0000', 'a\u0000b'],
    ['U+0000 in a key', { 'a\u0000': 1 }, ['a\u0000']],
    ['half a pair in a key', { '\ud800': 1 }, ['\ud800']],
    ['something deep inside', { a: [{ 'b.c': 1n }] }, ['a', 0, 'b.c']],
  ];
  const ENDLESS: [name: string, value: unknown][] = [
    ['a cycle', circle],
    ['65 levels', nested(64)],
    ['100,000 levels', nested(100_000)],
  ];

  test('is refused with its path, before any statement is sent', async () => {
    const app = await served();
    await app.write((db) => db.insert('bags', { place: 1, value: 'kept' }));
    const [{ id: uuid }] = (await app.psql.query('select id from bags')).rows;
    // Any statement on the table would now wait for this transaction.
    await app.psql.query('begin; lock table bags in access exclusive mode');
    for (const [name, value, inside = []] of [...REFUSED, ...ENDLESS]) {
      const bad = { place: 1, value };
      const writes: [string, (string | number)[], (db: Db) => Promise<unknown>][] = [
        ['insert', ['value'], (db) => db.insert('bags', bad)],
        ['insertMany', ['value'], (db) => db.insertMany('bags', [{ place: 1, value: 1 }, bad])],
        ['replace', ['value'], (db) => db.replace(`bags:${uuid}` as never, bad)],
      ];
      for (const [method, field, write] of writes) {
        const refused = await failure(app.write(write));
        expect(refused, `${method} of ${name}`).toMatchObject({ code: 'INVALID_ARGS', details: { table: 'bags' } });
        const [issue] = (refused as { details: { issues: { path: unknown[] }[] } }).details.issues;
        // In the error's JSON, a lone surrogate has become the replacement character.
        const path = [...field, ...inside].map((step) => (step === '\ud800' ? '\ufffd' : step));
        expect(issue?.path.slice(0, path.length), `${method} of ${name}`).toEqual(path);
      }
    }
    await app.psql.query('rollback');
    expect(await app.stored()).toBe(1);
  });

  test('is refused by a patch, which leaves the document unchanged', async () => {
    const app = await served();
    await app.write(async (db) => {
      const id = await db.insert('bags', { place: 1, value: 'kept' });
      for (const [name, value, inside = []] of [...REFUSED, ...ENDLESS]) {
        const refused = await failure(db.patch(id, { value }));
        expect(refused, name).toMatchObject({ code: 'INVALID_ARGS', details: { table: 'bags' } });
        const [issue] = (refused as { details: { issues: { path: unknown[] }[] } }).details.issues;
        expect(issue?.path.slice(0, 1 + inside.length), name).toEqual(['value', ...inside]);
      }
      expect(await db.get(id)).toMatchObject({ value: 'kept' });
    });
  });

  test('is refused in a range and in a filter', async () => {
    const app = await served();
    await app.read(async (db) => {
      // Here the value itself is the first level.
      for (const [name, value] of [...REFUSED, ...ENDLESS.map(([name, value]) => [name, [value]] as const)]) {
        const ranged = () => db.query('bags').withIndex('by_value', (q) => q.eq('value', value));
        const filtered = () => db.query('bags').filter((q) => q.eq(q.field('value'), value));
        for (const build of [ranged, filtered]) {
          expect(build, name).toThrow(expect.objectContaining({ code: 'INVALID_ARGS' }));
        }
      }
    });
  });

  test('is refused as an argument, with its path', async () => {
    const app = await served();
    const sendable = ['a Date', 'a class instance', 'half a pair', 'the other half', 'two halves the wrong way round'];
    const asArgument = REFUSED.filter(
      ([name]) => !sendable.includes(name) && !name.includes('key') && name !== 'U+0000',
    );
    for (const [name, value, inside = []] of asArgument) {
      const refused = await failure(app.convoy.mutation(ADD, { value }));
      expect(refused, name).toMatchObject({
        code: 'INVALID_ARGS',
        details: { issues: [{ path: ['value', ...inside] }] },
      });
    }
    expect(await app.stored()).toBe(0);
  });

  test.each([
    ['half a pair', '"a\\ud800"'],
    ['half a pair in a key', '{"\\udc00": 1}'],
    ['U+0000', '"a\\u0000"'],
    ['U+0000 in a key', '[{"\\u0000": 1}]'],
    ['a number beyond the range of doubles', '1e999'],
  ])('%s is refused over the network, with its path', async (_, json) => {
    const app = await served();
    const { status, answer } = await post(app.baseUrl, 'mutation/values.add', `{"value": ${json}}`);
    expect({ status, answer }).toMatchObject({ status: 400, answer: { error: { code: 'INVALID_ARGS' } } });
    const { details } = answer.error as unknown as { details: { issues: { path: unknown[] }[] } };
    expect(details.issues[0]?.path[0]).toBe('value');
    expect(await app.stored()).toBe(0);
  });

  test.each(['NaN', '[1,]', '{"a"}', '', '"\\x"', "'a'", `${'['.repeat(64)}${']'.repeat(64)}`, '['.repeat(50_000)])(
    'a body that is invalid JSON, or nested too deeply, is invalid input',
    async (json) => {
      const app = await served();
      const { status, answer } = await post(app.baseUrl, 'mutation/values.add', `{"value": ${json}}`);
      expect({ status, code: answer.error?.code }).toEqual({ status: 400, code: 'INVALID_ARGS' });
      expect(await app.stored()).toBe(0);
    },
  );
});

/** Checks that the documents are the given ones, in that order. */
function same(found: readonly unknown[], given: readonly { place: number; value: unknown }[]): void {
  expect(found.length).toBe(given.length);
  for (const [n, { place, value }] of given.entries()) {
    const { place: foundPlace, value: foundValue } = found[n] as { place: number; value: unknown };
    deepStrictEqual({ place: foundPlace, value: foundValue }, { place, value: afterJson(value) });
  }
}
