import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { hostOf, type Script, uuid } from '../../testing/scripted-engine.js';
import { defineRef, defineSchema, defineTable } from '../schema/index.js';
import type { Id } from '../values/ids.js';
import type { ScanOperation } from './call.js';
import type { DbFromSchema } from './database.js';
import { createFunctionHelpers } from './functions.js';

const schema = defineSchema({
  channels: defineTable({ name: z.string() }),
  messages: defineTable({ channelId: defineRef('channels'), likes: z.number().default(0), body: z.string() })
    .index('by_channel', ['channelId', 'likes', 'body'])
    .index('by_body', ['body']),
});
type Db = DbFromSchema<typeof schema>;
const { query } = createFunctionHelpers<{ readonly db: Db }>();
const CHANNEL = `channels:${uuid(1)}` as Id<'channels'>;

/** What a query sends, and what it answers. */
async function scan(run: (db: Db) => unknown, script: Script = () => ({ ok: [] })) {
  const under = hostOf({ schema, functions: { fn: query({ handler: ({ db }) => run(db as Db) }) } }, script);
  const { ok, body } = await under.call('fn');
  return { ok, body, ops: under.engine.ops as ScanOperation[] };
}

describe('a range', () => {
  it('is equality on the first fields and bounds on the next', async () => {
    const { ops } = await scan((db) =>
      db
        .query('messages')
        .withIndex('by_channel', (q) => q.eq('channelId', CHANNEL).gt('likes', 3).lte('likes', 9))
        .order('desc')
        .limit(20)
        .collect(),
    );
    expect(ops).toEqual([
      {
        op: 'scan',
        table: 'messages',
        index: 'by_channel',
        eq: [CHANNEL],
        lower: { value: 3, inclusive: false },
        upper: { value: 9, inclusive: true },
        order: 'desc',
        limit: 20,
      },
    ]);
  });

  it('may be said in any order, and in statements', async () => {
    const { ops } = await scan((db) =>
      db
        .query('messages')
        .withIndex('by_channel', (q) => {
          q.gte('body', 'm');
          q.eq('likes', 0);
          q.eq('channelId', CHANNEL);
        })
        .collect(),
    );
    expect(ops).toMatchObject([{ eq: [CHANNEL, 0], lower: { value: 'm', inclusive: true } }]);
    expect(ops[0]).not.toHaveProperty('upper');
  });

  it('may be left out', async () => {
    const { ops } = await scan((db) =>
      Promise.all([db.query('messages').collect(), db.query('messages').withIndex('by_body').collect()]),
    );
    expect(ops).toEqual([
      { op: 'scan', table: 'messages', index: null, eq: [], order: 'asc', limit: null },
      { op: 'scan', table: 'messages', index: 'by_body', eq: [], order: 'asc', limit: null },
    ]);
  });

  it('of equalities that skip a field has the rest as a filter', async () => {
    const { ops } = await scan((db) =>
      Promise.all([
        db
          .query('messages')
          .withIndex('by_channel', (q) => q.eq('body', 'x').eq('channelId', CHANNEL).gt('likes', 3))
          .collect(),
        db
          .query('messages')
          .withIndex('by_channel', (q) => q.eq('body', 'x').eq('likes', 1))
          .filter((q) => q.neq(q.field('likes'), 2))
          .collect(),
      ]),
    );
    expect(ops).toMatchObject([
      { eq: [CHANNEL], lower: { value: 3 }, filter: { is: 'eq', field: 'body', value: 'x' } },
      {
        eq: [],
        filter: {
          is: 'and',
          of: [
            { is: 'eq', field: 'body', value: 'x' },
            { is: 'eq', field: 'likes', value: 1 },
            { is: 'not', of: { is: 'eq', field: 'likes', value: 2 } },
          ],
        },
      },
    ]);
  });

  const messages = (db: Db) => db.query('messages');
  // biome-ignore lint/suspicious/noExplicitAny: these ranges are wrong on purpose, in ways the compiler would refuse.
  type Loose = any;
  it.each<[string, (q: Loose) => unknown, RegExp]>([
    [
      'bounds a later field',
      (q) => q.eq('channelId', CHANNEL).gt('body', 'a'),
      /a bound on 'body' also needs eq\('likes'\)/,
    ],
    ['bounds two fields', (q) => q.eq('channelId', CHANNEL).gt('likes', 1).lt('body', 'b'), /also needs eq\('likes'\)/],
    [
      'bounds an equal field',
      (q) => q.eq('channelId', CHANNEL).gt('channelId', CHANNEL),
      /both an equality and a bound/,
    ],
    ['has two lower bounds', (q) => q.eq('channelId', CHANNEL).gt('likes', 1).gte('likes', 2), /two lower bounds/],
    ['says a field twice', (q) => q.eq('channelId', CHANNEL).eq('channelId', CHANNEL), /said twice/],
    ['names another field', (q) => q.eq('author', 'x'), /has no field 'author'; its fields are channelId, likes, body/],
    ['compares with undefined', (q) => q.eq('channelId', undefined), /'channelId' is undefined/],
    ['compares with what JSON cannot carry', (q) => q.eq('channelId', 1n), /'channelId' is a bigint/],
  ])('that %s is INVALID_ARGS and sends nothing', async (_, range, message) => {
    const { body, ops } = await scan((db) => messages(db).withIndex('by_channel', range).collect());
    expect(body).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(message) });
    expect(body).toMatchObject({ message: expect.stringContaining('messages.by_channel') });
    expect(ops).toEqual([]);
  });

  it('of an index that is not there names those that are', async () => {
    const { body } = await scan((db) =>
      messages(db)
        .withIndex('constructor' as 'by_body')
        .collect(),
    );
    expect(body).toMatchObject({
      code: 'INVALID_ARGS',
      message: "messages has no index 'constructor'; its indexes are by_channel, by_body, by_id, by_creation_time.",
    });
  });
});

