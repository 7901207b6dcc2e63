/** A served model: a database, the functions that let a test work in it, and the model of what is stored. */
import { mutation, query } from '@avvos/convoy';
import { makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { DOCUMENTED, type Rules } from './order.js';
import type { Db } from './plans.js';
import { Random } from './random.js';
import { Mismatch, Session } from './session.js';
import { ModelTable } from './table.js';
import { foreignThing, schema } from './things.js';
import { walk } from './walk.js';

const WRITE = makeMutationRef<object, null>('model.write');
const READ = makeQueryRef<object, null>('model.read');
/** Documents stored by strangers before the first step. */
const FOREIGN = 50;

export interface HarnessOptions {
  readonly databaseUrl: string;
  readonly seed: number;
  /** What the model believes of the order. */
  readonly rules?: Partial<Rules>;
}

export interface Harness {
  /** Makes so many random steps, many to a mutation; throws a `Mismatch` where database and model differ. */
  steps(count: number): Promise<void>;
  close(): Promise<void>;
}

export async function openHarness({ databaseUrl, seed, rules }: HarnessOptions): Promise<Harness> {
  let work: (db: Db) => Promise<void> = async () => {};
  const functions = {
    model: {
      write: mutation({ handler: (ctx) => work(ctx.db) }),
      read: query({ handler: (ctx) => work(ctx.db) }),
    },
  };
  const limits = { maxDocumentsRead: 10_000_000, maxDocumentsWritten: 1_000_000, mutationMs: 120_000, queryMs: 60_000 };
  const convoy = await createConvoy({ schema, functions, databaseUrl, createDatabase: true, limits });
  let model = new ModelTable({ ...DOCUMENTED, ...rules }, await storeForeign(databaseUrl, new Random(seed)));
  let batch = 0;

  /** Lets a session work in a call. What goes wrong comes out with the steps that led to it. */
  async function call(kind: 'write' | 'read', session: Session, body: () => Promise<void>): Promise<void> {
    let mismatch: Mismatch | undefined;
    const { model: before } = session;
    work = async (db) => {
      // A second run of the mutation starts again.
      session.begin(db, before.copy());
      try {
        await body();
      } catch (error) {
        if (!(error instanceof Mismatch)) throw error;
        mismatch = error;
        // The log need not hold all of it.
        throw new Error('database and model differ');
      }
    };
    try {
      await (kind === 'write' ? convoy.mutation(WRITE, {}) : convoy.query(READ, {}));
    } catch (error) {
      if (mismatch === undefined) throw new Error(`a step failed\n  ${session.story}`, { cause: error });
      mismatch.message += `\nafter\n  ${session.story}`;
      throw mismatch;
    }
  }

  /** Makes steps in one mutation; the model follows when that is committed. */
  async function mutate(body: (session: Session) => Promise<void>): Promise<void> {
    const session = new Session(model, seed + 7_919 * batch++);
    await call('write', session, () => body(session));
    model = session.model;
  }

  /** Compares what a query sees with what was committed, and walks over pages in calls of their own. */
  async function look(): Promise<void> {
    const session = new Session(model, seed + 104_729 * batch);
    await call('read', session, async () => {
      await session.whole();
      for (let left = 5; left > 0; left--) await session.query();
    });
    const walking = new Session(model, seed + 1_299_709 * batch);
    await walk(walking, {
      async read(use) {
        let found: unknown;
        await call('read', walking, async () => {
          found = await use(walking.db);
        });
        return found as never;
      },
      async write() {
        await mutate(async (inside) => {
          inside.touched = walking.touched;
          await inside.write();
        });
        walking.model = model;
      },
    });
  }

  return {
    async steps(count) {
      const together = 100;
      for (let done = 0; done < count; done += together) {
        await mutate(async (session) => {
          for (let left = Math.min(together, count - done); left > 0; left--) await session.step();
          await session.whole();
        });
        await look();
      }
    },
    close: () => convoy.close(),
  };
}

/** Rows as other programs write them: ids of version 4 in no order, and few different times. */
async function storeForeign(databaseUrl: string, random: Random) {
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  const rows = Array.from({ length: FOREIGN }, () => {
    const micros = 1_700_000_000_000_000 + random.below(3) * 1_000_000 + random.below(4);
    return { uuid: uuidOf(random), micros, data: JSON.parse(JSON.stringify(foreignThing(random))) };
  });
  await psql.query(
    `insert into things (id, created_at, data)
     select id, timestamptz 'epoch' + micros * interval '1 microsecond', data
     from jsonb_to_recordset($1) as given (id uuid, micros int8, data jsonb)`,
    [JSON.stringify(rows.map(({ uuid, micros, data }) => ({ id: uuid, micros, data })))],
  );
  await psql.end();
  return rows.map(({ uuid, micros, data }) => ({ id: `things:${uuid}`, created: micros / 1_000, data }));
}

function uuidOf(random: Random): string {
  const hex = (digits: number): string => Array.from({ length: digits }, () => random.below(16).toString(16)).join('');
  return `${hex(8)}-${hex(4)}-4${hex(3)}-${random.pick(['8', '9', 'a', 'b'])}${hex(3)}-${hex(12)}`;
}
