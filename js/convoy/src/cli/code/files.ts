/** Finds the source files of a project. */
import { type Dirent, existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isFunctionFile } from '../../codegen/index.js';
import type { ProjectLayout } from '../options.js';

export interface ProjectFiles {
  readonly schema: string;
  readonly server: string | null;
  readonly http: string | null;
  /** Absolute paths, sorted by name. */
  readonly functions: readonly string[];
}

export async function findProjectFiles(layout: ProjectLayout): Promise<ProjectFiles> {
  if (!existsSync(layout.schemaFile)) {
    expectProject(layout);
    const name = path.relative(layout.root, layout.schemaFile);
    throw new Error(
      `There is no ${name} in ${layout.root}. Create one with \`convoy dev\`, or name yours with --schema.`,
    );
  }
  return {
    schema: layout.schemaFile,
    server: existsSync(layout.serverFile) ? layout.serverFile : null,
    http: existsSync(layout.httpFile) ? layout.httpFile : null,
    functions: await functionFiles(layout.functionsFolder),
  };
}

async function functionFiles(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const entries: Dirent[] = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => isFunctionFile(asPosix(path.relative(folder, file))))
    .sort();
}

/** Converts path separators to `/`, as imports and function names need. */
export function asPosix(file: string): string {
  return file.split(path.sep).join('/');
}

/** Throws where nothing shows that this folder is a project. */
export function expectProject({ root }: ProjectLayout): void {
  if (existsSync(path.join(root, 'package.json'))) return;
  throw new Error(
    `${root} has no package.json, so it is not a project. Run convoy in your project's folder, or name it with --root. ` +
      'A new project: npx create-convoy-app my-app',
  );
}

const firstSchema = `import { defineSchema } from '@avvos/convoy';

// A table is a shape of Zod types: messages: defineTable({ body: z.string() })
export default defineSchema({});
`;

/** Creates an empty schema where there is none; resolves to whether it did. */
export async function ensureSchema(layout: ProjectLayout): Promise<boolean> {
  if (existsSync(layout.schemaFile)) return false;
  expectProject(layout);
  const defaultFile = path.join(layout.convoyFolder, 'schema.ts');
  if (existsSync(defaultFile)) {
    // A mistyped --schema must not lead to an empty schema, which the generated types and the database would follow.
    const [named, existing] = [layout.schemaFile, defaultFile].map((file) => path.relative(layout.root, file));
    throw new Error(`There is no ${named} in ${layout.root}, which --schema names; there is ${existing}.`);
  }
  await mkdir(path.dirname(layout.schemaFile), { recursive: true });
  await writeFile(layout.schemaFile, firstSchema, { flag: 'wx' });
  return true;
}
