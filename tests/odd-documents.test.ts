/** Documents written by other programs: values that JavaScript cannot represent are passed on, or named in an error. */
import { action, type ConvoyContext, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { sql } from '@avvos/convoy/sql';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { serveImprovised } from './improvised.js';

const schema = defineSchema({
  items: defineTable(z.looseObject({ name: z.string() })).index('by_name', ['name']),
  shaped: defineTable({ name: z.string(), n: z.unknown(), inner: z.object({ n: z.number() }).optional() }),
});

const HUGE = `1${'0'.repeat(400)}`;
/** Numbers as stored, and as Postgres writes them. */
const NUMBERS: readonly (readonly [string, string])[] = [
  ['1e400', HUGE],
  ['-1e400', `-${HUGE}`],
  ['9007199254740993', '9007199254740993'],
  ['0.1000000000000000055511151231257827', '0.1000000000000000055511151231257827'],
  ['1e-400', `0.${'0'.repeat(399)}1`],
  ['123456789012345678901234567890.5', '123456789012345678901234567890.5'],
];

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});

type Loose = Record<string, unknown>;
const all = (ctx: ConvoyContext): Promise<Loose[]> => ctx.db.query('items').withIndex('by_name').collect();
const input = { id: z.string() };

const LIST = makeQueryRef<object, Loose[]>('items.list');

const items = {
  list: query({ handler: all }),
  copies: query({ handler: async (ctx) => (await all(ctx)).map((item) => ({ ...item, more: true })) }),
  names: query({ handler: async (ctx) => (await all(ctx)).map(({ name }) => name) }),
  numbers: query({ handler: async (ctx) => (await all(ctx)).map(({ n }) => n) }),
  page: query({ handler: (ctx) => ctx.db.query('items').paginate({ cursor: null, numItems: 10 }) }),
  first: query({ handler: (ctx) => ctx.db.query('items').first() }),
  raw: query({ handler: (ctx) => ctx.db.raw(sql`select data from items order by created_at`, { tables: ['items'] }) }),
  rawJson: query({ handler: (ctx) => ctx.db.raw(sql`select '{"n":1e400}'::json as data`) }),
  returned: query({
    returns: z.array(z.object({ id: z.string(), name: z.string(), inner: z.object({ n: z.unknown() }).optional() })),
    handler: all as never,
  }),
  joined: mutation({ handler: (ctx) => ctx.runQuery(LIST, {}) }),
  viaAction: action({ handler: (ctx) => ctx.runQuery(LIST, {}) }),
  rename: mutation({ input, handler: (ctx, { id }) => ctx.db.patch(id as never, { name: 'b' }) }),
  increase: mutation({ input, handler: (ctx, { id }) => ctx.db.increment(id as never, 'likes', 1) }),
  rewrite: mutation({
    input,
    handler: async (ctx, { id }) =>
      ctx.db.replace(id as never, { ...((await ctx.db.get(id as never)) as object), name: 'b' } as never),
  }),
  rest: mutation({
    input,
    handler: async (ctx, { id: of }) => {
      const { id, _creationTime, ...rest } = (await ctx.db.get(of as never)) as unknown as Loose;
      await ctx.db.query('items').first();
      return ctx.db.replace(of as never, { ...rest, name: 'b' } as never);
    },
  }),
  again: mutation({
    input,
    handler: async (ctx, { id }) => {
      const item = (await ctx.db.get(id as never)) as unknown as Loose;
      return ctx.db.patch(id as never, { n: item.n, inner: { ...(item.inner as object) }, name: 'b' } as never);
    },
  }),
  copy: mutation({
    input,
    handler: async (ctx, { id }) => {
      const { id: _, _creationTime, ...rest } = (await ctx.db.get(id as never)) as unknown as Loose;
      return ctx.db.insert('items', { ...rest, inner: rest.inner } as never);
    },
  }),
  changed: mutation({
    input,
    handler: async (ctx, { id }) => ctx.db.patch(id as never, { n: 5 } as never),
  }),
};

async function served(options: object = {}) {
  const app = await serveImprovised({ schema: schema as never, functions: { items }, ...options });
  open.push(app);
  const call = async (path: string, body: object = {}) => {
    const response = await fetch(`${app.baseUrl}/api/${path}`, { method: 'POST', body: JSON.stringify(body) });
    return response.text();
  };
  const add = async (data: string, table = 'items'): Promise<string> => {
    const { rows } = await app.psql.query(`insert into ${table} (data) values ($1) returning id`, [data]);
    return `${table}:${rows[0].id}`;
  };
  const stored = async (id: string): Promise<string> => {
    const [table = '', uuid] = id.split(':');
    return (await app.psql.query(`select data::text as data from ${table} where id = $1`, [uuid])).rows[0].data;
  };
  return { ...app, call, add, stored };
}

