import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { uuid } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
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

const no = new Error('no');
const swallow = (work: Promise<unknown>): Promise<unknown> => work.catch((error: Error) => error.message);

describe('held inserts', () => {
  const holds = ['notes'];
  const note = (db: Db, text: string): Promise<Id<'notes'>> => db.insert('notes', { text });

  it('of a transaction are held on, behind its savepoint', async () => {
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

  it('go with the mutation where nothing else was needed, without any savepoint', async () => {
    const { names, held } = await run((db) => db.transaction((tx) => note(tx as Db, 'inside')), { holds });
    expect(names).toEqual([]);
    expect(held).toMatchObject([{ op: 'insert', doc: { text: 'inside' } }]);
  });

  it('of a transaction that failed go nowhere, and those before it stay', async () => {
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

  it('behind a savepoint that has crossed are dropped, and the engine undoes the rest', async () => {
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
});
