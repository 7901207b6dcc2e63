/** Finds the files of a project that are code. */
import { type Dirent, existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isFunctionFile } from '../../codegen/index.js';
import type { ProjectLayout } from '../options.js';

export interface ProjectFiles {
  readonly schema: string;
  readonly server: string | null;
  /** Absolute paths, in the order of their names. */
  readonly functions: readonly string[];
}

export async function findProjectFiles(layout: ProjectLayout): Promise<ProjectFiles> {
  if (!existsSync(layout.schemaFile)) {
    const name = path.relative(layout.root, layout.schemaFile);
    throw new Error(
      `There is no ${name} in ${layout.root}. Make one with \`convoy dev\`, or name yours with --schema.`,
    );
  }
  return {
    schema: layout.schemaFile,
    server: existsSync(layout.serverFile) ? layout.serverFile : null,
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

/** Paths in imports and names always have `/`. */
export function asPosix(file: string): string {
  return file.split(path.sep).join('/');
}

const firstSchema = `import { defineSchema } from '@avvos/convoy';

// A table is a shape of Zod types: messages: defineTable({ body: z.string() })
export default defineSchema({});
`;

/** Resolves to true when there was no schema and one was made. */
export async function ensureSchema(layout: ProjectLayout): Promise<boolean> {
  if (existsSync(layout.schemaFile)) return false;
  if (!existsSync(path.join(layout.root, 'package.json'))) {
    throw new Error(`${layout.root} has no package.json. Run convoy in your project's folder, or name it with --root.`);
  }
  const usual = path.join(layout.convoyFolder, 'schema.ts');
  if (existsSync(usual)) {
    // Generated types and the database would follow an empty schema because of a typing error.
    const [named, there] = [layout.schemaFile, usual].map((file) => path.relative(layout.root, file));
    throw new Error(`There is no ${named} in ${layout.root}, which --schema names; there is ${there}.`);
  }
  await mkdir(path.dirname(layout.schemaFile), { recursive: true });
  await writeFile(layout.schemaFile, firstSchema, { flag: 'wx' });
  return true;
}
