/** What a program takes of the application's `convoy/server.ts`, and what is wrong with its exports. */

import { describeGiven } from '../values/kind.js';
import { nearest } from '../values/nearest.js';

/** What a program takes. */
type ServerExport = 'createContext' | 'rls' | 'securitySchemes';

const LONG_NAMES: readonly string[] = ['createContext', 'securitySchemes'] satisfies ServerExport[];

/** The exports of `convoy/server.ts` that belong to the program of a start file. */
export function serverExports<Module extends object>(
  server: Module,
): Pick<Module, Extract<keyof Module, ServerExport>> {
  const problem = serverProblem(server, 'convoy/server.ts');
  if (problem !== null) throw new TypeError(problem);
  const { createContext, rls, securitySchemes } = server as { readonly [Name in ServerExport]?: unknown };
  const made = createContext === undefined ? {} : { createContext };
  return { ...made, rls, securitySchemes } as unknown as Pick<Module, Extract<keyof Module, ServerExport>>;
}

/**
 * What is wrong with the names of the exports of `file`, and with its `createContext`; `null` if nothing is. It may have
 * exports of its own.
 */
export function serverProblem(server: object, file: string): string | null {
  const { createContext } = server as { readonly createContext?: unknown };
  if (createContext !== undefined && typeof createContext !== 'function') {
    return (
      `${file} exports createContext, which is ${describeGiven(createContext)}. Export a function that makes the context ` +
      'of a call, or give the export another name.'
    );
  }
  for (const name of Object.keys(server)) {
    const meant = meantBy(name);
    // Beside the one that is meant, the name is chosen.
    if (meant === null || meant in server) continue;
    return `${file} exports ${name}, which is not used. Did you mean ${meant}? Otherwise give it a name that is less similar.`;
  }
  return null;
}

/** The export that a name is a misspelling of. */
function meantBy(name: string): ServerExport | null {
  // As many short names are as close to it as the misspellings are, such as `als`, `urls` and `roles`.
  if (lettersOf(name) === lettersOf('rls')) return 'rls';
  return nearest(name, LONG_NAMES, 2) as ServerExport | null;
}

function lettersOf(name: string): string {
  return [...name.toLowerCase()].sort().join('');
}
