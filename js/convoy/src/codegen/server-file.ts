/** Generates `server.ts`: the function builders, typed with the project's schema and context. */
import { drizzleFileName } from './drizzle-file.js';
import { header } from './header.js';
import { quote } from './names.js';
import type { Project } from './project.js';

/**
 * The builders' types are declared, not inferred, so that the compiler resolves `createContext` only when needed.
 * `ServerContext` never depends on `AppContext`, which is the result type of `createContext`.
 */
export function serverFile({
  serverModule,
  hasContext,
  drizzleStandIn,
}: Pick<Project, 'serverModule' | 'hasContext' | 'drizzleStandIn'>): string {
  const contextModule = hasContext ? serverModule : null;
  return [
    header,
    ...(drizzleStandIn ? [`/// <reference path="./${drizzleFileName}" />`] : []),
    "import { type BaseContext, createFunctionHelpers, type FunctionHelpers } from '@avvos/convoy';",
    ...(contextModule ? [`import type { createContext } from ${quote(contextModule)};`] : []),
    "import type { DataModel } from './dataModel.js';",
    '',
    '/** The context of every handler, and the base that `createContext` extends. */',
    'export interface ServerContext extends BaseContext<DataModel> {}',
    '',
    ...(contextModule
      ? [
          '/** The context that `createContext` returns. */',
          'export type AppContext = Awaited<ReturnType<typeof createContext>>;',
        ]
      : [
          '/** The `ctx` of handlers; export `createContext` from `convoy/server.ts` to extend it. */',
          'export type AppContext = ServerContext;',
        ]),
    '',
    'export const {',
    '  query,',
    '  mutation,',
    '  action,',
    '  internalQuery,',
    '  internalMutation,',
    '  internalAction,',
    '  authed,',
    '  route,',
    '}: FunctionHelpers<AppContext> = createFunctionHelpers<AppContext>();',
    '',
  ].join('\n');
}
