/** Where imports in the user's code lead that esbuild alone would not resolve as we need. */
import path from 'node:path';
import type { Plugin } from 'esbuild';
import type { ProjectLayout } from '../options.js';

/** Marks the questions that our plugins ask esbuild, so that none of them answers another's. */
export const asked = Symbol('asked');

/** Stands in for `_generated/`: the untyped builders, and an `api` that has every name. */
export function generatedStubs({ generatedFolder, root }: ProjectLayout): Plugin {
  const stubs: Readonly<Record<string, string>> = {
    api: `
      const reference = (name) =>
        new Proxy({ kind: 'unknown', name }, {
          get: (target, key) =>
            typeof key === 'symbol' || key in target ? target[key] : reference(name ? name + '.' + key : key),
        });
      export const api = reference('');
      export const internal = reference('');`,
    server: `
      export { query, mutation, action, internalQuery, internalMutation, internalAction } from '@avvos/convoy';`,
    dataModel: 'export {};',
  };
  return {
    name: 'generated stubs',
    setup(build) {
      build.onResolve({ filter: /^\.{1,2}\// }, ({ path: specifier, resolveDir, namespace }) => {
        const target = path.resolve(resolveDir, specifier).replace(/\.[jt]s$/, '');
        const stub = path.basename(target);
        if (namespace !== 'file' || path.dirname(target) !== generatedFolder || !(stub in stubs)) return undefined;
        return { path: stub, namespace: 'convoy-generated' };
      });
      build.onLoad({ filter: /.*/, namespace: 'convoy-generated' }, ({ path: stub }) => ({
        contents: stubs[stub] ?? '',
        resolveDir: root,
      }));
    },
  };
}

/**
 * Packages stay imports for Node to resolve. What leads to the project's own files (aliases of tsconfig) or to
 * TypeScript (packages of the same workspace) becomes part of the bundle, because Node could not run it. A package that
 * is not there is esbuild's to report, with the place of the import.
 */
export function packagesOutside({ root }: ProjectLayout): Plugin {
  return {
    name: 'packages outside',
    setup(build) {
      build.onResolve({ filter: /^[^./]/ }, async ({ path: specifier, pluginData, kind, importer, resolveDir }) => {
        if (pluginData === asked || kind === 'entry-point') return undefined;
        const found = await build.resolve(specifier, { kind, importer, resolveDir, pluginData: asked });
        if (found.errors.length > 0) return undefined;
        if (found.external || !isSource(found.path, root) || isOurs(specifier))
          return { path: specifier, external: true };
        return { path: found.path };
      });
    },
  };
}

function isSource(file: string, root: string): boolean {
  if (file.includes(`${path.sep}node_modules${path.sep}`)) return false;
  return /\.[cm]?tsx?$/.test(file) || file.startsWith(root + path.sep);
}

/** There must be one copy of this package in the process. */
function isOurs(specifier: string): boolean {
  return specifier === '@avvos/convoy' || specifier.startsWith('@avvos/convoy/');
}
