/** Reads that the engine executes before it starts a function, because the function has begun with them before. */
import {
  type BaseContext,
  createFunctionHelpers,
  type DataModelOf,
  defineRef,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { Random } from './model/random.js';
import { withSeeds } from './model/seeds.js';

/** More runs than it takes until the first reads are known. */
const LEARNED = 6;
/** Each call runs the function. */
const RUN = { cache: false } as const;

const schema = defineSchema({
  notes: defineTable({ list: z.string(), n: z.number(), tags: z.array(z.string()).default([]) }).index('by_list', [
    'list',
    'n',
  ]),
});

type Context = BaseContext<DataModelOf<typeof schema>>;
const { query, mutation } = createFunctionHelpers<Context>();

let started = 0;
const inList = (ctx: Context, list: string, n: number) =>
  ctx.db
    .query('notes')
    .withIndex('by_list', (q) => q.eq('list', list))
    .order('desc')
    .take(n);
const note = { id: defineRef('notes') };

const functions = {
  get: query({
    ...RUN,
    input: note,
    handler: (ctx, { id }) => {
      started++;
      return ctx.db.get(id);
    },
  }),
  list: query({
    ...RUN,
    input: { list: z.string(), n: z.number().default(10) },
    handler: (ctx, { list, n }) => {
      started++;
      return inList(ctx, list, n);
    },
  }),
  /** Its first reads depend on more than the input shows. */
  fickle: query({
    ...RUN,
    input: { ...note, other: defineRef('notes'), how: z.number(), list: z.string() },
    handler: async (ctx, { id, other, how, list }) => {
      if (how === 0) return ctx.db.get(id);
      if (how === 1) return ctx.db.get(other);
      if (how === 2) return inList(ctx, list, 10);
      if (how === 3) return null;
      if (how === 4) throw new Error('before it reads');
      const [first, second] = [await ctx.db.get(id), await ctx.db.get(other)];
      return { first, second, again: await ctx.db.get(id) };
    },
  }),
  /** Changes what it was given. */
  careless: query({
    ...RUN,
    input: note,
    handler: async (ctx, { id }) => {
      (await ctx.db.get(id))?.tags.push('changed');
      return ctx.db.get(id);
    },
  }),
  watched: query({ input: note, handler: (ctx, { id }) => ctx.db.get(id) }),
  add: mutation({
    input: { list: z.string(), n: z.number() },
    handler: (ctx, doc) => ctx.db.insert('notes', doc),
  }),
  increase: mutation({
    input: note,
    handler: async (ctx, { id }) => {
      started++;
      const n = (await ctx.db.get(id))?.n ?? 0;
      await ctx.db.patch(id, { n: n + 1 });
      return (await ctx.db.get(id))?.n;
    },
  }),
};

let convoy: Convoy;
let baseUrl: string;
let psql: pg.Client;
const databaseUrl = freshDatabaseUrl();
beforeAll(async () => {
  convoy = await createConvoy({ schema, functions, databaseUrl, createDatabase: true });
  baseUrl = `http://127.0.0.1:${(await convoy.listen({ port: 0 })).port}`;
  psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
});
afterAll(async () => {
  await psql.end();
  await convoy.close();
});

async function text(path: string, args: object): Promise<string> {
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(args) };
  const response = await fetch(`${baseUrl}/api/${path}`, request);
  return response.text();
}

async function call<T>(path: string, args: object): Promise<T> {
  const { data, error } = JSON.parse(await text(path, args)) as { data: T; error?: object };
  if (error !== undefined) throw new Error(JSON.stringify(error));
  return data;
}

const add = (list: string, n: number) => call<string>('mutation/add', { list, n });

/** Whether a function starts while its first read waits. */
async function startsBeforeItsRead(path: string, args: object): Promise<boolean> {
  await psql.query('begin; lock table notes in access exclusive mode');
  const before = started;
  const answered = call(path, args);
  const waiting = `select 1 from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like 'select%notes%'`;
  const other = new pg.Client({ connectionString: databaseUrl });
  await other.connect();
  while ((await other.query(waiting)).rows.length === 0) await new Promise((resolve) => setImmediate(resolve));
  await other.end();
  const starts = started > before;
  await psql.query('commit');
  await answered;
  return starts;
}

test('a function that begins with the same reads by its input starts after them', async () => {
  const [list, id] = ['learned', await add('learned', 1)];
  for (const [path, args] of [
    ['query/get', { id }],
    ['query/list', { list }],
    ['mutation/increase', { id }],
  ] as const) {
    expect(await startsBeforeItsRead(path, args), `${path} at first`).toBe(true);
    for (let run = 0; run < LEARNED; run++) await call(path, args);
    expect(await startsBeforeItsRead(path, args), path).toBe(false);
  }
});

