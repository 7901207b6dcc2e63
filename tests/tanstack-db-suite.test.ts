/**
 * TanStack DB's own end-to-end tests of collections, on a real Convoy server. They are not on npm, so a checkout of
 * their repository is needed: `CONVOY_TANSTACK_DB_SUITE=<path of packages/db-collection-e2e>`.
 *
 * Not run: the suites of progressive mode and of moves, which are for Electric's shapes.
 */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ConvoyClient } from '@avvos/convoy/client';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { serve } from './app.js';
import { api, encoded, functions, type Row, type Rows, rowsOf, schema } from './tanstack-db-rows.js';

const folder = process.env.CONVOY_TANSTACK_DB_SUITE;

/** What is used of the suite. */
interface Suite {
  readonly generateSeedData: () => Seed;
  readonly [create: `create${string}TestSuite`]: (getConfig: () => Promise<unknown>) => void;
}
type Seed = Readonly<Record<(typeof KINDS)[number], readonly Row[]>>;
type Collections = Readonly<Record<(typeof KINDS)[number], Rows>>;

const KINDS = ['users', 'posts', 'comments'] as const;
const SUITES = ['Predicates', 'Pagination', 'Joins', 'Deduplication', 'Collation', 'Mutations', 'LiveUpdates'] as const;

if (folder === undefined) {
  test.skip('a collection passes the suite of TanStack DB (CONVOY_TANSTACK_DB_SUITE is not set)', () => {});
} else {
  const suite = (await import(pathToFileURL(path.join(folder, 'src/index.ts')).href)) as Suite;
  describe('a collection passes the suite of TanStack DB', { timeout: 60_000 }, () => {
    const seed = suite.generateSeedData();
    let app: Awaited<ReturnType<typeof serve>>;
    let config: ReturnType<typeof configOf>;

    beforeAll(async () => {
      app = await serve({ schema, functions } as never);
      for (const kind of KINDS) await app.client.mutation(api.insert, { kind, rows: seed[kind].map(encoded) });
      config = configOf(app.client, seed);
      await config.setup();
    });
    afterAll(async () => {
      await config.teardown();
      await app.close();
    });

    for (const name of SUITES) suite[`create${name}TestSuite`]?.(async () => config);
  });
}

function configOf(client: ConvoyClient, seed: Seed) {
  const collectionsOf = (syncMode: 'eager' | 'on-demand') =>
    Object.fromEntries(KINDS.map((kind) => [kind, rowsOf(client, kind, syncMode)])) as unknown as Collections;
  const eager = collectionsOf('eager');
  const onDemand = collectionsOf('on-demand');
  const insert = async (rows: Rows, row: Row) => void (await rows.insert(row).isPersisted.promise);
  const remove = async (rows: Rows, id: string) => void (await rows.delete(id).isPersisted.promise);
  return {
    fixture: () => structuredClone(seed),
    collections: { eager, onDemand },
    mutations: {
      insertUser: (row: Row) => insert(eager.users, row),
      updateUser: async (id: string, changes: Partial<Row>) => {
        await eager.users.update(id, (row) => void Object.assign(row, changes)).isPersisted.promise;
      },
      deleteUser: (id: string) => remove(eager.users, id),
      insertPost: (row: Row) => insert(eager.posts, row),
      deletePost: (id: string) => remove(eager.posts, id),
    },
    setup: async () => {
      await Promise.all(KINDS.map((kind) => eager[kind].preload()));
      for (const kind of KINDS) onDemand[kind].startSyncImmediate();
    },
    teardown: async () => {
      await Promise.all([eager, onDemand].flatMap((all) => KINDS.map((kind) => all[kind].cleanup())));
    },
  };
}
