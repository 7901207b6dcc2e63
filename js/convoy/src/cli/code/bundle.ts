/**
 * Bundles schema, functions and `server.ts` into one module that Node can import.
 *
 * The module is stored in `.convoy/build/` under the hash of its text, so that bare imports resolve from the project,
 * changed code is another module, and unchanged code is the same one.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { BuildFailure, BuildOptions, BuildResult, Message, Metafile, Plugin } from 'esbuild';
import { isErrno } from '../errno.js';
import type { ProjectLayout } from '../options.js';
import { drizzleImportError, drizzleStandIn, usesDrizzleStandIn } from './drizzle.js';
import { build } from './esbuild.js';
import { asPosix, type ProjectFiles } from './files.js';
import { CodeProblem, type Diagnostic } from './problem.js';
import { externalNames, externalPackages, generatedStubs } from './resolve.js';
import { importAdvice } from './unresolved.js';

/**
 * The source of imports from `_generated/`. Stubs export every possible name; they are used to inspect the project
 * while the real files are missing or out of date.
 */
export type GeneratedSource = 'files' | 'stubs';

export interface Bundle {
  /** The module's file; its source map is in the same folder. */
  readonly file: string;
  readonly sourceMap: string;
  readonly hash: string;
  /** Every source file in it, as absolute paths. */
  readonly inputs: readonly string[];
  /** Import specifier that was left to Node → source files that import it, from the root. */
  readonly importers: ReadonlyMap<string, readonly string[]>;
  /** The bundle imports from `drizzle-orm`, which is not installed. */
  readonly drizzleStandIn: boolean;
}

/** Where a bundle is written, and which packages it contains. */
export interface BundleTarget {
  readonly folder: string;
  /** The file name without its ending; by default the hash of the text. */
  readonly name?: string;
  /** The packages that are not bundled; by default all of them. */
  readonly external?: readonly string[];
}

/** Bundles the project once. Throws a CodeProblem for every error that the bundler reports. */
export async function bundleProject(
  layout: ProjectLayout,
  files: ProjectFiles,
  generated: GeneratedSource,
  target: BundleTarget = { folder: layout.buildFolder },
): Promise<Bundle> {
  const options = bundleOptions(layout, () => files, generated, target);
  return storeBundle(layout, target, await build(options).catch(asCodeProblem(layout)));
}

type Options = BuildOptions & { readonly write: false; readonly metafile: true };

/** The options of esbuild; the files are read at each build. */
export function bundleOptions(
  layout: ProjectLayout,
  files: () => ProjectFiles,
  generated: GeneratedSource,
  { folder, external }: BundleTarget,
): Options {
  return {
    absWorkingDir: layout.root,
    entryPoints: [ENTRY],
    outfile: path.join(folder, 'convoy.mjs'),
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'external',
    metafile: true,
    logLevel: 'silent',
    plugins: [
      entryPlugin(layout, files),
      ...(generated === 'stubs' ? [generatedStubs(layout)] : []),
      drizzleStandIn(layout.root),
      external === undefined ? externalPackages(layout) : externalNames(external),
    ],
  };
}

/** Writes the result of a build. Throws a CodeProblem for the warnings that are errors here. */
export async function storeBundle(
  layout: ProjectLayout,
  { folder, name }: BundleTarget,
  result: BuildResult<Options>,
): Promise<Bundle> {
  // For esbuild, a missing member of a namespace is only a warning: it would be undefined.
  const missing = result.warnings.filter((warning) => drizzleImportError(warning) !== undefined);
  if (missing.length > 0) throw new CodeProblem(missing.map((message) => toDiagnostic(message, layout)));

  const code = result.outputFiles.find(({ path: file }) => file.endsWith('.mjs'));
  const map = result.outputFiles.find(({ path: file }) => file.endsWith('.map'));
  if (!code || !map) throw new Error('esbuild returned no code or no source map.');
  const hash = createHash('sha256').update(code.contents).digest('hex').slice(0, 16);
  const fileName = `${name ?? hash}.mjs`;
  const file = path.join(folder, fileName);
  await mkdir(folder, { recursive: true });
  const text = code.text;
  const sourceMap = map.text;
  const start = text.includes(REQUIRE_SHIM) ? DEFINE_REQUIRE : '';
  await Promise.all([
    writeAtomically(`${file}.map`, sourceMap),
    writeAtomically(file, `${start}${text}//# sourceMappingURL=${fileName}.map\n`),
  ]);
  return {
    file,
    sourceMap,
    hash,
    inputs: Object.keys(result.metafile.inputs)
      .filter(isFile)
      .map((input) => path.resolve(layout.root, input)),
    importers: importersIn(result.metafile),
    drizzleStandIn: usesDrizzleStandIn(result.metafile),
  };
}

