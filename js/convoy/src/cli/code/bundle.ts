/**
 * Bundles schema, functions and `server.ts` into one module that Node can import.
 *
 * The module is stored in `.convoy/build/` under the hash of its text, so that bare imports resolve from the project,
 * changed code is another module, and unchanged code is the same one.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { BuildFailure, Message, Metafile } from 'esbuild';
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

const entryName = 'convoy-entry.js';

/** Bundles the project. Throws a CodeProblem for every error that the bundler reports. */
export async function bundleProject(
  layout: ProjectLayout,
  files: ProjectFiles,
  generated: GeneratedSource,
  { folder, name, external }: BundleTarget = { folder: layout.buildFolder },
): Promise<Bundle> {
  const result = await build({
    absWorkingDir: layout.root,
    stdin: { contents: entryFor(layout, files), resolveDir: layout.root, sourcefile: entryName },
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
      ...(generated === 'stubs' ? [generatedStubs(layout)] : []),
      drizzleStandIn(layout.root),
      external === undefined ? externalPackages(layout) : externalNames(external),
    ],
  }).catch(asCodeProblem(layout));

  // For esbuild, a missing member of a namespace is only a warning: it would be undefined.
  const missing = result.warnings.filter((warning) => drizzleImportError(warning) !== undefined);
  if (missing.length > 0) throw new CodeProblem(missing.map((message) => toDiagnostic(message, layout)));

  const code = result.outputFiles.find(({ path: file }) => file.endsWith('.mjs'));
  const map = result.outputFiles.find(({ path: file }) => file.endsWith('.map'));
  if (!code || !map) throw new Error('esbuild returned no code or no source map');
  const hash = createHash('sha256').update(code.contents).digest('hex').slice(0, 16);
  const fileName = `${name ?? hash}.mjs`;
  const file = path.join(folder, fileName);
  await mkdir(folder, { recursive: true });
  await writeAtomically(`${file}.map`, map.text);
  const start = code.text.includes(REQUIRE_SHIM) ? DEFINE_REQUIRE : '';
  await writeAtomically(file, `${start}${code.text}//# sourceMappingURL=${fileName}.map\n`);
  const inputs = Object.keys(result.metafile.inputs).filter(
    (input) => !input.includes(':') && input !== 'convoy-entry.js',
  );
  return {
    file,
    sourceMap: map.text,
    hash,
    inputs: inputs.map((input) => path.resolve(layout.root, input)),
    importers: importersIn(result.metafile),
    drizzleStandIn: usesDrizzleStandIn(result.metafile),
  };
}

/** What esbuild writes where a bundled CommonJS package requires a module of Node. */
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

function entryFor(layout: ProjectLayout, { schema, server, functions }: ProjectFiles): string {
  const lines = [
    ['schema', schema],
    ...(server ? [['server', server]] : []),
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

/** Stubs and stand-ins have a namespace before a colon. */
function isFile(input: string): boolean {
  return !input.includes(':') && input !== entryName;
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
