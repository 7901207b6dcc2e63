/**
 * `cachedReads(base)`: reads of `createContext` that the engine keeps in memory until one of their rows changes.
 *
 * Safe in a browser: this file uses neither Node nor the engine.
 */

import type { Database, DatabaseReader } from './database.js';

/** The reading methods whose results may come from memory. */
export type CachedReader<Db> = Db extends Database<infer Model> ? Pick<DatabaseReader<Model>, 'get' | 'query'> : never;

/** By this symbol the database of a call offers its reads from memory, in any copy of this package. */
export const CACHED_READS = Symbol.for('convoy.cachedReads');

/**
 * The database of `createContext`, for the look-ups that every call makes: the session of a token, the user of a session.
 * A document that was found is kept in memory until any program changes it, so that the next calls need no
 * statement. It may be out of date by 0.3 seconds at most, 15 after a write that bypasses triggers; a write of this
 * process counts from its commit on. A mutation during which it changes runs again. `get`, and queries that end with `first`, `unique`, `take` or `collect`.
 * In a handler it reads like `ctx.db`.
 *
 * Look up tokens by their hash only: what is kept in memory is found by the arguments of the read.
 */
export function cachedReads<Db>(base: { readonly db: Db }): CachedReader<Db> {
  const { db } = base as { readonly db: { readonly [CACHED_READS]?: () => unknown } };
  // In a handler, reads belong to its transaction; without an engine, as in tests, there is nothing to keep.
  return (db[CACHED_READS]?.() ?? db) as CachedReader<Db>;
}
