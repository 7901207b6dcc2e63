/**
 * What `drizzle-orm` is for functions where it is not installed. It came along with Convoy 0.0.1, whose functions import
 * `sql` from it; here they get ours. Everything else that is imported from it is an error that says what to do. Where
 * the package is installed, this does nothing.
 */
import type { Message, Metafile, Plugin } from 'esbuild';
import { asked } from './resolve.js';

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
        if (pluginData === asked) return undefined;
        const { kind, importer, resolveDir } = from;
        const options = { kind, importer, resolveDir, pluginData: asked };
        const found = await build.resolve(specifier, options);
        if (found.errors.length === 0) {
          // A project may have made it an alias of ours (`paths` in tsconfig.json), which Node does not know.
          const ours = await build.resolve('@avvos/convoy/sql', options);
          if (found.path !== ours.path) return undefined;
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

/** Whether anything in a bundle was given ours. */
export function usesDrizzleStandIn({ inputs }: Metafile): boolean {
  return standIn in inputs;
}

/** What a message of esbuild's says about a name that only the real package has, in words of use; else undefined. */
export function missingFromDrizzle({ text }: Message): string | undefined {
  if (!text.includes(`"${standIn}"`)) return undefined;
  const [, name = ''] = /\bimport "(.+?)"/i.exec(text) ?? [];
  return `"${name}" cannot be imported from "drizzle-orm": ${remedy}`;
}
