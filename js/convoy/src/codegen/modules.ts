/** Assigns identifiers to the modules that generated files import. Pure. */
import { asKey, Identifiers, quote } from './names.js';
import type { ProjectFunction } from './project.js';

/** Module → its identifier, sorted by the modules' paths. */
export function moduleNames(functions: readonly ProjectFunction[], taken: readonly string[]): Map<string, string> {
  const names = new Identifiers(taken);
  const modules = [...new Set(functions.map(({ module }) => module))].sort();
  // The prefix keeps file names such as `delete.ts` from becoming reserved words.
  return new Map(modules.map((module) => [module, names.allocate(`fn_${shortName(module)}`)]));
}

function shortName(module: string): string {
  return module.replace(/^.*?functions\//, '').replace(/\.m?js$/, '');
}

/** The expression for a function, such as `fn_messages.list`. */
export function memberOf({ module, exportName }: ProjectFunction, modules: ReadonlyMap<string, string>): string {
  const name = modules.get(module);
  if (name === undefined) throw new Error(`The module ${module} has no identifier.`);
  return asKey(exportName) === exportName || exportName === '__proto__'
    ? `${name}.${exportName}`
    : `${name}[${quote(exportName)}]`;
}
