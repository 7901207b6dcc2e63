import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { type Script, uuid } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import type { Id } from '../values/ids.js';
import { caller } from './call.test-kit.js';
import type { DbFromSchema } from './database.js';

const schema = defineSchema({
  lists: defineTable({ name: z.string(), size: z.number().default(0) }),
  notes: defineTable({ text: z.string(), tags: z.any().optional() }),
});
type Db = DbFromSchema<typeof schema>;
const run = caller(schema);

const LIST = `lists:${uuid(1)}` as Id<'lists'>;

const no = new Error('no');
const swallow = (work: Promise<unknown>): Promise<unknown> => work.catch((error: Error) => error.message);

describe('held inserts', () => {
  const holds = ['notes'];
  const note = (db: Db, text: string): Promise<Id<'notes'>> => db.insert('notes', { text });

  it('of a transaction stay held, after its savepoint', async () => {
    const { batches, names, held } = await run(
      async (db) => {
        await note(db, 'before');
        await db.transaction(async (tx) => {
          await note(tx as Db, 'inside');
          await tx.get(LIST);
          await note(tx as Db, 'later');
        });
      },
      { holds },
    );
    expect(names).toEqual([['insert', 'savepoint 1', 'insert', 'get']]);
    expect(batches[0]?.[0]).toMatchObject({ doc: { text: 'before' } });
    expect(held).toMatchObject([{ op: 'insert', doc: { text: 'later' } }]);
  });

  it('are sent with the response, without a savepoint, if the mutation has no other operation', async () => {
    const { names, held } = await run((db) => db.transaction((tx) => note(tx as Db, 'inside')), { holds });
    expect(names).toEqual([]);
    expect(held).toMatchObject([{ op: 'insert', doc: { text: 'inside' } }]);
  });

  it('have the documents as they were when they were inserted', async () => {
    const { held } = await run(
      async (db) => {
        const tags = ['one'];
        await db.insert('notes', { text: 'tagged', tags });
        tags.push('two');
      },
      { holds },
    );
    expect(held).toMatchObject([{ doc: { text: 'tagged', tags: ['one'] } }]);
  });

  it('with code of their own, such as getters, are held as plain data', async () => {
    let counted = 0;
    const tags = {
      get count() {
        return ++counted;
      },
    };
    const { batches, held } = await run((db) => db.insert('notes', { text: 'tagged', tags }), { holds });
    expect(batches).toEqual([]);
    expect(held).toMatchObject([{ op: 'insert', doc: { text: 'tagged', tags: { count: counted } } }]);
  });

  it('of a failed transaction are dropped, and those before it stay', async () => {
    const { names, held } = await run(
      async (db) => {
        await note(db, 'before');
        await db.transaction(async (outer) => {
          await swallow(
            db.transaction(async (inner) => {
              await note(inner as Db, 'inside');
              throw no;
            }),
          );
          await note(outer as Db, 'after');
        });
      },
      { holds },
    );
    expect(names).toEqual([]);
    expect(held).toMatchObject([{ doc: { text: 'before' } }, { doc: { text: 'after' } }]);
  });

  it('after a savepoint that was sent are dropped, and the engine rolls back the rest', async () => {
    const { names, held } = await run(
      (db) =>
        swallow(
          db.transaction(async (tx) => {
            await tx.delete(LIST);
            await note(tx as Db, 'inside');
            throw no;
          }),
        ),
      { holds },
    );
    expect(names).toEqual([['savepoint 1', 'delete'], ['rollback to 1']]);
    expect(held).toBeNull();
  });

  /** Rejects the note `taken` and all operations after it, until a rollback. */
  const rejecting = (): Script => {
    let broken = false;
    return (op) => {
      if (op.op === 'rollback') broken = false;
      broken ||= op.op === 'insert' && (op.doc as { text: string }).text === 'taken';
      return broken ? { error: { code: 'CONFLICT', message: 'taken' } } : { ok: null };
    };
  };

  it('that are rejected fail their transaction, which can be rolled back', async () => {
    const { names, result, error, held } = await run(
      async (db) => {
        await note(db, 'before');
        const message = await swallow(
          db.transaction(async (tx) => {
            await note(tx as Db, 'taken');
            await swallow(tx.get(LIST));
            return 'kept';
          }),
        );
        await note(db, 'after');
        return message;
      },
      { holds, script: rejecting() },
    );
    expect({ result, error }).toEqual({ result: 'taken', error: undefined });
    expect(names).toEqual([['insert', 'savepoint 1', 'insert', 'get'], ['rollback to 1']]);
    expect(held).toMatchObject([{ doc: { text: 'after' } }]);
  });

  it('that are rejected during a rollback do not fail the mutation', async () => {
    const { names, error } = await run(
      (db) =>
        swallow(
          db.transaction(async (tx) => {
            await tx.transaction((inner) => note(inner as Db, 'taken'));
            void tx.get(LIST);
            throw no;
          }),
        ),
      { holds, script: rejecting() },
    );
    expect(error).toBeUndefined();
    expect(names).toEqual([['savepoint 1', 'insert', 'get'], ['rollback to 1']]);
  });

  it.each<[string, (db: Db) => Promise<unknown>]>([
    ['of the mutation itself', (db) => note(db, 'taken')],
    ['of a transaction that was kept', (db) => db.transaction((tx) => note(tx as Db, 'taken'))],
  ])('%s that are rejected fail it, also if an inner transaction is rolled back', async (_, insert) => {
    const { error } = await run(
      async (db) => {
        await insert(db);
        await swallow(
          db.transaction(async (tx) => {
            await tx.delete(LIST);
            throw no;
          }),
        );
      },
      { holds, script: rejecting() },
    );
    expect(error).toMatchObject({ code: 'CONFLICT', message: 'taken' });
  });
});
