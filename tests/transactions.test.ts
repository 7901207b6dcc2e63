/** Transactions: what they commit and roll back, and that no connection is left inside one. */
import { type ConvoyContext, defineSchema, defineTable } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { failure, type Improvised, serveImprovised } from './improvised.js';

const schema = defineSchema({
  notes: defineTable({ text: z.string(), n: z.number().max(1_000).default(0) }),
  names: defineTable({ name: z.string() }).index('by_name', ['name'], { unique: true }),
});

type Db = ConvoyContext['db'];
const NO = new Error('no');

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});
async function served() {
  const app = await serveImprovised({ schema: schema as never });
  open.push(app);
  /** The committed texts, in order of creation, then of id. */
  const texts = async () => {
    const { rows } = await app.psql.query(`select data->>'text' as text from notes order by created_at, id`);
    return rows.map((row) => row.text);
  };
  return { ...app, texts };
}

const add = (db: Db, text: string) => db.insert('notes', { text });
const rolledBack = async (db: Db, texts: readonly string[]) => {
  const part = db.transaction(async (tx) => {
    for (const text of texts) await add(tx, text);
    throw NO;
  });
  expect(await failure(part)).toBe(NO);
};

/** The kinds of call that can have a transaction. */
const KINDS = ['mutation', 'nonTransactional', 'action'] as const satisfies readonly (keyof Improvised)[];

describe.each(KINDS)('in a call of the kind %s, ctx.db.transaction', (kind) => {
  test('commits all its writes or none, at any depth', async () => {
    const app = await served();
    await app[kind](async ({ db }) => {
      await add(db, 'first');
      await rolledBack(db, ['never']);
      const given = await db.transaction(async (tx) => {
        await add(tx, 'outer');
        await rolledBack(tx, ['never', 'ever']);
        await tx.transaction(async () => {
          // `ctx.db` means the innermost transaction here.
          await add(db, 'inner');
          await rolledBack(db, ['never']);
        });
        expect(await tx.query('notes').count()).toBe(3);
        return 'given';
      });
      expect(given).toBe('given');
      const all = db.transaction(async (tx) => {
        await tx.transaction((inner) => add(inner, 'kept inside of what is not'));
        throw NO;
      });
      expect(await failure(all)).toBe(NO);
      await add(db, 'last');
    });
    expect(await app.texts()).toEqual(['first', 'outer', 'inner', 'last']);
  });

  test('is isolated from its siblings, and from writes beside it', async () => {
    const app = await served();
    await app[kind](async ({ db }) => {
      const part = (name: string, fails: boolean) =>
        db.transaction(async (tx) => {
          await add(tx, `${name}1`);
          await tx.query('notes').collect();
          await add(tx, `${name}2`);
          if (fails) throw NO;
        });
      const ended = await Promise.allSettled([
        part('a', false),
        part('b', true),
        add(db, 'beside'),
        part('c', false),
        part('d', true),
        add(db, 'after'),
      ]);
      const outcomes = ended.map(({ status }) => status === 'fulfilled');
      expect(outcomes).toEqual([true, false, true, true, false, true]);
    });
    expect((await app.texts()).sort()).toEqual(['a1', 'a2', 'after', 'beside', 'c1', 'c2']);
  });

  test('recovers from a database error by rolling back', async () => {
    const app = await served();
    await app[kind](async ({ db }) => {
      await db.insert('names', { name: 'taken' });
      const again = db.transaction(async (tx) => {
        await tx.query('notes').count();
        await tx.insert('names', { name: 'taken' });
      });
      expect(await failure(again)).toMatchObject({ code: 'CONFLICT', details: { table: 'names', index: 'by_name' } });
      await add(db, 'goes on');
    });
    expect(await app.texts()).toEqual(['goes on']);
    expect((await app.psql.query('select from names')).rowCount).toBe(1);
  });

  test('cannot commit after a database error in it, even if that was caught', async () => {
    const app = await served();
    await app.mutation(({ db }) => db.insert('names', { name: 'taken' }));
    const swallowing = app[kind](({ db }) =>
      db.transaction(async (tx) => {
        await add(tx, 'never');
        await tx.insert('names', { name: 'taken' }).catch(() => {});
        return 'fine';
      }),
    );
    expect(await failure(swallowing)).toMatchObject({ code: 'CONFLICT' });
    expect(await app.texts()).toEqual([]);
  });

  test('cannot be used after it has ended', async () => {
    const app = await served();
    let leaked: Db | undefined;
    await app[kind](async ({ db }) => {
      await db.transaction(async (tx) => {
        leaked = tx;
        await add(tx, 'inside');
      });
      const late = await failure(add(leaked as Db, 'late'));
      expect(late).toMatchObject({ code: 'INTERNAL', message: expect.stringContaining('after its transaction') });
    });
    expect(await app.texts()).toEqual(['inside']);
  });

  test('runs again after a conflict', async () => {
    const app = await served();
    const id = await app.mutation(({ db }) => db.insert('notes', { text: 'x', n: 1 }));
    let runs = 0;
    await app[kind](({ db }) =>
      db.transaction(async (tx) => {
        runs++;
        const n = (await tx.get(id))?.n as number;
        if (runs === 1) await app.mutation((other) => other.db.increment(id, 'n' as never, 10));
        await tx.patch(id, { n: n * 2 });
      }),
    );
    expect(runs).toBe(2);
    expect((await app.psql.query('select data from notes')).rows).toEqual([{ data: { text: 'x', n: 22 } }]);
  });
});

