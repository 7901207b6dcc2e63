import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { type Script, uuid } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { sql } from '../sql/index.js';
import { ConvoyError } from '../values/errors.js';
import type { Id } from '../values/ids.js';
import { caller } from './call.test-kit.js';
import type { DbFromSchema } from './database.js';

const schema = defineSchema({
  lists: defineTable({ name: z.string(), size: z.number().default(0) }),
  notes: defineTable({ text: z.string() }),
});
type Db = DbFromSchema<typeof schema>;
const run = caller(schema);

const LIST = `lists:${uuid(1)}` as Id<'lists'>;
const OTHER = `lists:${uuid(2)}` as Id<'lists'>;

const stored: Script = (op) => {
  if (op.op === 'get') return { ok: { id: `lists:${op.id}`, _creationTime: 1, name: 'old', size: 1 } };
  if (op.op === 'patch') return { ok: { id: `lists:${op.id}`, _creationTime: 1, name: 'old', size: 1, ...op.set } };
  return { ok: op.op === 'scan' || op.op === 'raw' ? [] : null };
};

const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

const no = new Error('no');
const swallow = (work: Promise<unknown>): Promise<unknown> => work.catch((error: Error) => error.message);

describe('the savepoint of a transaction in a mutation', () => {
  it('is sent with the first write, and never released', async () => {
    const { names, result, error } = await run(
      (db) =>
        db.transaction(async (tx) => {
          await tx.get(LIST);
          await tx.patch(LIST, { name: 'a' });
          await db.delete(OTHER);
          return 'done';
        }),
      { script: stored },
    );
    expect({ result, error }).toEqual({ result: 'done', error: undefined });
    expect(names).toEqual([['get'], ['savepoint 1', 'patch'], ['delete']]);
  });

  it('is not sent if the transaction has no operation, only reads, or fails before its first write', async () => {
    const { names, result } = await run(
      async (db) => {
        await db.transaction(() => db.get(LIST));
        await db.transaction(() => {});
        return swallow(
          db.transaction(async (tx) => {
            await tx.query('lists').collect();
            throw no;
          }),
        );
      },
      { script: stored },
    );
    expect(result).toBe('no');
    expect(names).toEqual([['get'], ['scan']]);
  });

  it('is rolled back to if the function throws; the error is rethrown, and the next savepoint is a new one', async () => {
    const failing = async (db: Db): Promise<never> => {
      await db.insert('notes', { text: 'x' });
      throw no;
    };
    const { names, result } = await run(async (db) => [
      await swallow(db.transaction(failing)),
      await swallow(db.transaction(failing)),
      await db.insert('notes', { text: 'y' }),
    ]);
    expect(result).toEqual(['no', 'no', `notes:${uuid(3)}`]);
    expect(names).toEqual([
      ['savepoint 1', 'insert'],
      ['rollback to 1'],
      ['savepoint 2', 'insert'],
      ['rollback to 2'],
      ['insert'],
    ]);
  });

  it('is rolled back to if the function throws synchronously, also for raw statements', async () => {
    const { names, error } = await run((db) =>
      db.transaction((tx) => {
        void tx.raw(sql`delete from notes`);
        throw no;
      }),
    );
    expect(error).toBe(no);
    expect(names).toEqual([['savepoint 1', 'raw'], ['rollback to 1']]);
  });

  it('is not needed for a pending patch that was not written before the function threw', async () => {
    const { names, result } = await run(
      async (db) => {
        const message = await swallow(
          db.transaction((tx) => {
            void tx.patch(LIST, { name: 'inside' });
            throw no;
          }),
        );
        return [message, (await db.patch(LIST, { name: 'after' }))?.name];
      },
      { script: stored },
    );
    expect(result).toEqual(['no', 'after']);
    expect(names).toEqual([['get'], ['get'], ['patch']]);
  });

  it('is shared by nested transactions until the outer one has written', async () => {
    const { names } = await run(async (db) => {
      const inner = (): Promise<unknown> =>
        swallow(
          db.transaction(async () => {
            await db.delete(LIST);
            throw no;
          }),
        );
      await swallow(
        db.transaction(async (tx) => {
          await inner();
          await tx.delete(OTHER);
          await inner();
          throw no;
        }),
      );
    });
    expect(names).toEqual([
      ['savepoint 1', 'delete'],
      ['rollback to 1'],
      ['delete'],
      ['savepoint 2', 'delete'],
      ['rollback to 2'],
      ['rollback to 1'],
    ]);
  });

  it('fails the mutation if the rollback to it fails', async () => {
    const script: Script = (op) =>
      op.op === 'rollback' ? { error: { code: 'INTERNAL', message: 'gone' } } : stored(op);
    const { error } = await run(
      (db) =>
        swallow(
          db.transaction(async (tx) => {
            await tx.delete(LIST);
            throw no;
          }),
        ),
      { script },
    );
    expect(error).toMatchObject({ message: 'gone' });
  });
});

