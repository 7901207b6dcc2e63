/**
 * Compiles the files of a project into a program that can be loaded, and brings `_generated/` up to date.
 *
 * Functions import `_generated/`, which is generated from the functions. Therefore the code is first loaded with the
 * existing files; if that fails because they are missing or out of date, with stubs; and if the files change as a
 * result, once more with the new ones.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import {
  arrangeFunctions,
  asImport,
  generateFiles,
  NameCollision,
  outdatedFiles,
  type Project,
  writeGenerated,
} from '../../codegen/index.js';
import type { ProjectLayout } from '../options.js';
import { type Bundle, bundleProject, type GeneratedSource } from './bundle.js';
import { asPosix, findProjectFiles, type ProjectFiles } from './files.js';
import { type Inspect, type InspectedCode, inspectOnThread } from './inspect.js';
import { CodeProblem } from './problem.js';
import { writeProgram } from './program-file.js';

export interface PreparedProject {
  /** The module that exports the program. */
  readonly program: string;
  /** Identifies the code: equal hashes mean equal code. */
  readonly hash: string;
  /** Every source file of the code, as absolute paths. */
  readonly inputs: readonly string[];
  /** The packages that the code imports, as it names them. */
  readonly packages: readonly string[];
  readonly functionCount: number;
  readonly files: ProjectFiles;
  readonly code: InspectedCode;
  /** Warnings for the developer about code that is accepted but has no effect. */
  readonly warnings: readonly string[];
  readonly tableCount: number;
  /** Brings `_generated/` up to date; the program does not depend on what that changes. */
  writeGenerated(): Promise<WrittenFiles>;
}

export interface WrittenFiles {
  /** Generated files whose text changed. */
  readonly written: readonly string[];
  /** Files of an earlier version that were deleted. */
  readonly removed: readonly string[];
}

export type CompiledProject = PreparedProject & WrittenFiles;

/** How a project is compiled. */
export interface CompileSteps {
  readonly bundle: (files: ProjectFiles, generated: GeneratedSource) => Promise<Bundle>;
  readonly inspect: Inspect;
}

const configureServerWarning =
  'convoy/server.ts exports configureServer, which this version does not call: its changes to the server have no effect. ' +
  'See docs/coming-from-0.0.1.md.';

/**
 * Compiles the project and writes `_generated/`. Throws a CodeProblem for errors in the user's code, and then leaves
 * `_generated/` unchanged.
 */
export async function compileProject(
  layout: ProjectLayout,
  inspect: Inspect = inspectOnThread,
): Promise<CompiledProject> {
  const bundle: CompileSteps['bundle'] = (files, generated) => bundleProject(layout, files, generated);
  const prepared = await prepareProject(layout, { bundle, inspect });
  return { ...prepared, ...(await prepared.writeGenerated()) };
}

/** The same, but writes `_generated/` at once only where the code imports what changes in it. */
export async function prepareProject(layout: ProjectLayout, steps: CompileSteps): Promise<PreparedProject> {
  const files = await findProjectFiles(layout);
  const load: Load = async (generated) => {
    const bundle = await steps.bundle(files, generated);
    return { generated, bundle, code: await steps.inspect(bundle, files, layout) };
  };
  const first = await loadWithFallback(layout, load);
  checkNames(first.code);
  const generated = generateFiles(describe(first, files, layout));
  const outdated = await outdatedFiles(layout.generatedFolder, generated);
  const inputs = new Set(first.bundle.inputs);
  const isCurrent =
    first.generated === 'files' && !outdated.some((name) => inputs.has(path.join(layout.generatedFolder, name)));
  const early = isCurrent ? null : await writeGenerated(layout.generatedFolder, generated);
  const { code, bundle } = isCurrent ? first : await load('files');
  checkNames(code);
  return {
    program: await writeProgram(bundle, code, files, layout),
    hash: bundle.hash,
    inputs: bundle.inputs,
    packages: [...bundle.importers.keys()],
    functionCount: code.functions.length,
    files,
    code,
    warnings: code.configuresServer ? [configureServerWarning] : [],
    tableCount: code.tables.length,
    writeGenerated: async () => early ?? (await writeGenerated(layout.generatedFolder, generated)),
  };
}

interface LoadedBundle {
  readonly generated: GeneratedSource;
  readonly bundle: Bundle;
  readonly code: InspectedCode;
}

type Load = (generated: GeneratedSource) => Promise<LoadedBundle>;

async function loadWithFallback(layout: ProjectLayout, load: Load): Promise<LoadedBundle> {
  if (existsSync(path.join(layout.generatedFolder, 'api.ts'))) {
    try {
      return await load('files');
    } catch (error) {
      if (!(error instanceof CodeProblem)) throw error;
      // An error in the code itself occurs with the stubs as well, and is thrown then.
    }
  }
  return load('stubs');
}

function checkNames({ functions }: InspectedCode): void {
  try {
    arrangeFunctions(functions);
  } catch (error) {
    if (!(error instanceof NameCollision)) throw error;
    throw new CodeProblem([{ text: error.message, location: null }], { cause: error });
  }
}

function describe({ code, bundle }: LoadedBundle, { server }: ProjectFiles, layout: ProjectLayout): Project {
  const { schemaExport, tables, functions, hasContext, hasRoutes } = code;
  const importOf = (file: string) => asImport(asPosix(path.relative(layout.generatedFolder, file)));
  return {
    schema: { module: importOf(layout.schemaFile), exportName: schemaExport },
    tables,
    functions,
    serverModule: server === null ? null : importOf(server),
    hasContext,
    routesModule: hasRoutes ? importOf(layout.httpFile) : null,
    drizzleStandIn: bundle.drizzleStandIn,
  };
}