describe('a held insert', () => {
  test('is rolled back with its transaction, and fails no other part', async () => {
    const app = await served();
    await app.mutation(async ({ db }) => {
      await db.insert('names', { name: 'taken' });
      const again = db.transaction(async (tx) => {
        // This insert cannot fail, so it is held and sent with the next operation.
        await add(tx, 'never');
        await tx.insert('names', { name: 'taken' });
      });
      expect(await failure(again)).toMatchObject({ code: 'CONFLICT' });
      await add(db, 'goes on');
    });
    expect(await app.texts()).toEqual(['goes on']);
  });
});

describe('without a transaction', () => {
  test.each(['nonTransactional', 'action'] as const)(
    'the writes of a call of the kind %s stay, even if it throws',
    async (kind) => {
      const app = await served();
      const failing = app[kind](async ({ db }) => {
        const id = await add(db, 'kept');
        expect(await app.texts()).toEqual(['kept']);
        await db.patch(id, { text: 'patched' });
        expect(await app.texts()).toEqual(['patched']);
        expect(await failure(db.insertMany('names', [{ name: 'a' }, { name: 'a' }]))).toMatchObject({
          code: 'CONFLICT',
        });
        throw NO;
      });
      expect(await failure(failing)).toBe(NO);
      expect(await app.texts()).toEqual(['patched']);
      expect((await app.psql.query('select from names')).rowCount).toBe(0);
    },
  );
});

describe('a mutation', () => {
  test('cannot commit after a database error, even if that was caught', async () => {
    const app = await served();
    await app.mutation(({ db }) => db.insert('names', { name: 'taken' }));
    const swallowing = app.mutation(async ({ db }) => {
      await add(db, 'never');
      await db.insert('names', { name: 'taken' }).catch(() => {});
    });
    expect(await failure(swallowing)).toMatchObject({ code: 'CONFLICT', details: { index: 'by_name' } });
    expect(await app.texts()).toEqual([]);
  });

  test('can commit after a write that was refused before it reached the database', async () => {
    const app = await served();
    await app.mutation(async ({ db }) => {
      await add(db, 'kept');
      expect(await failure(db.insert('notes', { text: 5 }))).toMatchObject({ code: 'INVALID_ARGS' });
    });
    expect(await app.texts()).toEqual(['kept']);
  });
});