test('what was prefetched is current, and has the exact numbers of the database', async () => {
  const id = await add('exact', 1);
  for (let run = 0; run < LEARNED; run++) {
    await psql.query(
      `update notes set data = jsonb_set(data, '{n}', '1234567890123456789${run}') where data ->> 'list' = 'exact'`,
    );
    expect(await text('query/get', { id })).toContain(`"n":1234567890123456789${run}`);
    expect(await text('query/list', { list: 'exact' })).toContain(`"n":1234567890123456789${run}`);
  }
  await psql.query(`delete from notes where data ->> 'list' = 'exact'`);
  expect(await call('query/get', { id })).toBeNull();
  expect(await call('query/list', { list: 'exact' })).toEqual([]);
});

test('each run has documents of its own', async () => {
  const id = await add('careless', 1);
  for (let run = 0; run < LEARNED; run++) {
    expect(await call('query/careless', { id })).toMatchObject({ tags: [] });
    expect(await call('query/get', { id })).toMatchObject({ tags: [] });
  }
});

test('inputs that look alike are told apart', async () => {
  const names = ['notes', 'by_list', 'desc', '10', '', 'a"b', 'a\\u0062', 'é', 'a:b', 'scan'];
  for (const list of names) for (let n = 0; n < 3; n++) await add(`look ${list}`, n);
  for (const list of names) for (let n = 0; n < 2; n++) await add(list, n);
  await withSeeds('prefetch-inputs', async (seed) => {
    const random = new Random(seed);
    for (let run = 0; run < 200; run++) {
      const name = names[random.below(names.length)] as string;
      const list = random.below(2) === 0 ? name : `look ${name}`;
      const n = 1 + random.below(4);
      const found = await call<{ list: string }[]>('query/list', { list, n });
      expect(found.map((one) => one.list)).toEqual(Array(Math.min(n, list === name ? 2 : 3)).fill(list));
    }
  });
});

test('a function whose first reads vary is right all the same', async () => {
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) ids.push(await add('fickle', n));
  await withSeeds('prefetch-varying-reads', async (seed) => {
    const random = new Random(seed);
    for (let run = 0; run < 300; run++) {
      // Stretches in which it looks steady.
      const how = run % 40 < 20 ? 0 : random.below(6);
      const [a, b] = [random.below(5), random.below(5)];
      const answer = call<unknown>('query/fickle', { id: ids[a], other: ids[b], how, list: 'fickle' });
      if (how === 4) await expect(answer).rejects.toThrow('INTERNAL');
      else if (how === 0) expect(await answer).toMatchObject({ n: a });
      else if (how === 1) expect(await answer).toMatchObject({ n: b });
      else if (how === 2) expect(await answer).toHaveLength(5);
      else if (how === 3) expect(await answer).toBeNull();
      else expect(await answer).toMatchObject({ first: { n: a }, second: { n: b }, again: { n: a } });
    }
  });
});

test('a live query is run again when a prefetched document changes', async () => {
  const id = await add('watched', 0);
  for (let run = 0; run < LEARNED; run++) {
    await call('query/watched', { id });
    await call('mutation/increase', { id });
  }
  const client = createConvoyClient({ baseUrl });
  const seen: number[] = [];
  const reached = (n: number) =>
    new Promise<void>((resolve) => {
      const stop = client.watch(makeQueryRef<{ id: string }, { n: number }>('watched'), { id }, (state) => {
        if (state.status !== 'success') return;
        seen.push(state.data.n);
        if (state.data.n >= n) {
          resolve();
          stop();
        }
      });
    });
  await reached(LEARNED);
  const later = reached(LEARNED + 3);
  for (let n = 0; n < 3; n++) await call('mutation/increase', { id });
  await later;
  client.close();
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
});

test('what one caller asks for fails no other', async () => {
  await add('beside', 1);
  for (let run = 0; run < LEARNED; run++) await call('query/list', { list: 'beside' });
  const wrong = ['\0', 'a\0b', '\ud800', 'x'.repeat(10_000), { not: 'a string' }];
  for (let round = 0; round < 10; round++) {
    const calls = Array.from({ length: 40 }, (_, n) =>
      n % 4 === 0
        ? text('query/list', { list: wrong[(round + n) % wrong.length] })
        : text('query/list', { list: 'beside' }),
    );
    const answers = await Promise.all(calls);
    for (const [n, answer] of answers.entries()) if (n % 4 !== 0) expect(answer).toContain('"list":"beside"');
  }
});

test('mutations that were given a document lose no update', async () => {
  const ids = [await add('sum', 0), await add('sum', 0), await add('sum', 0)];
  for (let run = 0; run < LEARNED; run++) await call('mutation/increase', { id: ids[0] });
  const results = await Promise.all(
    Array.from({ length: 90 }, (_, n) => call<number>('mutation/increase', { id: ids[n % 3] })),
  );
  expect(results.every((n) => n > 0)).toBe(true);
  const sums = await Promise.all(ids.map((id) => call<{ n: number }>('query/get', { id })));
  expect(sums.map(({ n }) => n)).toEqual([30 + LEARNED, 30, 30]);
});
