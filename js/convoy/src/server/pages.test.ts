import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { type Script, uuid } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { caller } from './call.test-kit.js';
import type { DbFromSchema } from './database.js';

const schema = defineSchema({
  messages: defineTable({ likes: z.number().default(0), body: z.string() }).index('by_body', ['body']),
});
type Db = DbFromSchema<typeof schema>;

/** The operations that a query sends, and its result or error. */
async function scan(run: (db: Db) => unknown, script: Script = () => ({ ok: [] })) {
  const { result, error, ops } = await caller(schema)(run, { kind: 'query', script });
  return { body: error ?? result, ops };
}

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
        await q.paginate({ cursor: null, numItems: 32_000 });
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
      { ...plan, cursor: null, end: null, size: 32_000 },
      { ...plan, cursor: 'c1', end: 'end', size: 1 },
    ]);
    expect(body).toEqual({ ...page(1), page: [{ ...page(1).page[0], likes: 0 }] });
  });

  it.each<[string, (q: ReturnType<Db['query']>) => unknown, RegExp]>([
    [
      'a limit',
      (q) => q.limit(5).paginate({ cursor: null, numItems: 5 }),
      /cannot be combined with limit\(\); numItems is the page size/,
    ],
    ['an offset', (q) => q.offset(5).paginate({ cursor: null, numItems: 5 }), /cannot be combined with offset\(\)/],
    [
      'no size',
      (q) => q.paginate({ cursor: null, numItems: 0 }),
      /numItems }\) takes a whole number from 1 to 32000, not 0/,
    ],
    ['too large a size', (q) => q.paginate({ cursor: null, numItems: 32_001 }), /from 1 to 32000/],
    ['a fractional size', (q) => q.paginate({ cursor: null, numItems: 1.5 }), /whole number/],
    ['no options', (q) => q.paginate(undefined as never), /numItems/],
    ['a cursor of another type', (q) => q.paginate({ cursor: 7 as never, numItems: 1 }), /cursor }\) takes null, or/],
    [
      'an end of another type',
      (q) => q.paginate({ cursor: null, numItems: 1, endCursor: {} as never }),
      /endCursor }\)/,
    ],
    [
      'a lone surrogate in the cursor',
      (q) => q.paginate({ cursor: '\ud800', numItems: 1 }),
      /cursor }\) takes null, or/,
    ],
    [
      'a zero character in the end cursor',
      (q) => q.paginate({ cursor: null, numItems: 1, endCursor: '\0' }),
      /endCursor }\)/,
    ],
  ])('with %s are rejected', async (_, run, message) => {
    const { body, ops } = await scan((db) => run(db.query('messages') as never));
    expect(body).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(message) });
    expect(ops).toEqual([]);
  });

  it('have a `splitCursor` where the engine sends one', async () => {
    const { body } = await scan(
      (db) => db.query('messages').paginate({ cursor: null, endCursor: 'end', numItems: 1 }),
      () => ({ ok: { ...page(1), splitCursor: 'middle' } }),
    );
    expect(body).toMatchObject({ continueCursor: 'c1', splitCursor: 'middle' });
  });

  it('after an empty result continue at the beginning', async () => {
    const { ops } = await scan(
      (db) => db.query('messages').paginate({ cursor: '', endCursor: '', numItems: 1 }),
      () => ({
        ok: page(1),
      }),
    );
    expect(ops).toMatchObject([{ cursor: null, end: null }]);
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

  it('are not read after the loop ends', async () => {
    const { ops } = await scan(async (db) => {
      for await (const _ of db.query('messages')) break;
    }, three);
    expect(ops).toHaveLength(1);
  });
});