describe('a number that JavaScript cannot hold', () => {
  test.each(['list', 'copies', 'page', 'first', 'raw'])(
    'is passed on as Postgres wrote it by items.%s',
    async (name) => {
      const app = await served();
      for (const [number, text] of NUMBERS) {
        await app.psql.query('delete from items');
        await app.add(`{"name":"a","n":${number},"deep":{"list":[{"m":${number}},${number},1]}}`);
        const answer = await app.call(`query/items.${name}`);
        expect(answer).toContain('"ok":true');
        expect(answer).toContain(`"n":${text}`);
        expect(answer).toContain(`"list":[{"m":${text}},${text},1]`);
      }
    },
  );

  test('is passed on through another function, joined or not, through `returns`, and from json', async () => {
    const app = await served();
    await app.add(`{"name":"a","inner":{"n":1e400}}`);
    expect(await app.call('mutation/items.joined')).toContain(`"inner":{"n":${HUGE}}`);
    expect(await app.call('action/items.viaAction')).toContain(`"inner":{"n":${HUGE}}`);
    expect(await app.call('query/items.returned')).toContain(`"inner":{"n":${HUGE}}`);
    expect(await app.call('query/items.rawJson')).toContain('{"n":1e400}');
  });

  test('reaches a live query unchanged, and so do the others in its list', async () => {
    const app = await served();
    const abort = new AbortController();
    const response = await fetch(`${app.baseUrl}/api/subscribe?name=items.list&args={}`, { signal: abort.signal });
    const decoder = new TextDecoder();
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const until = async (text: string) => {
      for (let seen = ''; !seen.includes(text); ) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended before ${text}: ${seen}`);
        seen += decoder.decode(value, { stream: true });
      }
    };
    await until('"data":[]');
    await app.add('{"name":"a","n":9007199254740993}');
    await until('"n":9007199254740993');
    await app.add('{"name":"b","n":1e400}');
    await until(`"n":${HUGE}`);
    abort.abort();
  });

  test('two numbers with the same double value are kept apart, and an exact one beside them is unchanged', async () => {
    const app = await served();
    await app.add('{"name":"a","n":9007199254740993,"list":[{"n":9007199254740993},{"n":9007199254740992}]}');
    await app.add('{"name":"b","n":9007199254740992}');
    const answer = await app.call('query/items.copies');
    expect([...answer.matchAll(/"n":(\d+)/g)].map(([, n]) => n).sort()).toEqual([
      '9007199254740992',
      '9007199254740992',
      '9007199254740993',
      '9007199254740993',
    ]);
  });

  test('is unchanged by a write to another field of its document', async () => {
    const app = await served();
    for (const [number, text] of NUMBERS) {
      for (const name of ['rename', 'rewrite', 'rest', 'again']) {
        const id = await app.add(`{"name":"a","n":${number},"likes":1,"inner":{"n":${number}},"list":[${number}]}`);
        const answer = await app.call(`mutation/items.${name}`, { id });
        expect(answer, name).toContain(`"n":${text}`);
        const after = await app.stored(id);
        expect(after, name).toContain('"name": "b"');
        expect(after, name).toContain(`"n": ${text}`);
        expect(after, name).toContain(`"inner": {"n": ${text}}`);
        expect(after, name).toContain(`"list": [${text}]`);
      }
      const id = await app.add(`{"name":"a","n":${number},"likes":1}`);
      await app.call('mutation/items.increase', { id });
      expect(await app.stored(id)).toContain(`"n": ${text}`);
    }
  });

  test('is unchanged when a part of a read document is inserted again, and replaced when written', async () => {
    const app = await served();
    const id = await app.add('{"name":"a","inner":{"n":9007199254740993}}');
    const copy = JSON.parse(await app.call('mutation/items.copy', { id })).data as string;
    expect(await app.stored(copy)).toContain('"inner": {"n": 9007199254740993}');
    const other = await app.add('{"name":"a","n":9007199254740993}');
    expect(await app.call('mutation/items.changed', { id: other })).toContain('"n":5');
    expect(await app.stored(other)).toContain('"n": 5');
  });

  test('returned alone is refused with its path where JSON has no such number', async () => {
    const app = await served({ dev: true });
    const id = await app.add('{"name":"a","n":1e400}');
    const answer = await app.call('query/items.numbers');
    expect(JSON.parse(answer).error.message).toContain('`[0]` of its result is Infinity');
    expect(JSON.parse(answer).error.message).toContain(`${id} at \`n\``);
    expect(await app.call('query/items.names')).toContain('["a"]');
  });
});

