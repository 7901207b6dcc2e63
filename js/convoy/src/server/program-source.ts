/** Checks the parts of a program, which may come from JavaScript or from a module of another shape. */

import { isSchemaDefinition } from '../schema/index.js';
import { describeGiven, isPlainObject } from '../values/kind.js';
import { isConvoyFunction } from './functions.js';
import type { ProgramSource } from './program.js';
import { isConvoyRoute } from './routes.js';

/** Throws a `TypeError` for a part of another kind. `rls` and `securitySchemes` are checked where they are used. */
export function checkSource(source: ProgramSource): void {
  const problem = sourceProblem(source);
  if (problem !== null) throw new TypeError(problem);
}

function sourceProblem(source: unknown): string | null {
  if (typeof source !== 'object' || source === null) {
    return `A program is an object with schema and functions; ${describeGiven(source)} was given.`;
  }
  const { schema, functions, routes, createContext } = source as { readonly [Part in keyof ProgramSource]?: unknown };
  if (!isSchemaDefinition(schema)) {
    return (
      `The option schema is ${describeGiven(schema)}, which defineSchema has not made. Write schema: defineSchema({ notes: ` +
      'defineTable({ … }) }).'
    );
  }
  if (!isPlainObject(functions) || isConvoyFunction(functions)) {
    const module = typeof functions === 'string' ? ' To load a module, give its path as the option program.' : '';
    return (
      `The option functions is ${isConvoyFunction(functions) ? 'one function' : describeGiven(functions)}; give functions ` +
      `by module, such as { messages: { list, send } }.${module}`
    );
  }
  if (routes !== undefined && (!isPlainObject(routes) || isConvoyRoute(routes))) {
    return (
      `The option routes is ${isConvoyRoute(routes) ? 'one route' : describeGiven(routes)}; give routes by name, such as ` +
      "those of import * as routes from './convoy/http.js'."
    );
  }
  if (createContext !== undefined && typeof createContext !== 'function') {
    return (
      `The option createContext is ${describeGiven(createContext)}; give a function that makes the context of a call, or ` +
      'leave it out.'
    );
  }
  return null;
}
