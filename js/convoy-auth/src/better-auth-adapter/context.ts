/** The part of a call's `ctx` that the adapter uses, without the types of a schema. */

import type { BaseContext } from '@avvos/convoy';

/** The `ctx` of a query, mutation, action or route, or the `base` of `createContext`. */
export interface AdapterContext {
  /** The documents. */
  readonly db: object;
}

/** `ctx.db` without the types of a schema. */
export type UntypedDb = BaseContext['db'];

/** `ctx.db`. Which tables there are is checked when they are used. */
export function databaseOf({ db }: AdapterContext): UntypedDb {
  return db as UntypedDb;
}
