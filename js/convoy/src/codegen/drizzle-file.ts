/**
 * Generates `drizzle-orm.d.ts`: the types of `sql` for code written for 0.0.1, which imports it from a package that is
 * no longer a dependency. The file is a script, not a module, because only a script can declare a package that is not
 * installed. `server.ts` references it, so that the declaration is part of every program that contains a function.
 */
import { header } from './header.js';

export const drizzleFileName = 'drizzle-orm.d.ts';

export function drizzleFile(): string {
  return `${header}
// Functions import \`sql\` from drizzle-orm, which is not installed; the import resolves to @avvos/convoy/sql.
declare module 'drizzle-orm' {
  import type { SqlFragment, SqlTag } from '@avvos/convoy/sql';
  export type SQL<_Result = unknown> = SqlFragment;
  export const sql: SqlTag & (<_Result>(strings: TemplateStringsArray, ...values: readonly unknown[]) => SqlFragment);
}
declare module 'drizzle-orm/sql' {
  export * from 'drizzle-orm';
}
`;
}
