import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { type Script, uuid } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import type { ConvoyError } from '../values/errors.js';
import type { Id } from '../values/ids.js';
import { caller } from './call.test-kit.js';
import { RETRIES } from './retries.js';

const schema = defineSchema({
  lists: defineTable({ name: z.string(), size: z.number().default(0) }),
  notes: defineTable({ text: z.string() }),
});
const run = caller(schema);

const LIST = `lists:${uuid(1)}` as Id<'lists'>;
const OTHER = `lists:${uuid(2)}` as Id<'lists'>;

const stored: Script = (op) => {
  if (op.op === 'get') return { ok: { id: `lists:${op.id}`, _creationTime: 1, name: 'old', size: 1 } };
  if (op.op === 'patch') return { ok: { id: `lists:${op.id}`, _creationTime: 1, name: 'old', size: 1, ...op.set } };
  return { ok: op.op === 'scan' || op.op === 'raw' ? [] : null };
};

const no = new Error('no');
const swallow = (work: Promise<unknown>): Promise<unknown> => work.catch((error: Error) => error.message);

describe('in a call without a transaction', () => {
  const action = { kind: 'action' } as const;

  it('operations run in autocommit, and a transaction begins with its first operation', async () => {
    const { names, result } = await run(
      async (db, call) => {
        await db.insert('notes', { text: 'x' });
        await db.transaction(() => {});
        const inside = await db.transaction(async (tx) => {
          await tx.get(LIST);
          await tx.delete(LIST);
          return call.inTransaction;
        });
        return [inside, call.inTransaction];
      },
      { ...action, script: stored, holds: ['notes'] },
    );
    expect(result).toEqual([true, false]);
    expect(names).toEqual([['insert'], ['begin'], ['get'], ['delete'], ['commit']]);
  });

  it('a transaction is rolled back if it throws or an operation of it fails', async () => {
    const script: Script = (op) =>
      op.op === 'insert' ? { error: { code: 'CONFLICT', message: 'taken' } } : stored(op);
    const { names, error } = await run((db) => db.transaction((tx) => tx.insert('notes', { text: 'x' })), {
      ...action,
      script,
    });
    expect(error).toMatchObject({ message: 'taken' });
    expect(names).toEqual([['begin'], ['insert'], ['rollback']]);
  });

  it('nested transactions are savepoints', async () => {
    const { names } = await run(
      (db) =>
        db.transaction(async (tx) => {
          await tx.delete(LIST);
          await swallow(
            db.transaction(async () => {
              await db.delete(OTHER);
              throw no;
            }),
          );
        }),
      action,
    );
    expect(names).toEqual([['begin'], ['delete'], ['savepoint 1', 'delete'], ['rollback to 1'], ['commit']]);
  });

  const conflict = { error: { code: 'CONFLICT', message: 'conflict', details: { retry: true } } };

  it('a transaction is retried after a conflict, even if its function handles the error', async () => {
    let commits = 0;
    const script: Script = (op) => (op.op === 'commit' && ++commits < 3 ? conflict : stored(op));
    let runs = 0;
    const { names, result } = await run(
      (db) =>
        db.transaction(async (tx) => {
          runs++;
          await tx.patch(LIST, { name: 'x' });
          return runs;
        }),
      { ...action, script },
    );
    expect(result).toBe(3);
    const once = [['begin'], ['get'], ['patch'], ['commit']];
    expect(names).toEqual([...once, ...once, ...once]);

    let reads = 0;
    const swallowed = await run((db) => db.transaction((tx) => swallow(tx.delete(LIST))), {
      ...action,
      script: (op) => (op.op === 'delete' && ++reads === 1 ? conflict : stored(op)),
    });
    expect(swallowed.error).toBeUndefined();
    expect(swallowed.names).toEqual([['begin'], ['delete'], ['rollback'], ['begin'], ['delete'], ['commit']]);
  });

  it('a transaction fails with CONFLICT after the last retry', async () => {
    let deletes = 0;
    const last = await run((db) => db.transaction((tx) => tx.delete(LIST)), {
      ...action,
      script: (op) => (op.op === 'delete' && ++deletes <= RETRIES ? conflict : stored(op)),
    });
    expect([last.error, deletes]).toEqual([undefined, RETRIES + 1]);
    const { names, error } = await run((db) => db.transaction((tx) => tx.delete(LIST)), {
      ...action,
      script: (op) => (op.op === 'delete' ? conflict : stored(op)),
    });
    expect(error).toMatchObject({
      code: 'CONFLICT',
      message: 'This transaction kept conflicting with other writes; try again.',
    });
    expect((error as ConvoyError).details).toBeUndefined();
    expect(names).toEqual(new Array(1 + RETRIES).fill([['begin'], ['delete'], ['rollback']]).flat());
  });

  it('a nested transaction is not retried by itself after a conflict', async () => {
    let deletes = 0;
    const { names } = await run((db) => db.transaction(async () => swallow(db.transaction((tx) => tx.delete(LIST)))), {
      ...action,
      script: (op) => (op.op === 'delete' && ++deletes === 1 ? conflict : stored(op)),
    });
    const firstRun = [['begin'], ['savepoint 1', 'delete'], ['rollback']];
    expect(names).toEqual([...firstRun, ['begin'], ['savepoint 2', 'delete'], ['commit']]);
  });

  it('a failed commit ends the transaction and is not retried', async () => {
    const script: Script = (op) =>
      op.op === 'commit' ? { error: { code: 'UNAVAILABLE', message: 'away' } } : stored(op);
    const { names, error } = await run((db) => db.transaction((tx) => tx.delete(LIST)), { ...action, script });
    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(names).toEqual([['begin'], ['delete'], ['commit']]);
  });

  it('a transaction is not committed if begin failed', async () => {
    const script: Script = (op) =>
      op.op === 'begin' ? { error: { code: 'UNAVAILABLE', message: 'away' } } : stored(op);
    const { names, error } = await run((db) => db.transaction((tx) => tx.get(LIST)), { ...action, script });
    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(names).toEqual([['begin']]);
    const swallowed = await run((db) => db.transaction((tx) => swallow(tx.delete(LIST))), { ...action, script });
    expect(swallowed.error).toMatchObject({ code: 'UNAVAILABLE' });
    expect(swallowed.names).toEqual([['begin']]);
  });

  it('operations of a transaction are sent after begin, and not at all if its function fails before', async () => {
    const { names, error } = await run(
      (db) =>
        db.transaction((tx) => {
          void tx.delete(LIST);
          throw no;
        }),
      action,
    );
    expect(error).toBe(no);
    expect(names).toEqual([['begin'], ['rollback']]);
    const together = await run(
      (db) => db.transaction((tx) => Promise.all([tx.get(LIST), tx.delete(OTHER), db.get(OTHER)])),
      action,
    );
    expect(together.names).toEqual([['begin'], ['get', 'delete'], ['get'], ['commit']]);
  });

  it('an operation in autocommit is retried after a conflict', async () => {
    let inserts = 0;
    const { names, error } = await run((db) => db.insert('notes', { text: 'x' }), {
      ...action,
      script: (op) => (op.op === 'insert' && ++inserts < 3 ? conflict : stored(op)),
    });
    expect(error).toBeUndefined();
    expect(names).toEqual([['insert'], ['insert'], ['insert']]);
  });

  it('insertMany and deleteMany run in a transaction', async () => {
    const { names } = await run(async (db) => {
      await db.insertMany('notes', [{ text: 'a' }, { text: 'b' }]);
      await db.deleteMany('lists', [LIST, OTHER]);
    }, action);
    expect(names).toEqual([['begin'], ['insert', 'insert'], ['commit'], ['begin'], ['delete', 'delete'], ['commit']]);
  });

  it('methods of several operations run in a transaction, one after the other', async () => {
    const { names, error } = await run(
      (db) =>
        Promise.all([
          db.patch(LIST, { name: 'a' }),
          db.patch(LIST, { name: 'b' }),
          db.increment(LIST, 'size', 1),
          db.delete(OTHER),
        ]),
      { ...action, script: (op) => (op.op === 'increment' ? stored({ ...op, op: 'get' }) : stored(op)) },
    );
    expect(error).toBeUndefined();
    const patch = [['begin'], ['get'], ['patch'], ['commit']];
    expect(names).toEqual([...patch, ...patch, ['begin'], ['increment'], ['commit'], ['delete']]);
  });

  it('a document read before a transaction is read again in it, and after it', async () => {
    const { names } = await run(
      async (db) => {
        await db.get(LIST);
        await db.transaction(async (tx) => {
          await tx.patch(LIST, { name: 'a' });
          await tx.patch(LIST, { name: 'b' });
        });
        await db.patch(LIST, { name: 'c' });
      },
      { ...action, script: stored },
    );
    const patch = [['begin'], ['get'], ['patch'], ['commit']];
    expect(names).toEqual([['get'], ['begin'], ['get'], ['patch'], ['patch'], ['commit'], ...patch]);
  });
});