describe('a transaction in a mutation', () => {
  it('contains the operations issued inside of it, by `tx` or `db`; operations outside wait', async () => {
    const order: string[] = [];
    const { names } = await run(
      async (db) => {
        const inside = db.transaction(async (tx) => {
          await tx.get(LIST);
          await db.delete(LIST);
          order.push('inside');
        });
        const outside = Promise.all([db.delete(OTHER), db.query('notes').collect()]).then(() => order.push('outside'));
        await Promise.all([inside, outside]);
      },
      { script: stored },
    );
    expect(order).toEqual(['inside', 'outside']);
    expect(names).toEqual([['get'], ['savepoint 1', 'delete'], ['delete', 'scan']]);
  });

  it('begins after the operations issued before, also those of several steps', async () => {
    const { names, result } = await run(
      async (db) => {
        const before = db.patch(LIST, { name: 'before' });
        const inside = db.transaction((tx) => tx.patch(LIST, { name: 'inside' }));
        const after = db.patch(LIST, { name: 'after' });
        return (await Promise.all([before, inside, after])).map((list) => list?.name);
      },
      { script: stored },
    );
    expect(result).toEqual(['before', 'inside', 'after']);
    expect(names).toEqual([['get'], ['patch'], ['savepoint 1', 'patch'], ['patch']]);
  });

  it('never overlaps with another one in the same scope', async () => {
    const open: string[] = [];
    const one = (db: Db, name: string): Promise<string> =>
      db.transaction(async (tx) => {
        open.push(`${name} begins`);
        await tx.delete(LIST);
        open.push(`${name} ends`);
        return name;
      });
    const { result, names } = await run((db) =>
      Promise.all([
        one(db, 'a'),
        one(db, 'b'),
        db.transaction((tx) => Promise.all([one(tx, 'c'), one(db, 'd')])),
        db.delete(OTHER),
      ]),
    );
    expect(result).toEqual(['a', 'b', ['c', 'd'], false]);
    expect(open).toEqual(['a', 'b', 'c', 'd'].flatMap((name) => [`${name} begins`, `${name} ends`]));
    expect(names).toEqual([
      ['savepoint 1', 'delete'],
      ['savepoint 2', 'delete'],
      ['savepoint 3', 'delete'],
      ['savepoint 4', 'delete'],
      ['delete'],
    ]);
  });

  it('that is not awaited completes before the mutation ends, and its failure fails the mutation', async () => {
    const fine = await run((db) => {
      void db.transaction(async (tx) => {
        await tx.get(LIST);
        void tx.delete(LIST);
      });
    });
    expect(fine.error).toBeUndefined();
    expect(fine.names).toEqual([['get'], ['savepoint 1', 'delete']]);
    const failing = await run(async (db) => {
      void db.transaction(async (tx) => {
        await tx.delete(LIST);
        throw no;
      });
      await db.get(OTHER);
      await db.get(OTHER);
    });
    expect(failing.error).toBe(no);
  });

  it('fails if a write in it has an unhandled failure', async () => {
    const { result, names } = await run((db) =>
      swallow(
        db.transaction(async (tx) => {
          void tx.insert('notes', { text: 7 as never });
          await tx.delete(LIST);
          return 'fine';
        }),
      ),
    );
    expect(result).toMatch(/does not fit notes/);
    expect(names).toEqual([['savepoint 1', 'delete'], ['rollback to 1']]);
  });

  it('rejects operations after it has ended', async () => {
    let end: () => void = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const { result, error } = await run(async (db) => {
      const [tx, goesOn] = await db.transaction((tx) => [tx as Db, ended.then(() => swallow(db.get(LIST)))] as const);
      end();
      return [await swallow(tx.get(LIST)), await swallow(tx.transaction(() => {})), await goesOn];
    });
    expect(error).toBeUndefined();
    expect(result).toEqual(new Array(3).fill(expect.stringMatching(/used after its transaction/)));
  });

  it('that was rolled back leaves no cached documents', async () => {
    const { names } = await run(
      async (db) => {
        await swallow(
          db.transaction(async (tx) => {
            await tx.patch(LIST, { name: 'inside' });
            throw no;
          }),
        );
        await db.patch(LIST, { name: 'outside' });
      },
      { script: stored },
    );
    expect(names).toEqual([['get'], ['savepoint 1', 'patch'], ['rollback to 1'], ['get'], ['patch']]);
  });
});

describe('in a query', () => {
  it('a transaction just runs', async () => {
    const { result, names } = await run(
      (db) => db.transaction(async (tx) => [await tx.get(LIST), await db.get(OTHER)]),
      {
        kind: 'query',
      },
    );
    expect(result).toEqual([null, null]);
    expect(names).toEqual([['get'], ['get']]);
    const { error } = await run(
      (db) =>
        db.transaction(() => {
          throw no;
        }),
      { kind: 'query' },
    );
    expect(error).toBe(no);
  });
});

describe('a transaction', () => {
  it('takes a function', async () => {
    const { error } = await run((db) => db.transaction(7 as never));
    expect(error).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(/takes a function/) });
  });

  it('that is still open when the call ends fails with the reason of the call', async () => {
    const ended = new ConvoyError('TIMEOUT', 'too late');
    const { error } = await run((db, call) =>
      db.transaction(async (tx) => {
        await tx.delete(LIST);
        call.end(ended);
        await tx.delete(OTHER);
      }),
    );
    expect(error).toBe(ended);
  });
});