describe('a builder', () => {
  it('never changes: each step gives another', async () => {
    const { ops } = await scan(async (db) => {
      const all = db.query('messages');
      all.limit(1);
      all.order('desc');
      all.withIndex('by_body');
      await all.collect();
      await all.limit(2).withIndex('by_body').order('desc').collect();
    });
    expect(ops).toMatchObject([
      { index: null, order: 'asc', limit: null },
      { index: 'by_body', order: 'desc', limit: 2 },
    ]);
  });

  it('sends nothing before it is run', async () => {
    const { ops } = await scan((db) => {
      db.query('messages').withIndex('by_body').limit(1);
    });
    expect(ops).toEqual([]);
  });

  it('takes at most what was asked for', async () => {
    const { ops } = await scan((db) => {
      const q = db.query('messages');
      return Promise.all([
        q.take(5),
        q.limit(3).take(5),
        q.limit(3).take(2),
        q.first(),
        q.limit(0).first(),
        q.limit(0).collect(),
      ]);
    });
    expect(ops.map((op) => op.limit)).toEqual([5, 3, 2, 1, 0, 0]);
  });

  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32, '5'])('refuses limit(%s)', async (count) => {
    const { body } = await scan((db) =>
      db
        .query('messages')
        .limit(count as number)
        .collect(),
    );
    expect(body).toMatchObject({
      code: 'INVALID_ARGS',
      message: expect.stringMatching(/limit\(\) takes a whole number/),
    });
  });

  it.each([-1, 0.5, '1', undefined])('refuses offset(%s) and take(%s)', async (count) => {
    const offset = await scan((db) =>
      db
        .query('messages')
        .offset(count as number)
        .collect(),
    );
    expect(offset.body).toMatchObject({
      code: 'INVALID_ARGS',
      message: expect.stringMatching(/offset\(\) takes a whole/),
    });
    const take = await scan((db) => db.query('messages').take(count as number));
    expect(take.body).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(/take\(\) takes a whole/) });
  });

  it('orders by any field of the schema, by what kind of values it has', async () => {
    const { ops } = await scan((db) => {
      const q = db.query('messages');
      return Promise.all([
        q.order('desc', 'likes').collect(),
        q.order('asc', '_creationTime').collect(),
        q.withIndex('by_body').order('asc', 'id').collect(),
        q.order('asc', 'body').order('desc').collect(),
      ]);
    });
    expect(ops).toMatchObject([
      { order: 'desc', by: { field: 'likes', kind: 'number' } },
      { order: 'asc', by: { field: '_creationTime', kind: 'number' } },
      { index: 'by_body', by: { field: 'id', kind: 'text' } },
      { order: 'desc' },
    ]);
    expect(ops[3]).not.toHaveProperty('by');
    for (const field of ['nope', 'constructor', '__proto__', 'body.length', 7]) {
      const { body } = await scan((db) =>
        db
          .query('messages')
          .order('asc', field as 'body')
          .collect(),
      );
      expect(body).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(/order\(\)/) });
    }
    const { body } = await scan((db) =>
      db
        .query('messages')
        .order('up' as 'asc')
        .collect(),
    );
    expect(body).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(/takes 'asc' or 'desc'/) });
  });

  it('leaves out the first ones, and counts', async () => {
    const { ops, body } = await scan(
      async (db) => {
        const q = db
          .query('messages')
          .withIndex('by_body', (q) => q.gt('body', 'a'))
          .offset(5)
          .limit(10);
        await q.collect();
        return q.count();
      },
      (op) => ({ ok: op.op === 'count' ? 3 : [] }),
    );
    expect(body).toBe(3);
    const plan = {
      index: 'by_body',
      eq: [],
      lower: { value: 'a', inclusive: false },
      order: 'asc',
      offset: 5,
      limit: 10,
    };
    expect(ops).toEqual([
      { op: 'scan', table: 'messages', ...plan },
      { op: 'count', table: 'messages', ...plan },
    ]);
  });

  it('gives the only document, or null, and refuses to choose one of several', async () => {
    const of = (...rows: unknown[]) =>
      scan(
        (db) => db.query('messages').unique(),
        () => ({ ok: rows }),
      );
    const row = (n: number) => ({ id: `messages:${uuid(n)}`, likes: 1 });
    expect((await of()).body).toBeNull();
    expect((await of(row(1))).body).toEqual(row(1));
    const several = await of(row(1), row(2));
    expect(several.ops).toMatchObject([{ limit: 2 }]);
    expect(several.body).toMatchObject({
      code: 'CONFLICT',
      message: expect.stringMatching(/more than one .* messages/),
    });
  });

  it('gives documents with their defaults, or the first, or null', async () => {
    const rows = [
      { id: `messages:${uuid(1)}`, body: 'a' },
      { id: `messages:${uuid(2)}`, body: 'b', likes: 4 },
    ];
    const full = await scan(
      (db) => Promise.all([db.query('messages').collect(), db.query('messages').first()]),
      () => ({ ok: rows }),
    );
    expect(full.body).toEqual([[{ ...rows[0], likes: 0 }, rows[1]], { ...rows[0], likes: 0 }]);
    expect((await scan((db) => db.query('messages').first())).body).toBeNull();
  });
});

