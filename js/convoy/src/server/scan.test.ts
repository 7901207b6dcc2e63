import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { type Script, uuid } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { caller } from './call.test-kit.js';
import type { DbFromSchema } from './database.js';
import { MAX_COUNT } from './scan.js';

const schema = defineSchema({
  messages: defineTable({ likes: z.number().default(0), body: z.string() }).index('by_body', ['body']),
});
type Db = DbFromSchema<typeof schema>;

/** The operations that a query sends, and its result or error. */
async function scan(run: (db: Db) => unknown, script: Script = () => ({ ok: [] })) {
  const { result, error, ops } = await caller(schema)(run, { kind: 'query', script });
  return { body: error ?? result, ops };
}

describe('a builder', () => {
  it('is immutable: each step returns another', async () => {
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

  it('sends no operation before it is executed', async () => {
    const { ops } = await scan((db) => {
      db.query('messages').withIndex('by_body').limit(1);
    });
    expect(ops).toEqual([]);
  });

  it('reads at most the smaller of limit and take', async () => {
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
    expect(ops).toMatchObject([5, 3, 2, 1, 0, 0].map((limit) => ({ limit })));
  });

  it('takes counts up to the limit, and none beyond', async () => {
    const steps = [
      ['limit', (db: Db, count: number) => db.query('messages').limit(count).collect()],
      ['offset', (db: Db, count: number) => db.query('messages').offset(count).collect()],
      ['limit', (db: Db, count: number) => db.query('messages').take(count)],
    ] as const;
    for (const [name, read] of steps) {
      expect((await scan((db) => read(db, MAX_COUNT))).ops).toMatchObject([{ [name]: MAX_COUNT }]);
      expect((await scan((db) => read(db, MAX_COUNT + 1))).body).toMatchObject({ code: 'INVALID_ARGS' });
    }
  });

  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, MAX_COUNT + 1, '5'])('rejects limit(%s)', async (count) => {
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

  it.each([-1, 0.5, '1', undefined])('rejects offset(%s) and take(%s)', async (count) => {
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

  it('orders by any field of the schema, with its kind', async () => {
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

  it('supports offset and count', async () => {
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

  it('returns the only document or null by unique, and fails with CONFLICT for several', async () => {
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

  it('fills defaults into documents; first returns one or null', async () => {
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
