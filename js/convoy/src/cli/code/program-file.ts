/** Generates the module that workers import, which exports the contents of a bundle as a Convoy program. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { arrangeFunctions, asImport, functionsText } from '../../codegen/index.js';
import type { ProjectLayout } from '../options.js';
import type { Bundle } from './bundle.js';
import { asPosix, type ProjectFiles } from './files.js';
import type { InspectedCode } from './inspect.js';

/** Writes the program next to the bundle; resolves to its file. Equal bundles have equal programs. */
export async function writeProgram(
  { file: bundleFile, hash }: Bundle,
  code: InspectedCode,
  files: ProjectFiles,
  layout: ProjectLayout,
  file = path.join(layout.buildFolder, `${hash}.program.mjs`),
): Promise<string> {
  const modules = new Map(
    files.functions.map((file, index) => {
      const module = asImport(asPosix(path.relative(layout.generatedFolder, file)));
      return [module, `code.functions${index}`] as const;
    }),
  );
  const lines = [
    `import * as code from './${path.basename(bundleFile)}';`,
    `export const schema = code.schema.${code.schemaExport};`,
    ...(code.hasRoutes ? ['export const routes = code.http;'] : []),
    ...(code.hasContext ? ['export const createContext = code.server.createContext;'] : []),
    // Undefined where `server.ts` does not export them.
    ...(files.server === null ? [] : ['export const { rls, securitySchemes } = code.server;']),
    `export const functions = ${functionsText(arrangeFunctions(code.functions), modules, '')};`,
    '',
  ];
  await writeFile(file, lines.join('\n'));
  return file;
}
