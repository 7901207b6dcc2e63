/** Advice for an import that cannot be resolved: install a package, or correct a path. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { nearest } from '../../values/nearest.js';
import { installCommand, packageManagerOf } from '../package-manager.js';

/**
 * The advice for an esbuild message, `null` if it is not about an unresolved import. `importer` is relative to the
 * root.
 */
export function importAdvice(message: string, importer: string | undefined, root: string): string | null {
  const specifier = /^Could not resolve "(.+)"$/.exec(message)?.[1];
  if (specifier === undefined) return null;
  const from = path.dirname(path.resolve(root, importer ?? ''));
  if (/^\.{0,2}\//.test(specifier) || specifier === '.' || specifier === '..') return pathAdvice(specifier, from, root);
  if (specifier.startsWith('#')) {
    return `No package.json above this file lists ${JSON.stringify(specifier)} under "imports".`;
  }
  const name = /^(@[^/]+\/[^/]+|[^@/][^/]*)/.exec(specifier)?.[0];
  if (name === undefined || !isPackageName(name)) {
    return `This is not a package name. If it is an alias, list it under "compilerOptions.paths" in tsconfig.json.`;
  }
  if (isInstalled(name, from)) {
    return specifier === name
      ? `The package ${name} is installed, but has no main export.`
      : `The package ${name} is installed, but does not export ${JSON.stringify(`.${specifier.slice(name.length)}`)}.`;
  }
  return `The package ${name} is not installed: ${installCommand(packageManagerOf(from), [name])}`;
}

/** Whether npm accepts the name; `~` and `$lib` can only be aliases. */
function isPackageName(name: string): boolean {
  return /^(@[\w.~-]+\/)?[\w.~-]+$/.test(name) && name !== '~';
}

function pathAdvice(specifier: string, from: string, root: string): string {
  const wanted = path.resolve(from, specifier);
  const folder = path.dirname(wanted);
  if (!existsSync(folder)) return `There is no folder ${path.relative(root, folder)}.`;
  const missing = `There is no file ${path.relative(root, wanted)}`;
  const names = readdirSync(folder).map((file) => file.replace(/(\.d)?\.[cm]?[jt]sx?$/, ''));
  const suggestion = nearest(path.basename(wanted).replace(/\.[cm]?[jt]sx?$/, ''), new Set(names));
  if (suggestion === null) return `${missing}.`;
  const relative = path.relative(from, path.join(folder, suggestion)).split(path.sep).join('/');
  return `${missing}. Did you mean "${relative.startsWith('.') ? relative : `./${relative}`}"?`;
}

function isInstalled(name: string, from: string): boolean {
  for (let folder = from; ; folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, 'node_modules', name, 'package.json'))) return true;
    if (path.dirname(folder) === folder) return false;
  }
}
