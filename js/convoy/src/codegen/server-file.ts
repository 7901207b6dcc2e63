/** `server.ts`: the builders of functions, typed to the project's schema and context. */
import { drizzleFileName } from './drizzle-file.js';
import { header } from './header.js';
import { quote } from './names.js';
import type { Project } from './project.js';

/**
 * The builders' types are stated, not inferred, so that the compiler looks into `createContext` only when it needs to;
 * and `ServerContext` never depends on `AppContext`, which `createContext` is made from.
 */
export function serverFile({
  contextModule,
  drizzleStandIn,
}: Pick<Project, 'contextModule' | 'drizzleStandIn'>): string {
  return [
    header,
    ...(drizzleStandIn ? [`/// <reference path="./${drizzleFileName}" />`] : []),
    "import { type BaseContext, createFunctionHelpers, type FunctionHelpers } from '@avvos/convoy';",
    ...(contextModule ? [`import type { createContext } from ${quote(contextModule)};`] : []),
    "import type { DataModel } from './dataModel.js';",
    '',
    '/** What every handler is given, and what `createContext` gets as its base. */',
    'export interface ServerContext extends BaseContext<DataModel> {}',
    '',
    ...(contextModule
      ? ['/** What `createContext` gives. */', 'export type AppContext = Awaited<ReturnType<typeof createContext>>;']
      : [
          '/** What handlers get as `ctx`; export `createContext` from `convoy/server.ts` to add to it. */',
          'export type AppContext = ServerContext;',
        ]),
    '',
    'export const { query, mutation, action, internalQuery, internalMutation, internalAction }: FunctionHelpers<AppContext> =',
    '  createFunctionHelpers<AppContext>();',
    '',
  ].join('\n');
}
