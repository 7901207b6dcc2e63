/**
 * `@avvos/convoy-auth/better-auth-adapter`: Better Auth on Convoy. Users, sessions and accounts are documents of the app.
 *
 * @packageDocumentation
 */
export { type AuthInstance, convoyAdapter, createAuthFor } from './adapter.js';
export type { AdapterContext } from './context.js';
export type { BetterAuthTables } from './table-types.js';
export { betterAuthTables } from './tables.js';
