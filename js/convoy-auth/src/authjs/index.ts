/**
 * `@avvos/convoy-auth/authjs`: sessions of Auth.js (NextAuth), in cookies or in a database. Loads `@auth/core`.
 *
 * @packageDocumentation
 */
export { type AuthJsOptions, type AuthJsSession, type AuthJsUser, authJs } from './auth-js.js';
