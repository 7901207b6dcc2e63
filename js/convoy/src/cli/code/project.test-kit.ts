/** For tests: a project in a temporary folder, which resolves `@avvos/convoy` to these sources. */
import { chmod, mkdir, mkdtemp, rm, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { layoutOf, type ProjectLayout } from '../options.js';

const packageFolder = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../..');

export interface TestProject {
  readonly root: string;
  readonly layout: ProjectLayout;
  /** Path from the root → text, or null to delete the file. */
  write(files: Readonly<Record<string, string | null>>): Promise<void>;
  remove(): Promise<void>;
}

export const messagesSchema = `import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export default defineSchema({
  messages: defineTable({ body: z.string() }),
});
`;

export const messagesFunctions = `import { z } from 'zod';
import { mutation, query } from '../_generated/server';

export const list = query({ handler: async (ctx) => ctx.db.query('messages').collect() });
export const send = mutation({
  input: { body: z.string() },
  handler: async (ctx, { body }) => ctx.db.insert('messages', { body }),
});
`;

/** Creates the project below the package, so that zod and the other dependencies resolve as in these sources. */
export async function makeProject(files: Readonly<Record<string, string>> = {}): Promise<TestProject> {
  const local = path.join(packageFolder, '.convoy');
  await mkdir(local, { recursive: true });
  const root = await mkdtemp(path.join(local, 'project-'));
  // Under root, Postgres runs as another user, which must be able to enter this folder.
  await chmod(root, 0o755);
  await build({
    entryPoints: { index: 'index.ts', client: 'client/index.ts', node: 'server/index.ts', sql: 'sql/index.ts' },
    absWorkingDir: path.join(packageFolder, 'src'),
    outdir: path.join(root, 'node_modules/@avvos/convoy'),
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
  });
  const exports = { '.': './index.mjs', './client': './client.mjs', './node': './node.mjs', './sql': './sql.mjs' };
  const project: TestProject = {
    root,
    layout: layoutOf({ root, schema: 'convoy/schema.ts' }, root),
    async write(texts) {
      for (const [name, text] of Object.entries(texts)) {
        const file = path.join(root, name);
        if (text === null) await unlink(file);
        else {
          await mkdir(path.dirname(file), { recursive: true });
          await writeFile(file, text);
        }
      }
    },
    // A Postgres whose parent was killed needs a moment to end.
    remove: () => rm(root, { recursive: true, maxRetries: 20, retryDelay: 100 }),
  };
  await project.write({
    'package.json': '{ "name": "a-project", "type": "module" }',
    'node_modules/@avvos/convoy/package.json': JSON.stringify({ name: '@avvos/convoy', exports }),
    ...files,
  });
  return project;
}
