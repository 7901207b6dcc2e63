/** The database adapter of Better Auth: its database is that of the call. */

import { AsyncLocalStorage } from 'node:async_hooks';
import type { BetterAuthOptions } from 'better-auth';
import {
  type AdapterFactoryConfig,
  createAdapterFactory,
  type DBAdapter,
  type DBAdapterInstance,
} from 'better-auth/adapters';
import { kindOf } from '../options.js';
import { type AdapterContext, databaseOf, type UntypedDb } from './context.js';
import type { IdForm } from './ids.js';
import { layoutOf } from './layout.js';
import { Conflict, withOutcome } from './outcomes.js';
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
 * `createContext`. In a mutation Better Auth's writes are part of its transaction; in a query they are refused. To make an
 * instance of Better Auth takes some milliseconds; `createAuthFor` makes one for all calls.
 *
 * @example
 * const { adapter } = await betterAuth({ ...authOptions, database: convoyAdapter(ctx) }).$context;
 */
export function convoyAdapter(ctx: AdapterContext): DBAdapterInstance<BetterAuthOptions> {
  return adapterOf(new CurrentDatabase(databaseOf(ctx)));
}

/** An instance of Better Auth, as far as `createAuthFor` knows it. */
export interface AuthInstance {
  /** Answers a request of a browser. */
  readonly handler: (request: Request) => Promise<Response>;
  /** The endpoints as functions. */
  readonly api: object;
}

/**
 * Makes an instance of Better Auth, at its first use in each thread, and returns a function that gives it to a call: pass
 * the `ctx` of a query, mutation, action or route, or the `base` of `createContext`. Its `handler` and the functions of its
 * `api` then use the documents of that call.
 *
 * @example
 * export const authFor = createAuthFor((database) => betterAuth({ ...authOptions, database }));
 */
export function createAuthFor<Auth extends AuthInstance>(
  create: (database: DBAdapterInstance<BetterAuthOptions>) => Auth,
): (ctx: AdapterContext) => Auth {
  if (typeof create !== 'function') {
    throw new TypeError(`createAuthFor takes a function that makes an instance of Better Auth, not ${kindOf(create)}.`);
  }
  const current = new CurrentDatabase(null);
  let instance: Auth | null = null;
  return (ctx) => {
    instance ??= checkedInstance(create(adapterOf(current)));
    const { handler, api } = instance;
    const db = databaseOf(ctx);
    const answer = (request: Request): Promise<Response> => current.run({ db, conflict: null }, () => handler(request));
    return {
      ...instance,
      handler: answer,
      ...('fetch' in instance ? { fetch: answer } : {}),
      api: new Proxy(api, {
        get: (endpoints, name) => {
          const endpoint: unknown = Reflect.get(endpoints, name);
          if (typeof endpoint !== 'function') return endpoint;
          const call = (...args: unknown[]): unknown =>
            current.run({ db, conflict: null }, () => endpoint.apply(endpoints, args) as unknown);
          // An endpoint has its path and its options as members.
          return Object.assign(call, endpoint);
        },
      }),
    };
  };
}

function checkedInstance<Auth extends AuthInstance>(made: Auth): Auth {
  const { handler, api } = (made ?? {}) as Partial<AuthInstance>;
  if (typeof handler === 'function' && typeof api === 'object' && api !== null) return made;
  throw new TypeError(
    `The function of createAuthFor must return an instance of Better Auth; it returned ${kindOf(made)}.`,
  );
}

/** The database that an operation uses, and the conflict of its transaction. */
interface Current {
  readonly db: UntypedDb;
  /** `null` outside of a transaction that Better Auth has begun. */
  readonly conflict: Conflict | null;
}

/** Finds the database of the call, or of the transaction, in which Better Auth runs. */
class CurrentDatabase {
  readonly #storage = new AsyncLocalStorage<Current>();
  readonly #fallback: Current | null;

  constructor(fallback: UntypedDb | null) {
    this.#fallback = fallback && { db: fallback, conflict: null };
  }

  get(): Current {
    const current = this.#storage.getStore() ?? this.#fallback;
    if (current !== null) return current;
    throw new Error(
      'Better Auth uses its database outside of a call. Call its handler and its api through `authFor(ctx)`; for anything ' +
        'else, make an instance with `database: convoyAdapter(ctx)`.',
    );
  }

  run<Result>(current: Current, fn: () => Result): Result {
    return this.#storage.run(current, fn);
  }

  transaction<Result>(fn: () => Promise<Result>): Promise<Result> {
    return this.get().db.transaction((db) => {
      const conflict = new Conflict();
      return Promise.race([this.run({ db, conflict }, fn), conflict.occurred]);
    });
  }
}

const OPERATIONS = [
  'create',
  'update',
  'updateMany',
  'findOne',
  'findMany',
  'delete',
  'deleteMany',
  'consumeOne',
  'incrementOne',
  'count',
] as const satisfies readonly (keyof Store)[];

function adapterOf(current: CurrentDatabase): DBAdapterInstance<BetterAuthOptions> {
  return (options) => {
    const adapter: DBAdapter = createAdapterFactory<BetterAuthOptions>({
      config: { ...ADAPTER_CONFIG, transaction: (run) => current.transaction(() => run(adapter)) },
      adapter: ({ schema }): Store => {
        const needs = storeOptions(options, schema);
        const operation = (name: keyof Store) => (input: never) => {
          const { db, conflict } = current.get();
          const run = createStore(db, needs)[name] as (given: never) => Promise<unknown>;
          return withOutcome(() => run(input), conflict);
        };
        return Object.fromEntries(OPERATIONS.map((name) => [name, operation(name)])) as unknown as Store;
      },
    })(options);
    return adapter;
  };
}

/** What the store needs of the options of Better Auth. */
export function storeOptions(options: BetterAuthOptions, schema: Parameters<typeof layoutOf>[0]): StoreOptions {
  const idForm: IdForm = options.advanced?.database?.generateId === 'uuid' ? 'uuid' : 'document';
  return { layout: layoutOf(schema), idForm, seal: new TokenSeal(options) };
}
