import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { uuid } from '../../testing/scripted-engine.js';
import { defineRef, defineSchema, defineTable } from '../schema/index.js';
import type { Id } from '../values/ids.js';
import { caller } from './call.test-kit.js';
import type { DbFromSchema } from './database.js';

const schema = defineSchema({
  channels: defineTable({ name: z.string() }),
  messages: defineTable({ channelId: defineRef('channels'), likes: z.number().default(0), body: z.string() })
    .index('by_channel', ['channelId', 'likes', 'body'])
    .index('by_body', ['body']),
});
type Db = DbFromSchema<typeof schema>;
const CHANNEL = `channels:${uuid(1)}` as Id<'channels'>;

/** The operations that a query sends, and its result or error. */
async function scan(run: (db: Db) => unknown) {
  const { result, error, ops } = await caller(schema)(run, { kind: 'query', script: () => ({ ok: [] }) });
  return { body: error ?? result, ops };
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

  it('may be defined in any order, and in statements', async () => {
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

  it('applies equalities after a skipped field as a filter', async () => {
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
  // biome-ignore lint/suspicious/noExplicitAny: the ranges are wrong on purpose, in ways that do not compile.
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
    ['gives a field twice', (q) => q.eq('channelId', CHANNEL).eq('channelId', CHANNEL), /given twice/],
    [
      'uses a field that is not in the index',
      (q) => q.eq('author', 'x'),
      /has no field 'author'; its fields are channelId, likes, body/,
    ],
    ['compares with undefined', (q) => q.eq('channelId', undefined), /'channelId' is undefined/],
    ['compares with a value that JSON cannot represent', (q) => q.eq('channelId', 1n), /'channelId' is a bigint/],
  ])('that %s is INVALID_ARGS and sends no operation', async (_, range, message) => {
    const { body, ops } = await scan((db) => messages(db).withIndex('by_channel', range).collect());
    expect(body).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(message) });
    expect(body).toMatchObject({ message: expect.stringContaining('messages.by_channel') });
    expect(ops).toEqual([]);
  });

  it('of an unknown index fails with the names of the indexes', async () => {
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
