/** How generated files name the modules that functions come from. Pure. */
import { asKey, Identifiers, quote } from './names.js';
import type { ProjectFunction } from './project.js';

/** Module → the identifier it is imported as, in the order of the modules' paths. */
export function moduleNames(functions: readonly ProjectFunction[], taken: readonly string[]): Map<string, string> {
  const names = new Identifiers(taken);
  const modules = [...new Set(functions.map(({ module }) => module))].sort();
  // The prefix keeps file names such as `delete.ts` from becoming reserved words.
  return new Map(modules.map((module) => [module, names.give(`fn_${shortName(module)}`)]));
}

function shortName(module: string): string {
  return module.replace(/^.*?functions\//, '').replace(/\.m?js$/, '');
}

/** `fn_messages.list` */
export function memberOf({ module, exportName }: ProjectFunction, modules: ReadonlyMap<string, string>): string {
  const name = modules.get(module);
  if (name === undefined) throw new Error(`the module ${module} was given no name`);
  return asKey(exportName) === exportName || exportName === '__proto__'
    ? `${name}.${exportName}`
    : `${name}[${quote(exportName)}]`;
}
