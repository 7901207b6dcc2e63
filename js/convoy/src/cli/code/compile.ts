/**
 * From the files of a project to a program that can be loaded, with `_generated/` up to date.
 *
 * Functions import `_generated/`, which is made from the functions. So the code is loaded with the files as they are;
 * where that fails, because they are missing or out of date, with stand-ins; and where the files change because of what
 * was found, once more with the new ones.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import {
  arrangeFunctions,
  asImport,
  type FunctionFolder,
  FunctionLeaf,
  generateFiles,
  NameCollision,
  type Project,
  writeGenerated,
} from '../../codegen/index.js';
import { defOf } from '../../schema/index.js';
import type { ProgramSource } from '../../server/program.js';
import type { ProjectLayout } from '../options.js';
import { type Bundle, bundleProject, type GeneratedSource } from './bundle.js';
import { asPosix, findProjectFiles, type ProjectFiles } from './files.js';
import { type LoadedCode, type LoadedFunction, loadBundle } from './load.js';
import { CodeProblem } from './problem.js';

export interface CompiledProject {
  readonly source: ProgramSource;
  /** Names the code: equal hashes are the same code. */
  readonly hash: string;
  /** Every file the code was made from, as absolute paths. */
  readonly inputs: readonly string[];
  readonly functionCount: number;
  /** What the developer should know of code that works otherwise than it may seem. */
  readonly warnings: readonly string[];
  /** Generated files whose text changed. */
  readonly written: readonly string[];
  /** Files of an earlier version that were deleted. */
  readonly removed: readonly string[];
}

const configureServerWarning =
  'convoy/server.ts exports configureServer, which this version does not call: what it does to the server is not done. ' +
  'See docs/coming-from-0.0.1.md.';

/** Throws a CodeProblem for whatever is wrong in the user's code; `_generated/` is then left as it is. */
export async function compileProject(layout: ProjectLayout): Promise<CompiledProject> {
  const files = await findProjectFiles(layout);
  const first = await loadSomehow(layout, files);
  const functions = arrange(first.code.functions);
  const { written, removed } = await writeGenerated(layout.generatedFolder, generateFiles(describe(first, layout)));
  const upToDate = first.generated === 'files' && !written.includes('api.ts');
  const { code, bundle } = upToDate ? first : await load(layout, files, 'files');
  return {
    source: {
      schema: code.schema,
      functions: treeOf(upToDate ? functions : arrange(code.functions)),
      createContext: code.createContext,
    },
    hash: bundle.hash,
    inputs: bundle.inputs,
    functionCount: code.functions.length,
    warnings: code.configuresServer ? [configureServerWarning] : [],
    written,
    removed,
  };
}

interface Loading {
  readonly generated: GeneratedSource;
  readonly bundle: Bundle;
  readonly code: LoadedCode;
}

async function loadSomehow(layout: ProjectLayout, files: ProjectFiles): Promise<Loading> {
  if (existsSync(path.join(layout.generatedFolder, 'api.ts'))) {
    try {
      return await load(layout, files, 'files');
    } catch (error) {
      if (!(error instanceof CodeProblem)) throw error;
      // What is wrong with the code itself, the stand-ins bring to light too.
    }
  }
  return load(layout, files, 'stubs');
}

async function load(layout: ProjectLayout, files: ProjectFiles, generated: GeneratedSource): Promise<Loading> {
  const bundle = await bundleProject(layout, files, generated);
  return { generated, bundle, code: await loadBundle(bundle, files, layout) };
}

function arrange(functions: readonly LoadedFunction[]): FunctionFolder<LoadedFunction> {
  try {
    return arrangeFunctions(functions);
  } catch (error) {
    if (!(error instanceof NameCollision)) throw error;
    throw new CodeProblem([{ text: error.message, location: null }], { cause: error });
  }
}

function treeOf(folder: FunctionFolder<LoadedFunction>): Record<string, unknown> {
  const tree: Record<string, unknown> = Object.create(null);
  for (const [segment, node] of Object.entries(folder)) {
    tree[segment] = node instanceof FunctionLeaf ? node.value.definition : treeOf(node);
  }
  return tree;
}

function describe({ code, bundle }: Loading, layout: ProjectLayout): Project {
  const importOf = (file: string) => asImport(asPosix(path.relative(layout.generatedFolder, file)));
  return {
    schema: { module: importOf(layout.schemaFile), exportName: code.schemaExport },
    tables: Object.entries(code.schema.tables).map(([name, table]) => ({
      name,
      isUnion: defOf(table.schema).type === 'union',
    })),
    functions: code.functions,
    contextModule: code.createContext ? importOf(layout.serverFile) : null,
    drizzleStandIn: bundle.drizzleStandIn,
  };
}
