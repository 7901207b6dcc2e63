/** `convoyAdapter`: the database of Better Auth is that of the call. */

import type { BetterAuthOptions } from 'better-auth';
import { type AdapterFactoryConfig, createAdapterFactory, type DBAdapter, type DBAdapterInstance } from 'better-auth/adapters';
import { type AdapterContext, databaseOf, type UntypedDb } from './context.js';
import type { IdForm } from './ids.js';
import { layoutOf } from './layout.js';
import { ConflictNote, withOutcomes } from './outcomes.js';
import { TokenSeal } from './session-tokens.js';
import { createStore, type Store, type StoreOptions } from './store.js';

/** What Better Auth has to know of Convoy, and has not to convert for it. */
export const ADAPTER_CONFIG: AdapterFactoryConfig = {
  adapterId: 'convoy',
  adapterName: 'Convoy',
  supportsNumericIds: false,
  supportsUUIDs: true,
  supportsJSON: true,
  supportsArrays: true,
  supportsBooleans: true,
  supportsDates: true,
  // Without an id, Convoy gives one.
  customIdGenerator: () => '',
};

/**
 * The database adapter of Better Auth for one call: pass the `ctx` of a query, mutation, action or route, or the `base` of
 * `createContext`. In a mutation Better Auth's writes are part of its transaction; in a query they are refused.
 *
 * @example
 * const authFor = (ctx: ServerContext) => betterAuth({ ...authOptions, database: convoyAdapter(ctx) });
 */
export function convoyAdapter(ctx: AdapterContext): DBAdapterInstance<BetterAuthOptions> {
  return (options) => adapterOn(databaseOf(ctx), options, null);
}

function adapterOn(db: UntypedDb, options: BetterAuthOptions, conflicts: ConflictNote | null): DBAdapter {
  const create = createAdapterFactory<BetterAuthOptions>({
    config: { ...ADAPTER_CONFIG, transaction: (run) => transaction(db, options, run) },
    adapter: ({ schema }): Store => withOutcomes(createStore(db, storeOptions(options, schema)), conflicts),
  });
  return create(options);
}

function transaction<Result>(
  db: UntypedDb,
  options: BetterAuthOptions,
  run: (adapter: DBAdapter) => Promise<Result>,
): Promise<Result> {
  return db.transaction(async (tx) => {
    const conflicts = new ConflictNote();
    try {
      return await run(adapterOn(tx, options, conflicts));
    } catch (error) {
      throw conflicts.cause(error);
    }
  });
}

/** What the store needs of the options of Better Auth. */
export function storeOptions(options: BetterAuthOptions, schema: Parameters<typeof layoutOf>[0]): StoreOptions {
  const idForm: IdForm = options.advanced?.database?.generateId === 'uuid' ? 'uuid' : 'document';
  return { layout: layoutOf(schema), idForm, seal: new TokenSeal(options) };
}
