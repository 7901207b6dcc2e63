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

  const messages = (db: Db) => db.query('messages');
  // biome-ignore lint/suspicious/noExplicitAny: these ranges are wrong on purpose, in ways the compiler would refuse.
  type Loose = any;
  it.each<[string, (q: Loose) => unknown, RegExp]>([
    ['skips a field', (q) => q.eq('likes', 1), /eq\('likes'\) also needs eq\('channelId'\)/],
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
