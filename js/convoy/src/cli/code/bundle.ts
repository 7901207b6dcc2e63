/**
 * Turns schema, functions and `server.ts` into one module that Node can import.
 *
 * The module sits in `.convoy/build/` under the hash of its text, so that bare imports resolve from the project,
 * changed code is another module, and unchanged code is the same one.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type BuildFailure, build, type Message, type Metafile } from 'esbuild';
import { isErrno } from '../errno.js';
import type { ProjectLayout } from '../options.js';
import { drizzleStandIn, missingFromDrizzle, usesDrizzleStandIn } from './drizzle.js';
import { asPosix, type ProjectFiles } from './files.js';
import { type CodeMistake, CodeProblem } from './problem.js';
import { generatedStubs, packagesOutside } from './resolve.js';
import { adviceOnImport } from './unresolved.js';

/**
 * What functions get when they import from `_generated/`. Stubs know every name there could be; they serve to find out
 * what there is while the real files are missing or out of date.
 */
export type GeneratedSource = 'files' | 'stubs';

export interface Bundle {
  /** The module's file, beside its source map. */
  readonly file: string;
  readonly sourceMap: string;
  readonly hash: string;
  /** Every source file in it, as absolute paths. */
  readonly inputs: readonly string[];
  /** Import specifier that was left to Node → source files that import it, from the root. */
  readonly importers: ReadonlyMap<string, readonly string[]>;
  /** Something in it imports from `drizzle-orm`, which is not installed. */
  readonly drizzleStandIn: boolean;
}

const entryName = 'convoy-entry.js';

/** Throws a CodeProblem for what the bundler refuses. */
export async function bundleProject(
  layout: ProjectLayout,
  files: ProjectFiles,
  generated: GeneratedSource,
): Promise<Bundle> {
  const result = await build({
    absWorkingDir: layout.root,
    stdin: { contents: entryFor(layout, files), resolveDir: layout.root, sourcefile: entryName },
    outfile: path.join(layout.buildFolder, 'convoy.mjs'),
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
      packagesOutside(layout),
    ],
  }).catch((failure: BuildFailure) => {
    if (!Array.isArray(failure.errors)) throw failure;
    throw new CodeProblem(
      failure.errors.map((message) => mistakeOf(message, layout)),
      { cause: failure },
    );
  });

  // A member of a namespace that is not there is a warning: it would be undefined.
  const missing = result.warnings.filter((warning) => missingFromDrizzle(warning) !== undefined);
  if (missing.length > 0) throw new CodeProblem(missing.map((message) => mistakeOf(message, layout)));

  const code = result.outputFiles.find(({ path: file }) => file.endsWith('.mjs'));
  const map = result.outputFiles.find(({ path: file }) => file.endsWith('.map'));
  if (!code || !map) throw new Error('esbuild gave neither code nor source map');
  const hash = createHash('sha256').update(code.contents).digest('hex').slice(0, 16);
  const file = path.join(layout.buildFolder, `${hash}.mjs`);
  await mkdir(layout.buildFolder, { recursive: true });
  await writeWhole(`${file}.map`, map.text);
  await writeWhole(file, `${code.text}//# sourceMappingURL=${hash}.mjs.map\n`);
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

/** Builds no longer in use are deleted, but none of the last minute: another convoy may be about to load it. */
export async function removeOldBuilds(buildFolder: string, inUse: string): Promise<void> {
  for (const name of await readdir(buildFolder)) {
    if (name.startsWith(inUse)) continue;
    const file = path.join(buildFolder, name);
    try {
      if (Date.now() - (await stat(file)).mtimeMs > 60_000) await rm(file);
    } catch (error) {
      // The other convoy deleted it.
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

async function writeWhole(file: string, text: string): Promise<void> {
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, text);
  await rename(draft, file);
}

/** Stand-ins are named after their namespace. */
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

function mistakeOf(message: Message, { root }: ProjectLayout): CodeMistake {
  const { location, notes } = message;
  // Generated files are stood for by stubs while code is inspected.
  const text = (missingFromDrizzle(message) ?? message.text).replace('"convoy-generated:', '"convoy/_generated/');
  // How to configure esbuild is no advice for someone who does not.
  const ofUse = notes.filter((note) => !note.text.includes('mark the path'));
  const advice = adviceOnImport(text, location?.file, root);
  const said = advice === null ? text : `${text}. ${advice}`;
  return { text: said, location, notes: ofUse.map((note) => ({ text: note.text })) };
}