describe('a document that nests deeply', () => {
  test.each([63, 64, 65, 300, 1_500])('%i levels are passed on', async (levels) => {
    const app = await served();
    const nested = `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const id = await app.add(`{"name":"a","n":${nested}}`);
    for (const name of ['list', 'copies', 'page', 'first', 'raw']) {
      expect(await app.call(`query/items.${name}`), name).toContain(nested);
    }
    expect(await app.call('mutation/items.joined')).toContain(nested);
    expect(await app.call('action/items.viaAction')).toContain(nested);
    expect(await app.call('mutation/items.rename', { id })).toContain(nested);
    expect((await app.stored(id)).replaceAll(' ', '')).toContain(nested);
  });
});

test('a document nested too deeply for V8 to serialise is named in the error, and affects no others', async () => {
  const app = await served({ dev: true });
  await app.add('{"name":"a"}');
  const id = await app.add(`{"name":"b","n":${'['.repeat(6_000)}${']'.repeat(6_000)}}`);
  const { error } = JSON.parse(await app.call('query/items.list'));
  expect(error.message).toContain('is nested too deeply to be sent');
  expect(error.message).toContain(id);
  expect(await app.call('query/items.names')).toContain('["a","b"]');
});

test('a document of 30 MB is refused for its size only where it is sent', async () => {
  const app = await served();
  await app.psql.query(
    `insert into items (data) select jsonb_build_object('name', 'a', 'x', repeat('abcdefghij', 3000000))`,
  );
  expect(JSON.parse(await app.call('query/items.list')).error.code).toBe('PAYLOAD_TOO_LARGE');
  expect(await app.call('query/items.names')).toContain('["a"]');
}, 60_000);

describe('other odd documents', () => {
  test.each([
    ['[1]', 'an array'],
    ['"x"', 'a string'],
    ['null', 'null'],
    ['5', 'a number'],
    ['true', 'a boolean'],
  ])('%s in place of an object is named with its table and id, in development only', async (data, kind) => {
    const dev = await served({ dev: true });
    const id = await dev.add(data);
    for (const name of ['list', 'page', 'first']) {
      const { error } = JSON.parse(await dev.call(`query/items.${name}`));
      expect(error.code).toBe('INTERNAL');
      expect(error.message).toContain(id);
      expect(error.message).toContain(`is ${kind} and not an object`);
    }
    const app = await served();
    const hidden = await app.add(data);
    const answer = await app.call('query/items.list');
    expect(answer).not.toContain(hidden.split(':')[1]);
    expect(JSON.parse(answer).error.errorId).toBeTypeOf('string');
  });

  test('keys with special meanings are ordinary keys, except `id` and `_creationTime`', async () => {
    const app = await served();
    const id = await app.add(
      '{"name":"a","__proto__":{"x":1},"constructor":2,"toString":3,"id":"items:none","_creationTime":1e400}',
    );
    const answer = await app.call('query/items.list');
    expect(answer).toContain('"__proto__":{"x":1}');
    expect(answer).toContain(`"id":"${id}"`);
    const [item] = JSON.parse(answer).data;
    expect(item._creationTime).toBeGreaterThan(1.7e12);
    expect(item.constructor).toBe(2);
    await app.call('mutation/items.rename', { id });
    expect(await app.stored(id)).toContain('"__proto__": {"x": 1}');
  });

  test('ids of any UUID version are accepted', async () => {
    const app = await served();
    for (const id of [
      '00000000-0000-0000-0000-000000000000',
      'ffffffff-ffff-ffff-ffff-ffffffffffff',
      '11111111-1111-1111-1111-111111111111',
    ]) {
      await app.psql.query(`insert into items (id, data) values ($1, '{"name":"a"}')`, [id]);
      expect(await app.call('query/items.list')).toContain(`items:${id}`);
      expect(await app.call('mutation/items.rename', { id: `items:${id}` })).toContain(`items:${id}`);
    }
  });
});

describe('creation times from one end of the range of Postgres to the other', () => {
  const TIMES = [
    '-infinity',
    '4713-01-01 00:00:00.000001+00 BC',
    '0044-03-15 12:00:00+00 BC',
    '0001-01-01 00:00:00+00',
    '1969-12-31 23:59:59.999999+00',
    '2026-01-01 00:00:00.000001+00',
    '2026-01-01 00:00:00.000002+00',
    '9999-12-31 23:59:59.999999+00',
    '10000-01-01 00:00:00.000001+00',
    '10000-01-01 00:00:00.000002+00',
    '275760-09-13 00:00:00+00',
    '294246-01-01 00:00:00.000001+00',
    '294276-12-31 23:59:59.999998+00',
    '294276-12-31 23:59:59.999999+00',
    'infinity',
  ];

  async function filled() {
    const app = await served();
    for (const [n, time] of TIMES.entries()) {
      const values = [JSON.stringify({ name: 'a', n }), time];
      await app.psql.query('insert into items (data, created_at) values ($1, $2)', values);
    }
    return app;
  }
  const inOrder = TIMES.map((_, n) => n);

  test.each(['asc', 'desc'] as const)('they are read, ordered and paged one by one, %s', async (order) => {
    const app = await filled();
    const expected = order === 'asc' ? inOrder : [...inOrder].reverse();
    const numbers = (items: readonly Loose[]) => items.map(({ n }) => n);
    await app.query(async ({ db }) => {
      expect(numbers(await db.query('items').order(order).collect())).toEqual(expected);
      expect(numbers(await db.query('items').withIndex('by_name').order(order).collect())).toEqual(expected);
      for (const index of ['by_creation_time', 'by_name']) {
        for (const numItems of [1, 4]) {
          const seen: unknown[] = [];
          for (let cursor: string | null = null, done = false; !done; ) {
            const scan = db.query('items').withIndex(index).order(order);
            const page: { page: Loose[]; isDone: boolean; continueCursor: string } = await scan.paginate({
              cursor,
              numItems,
            });
            seen.push(...numbers(page.page));
            cursor = page.continueCursor;
            done = page.isDone;
          }
          expect(seen).toEqual(expected);
        }
      }
    });
  });

  test('infinite ones are read as the limits of Date, and are found by those', async () => {
    const app = await filled();
    await app.query(async ({ db }) => {
      const items: Loose[] = await db.query('items').order('asc').collect();
      const times = items.map(({ _creationTime }) => _creationTime as number);
      expect(times).toEqual([...times].sort((a, b) => a - b));
      expect([times[0], times.at(-1)]).toEqual([-8.64e15, 8.64e15]);
      expect(times.map((time) => new Date(time).getTime()).every(Number.isInteger)).toBe(true);
      for (const { n, _creationTime } of items) {
        const [first, second]: Loose[] = await db
          .query('items')
          .withIndex('by_creation_time', (q) => q.eq('_creationTime', _creationTime as never))
          .collect();
        // Beyond the limits of Date, and where a double is coarser than a microsecond, a time is not exact.
        if (n === 0 || n === TIMES.length - 1 || (typeof n === 'number' && n > 3 && n < 7)) {
          expect(first?.n).toBe(n);
          expect(second).toBeUndefined();
        }
      }
    });
  });

  test('a live query follows their inserts, updates and deletes', async () => {
    const app = await served();
    const abort = new AbortController();
    const response = await fetch(`${app.baseUrl}/api/subscribe?name=items.first&args={}`, { signal: abort.signal });
    const decoder = new TextDecoder();
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let seen = '';
    const until = async (text: string) => {
      while (!seen.includes(text)) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended before ${text}: ${seen}`);
        seen += decoder.decode(value, { stream: true });
      }
      seen = '';
    };
    await until('"data":null');
    await app.psql.query(`insert into items (data, created_at) values ('{"name":"last"}', 'infinity')`);
    await until('"name":"last"');
    await app.psql.query(`insert into items (data, created_at) values ('{"name":"late"}', '294276-12-31')`);
    await until('"name":"late"');
    await app.psql.query(`insert into items (data, created_at) values ('{"name":"first"}', '-infinity')`);
    await until('"name":"first"');
    await app.psql.query(`update items set created_at = 'infinity' where data ->> 'name' = 'first'`);
    await until('"name":"late"');
    await app.psql.query(`delete from items where data ->> 'name' = 'late'`);
    await until('"name":');
    abort.abort();
  });

  test('their documents can be changed and written', async () => {
    const app = await filled();
    await app.mutation(async ({ db }) => {
      for (const item of (await db.query('items').collect()) as Loose[]) {
        expect(await db.replace(item.id as never, { ...item, name: 'b' } as never)).toEqual({ ...item, name: 'b' });
        expect(await db.patch(item.id as never, { name: 'c' } as never)).toEqual({ ...item, name: 'c' });
      }
    });
  });
});