describe('pages', () => {
  const page = (n: number, isDone = false) => ({
    page: [{ id: `messages:${uuid(n)}`, body: String(n) }],
    isDone,
    continueCursor: `c${n}`,
  });

  it('carry the plan, a cursor and a size, and fill documents', async () => {
    const { ops, body } = await scan(
      async (db) => {
        const q = db
          .query('messages')
          .withIndex('by_body')
          .filter((q) => q.gt(q.field('likes'), 1))
          .order('desc');
        const first = await q.paginate({ cursor: null, numItems: 20 });
        return q.paginate({ cursor: first.continueCursor, numItems: 1, endCursor: 'end' });
      },
      () => ({ ok: page(1) }),
    );
    const plan = {
      op: 'page',
      table: 'messages',
      index: 'by_body',
      eq: [],
      filter: { is: 'gt', field: 'likes', value: 1 },
      order: 'desc',
      limit: null,
    };
    expect(ops).toEqual([
      { ...plan, cursor: null, end: null, size: 20 },
      { ...plan, cursor: 'c1', end: 'end', size: 1 },
    ]);
    expect(body).toEqual({ ...page(1), page: [{ ...page(1).page[0], likes: 0 }] });
  });

  it.each<[string, (q: ReturnType<Db['query']>) => unknown, RegExp]>([
    [
      'a limit',
      (q) => q.limit(5).paginate({ cursor: null, numItems: 5 }),
      /no place for limit\(\); numItems is the size/,
    ],
    ['an offset', (q) => q.offset(5).paginate({ cursor: null, numItems: 5 }), /no place for offset\(\)/],
    [
      'no size',
      (q) => q.paginate({ cursor: null, numItems: 0 }),
      /numItems }\) takes a whole number from 1 to 32000, not 0/,
    ],
    ['too large a size', (q) => q.paginate({ cursor: null, numItems: 32_001 }), /from 1 to 32000/],
    ['half a size', (q) => q.paginate({ cursor: null, numItems: 1.5 }), /whole number/],
    ['nothing', (q) => q.paginate(undefined as never), /numItems/],
    ['a cursor of another type', (q) => q.paginate({ cursor: 7 as never, numItems: 1 }), /cursor }\) takes null, or/],
    [
      'an end of another type',
      (q) => q.paginate({ cursor: null, numItems: 1, endCursor: {} as never }),
      /endCursor }\)/,
    ],
  ])('with %s are refused', async (_, run, message) => {
    const { body, ops } = await scan((db) => run(db.query('messages') as never));
    expect(body).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(message) });
    expect(ops).toEqual([]);
  });

  const bodies = async (q: AsyncIterable<{ body: string }>): Promise<string[]> => {
    const found: string[] = [];
    for await (const { body } of q) found.push(body);
    return found;
  };
  const three: Script = (op) => ({
    ok: op.op === 'page' && op.cursor === 'c2' ? page(3, true) : page(op.op === 'page' && op.cursor === 'c1' ? 2 : 1),
  });

  it('are read by `for await` one after the other, to the end', async () => {
    const { ops, body } = await scan((db) => bodies(db.query('messages')), three);
    expect(body).toEqual(['1', '2', '3']);
    expect(ops).toMatchObject([
      { cursor: null, size: 200 },
      { cursor: 'c1', size: 200 },
      { cursor: 'c2', size: 200 },
    ]);
  });

  it('are read by `for await` within limit and offset', async () => {
    const { ops, body } = await scan((db) => bodies(db.query('messages').offset(4).limit(2)), three);
    expect(body).toEqual(['1', '2']);
    expect(ops).toMatchObject([
      { offset: 4, limit: null, size: 2 },
      { limit: null, size: 1, cursor: 'c1' },
    ]);
    expect(ops[1]).not.toHaveProperty('offset');
    expect((await scan((db) => bodies(db.query('messages').limit(0)))).ops).toEqual([]);
  });

  it('are not read further than someone looks', async () => {
    const { ops } = await scan(async (db) => {
      for await (const _ of db.query('messages')) break;
    }, three);
    expect(ops).toHaveLength(1);
  });
});
