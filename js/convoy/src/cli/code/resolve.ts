/** esbuild plugins for imports in the user's code that esbuild alone does not resolve as Convoy needs. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { OnResolveResult, Plugin } from 'esbuild';
import type { ProjectLayout } from '../options.js';

/** Marks resolve requests that our plugins send to esbuild, so that no plugin intercepts them. */
export const NESTED_RESOLVE = Symbol('nested resolve');

/** Replaces `_generated/` with stubs: the untyped builders, and an `api` that has every name. */
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
      export {
        query, mutation, action, internalQuery, internalMutation, internalAction, authed, route,
      } from '@avvos/convoy';`,
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
 * Keeps packages as imports that Node resolves. An import that resolves to the project's own files (tsconfig aliases)
 * or to TypeScript (packages of the same workspace) is bundled, because Node could not run it. For a missing package,
 * esbuild reports an error at the import.
 */
export function externalPackages({ root }: ProjectLayout): Plugin {
  return {
    name: 'external packages',
    setup(build) {
      // A later build of the same context asks for each import again.
      const resolved = new Map<string, OnResolveResult>();
      build.onResolve({ filter: /^[^./]/ }, async ({ path: specifier, pluginData, kind, importer, resolveDir }) => {
        if (pluginData === NESTED_RESOLVE || kind === 'entry-point') return undefined;
        const key = `${kind}\0${resolveDir}\0${specifier}`;
        const known = resolved.get(key);
        if (known !== undefined && (known.external || existsSync(known.path ?? ''))) return known;
        const found = await build.resolve(specifier, { kind, importer, resolveDir, pluginData: NESTED_RESOLVE });
        if (found.errors.length > 0) return undefined;
        const isExternal = found.external || !isSource(found.path, root) || isConvoy(specifier);
        const result = isExternal ? { path: specifier, external: true } : { path: found.path };
        resolved.set(key, result);
        return result;
      });
    },
  };
}

/** Keeps exactly these packages as imports, with their sub-paths. All others are bundled. */
export function externalNames(names: readonly string[]): Plugin {
  return {
    name: 'external names',
    setup(build) {
      build.onResolve({ filter: /^[^./]/ }, ({ path: specifier, kind }) => {
        if (kind === 'entry-point') return undefined;
        const isExternal = names.some((name) => specifier === name || specifier.startsWith(`${name}/`));
        return isExternal ? { path: specifier, external: true } : undefined;
      });
    },
  };
}

function isSource(file: string, root: string): boolean {
  if (file.includes(`${path.sep}node_modules${path.sep}`)) return false;
  return /\.[cm]?tsx?$/.test(file) || file.startsWith(root + path.sep);
}

/** This package must never be bundled: there must be one copy of it in the process. */
function isConvoy(specifier: string): boolean {
  return specifier === '@avvos/convoy' || specifier.startsWith('@avvos/convoy/');
}
