/**
 * Replaces `drizzle-orm` where it is not installed. Convoy 0.0.1 depended on it, and its functions import `sql` from
 * it; here, that import resolves to the `sql` of this package. Any other import from it is an error with instructions.
 * Where the package is installed, this plugin does nothing.
 */
import type { Message, Metafile, Plugin } from 'esbuild';
import { NESTED_RESOLVE } from './resolve.js';

const namespace = 'convoy-drizzle';
const standIn = `${namespace}:drizzle-orm`;
const remedy =
  'drizzle-orm is not installed, and no longer comes with @avvos/convoy. Run `npm install drizzle-orm`. ' +
  'Without it, only `sql` can be imported, from "drizzle-orm" or "@avvos/convoy/sql".';

export function drizzleStandIn(root: string): Plugin {
  return {
    name: 'drizzle stand-in',
    setup(build) {
      build.onResolve({ filter: /^drizzle-orm(\/|$)/ }, async ({ path: specifier, pluginData, ...from }) => {
        if (pluginData === NESTED_RESOLVE) return undefined;
        const { kind, importer, resolveDir } = from;
        const options = { kind, importer, resolveDir, pluginData: NESTED_RESOLVE };
        const found = await build.resolve(specifier, options);
        if (found.errors.length === 0) {
          // `paths` in tsconfig.json may alias it to our package, which Node does not resolve.
          const convoySql = await build.resolve('@avvos/convoy/sql', options);
          if (found.path !== convoySql.path) return undefined;
        }
        if (specifier === 'drizzle-orm' || specifier === 'drizzle-orm/sql') return { path: 'drizzle-orm', namespace };
        return { errors: [{ text: `"${specifier}" cannot be imported: ${remedy}` }] };
      });
      build.onLoad({ filter: /.*/, namespace }, () => ({
        contents: "export { sql } from '@avvos/convoy/sql';",
        resolveDir: root,
      }));
    },
  };
}

/** Whether the bundle contains the stand-in. */
export function usesDrizzleStandIn({ inputs }: Metafile): boolean {
  return standIn in inputs;
}

/**
 * The error text for an esbuild message about a name that only the real package exports; undefined for other messages.
 */
export function drizzleImportError({ text }: Message): string | undefined {
  if (!text.includes(`"${standIn}"`)) return undefined;
  const [, name = ''] = /\bimport "(.+?)"/i.exec(text) ?? [];
  return `"${name}" cannot be imported from "drizzle-orm": ${remedy}`;
}
