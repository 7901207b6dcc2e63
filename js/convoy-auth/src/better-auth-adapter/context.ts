/** The part of a call's `ctx` that the adapter uses, without the types of a schema. */

import type { BaseContext } from '@avvos/convoy';
import { kindOf } from '../options.js';

/** The `ctx` of a query, mutation, action or route, or the `base` of `createContext`. */
export interface AdapterContext {
  /** The documents. */
  readonly db: object;
}

/** `ctx.db` without the types of a schema. */
export type UntypedDb = BaseContext['db'];

/**
 * `ctx.db` without access rules, as in its transactions: Better Auth decides itself who may do what, and does so before
 * there is a user whom a rule could ask about. Which tables there are is checked when they are used.
 */
export function databaseOf(ctx: AdapterContext): UntypedDb {
  const { db } = (ctx ?? {}) as Partial<AdapterContext>;
  if (typeof db !== 'object' || db === null) {
    const given = typeof ctx === 'object' && ctx !== null ? 'an object without `db`' : kindOf(ctx);
    throw new TypeError(
      `The adapter of Better Auth takes the \`ctx\` of a call, or the \`base\` of createContext; ${given} was given.`,
    );
  }
  // A stand-in of a test may have no rules and no `system`.
  return (db as Partial<UntypedDb>).system ?? (db as UntypedDb);
}
