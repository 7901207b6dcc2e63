/** Runs random steps in the calls of a real Convoy, and keeps the model of its database. */
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
/** The number of documents stored by SQL before the first step. */
const FOREIGN = 50;

export interface HarnessOptions {
  readonly databaseUrl: string;
  readonly seed: number;
  /** Rules that replace the documented order in the model. */
  readonly rules?: Partial<Rules>;
}

export interface Harness {
  /** Runs `count` random steps, many in each mutation; throws a `Mismatch` where database and model differ. */
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

  /** Runs a session in a call. An error contains the steps that led to it. */
  async function call(kind: 'write' | 'read', session: Session, body: () => Promise<void>): Promise<void> {
    let mismatch: Mismatch | undefined;
    const { model: before } = session;
    work = async (db) => {
      // A retry of the mutation starts over.
      session.begin(db, before.copy());
      try {
        await body();
      } catch (error) {
        if (!(error instanceof Mismatch)) throw error;
        mismatch = error;
        // The whole mismatch would be too long for the log.
        throw new Error('database and model differ');
      }
    };
    try {
      await (kind === 'write' ? convoy.mutation(WRITE, {}) : convoy.query(READ, {}));
    } catch (error) {
      if (mismatch === undefined) throw new Error(`a step failed\n  ${session.lastSteps}`, { cause: error });
      mismatch.message += `\nafter\n  ${session.lastSteps}`;
      throw mismatch;
    }
  }

  /** Runs steps in one mutation; the model is updated when it has committed. */
  async function mutate(body: (session: Session) => Promise<void>): Promise<void> {
    const session = new Session(model, seed + 7_919 * batch++);
    await call('write', session, () => body(session));
    model = session.model;
  }

  /** Compares a query's reads with the committed model, and paginates in separate calls. */
  async function compare(): Promise<void> {
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
      const stepsPerMutation = 100;
      for (let done = 0; done < count; done += stepsPerMutation) {
        await mutate(async (session) => {
          for (let left = Math.min(stepsPerMutation, count - done); left > 0; left--) await session.step();
          await session.whole();
        });
        await compare();
      }
    },
    close: () => convoy.close(),
  };
}

/** Stores rows as other programs would: unordered ids of version 4, and few different times. */
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
