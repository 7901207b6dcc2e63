/**
 * `@avvos/convoy/sql`: SQL for `ctx.db.raw`.
 *
 * @packageDocumentation
 */
export type { DrizzleSql } from './drizzle.js';
export { SqlFragment } from './fragment.js';
export type { RawQuery, SqlStatement } from './statement.js';
export { type SqlTag, sql } from './tag.js';