const ENTRY = 'convoy-entry';

/** The module that exports all files of the project. */
function entryPlugin(layout: ProjectLayout, files: () => ProjectFiles): Plugin {
  return {
    name: 'entry',
    setup(build) {
      build.onResolve({ filter: new RegExp(`^${ENTRY}$`) }, ({ kind }) =>
        kind === 'entry-point' ? { path: ENTRY, namespace: ENTRY } : undefined,
      );
      build.onLoad({ filter: /.*/, namespace: ENTRY }, () => ({
        contents: entryFor(layout, files()),
        resolveDir: layout.root,
      }));
    },
  };
}

/** The code that esbuild writes where a bundled CommonJS package requires a module of Node. */
const REQUIRE_SHIM = 'typeof require !== "undefined"';
/** Without a line break, so that the source map stays valid. */
const DEFINE_REQUIRE =
  'import { createRequire as convoyCreateRequire } from "node:module";const require = convoyCreateRequire(import.meta.url);';

/** Rethrows the failure of an esbuild build; errors in the user's code as a CodeProblem. */
export function asCodeProblem(layout: ProjectLayout): (failure: BuildFailure) => never {
  return (failure) => {
    if (!Array.isArray(failure.errors)) throw failure;
    throw new CodeProblem(
      failure.errors.map((message) => toDiagnostic(message, layout)),
      { cause: failure },
    );
  };
}

/**
 * Deletes builds that are no longer in use, except those of the last minute: another convoy may be about to load one.
 */
export async function removeOldBuilds(buildFolder: string, inUse: string): Promise<void> {
  for (const name of await readdir(buildFolder)) {
    if (name.startsWith(inUse)) continue;
    const file = path.join(buildFolder, name);
    try {
      if (Date.now() - (await stat(file)).mtimeMs > 60_000) await rm(file);
    } catch (error) {
      // Another convoy has deleted it.
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
}

function entryFor(layout: ProjectLayout, { schema, server, http, functions }: ProjectFiles): string {
  const lines = [
    ['schema', schema],
    ...(server ? [['server', server]] : []),
    ...(http ? [['http', http]] : []),
    ...functions.map((file, index) => [`functions${index}`, file]),
  ] as [string, string][];
  const local = (file: string) => JSON.stringify(`./${asPosix(path.relative(layout.root, file))}`);
  return lines.map(([name, file]) => `export * as ${name} from ${local(file)};\n`).join('');
}

async function writeAtomically(file: string, text: string): Promise<void> {
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, text);
  await rename(draft, file);
}

/** The entry, stubs and stand-ins have a namespace before a colon. */
function isFile(input: string): boolean {
  return !input.includes(':');
}

function importersIn({ inputs }: Metafile): Map<string, string[]> {
  const importers = new Map<string, string[]>();
  for (const [input, { imports }] of Object.entries(inputs).filter(([name]) => isFile(name))) {
    for (const { path: specifier, external } of imports) {
      if (external) importers.set(specifier, [...(importers.get(specifier) ?? []), input]);
    }
  }
  return importers;
}

function toDiagnostic(message: Message, { root }: ProjectLayout): Diagnostic {
  const { location, notes } = message;
  // While code is inspected, stubs replace the generated files.
  const text = (drizzleImportError(message) ?? message.text).replace('"convoy-generated:', '"convoy/_generated/');
  // Notes on esbuild's configuration do not help users, who do not configure it.
  const useful = notes.filter((note) => !note.text.includes('mark the path'));
  const advice = importAdvice(text, location?.file, root) ?? addonAdvice(text);
  const withAdvice = advice === null ? text : `${text}. ${advice}`;
  return { text: withAdvice, location, notes: useful.map((note) => ({ text: note.text })) };
}

/** A native addon cannot be bundled. */
function addonAdvice(text: string): string | null {
  const name = /for "\.node" files: .*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(text)?.[1];
  if (name === undefined) return null;
  return (
    `The package ${name} has a native addon, which cannot be bundled. List it under build.external in convoy.config.ts, ` +
    'and install it where the built code runs.'
  );
}