describe('ctx.db after its function has returned', () => {
  test.each(['query', ...KINDS] as const)(
    'is refused in a call of the kind %s, and no connection is lost',
    async (kind) => {
      const app = await served();
      const id = await app.mutation(({ db }) => add(db, 'there'));
      for (let round = 0; round < 30; round++) {
        let leaked: ConvoyContext | undefined;
        let inside: Db | undefined;
        await app[kind](async (ctx) => {
          leaked = ctx;
          await ctx.db.get(id);
          await ctx.db.transaction(async (tx) => {
            inside = tx;
            await tx.query('notes').collect();
          });
        });
        const { db, runQuery } = leaked as ConvoyContext;
        const late = [
          () => db.get(id),
          () => db.query('notes').collect(),
          () => (inside as Db).get(id),
          () => db.transaction((tx) => tx.get(id)),
          () => db.insert('notes', { text: 'late' }),
          () => db.patch(id, { text: 'late' }),
          () => db.delete(id),
          () => runQuery(makeQueryRef<object, null>('improvised.query'), {}),
        ];
        for (const call of late) {
          const error = await failure(call());
          // A query refuses writes before any other check.
          if (!(error instanceof TypeError && kind === 'query')) expect(error).toMatchObject({ code: 'INTERNAL' });
        }
      }
      expect(await app.texts()).toEqual(['there']);
      // More concurrent calls than connections, so all connections must be free.
      const counts = Array.from({ length: 40 }, () => app.mutation(({ db }) => db.query('notes').count()));
      expect(new Set(await Promise.all(counts))).toEqual(new Set([1]));
      const idle = `select from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`;
      // A call returns before its connection is back in the pool.
      while ((await app.psql.query(idle)).rowCount !== 0);
    },
  );
});

describe('increment', () => {
  test('adds atomically in one statement', async () => {
    const app = await served();
    const id = await app.mutation(({ db }) => add(db, 'x'));
    const one = () => app.mutation(({ db }) => db.increment(id, 'n' as never, 1));
    await Promise.all(Array.from({ length: 50 }, one));
    await app.mutation(async ({ db }) => {
      await Promise.all(Array.from({ length: 50 }, () => db.increment('notes', id as never, 'n' as never, 0.1)));
      expect(await db.get(id)).toMatchObject({ n: 55 });
      expect(await db.increment(id, 'n' as never, -55)).toMatchObject({ n: 0 });
      expect(await db.increment('notes:00000000-0000-4000-8000-000000000000' as never, 'n' as never, 1)).toBeNull();
    });
  });

  test('refuses amounts that are not numbers, and fields without a number', async () => {
    const app = await served();
    await app.mutation(async ({ db }) => {
      const id = await add(db, 'x');
      const by = [Number.NaN, Number.POSITIVE_INFINITY, '1', null, undefined, 1n, {}];
      const fields = ['text', 'id', '_creationTime', 'unknown', 'n.n', '', 'constructor', null, 5];
      for (const [field, amount] of [...by.map((each) => ['n', each]), ...fields.map((each) => [each, 1])]) {
        const refused = await failure(db.increment(id, field as never, amount as never));
        expect(refused, `${String(field)} ${String(amount)}`).toMatchObject({ code: 'INVALID_ARGS' });
      }
      expect(await db.get(id)).toMatchObject({ n: 0 });
    });
  });

  test('rolls back the mutation where the result violates the schema, or the field has no number', async () => {
    const app = await served();
    const id = await app.mutation(({ db }) => db.insert('notes', { text: 'x', n: 999 }));
    const tooMuch = app.mutation(async ({ db }) => {
      await add(db, 'never');
      await db.increment(id, 'n' as never, 2).catch(() => {});
    });
    expect(await failure(tooMuch)).toMatchObject({
      code: 'INVALID_ARGS',
      details: { table: 'notes', issues: [{ path: ['n'] }] },
    });
    expect(await failure(app.nonTransactional(({ db }) => db.increment(id, 'n' as never, 2)))).toMatchObject({
      code: 'INVALID_ARGS',
    });
    expect((await app.psql.query('select data from notes')).rows).toEqual([{ data: { text: 'x', n: 999 } }]);
    await app.mutation(async ({ db }) => {
      const part = db.transaction((tx) => tx.increment(id, 'n' as never, 2));
      expect(await failure(part)).toMatchObject({ code: 'INVALID_ARGS' });
      expect(await db.get(id)).toMatchObject({ n: 999 });
    });
    await app.psql.query(`update notes set data = data || '{"n": "9"}'`);
    expect(await failure(app.mutation(({ db }) => db.increment(id, 'n' as never, 1)))).toMatchObject({
      code: 'INVALID_ARGS',
    });
    expect((await app.psql.query(`select data->'n' as n from notes`)).rows).toEqual([{ n: '9' }]);
  });
});
